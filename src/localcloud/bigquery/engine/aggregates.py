"""Aggregate and analytic functions, with what stands inside their parentheses and in OVER.

https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate-function-calls has the modifiers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ..types import BOOL, BYTES, FLOAT64, INT64, STRING, Type, array, struct
from .calls import Call
from .query import order_keys
from .scope import Scope
from .values import NUMBERS, Expr, coerce, coercible, untyped_null

_Aggregate = Callable[["Aggregation"], Expr]
AGGREGATES: dict[str, _Aggregate] = {}
ANALYTIC: dict[str, _Aggregate] = {}


def modifiers(nodes: list[exp.Expr]) -> dict[str, Any]:
    """What stands in a call's parentheses beside its arguments, by the names of `Call`'s fields."""
    found: dict[str, Any] = {}
    plain: list[exp.Expr] = []
    for node in nodes:
        inner = node
        while isinstance(inner, (exp.Limit, exp.Order, exp.IgnoreNulls, exp.RespectNulls, exp.HavingMax, exp.Distinct)):
            if isinstance(inner, exp.Limit):
                found["limit"] = inner.expression
            elif isinstance(inner, exp.Order):
                found["order"] = list(inner.expressions)
            elif isinstance(inner, exp.HavingMax):
                found["having"] = inner
            elif isinstance(inner, exp.Distinct):
                found["distinct"] = True
                plain.extend(inner.expressions[:-1])
                inner = inner.expressions[-1]
                continue
            else:
                found["nulls"] = "IGNORE" if isinstance(inner, exp.IgnoreNulls) else "RESPECT"
            inner = inner.this
        plain.append(inner)
    found["nodes"] = plain
    return found


def _register(table: dict[str, _Aggregate], *names: str) -> Callable[[_Aggregate], _Aggregate]:
    def register(function: _Aggregate) -> _Aggregate:
        for name in names:
            table[name] = function
        return function

    return register


class Aggregation:
    """An aggregate call on its way to DuckDB.

    Args:
        call: The call; its arguments see columns, not SELECT aliases.
        filter: A DuckDB condition on the rows (PIVOT's).
    """

    def __init__(self, call: Call, filter: str = "") -> None:
        call.scope = call.scope.child(in_aggregate=True)
        self.call = call
        self._filters = [filter] if filter else []

    def arg(self, index: int = 0) -> Expr:
        """The analysed argument; a bare NULL is an INT64."""
        value = self.call.arg(index)
        return coerce(value, INT64) if value.type.kind == "NULL" else value

    def only(self, condition: str) -> None:
        """Leaves out the rows for which a DuckDB condition is not true."""
        self._filters.append(condition)

    def sql(self, name: str, *arguments: str, order: str = "") -> str:
        """`name(DISTINCT a, b ORDER BY …) FILTER (…) OVER (…)`."""
        distinct = "DISTINCT " if self.call.distinct else ""
        inside = f"{distinct}{', '.join(arguments)}{' ' + order if order else ''}"
        where = f" FILTER (WHERE {' AND '.join(self._filters)})" if self._filters else ""
        return f"{name}({inside}){where}{self.over()}"

    def over(self, *, plain: bool = False) -> str:
        """` OVER (…)`, or nothing for an aggregate of a group."""
        return "" if self.call.window is None else f" OVER ({_window(self.call.window, self.call.scope, plain)})"

    def order(self) -> str:
        """`ORDER BY …` of the parentheses."""
        return order_keys(self.call.order, self.call.scope) if self.call.order else ""

    def limited(self, listed: str) -> str:
        """A list cut to LIMIT."""
        if self.call.limit is None:
            return listed
        value = self.call.analyze(self.call.limit, self.call.scope)
        return f"list_slice({listed}, 1, {coerce(value, INT64).sql})"


def call(made: Call) -> Expr:
    """An aggregate or analytic call."""
    aggregation = Aggregation(made)
    if made.name in ANALYTIC:
        if made.window is None:
            raise made.error(f"Analytic function {made.name} cannot be called without an OVER clause")
        return ANALYTIC[made.name](aggregation)
    if made.having is not None and made.name != "ANY_VALUE":
        raise made.scope.statement.refuse(f"HAVING MAX or MIN in {made.name}", made.node)
    return AGGREGATES[made.name](aggregation)


def filtered(node: exp.Expr, scope: Scope, condition: str) -> Expr:
    """An aggregate over the rows for which a DuckDB condition holds (PIVOT)."""
    from .expressions import analyze

    name = node.name.upper()
    if not isinstance(node, exp.Anonymous) or name not in AGGREGATES:
        raise scope.statement.error("PIVOT expression must be an aggregate function call", node)
    found = modifiers(list(node.expressions))
    made = Call(name, found.pop("nodes"), scope, node, analyze, **found)
    return AGGREGATES[name](Aggregation(made, condition))


# windows


def _window(node: exp.Expr, scope: Scope, plain: bool) -> str:
    base = node.args.get("alias")
    parts: list[str] = []
    partition = list(node.args.get("partition_by") or ())
    order = node.args.get("order")
    spec = node.args.get("spec")
    if base is not None and node.args.get("over"):
        named = scope.window(base.name)
        if named is None:
            raise scope.statement.error(f"Unrecognized window alias {base.name}", node)
        partition = partition or list(named.args.get("partition_by") or ())
        order = order or named.args.get("order")
        spec = spec or named.args.get("spec")
    if partition:
        keys = [scope_analyze(item, scope) for item in partition]
        for key, item in zip(keys, partition, strict=True):
            if key.type.element is not None or key.type.kind in ("STRUCT", "JSON", "GEOGRAPHY"):
                raise scope.statement.error(f"Partitioning by expressions of type {key.type} is not allowed", item)
        parts.append(f"PARTITION BY {', '.join(key.sql for key in keys)}")
    ranged = spec is not None and str(spec.args.get("kind")).upper() == "RANGE"
    if order is not None:
        parts.append(order_keys(order.expressions, scope, plain=plain or ranged))
    if spec is not None:
        parts.append(_frame(spec, scope))
    return " ".join(parts)


def scope_analyze(node: exp.Expr, scope: Scope) -> Expr:
    """An expression of a window clause."""
    from .expressions import analyze

    return analyze(node, scope)


def _frame(spec: exp.Expr, scope: Scope) -> str:
    def bound(value: Any, side: Any) -> str:
        if isinstance(value, exp.Expr):
            return f"{scope_analyze(value, scope).sql} {side}"
        word = str(value).upper()
        return word if word == "CURRENT ROW" else f"{word} {side}"

    kind = str(spec.args.get("kind")).upper()
    start = bound(spec.args.get("start"), spec.args.get("start_side"))
    if spec.args.get("end") is None:
        return f"{kind} {start}"
    return f"{kind} BETWEEN {start} AND {bound(spec.args['end'], spec.args.get('end_side'))}"


# aggregates


@_register(AGGREGATES, "COUNT")
def _count(agg: Aggregation) -> Expr:
    if len(agg.call) != 1:
        raise agg.call.mismatch()
    if isinstance(agg.call.nodes[0], exp.Star):
        return Expr(agg.sql("count", "*"), INT64)
    return Expr(agg.sql("count", agg.arg().sql), INT64)


@_register(AGGREGATES, "COUNTIF")
def _countif(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type != BOOL:
        raise agg.call.mismatch(["COUNTIF(BOOL)"])
    agg.only(value.sql)
    if agg.call.distinct:
        return Expr(agg.sql("count", value.sql), INT64)
    return Expr(agg.sql("count", "*"), INT64)


def _number(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type.kind not in NUMBERS:
        raise agg.call.mismatch([f"{agg.call.name}({kind})" for kind in NUMBERS])
    return value


@_register(AGGREGATES, "SUM")
def _sum(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type.kind == "INTERVAL":
        return Expr(agg.sql("sum", value.sql), value.type)
    value = _number(agg)
    inner = agg.sql("sum", value.sql)
    return Expr(inner if value.type == FLOAT64 else f"CAST({inner} AS {value.type.duckdb})", value.type)


@_register(AGGREGATES, "AVG")
def _avg(agg: Aggregation) -> Expr:
    value = _number(agg)
    if value.type.kind in ("NUMERIC", "BIGNUMERIC"):
        total = f"CAST({agg.sql('sum', value.sql)} AS {value.type.duckdb})"
        count = f"CAST({agg.sql('count', value.sql)} AS {value.type.duckdb})"
        return Expr(f"bq.divide_{value.type.kind.lower()}({total}, {count})", value.type)
    return Expr(agg.sql("avg", value.sql), FLOAT64)


@_register(AGGREGATES, "MIN", "MAX")
def _extreme(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type.element is not None or value.type.kind in ("STRUCT", "JSON", "GEOGRAPHY"):
        raise agg.call.error(f"{agg.call.name} is not defined for arguments of type {value.type}")
    name = agg.call.name.lower()
    sql = agg.sql(name, value.sql)
    if value.type == FLOAT64 and name == "min":
        # A NaN makes the minimum NaN; to DuckDB it is the greatest of all.
        nan = agg.sql("bool_or", f"isnan({value.sql})")
        sql = f"CASE WHEN {nan} THEN CAST('nan' AS DOUBLE) ELSE {sql} END"
    return Expr(sql, value.type)


@_register(AGGREGATES, "ANY_VALUE")
def _any_value(agg: Aggregation) -> Expr:
    value = agg.arg()
    having = agg.call.having
    if having is not None:
        by = agg.call.analyze(having.expression, agg.call.scope)
        name = "arg_max" if having.args.get("max") else "arg_min"
        return Expr(agg.sql(name, value.sql, by.sql), value.type)
    return Expr(agg.sql("any_value", value.sql), value.type)


@_register(AGGREGATES, "MAX_BY", "MIN_BY")
def _by(agg: Aggregation) -> Expr:
    name = "arg_max" if agg.call.name == "MAX_BY" else "arg_min"
    return Expr(agg.sql(name, agg.arg(0).sql, agg.arg(1).sql), agg.arg(0).type)


@_register(AGGREGATES, "ARRAY_AGG")
def _array_agg(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type.element is not None:
        raise agg.call.error("The argument to ARRAY_AGG must not be an array type but was " + str(value.type))
    if agg.call.nulls == "IGNORE":
        agg.only(f"{value.sql} IS NOT NULL")
    return Expr(agg.limited(agg.sql("array_agg", value.sql, order=agg.order())), array(value.type))


@_register(AGGREGATES, "ARRAY_CONCAT_AGG")
def _array_concat_agg(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type.element is None:
        raise agg.call.mismatch()
    agg.only(f"{value.sql} IS NOT NULL")
    return Expr(f"flatten({agg.limited(agg.sql('array_agg', value.sql, order=agg.order()))})", value.type)


@_register(AGGREGATES, "STRING_AGG")
def _string_agg(agg: Aggregation) -> Expr:
    value = agg.arg()
    if value.type not in (STRING, BYTES):
        raise agg.call.mismatch(["STRING_AGG(STRING, [STRING])", "STRING_AGG(BYTES, [BYTES])"])
    if value.type == BYTES:
        raise agg.call.scope.statement.refuse("STRING_AGG of BYTES", agg.call.node)
    separator = agg.arg(1).sql if len(agg.call) > 1 else "','"
    if agg.call.limit is None and not agg.call.distinct:
        return Expr(agg.sql("string_agg", value.sql, separator, order=agg.order()), STRING)
    agg.only(f"{value.sql} IS NOT NULL")
    listed = agg.limited(agg.sql("array_agg", value.sql, order=agg.order()))
    return Expr(f"array_to_string({listed}, {separator})", STRING)


@_register(AGGREGATES, "LOGICAL_AND", "LOGICAL_OR")
def _logical(agg: Aggregation) -> Expr:
    if agg.arg().type != BOOL:
        raise agg.call.mismatch([f"{agg.call.name}(BOOL)"])
    return Expr(agg.sql("bool_and" if agg.call.name == "LOGICAL_AND" else "bool_or", agg.arg().sql), BOOL)


@_register(AGGREGATES, "BIT_AND", "BIT_OR", "BIT_XOR")
def _bits(agg: Aggregation) -> Expr:
    if agg.arg().type != INT64:
        raise agg.call.mismatch([f"{agg.call.name}(INT64)"])
    return Expr(agg.sql(agg.call.name.lower(), agg.arg().sql), INT64)


@_register(AGGREGATES, "APPROX_COUNT_DISTINCT")
def _approx_count(agg: Aggregation) -> Expr:
    # Counted exactly: an answer within the documented error, and the same every time.
    agg.call.distinct = True
    return Expr(agg.sql("count", agg.arg().sql), INT64)


@_register(AGGREGATES, "APPROX_QUANTILES")
def _approx_quantiles(agg: Aggregation) -> Expr:
    value, number = agg.arg(0), agg.call.arg(1)
    if not isinstance(number.value, int) or number.value <= 0:
        raise agg.call.error("The second argument of APPROX_QUANTILES must be a positive integer literal")
    points = ", ".join(repr(i / number.value) for i in range(number.value + 1))
    if agg.call.nulls != "RESPECT":
        agg.only(f"{value.sql} IS NOT NULL")
    return Expr(agg.sql("quantile_disc", value.sql, f"[{points}]"), array(value.type))


@_register(AGGREGATES, "APPROX_TOP_COUNT")
def _approx_top_count(agg: Aggregation) -> Expr:
    value, number = agg.arg(0), agg.call.arg(1)
    answer = array(struct([("value", value.type), ("count", INT64)]))
    pairs = f"map_entries({agg.sql('histogram', value.sql)})"
    ranked = f"list_sort(list_transform({pairs}, lambda e: struct_pack(n := e.value, k := e.key)), 'DESC')"
    cut = f"list_slice({ranked}, 1, {coerce(number, INT64).sql})"
    packed = 'struct_pack("value" := e.k, "count" := CAST(e.n AS BIGINT))'
    return Expr(f"list_transform({cut}, lambda e: {packed})", answer)


@_register(AGGREGATES, "GROUPING")
def _grouping(agg: Aggregation) -> Expr:
    return Expr(agg.sql("grouping", agg.arg().sql), INT64)


_STATISTICS = {
    "STDDEV": "stddev_samp", "STDDEV_SAMP": "stddev_samp", "STDDEV_POP": "stddev_pop", "VARIANCE": "var_samp",
    "VAR_SAMP": "var_samp", "VAR_POP": "var_pop", "CORR": "corr", "COVAR_POP": "covar_pop", "COVAR_SAMP": "covar_samp",
}  # fmt: skip


@_register(AGGREGATES, *_STATISTICS)
def _statistic(agg: Aggregation) -> Expr:
    values = [agg.arg(i) for i in range(len(agg.call))]
    wanted = 2 if agg.call.name.startswith("CO") else 1
    if len(values) != wanted or any(v.type.kind not in NUMBERS for v in values):
        raise agg.call.mismatch([f"{agg.call.name}({', '.join(['FLOAT64'] * wanted)})"])
    sql = agg.sql(_STATISTICS[agg.call.name], *(coerce(v, FLOAT64).sql for v in values))
    return Expr(sql, FLOAT64)


# analytic functions


@_register(ANALYTIC, "ROW_NUMBER", "RANK", "DENSE_RANK")
def _rank(agg: Aggregation) -> Expr:
    agg.call.expect(0)
    return Expr(f"{agg.call.name.lower()}(){agg.over()}", INT64)


@_register(ANALYTIC, "PERCENT_RANK", "CUME_DIST")
def _share(agg: Aggregation) -> Expr:
    agg.call.expect(0)
    return Expr(f"{agg.call.name.lower()}(){agg.over()}", FLOAT64)


@_register(ANALYTIC, "NTILE")
def _ntile(agg: Aggregation) -> Expr:
    return Expr(f"ntile({agg.call.take(0, INT64).sql}){agg.over()}", INT64)


@_register(ANALYTIC, "LAG", "LEAD")
def _shifted(agg: Aggregation) -> Expr:
    agg.call.expect(1, 3)
    value = agg.arg(0)
    offset = agg.call.take(1, INT64).sql if len(agg.call) > 1 else "1"
    default = agg.call.arg(2) if len(agg.call) > 2 else untyped_null()
    if not coercible(default, value.type):
        raise agg.call.mismatch()
    inside = f"{value.sql}, {offset}, {coerce(default, value.type).sql}"
    return Expr(f"{agg.call.name.lower()}({inside}){agg.over()}", value.type)


@_register(ANALYTIC, "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE")
def _placed(agg: Aggregation) -> Expr:
    value = agg.arg(0)
    number = f", {agg.call.take(1, INT64).sql}" if agg.call.name == "NTH_VALUE" else ""
    nulls = " IGNORE NULLS" if agg.call.nulls == "IGNORE" else ""
    return Expr(f"{agg.call.name.lower()}({value.sql}{number}{nulls}){agg.over()}", value.type)


@_register(ANALYTIC, "PERCENTILE_CONT", "PERCENTILE_DISC")
def _percentile(agg: Aggregation) -> Expr:
    agg.call.expect(2)
    value, point = agg.arg(0), agg.call.take(1, FLOAT64)
    answer: Type = value.type
    if agg.call.name == "PERCENTILE_CONT":
        value = coerce(_number(agg), FLOAT64)
        answer = FLOAT64
    if agg.call.nulls == "RESPECT":
        raise agg.call.scope.statement.refuse(f"RESPECT NULLS in {agg.call.name}", agg.call.node)
    name = "quantile_cont" if answer == FLOAT64 and agg.call.name == "PERCENTILE_CONT" else "quantile_disc"
    point_sql = re.sub(r"::BIGINT$", "", point.sql)
    return Expr(f"{name}({value.sql}, {point_sql}){agg.over()}", answer)
