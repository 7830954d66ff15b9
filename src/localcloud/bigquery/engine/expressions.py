"""GoogleSQL expressions as DuckDB SQL with their types: operators, literals, names, casts, calls.

Functions are in `functions_*`, queries in `query.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ..failures import InvalidQuery
from ..types import (
    BIGNUMERIC,
    BOOL,
    BYTES,
    FLOAT64,
    INT64,
    INTERVAL,
    JSON,
    STRING,
    Type,
    array,
    quote,
    struct,
)
from . import formats
from .calls import FUNCTIONS, SIGNATURES, Call, call_signature
from .casts import cast
from .scope import Scope, bind
from .type_syntax import type_of_node
from .values import NUMBERS, Expr, array_of, coerce, coercible, integer, supertype, text, untyped_null

_REFUSED = ("ML.", "AI.", "ST_", "S2_", "HLL_COUNT.", "AEAD.", "KEYS.", "OBJ.", "BQ.", "KLL_QUANTILES.")
_KNOWN_MISSING = {
    "SEARCH", "VECTOR_SEARCH", "RANGE_CONTAINS", "RANGE_OVERLAPS", "GENERATE_RANGE_ARRAY", "JSON_SET",
    "JSON_REMOVE", "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT", "JSON_STRIP_NULLS", "JUSTIFY_DAYS",
    "JUSTIFY_HOURS", "JUSTIFY_INTERVAL", "PARSE_NUMERIC", "PARSE_BIGNUMERIC", "NET.IP_TO_STRING",
    "NET.IP_FROM_STRING", "NET.SAFE_IP_FROM_STRING", "NET.IP_NET_MASK", "NET.IP_TRUNC", "NET.IPV4_FROM_INT64",
    "NET.IPV4_TO_INT64", "NET.PUBLIC_SUFFIX", "NET.REG_DOMAIN", "TO_BASE32", "FROM_BASE32",
    "CODE_POINTS_TO_BYTES", "EXTERNAL_QUERY", "COLLATE", "APPENDS", "CHANGES", "GAP_FILL", "ERROR_MESSAGE",
}  # fmt: skip


def analyze(node: exp.Expr, scope: Scope) -> Expr:
    """An expression in a scope.

    Raises:
        InvalidQuery: It is wrong; the message has the place.
        Refused: BigQuery has it and this engine has not.
    """
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise scope.statement.refuse(f"The expression {node.key.upper()}", node)
    answer = handler(node, scope)
    return Expr(f"(NOT {answer.sql})", BOOL) if node.args.get("negate") else answer


def condition(node: exp.Expr, scope: Scope, clause: str) -> str:
    """An expression that must be a BOOL, as in WHERE."""
    answer = analyze(node, scope)
    if not coercible(answer, BOOL):
        raise scope.statement.error(f"{clause} should return type BOOL, but returns {answer.type}", node)
    return coerce(answer, BOOL).sql


# names and literals


def _column(node: exp.Expr, scope: Scope) -> Expr:
    assert isinstance(node, exp.Column)
    return scope.resolve([part.name for part in node.parts], node)


def _identifier(node: exp.Expr, scope: Scope) -> Expr:
    return scope.resolve([node.name], node)


def _dot(node: exp.Expr, scope: Scope) -> Expr:
    names, last = _flatten(node)
    if isinstance(last, exp.Anonymous) and names is not None:
        if names[0].upper() == "SAFE":
            inner = call(last, scope, namespace=names[1:])
            return Expr(f"TRY({inner.sql})", inner.type)
        return call(last, scope, namespace=names)
    if isinstance(node.this, exp.Parameter) and isinstance(node.this.this, exp.Parameter):
        return _system_variable(node, scope)
    base = analyze(node.this, scope)
    return scope.field(base, node.expression.name, node.expression)


def _flatten(node: exp.Expr) -> tuple[list[str] | None, exp.Expr]:
    """The names before the last part of a dotted path, or None where something else stands there."""
    names: list[str] = []
    left, last = node.this, node.expression
    while isinstance(left, exp.Dot):
        if not isinstance(left.expression, exp.Identifier):
            return None, last
        names.insert(0, left.expression.name)
        left = left.this
    if isinstance(left, exp.Column):
        return [*(part.name for part in left.parts), *names], last
    return ([left.name, *names], last) if isinstance(left, (exp.Identifier, exp.Var)) else (None, last)


def _literal(node: exp.Expr, scope: Scope) -> Expr:
    value = str(node.this)
    if node.args.get("is_string"):
        return text(value)
    if re.fullmatch(r"[0-9]+", value):
        number = int(value)
        if number > 2**63 - 1:
            raise scope.statement.error(f"Invalid integer literal: {value}", node)
        return integer(number)
    sql = value if "e" in value.lower() else f"{value}e0"
    return Expr(sql, FLOAT64, True, float(value))


def _hex(node: exp.Expr, scope: Scope) -> Expr:
    return integer(int(str(node.this), 16))


def _bytes(node: exp.Expr, scope: Scope) -> Expr:
    value = str(node.this).encode("utf-8") if str(node.this).isascii() else str(node.this).encode("latin-1")
    return Expr(f"unhex('{value.hex()}')", BYTES, True)


def _raw(node: exp.Expr, scope: Scope) -> Expr:
    return text(str(node.this))


def _null(node: exp.Expr, scope: Scope) -> Expr:
    return untyped_null()


def _boolean(node: exp.Expr, scope: Scope) -> Expr:
    return Expr("TRUE" if node.this else "FALSE", BOOL, True, bool(node.this))


def _interval(node: exp.Expr, scope: Scope) -> Expr:
    unit = node.args.get("unit")
    if isinstance(unit, exp.IntervalSpan):
        return _interval_span(node, unit, scope)
    if unit is None:
        raise scope.statement.error("Syntax error: an INTERVAL needs a date part", node)
    name = unit.name.upper()
    factors = {"YEAR": ("months", 12), "QUARTER": ("months", 3), "MONTH": ("months", 1), "WEEK": ("days", 7),
               "DAY": ("days", 1), "HOUR": ("microseconds", 3_600_000_000), "MINUTE": ("microseconds", 60_000_000),
               "SECOND": ("microseconds", 1_000_000), "MILLISECOND": ("microseconds", 1000),
               "MICROSECOND": ("microseconds", 1)}  # fmt: skip
    if name not in factors:
        raise scope.statement.error(f"{name} is not a date part of an INTERVAL", node)
    amount = interval_amount(node, scope)
    kind, factor = factors[name]
    cast_type = "BIGINT" if kind == "microseconds" else "INTEGER"
    return Expr(f"to_{kind}(CAST({amount.sql} * {factor} AS {cast_type}))", INTERVAL)


def interval_amount(node: exp.Expr, scope: Scope) -> Expr:
    """The INT64 before the unit of an INTERVAL."""
    value = node.this
    if isinstance(value, exp.Literal):
        if not re.fullmatch(r"-?[0-9]+", str(value.this)):
            raise scope.statement.error(f"Invalid INTERVAL value '{value.this}'", node)
        return integer(int(str(value.this)))
    amount = analyze(value, scope)
    if not coercible(amount, INT64):
        raise scope.statement.error(f"Interval value must be coercible to INT64 type, but is {amount.type}", node)
    return coerce(amount, INT64)


def _interval_span(node: exp.Expr, unit: exp.IntervalSpan, scope: Scope) -> Expr:
    parts = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"]
    first, last = unit.this.name.upper(), unit.expression.name.upper()
    value = node.this
    if not isinstance(value, exp.Literal) or first not in parts or last not in parts:
        raise scope.statement.refuse("This form of INTERVAL", node)
    names = parts[parts.index(first) : parts.index(last) + 1]
    pattern = r"\s*"
    for position, name in enumerate(names):
        if position:
            pattern += {"MONTH": "-", "DAY": r"\s+", "HOUR": r"\s+", "MINUTE": ":", "SECOND": ":"}[name]
        fraction = "(?:[.][0-9]+)?" if name == "SECOND" else ""
        pattern += f"(?P<{name}>[+-]?[0-9]+{fraction})"
    match = re.fullmatch(pattern + r"\s*", str(value.this))
    if match is None:
        raise scope.statement.error(f"Invalid INTERVAL value '{value.this}'", node)
    got = match.groupdict()

    def signed(*names_: str, scale: tuple[float, ...]) -> int:
        leading = next((got[n] for n in names_ if n in got), "0")
        total = sum(abs(float(got.get(n, 0))) * s for n, s in zip(names_, scale, strict=True))
        return round(-total if leading.startswith("-") else total)

    months = signed("YEAR", "MONTH", scale=(12, 1))
    days = signed("DAY", scale=(1,))
    micros = signed("HOUR", "MINUTE", "SECOND", scale=(3.6e9, 6e7, 1e6))
    return Expr(f"(to_months({months}) + to_days({days}) + to_microseconds({micros}))", INTERVAL, True)


def _parameter(node: exp.Expr, scope: Scope) -> Expr:
    if isinstance(node.this, exp.Parameter):
        return _system_variable(node, scope)
    return _bound(node.name, f"'{node.name}'", node, scope)


def _placeholder(node: exp.Expr, scope: Scope) -> Expr:
    position = scope.statement.next_position()
    return _bound(position, f"at position {position}", node, scope)


def _bound(name: str, shown: str, node: exp.Expr, scope: Scope) -> Expr:
    found = scope.statement.parameters.get(name.lower())
    if found is None:
        raise scope.statement.error(f"Query parameter {shown} not found", node)
    return bind(scope.statement, f"p_{name.lower()}", *found)


def _system_variable(node: exp.Expr, scope: Scope) -> Expr:
    name = node.sql().lstrip("@").lower()
    found = scope.statement.environment.system_variable(name)
    if found is None:
        raise scope.statement.error(f"Unrecognized system variable: @@{name}", node)
    return bind(scope.statement, f"s_{name.replace('.', '_')}", *found)


# operators


def _paren(node: exp.Expr, scope: Scope) -> Expr:
    inner = analyze(node.this, scope)
    return Expr(f"({inner.sql})", inner.type, inner.constant, inner.value)


def _operands(node: exp.Expr, scope: Scope) -> tuple[Expr, Expr]:
    return analyze(node.this, scope), analyze(node.expression, scope)


def _mismatch(symbol: str, node: exp.Expr, scope: Scope, *operands: Expr) -> InvalidQuery:
    types = ", ".join(str(o.type) for o in operands)
    return scope.statement.error(f"No matching signature for operator {symbol} for argument types: {types}", node)


def _number_type(symbol: str, node: exp.Expr, scope: Scope, left: Expr, right: Expr) -> Type:
    target = supertype([left, right])
    if target is not None and target.kind == "NULL":
        return INT64
    if target is None or target.kind not in NUMBERS:
        raise _mismatch(symbol, node, scope, left, right)
    return target


def _arithmetic(symbol: str) -> Callable[[exp.Expr, Scope], Expr]:
    def handle(node: exp.Expr, scope: Scope) -> Expr:
        left, right = _operands(node, scope)
        moved = _date_arithmetic(symbol, left, right)
        if moved is not None:
            return moved
        target = _number_type(symbol, node, scope, left, right)
        a, b = coerce(left, target).sql, coerce(right, target).sql
        if target.kind == "BIGNUMERIC" and symbol == "*":
            return Expr(f"bq_bignumeric_multiply({a}, {b})", BIGNUMERIC)
        if target.kind in ("NUMERIC", "BIGNUMERIC"):
            return Expr(f"CAST({a} {symbol} {b} AS {target.duckdb})", target)
        value = None
        if symbol == "-" and isinstance(left.value, int) and isinstance(right.value, int):
            value = left.value - right.value
        return Expr(f"({a} {symbol} {b})", target, value is not None, value)

    return handle


def _date_arithmetic(symbol: str, left: Expr, right: Expr) -> Expr | None:
    kinds = (left.type.kind, right.type.kind)
    if symbol not in "+-":
        return None
    if kinds == ("DATE", "INT64") or (symbol == "+" and kinds == ("INT64", "DATE")):
        date, days = (left, right) if kinds[0] == "DATE" else (right, left)
        return Expr(f"({date.sql} {symbol} CAST({days.sql} AS INTEGER))", date.type)
    if kinds[1] == "INTERVAL" and kinds[0] in ("DATE", "DATETIME", "TIMESTAMP", "INTERVAL"):
        return _move(left, symbol, right)
    if symbol == "+" and kinds[0] == "INTERVAL" and kinds[1] in ("DATE", "DATETIME", "TIMESTAMP"):
        return _move(right, "+", left)
    if symbol == "-" and kinds == ("DATE", "DATE"):
        return Expr(f"to_days(CAST({left.sql} - {right.sql} AS INTEGER))", INTERVAL)
    if symbol == "-" and kinds in (("TIMESTAMP", "TIMESTAMP"), ("DATETIME", "DATETIME")):
        return Expr(f"to_microseconds(epoch_us({left.sql}) - epoch_us({right.sql}))", INTERVAL)
    return None


def _move(moment: Expr, symbol: str, interval: Expr) -> Expr:
    if moment.type.kind == "INTERVAL":
        return Expr(f"({moment.sql} {symbol} {interval.sql})", INTERVAL)
    if moment.type.kind == "TIMESTAMP":
        return Expr(f"bq.stamp(bq.utc({moment.sql}) {symbol} {interval.sql})", moment.type)
    return Expr(f"(CAST({moment.sql} AS TIMESTAMP) {symbol} {interval.sql})", Type("DATETIME"))


def _divide(node: exp.Expr, scope: Scope) -> Expr:
    left, right = _operands(node, scope)
    target = _number_type("/", node, scope, left, right)
    if target == INT64:
        target = FLOAT64
    a, b = coerce(left, target), coerce(right, target)
    if target == FLOAT64:
        if isinstance(b.value, (int, float)) and b.value:
            return Expr(f"({a.sql} / {b.sql})", FLOAT64)
        return Expr(f"bq.divide({a.sql}, {b.sql})", FLOAT64)
    return Expr(f"bq.divide_{target.kind.lower()}({a.sql}, {b.sql})", target)


def _negate(node: exp.Expr, scope: Scope) -> Expr:
    if isinstance(node.this, exp.Literal) and str(node.this.this) == str(2**63):
        return integer(-(2**63))
    operand = analyze(node.this, scope)
    if operand.type.kind not in (*NUMBERS, "INTERVAL", "NULL"):
        raise _mismatch("-", node, scope, operand)
    if isinstance(operand.value, int) and not isinstance(operand.value, bool) and operand.type == INT64:
        return integer(-operand.value) if isinstance(node.this, exp.Literal) else Expr(
            f"(-{operand.sql})", INT64, True, -operand.value
        )  # fmt: skip
    value = -operand.value if isinstance(operand.value, float) else None
    return Expr(f"(-{operand.sql})", operand.type, operand.constant, value)


def _bits(symbol: str) -> Callable[[exp.Expr, Scope], Expr]:
    def handle(node: exp.Expr, scope: Scope) -> Expr:
        left, right = _operands(node, scope)
        if left.type != INT64 or right.type != INT64:
            raise _mismatch(symbol, node, scope, left, right)
        if symbol == "^":
            return Expr(f"xor({left.sql}, {right.sql})", INT64)
        if symbol in ("<<", ">>"):
            wide = f"CASE WHEN {right.sql} >= 64 THEN 0 ELSE ({left.sql} {symbol} {right.sql}) END"
            return Expr(wide, INT64)
        return Expr(f"({left.sql} {symbol} {right.sql})", INT64)

    return handle


def _bit_not(node: exp.Expr, scope: Scope) -> Expr:
    operand = analyze(node.this, scope)
    if operand.type != INT64:
        raise _mismatch("~", node, scope, operand)
    return Expr(f"(~{operand.sql})", INT64)


def compare(symbol: str, left: Expr, right: Expr) -> Expr | None:
    """A comparison; None where the types cannot be compared."""
    target = supertype([left, right])
    if {left.type.kind, right.type.kind} == {"INT64", "FLOAT64"}:
        target = FLOAT64
    if target is None or target == JSON:
        return None
    if target.kind == "STRUCT" and symbol not in ("=", "<>"):
        return None
    a, b = coerce(left, target), coerce(right, target)
    sql = f"({a.sql} {symbol} {b.sql})"
    if target == FLOAT64 and symbol != "<>":
        # DuckDB has NaN equal to itself and above all else; IEEE has every comparison with it false.
        guards = [f"NOT isnan({side.sql})" for side, needed in ((a, symbol in (">", ">=", "=")), (b, symbol in ("<", "<=", "=")))
                  if needed and side.value is None]  # fmt: skip
        if symbol == "=" and (a.value is not None or b.value is not None):
            guards = []
        elif symbol == "=":
            guards = guards[:1]
        if guards:
            sql = f"({' AND '.join([sql, *guards])})"
    elif target == FLOAT64 and a.value is None and b.value is None:
        sql = f"({sql} OR isnan({a.sql}))"
    return Expr(sql, BOOL)


def _comparison(symbol: str) -> Callable[[exp.Expr, Scope], Expr]:
    def handle(node: exp.Expr, scope: Scope) -> Expr:
        left, right = _operands(node, scope)
        answer = compare(symbol, left, right)
        if answer is None:
            raise _mismatch("!=" if symbol == "<>" else symbol, node, scope, left, right)
        return answer

    return handle


def _logic(symbol: str) -> Callable[[exp.Expr, Scope], Expr]:
    def handle(node: exp.Expr, scope: Scope) -> Expr:
        parts = [condition(part, scope, f"Operand of {symbol}") for part in (node.this, node.expression)]
        return Expr(f"({parts[0]} {symbol} {parts[1]})", BOOL)

    return handle


def _not(node: exp.Expr, scope: Scope) -> Expr:
    return Expr(f"(NOT {condition(node.this, scope, 'Operand of NOT')})", BOOL)


def _is(node: exp.Expr, scope: Scope) -> Expr:
    operand = analyze(node.this, scope)
    right = node.expression
    if isinstance(right, exp.Not):
        return Expr(f"({operand.sql} IS NOT {_is_what(right.this)})", BOOL)
    return Expr(f"({operand.sql} IS {_is_what(right)})", BOOL)


def _is_what(node: exp.Expr) -> str:
    return "NULL" if isinstance(node, exp.Null) else ("TRUE" if node.this else "FALSE")


def _distinct_from(negated: str) -> Callable[[exp.Expr, Scope], Expr]:
    def handle(node: exp.Expr, scope: Scope) -> Expr:
        left, right = _operands(node, scope)
        target = supertype([left, right])
        if target is None:
            raise _mismatch("IS DISTINCT FROM", node, scope, left, right)
        return Expr(f"({coerce(left, target).sql} IS {negated}DISTINCT FROM {coerce(right, target).sql})", BOOL)

    return handle


def _between(node: exp.Expr, scope: Scope) -> Expr:
    value, low, high = (analyze(node.args[k], scope) for k in ("this", "low", "high"))
    first, second = compare(">=", value, low), compare("<=", value, high)
    if first is None or second is None:
        raise _mismatch("BETWEEN", node, scope, value, low, high)
    return Expr(f"({first.sql} AND {second.sql})", BOOL)


def _in(node: exp.Expr, scope: Scope) -> Expr:
    value = analyze(node.this, scope)
    if node.args.get("unnest") is not None:
        array_ = analyze(node.args["unnest"].expressions[0], scope)
        if array_.type.element is None:
            raise scope.statement.error(f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {array_.type}", node)  # fmt: skip
        target = supertype([value, Expr("", array_.type.element, array_.constant)])
        if target is None:
            raise _mismatch("IN UNNEST", node, scope, value, array_)
        left, items = coerce(value, target).sql, coerce(array_, array(target)).sql
        return Expr(f"({left} IN (SELECT unnest({items})))", BOOL)
    if node.args.get("query") is not None:
        from .query import subquery

        query = node.args["query"]
        relation = subquery(query.this if isinstance(query, exp.Subquery) else query, scope)
        if len(relation.columns) != 1:
            raise scope.statement.error("Subquery of type IN must have only one output column", node)
        other = Expr("q.c1", relation.columns[0][1])
        target = supertype([value, other])
        if target is None:
            raise _mismatch("IN", node, scope, value, other)
        name = scope.statement.fresh("q")
        item = coerce(Expr(f"{name}.c1", relation.columns[0][1]), target).sql
        return Expr(f"({coerce(value, target).sql} IN (SELECT {item} FROM ({relation.sql}) {name}))", BOOL)
    items_ = [analyze(item, scope) for item in node.expressions]
    target = supertype([value, *items_])
    if target is None:
        raise _mismatch("IN", node, scope, value, *items_)
    listed = ", ".join(coerce(item, target).sql for item in items_)
    return Expr(f"({coerce(value, target).sql} IN ({listed}))", BOOL)


def _like(node: exp.Expr, scope: Scope) -> Expr:
    left = analyze(node.this, scope)
    right = node.expression
    if isinstance(right, (exp.Any, exp.All)):
        joint = " OR " if isinstance(right, exp.Any) else " AND "
        inner = right.this.unnest() if isinstance(right.this, exp.Paren) else right.this
        items = inner.expressions if isinstance(inner, (exp.Tuple, exp.Array)) else [inner]
        parts = [f"({left.sql} LIKE {analyze(item, scope).sql} ESCAPE '\\')" for item in items]
        return Expr(f"({joint.join(parts)})", BOOL)
    pattern = analyze(right, scope)
    if not coercible(left, STRING) or not coercible(pattern, STRING):
        raise _mismatch("LIKE", node, scope, left, pattern)
    return Expr(f"({coerce(left, STRING).sql} LIKE {coerce(pattern, STRING).sql} ESCAPE '\\')", BOOL)


def _concat(node: exp.Expr, scope: Scope) -> Expr:
    left, right = _operands(node, scope)
    if left.type.element is not None and right.type.element is not None:
        target = supertype([left, right])
        if target is not None:
            pair = coerce(left, target).sql, coerce(right, target).sql
            return Expr(f"CASE WHEN {pair[0]} IS NULL OR {pair[1]} IS NULL THEN NULL ELSE list_concat({pair[0]}, {pair[1]}) END", target)  # fmt: skip
    for type_ in (STRING, BYTES):
        if coercible(left, type_) and coercible(right, type_):
            return Expr(f"({coerce(left, type_).sql} || {coerce(right, type_).sql})", type_)
    raise _mismatch("||", node, scope, left, right)


def branches(exprs: list[Expr], what: str, node: exp.Expr, scope: Scope) -> tuple[list[Expr], Type]:
    """Expressions brought to their common type."""
    target = supertype(exprs)
    if target is None:
        types = ", ".join(str(e.type) for e in exprs)
        raise scope.statement.error(f"No matching signature for {what} for argument types: {types}", node)
    if target.kind == "NULL":
        target = INT64
    return [coerce(e, target) for e in exprs], target


def _case(node: exp.Expr, scope: Scope) -> Expr:
    subject = analyze(node.this, scope) if node.this is not None else None
    tests, values = [], []
    for branch in node.args["ifs"]:
        if subject is None:
            tests.append(condition(branch.this, scope, "CASE WHEN"))
        else:
            test = compare("=", subject, analyze(branch.this, scope))
            if test is None:
                raise scope.statement.error("No matching signature for operator CASE with these argument types", node)
            tests.append(test.sql)
        values.append(analyze(branch.args["true"], scope))
    default = node.args.get("default")
    values.append(analyze(default, scope) if default is not None else untyped_null())
    fitted, target = branches(values, "operator CASE", node, scope)
    arms = " ".join(f"WHEN {test} THEN {value.sql}" for test, value in zip(tests, fitted, strict=False))
    return Expr(f"CASE {arms} ELSE {fitted[-1].sql} END", target)


# constructors


def _array_literal(node: exp.Expr, scope: Scope) -> Expr:
    from .query import subquery

    items = node.expressions
    if len(items) == 1 and isinstance(items[0], exp.Query) and not isinstance(items[0], exp.Subquery):
        relation = subquery(items[0], scope)
        if len(relation.columns) != 1:
            raise scope.statement.error("ARRAY subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values", node)  # fmt: skip
        element = relation.columns[0][1]
        if element.element is not None:
            raise scope.statement.error("Cannot use array subquery with column of type ARRAY because nested arrays are not supported", node)  # fmt: skip
        return Expr(f"coalesce(ARRAY({relation.sql}), [])", array(element))
    values = [analyze(item, scope) for item in items]
    element_ = supertype(values)
    if element_ is None:
        types = sorted({str(v.type) for v in values})
        raise scope.statement.error(f"Array elements of types {{{', '.join(types)}}} do not have a common supertype", node)  # fmt: skip
    if element_.element is not None:
        raise scope.statement.error("Cannot construct array with element type ARRAY because nested arrays are not supported", node)  # fmt: skip
    return array_of(values, element_)


def struct_of(nodes: list[exp.Expr], scope: Scope) -> Expr:
    """STRUCT(a AS x, b, 1): a name from an alias or a column, else none."""
    fields, values = [], []
    for item in nodes:
        if isinstance(item, exp.Alias):
            name, value = item.alias, analyze(item.this, scope)
        else:
            value = analyze(item, scope)
            name = item.name if isinstance(item, exp.Column) else ""
        if value.type.kind == "NULL":
            value = coerce(value, INT64)
        fields.append((name, value.type))
        values.append(value)
    return pack(fields, values)


def pack(fields: list[tuple[str, Type]], values: list[Expr]) -> Expr:
    """A STRUCT of values."""
    type_ = struct(fields)
    names = _unique([name for name, _ in type_.named_fields()])
    parts = ", ".join(f"{quote(n)} := {v.sql}" for n, v in zip(names, values, strict=True))
    constant = all(v.constant for v in values)
    return Expr(f"struct_pack({parts})", type_, constant)


def _unique(names: list[str]) -> list[str]:
    if len({n.lower() for n in names}) != len(names):
        raise InvalidQuery("Duplicate field names in a STRUCT are not carried over to the local BigQuery")
    return names


def _tuple(node: exp.Expr, scope: Scope) -> Expr:
    values = [analyze(item, scope) for item in node.expressions]
    return pack([("", v.type) for v in values], values)


def _cast(node: exp.Expr, scope: Scope) -> Expr:
    safe = isinstance(node, exp.TryCast)
    target, check = type_of_node(node.args["to"], scope.statement)
    inner = node.this
    if isinstance(inner, exp.Struct):
        answer = _typed_struct(inner, target, scope)
    elif isinstance(inner, exp.Array) and target.element is not None and not safe:
        items = [analyze(item, scope) for item in inner.expressions]
        fitted = [i if coercible(i, target.element) else cast(i, target.element) for i in items]
        if any(i is None for i in fitted):
            raise scope.statement.error(f"Array elements do not coerce to {target.element}", node)
        answer = array_of([i for i in fitted if i is not None], target.element)
    else:
        value = analyze(inner, scope)
        given, zone = node.args.get("format"), None
        if isinstance(given, exp.AtTimeZone):
            given, zone = given.this, given.args["zone"]
        if given is not None:
            answer = formats.cast_format(value, target, given, zone, Call("CAST", [given], scope, node, analyze))
        else:
            cast_ = cast(value, target)
            if cast_ is None:
                raise scope.statement.error(f"Invalid cast from {value.type} to {target}", node)
            answer = cast_
            if (
                isinstance(inner, exp.Literal)
                and inner.is_string
                and target.kind in ("DATE", "DATETIME", "TIME", "TIMESTAMP")
            ):
                answer = Expr(answer.sql, target, True)
        answer = check(answer)
    return Expr(f"TRY({answer.sql})", target) if safe else answer


def _typed_struct(node: exp.Struct, target: Type, scope: Scope) -> Expr:
    values = [analyze(item, scope) for item in node.expressions]
    if len(values) != len(target.fields):
        raise scope.statement.error(f"STRUCT constructor has {len(values)} values for {len(target.fields)} fields", node)  # fmt: skip
    fitted = []
    for value, (name, type_) in zip(values, target.fields, strict=True):
        if not coercible(value, type_):
            raise scope.statement.error(f"Struct field {name} of type {type_} cannot be {value.type}", node)
        fitted.append(coerce(value, type_))
    return pack(list(target.fields), fitted)


def _json_literal(node: exp.Expr, scope: Scope) -> Expr:
    value = analyze(node.this, scope)
    return Expr(f"bq.json_check({value.sql})", JSON, True)


def _bracket(node: exp.Expr, scope: Scope) -> Expr:
    base = analyze(node.this, scope)
    index_node = node.expressions[0]
    safe, offset = bool(node.args.get("safe")), node.args.get("offset")
    index = analyze(index_node, scope)
    if base.type == JSON:
        if index.type == STRING:
            if isinstance(index.value, str) and isinstance(index_node, exp.Literal):
                return scope.field(base, index.value, node)
            return Expr(f"json_extract({base.sql}, '$.\"' || {index.sql} || '\"')", JSON)
        return Expr(f"json_extract({base.sql}, '$[' || {coerce(index, INT64).sql} || ']')", JSON)
    if base.type.kind == "STRUCT":
        fields = list(base.type.named_fields())
        position = int(index.value or 0) - int(offset or 0)
        if not isinstance(index.value, int) or not 0 <= position < len(fields):
            raise scope.statement.error("STRUCT field position is out of bounds", node)
        from .values import field_access

        return field_access(base, *fields[position])
    if base.type.element is None:
        raise scope.statement.error(f"Element access using [] is not supported on values of type {base.type}", node)
    if not coercible(index, INT64):
        raise scope.statement.error(f"Array position must be coercible to INT64 type, but has type {index.type}", node)
    at = coerce(index, INT64).sql if not offset else f"({coerce(index, INT64).sql} - {offset})"
    return Expr(f"bq.{'at_safe' if safe else 'at'}({base.sql}, {at})", base.type.element)


# subqueries and calls


def _scalar_subquery(node: exp.Expr, scope: Scope) -> Expr:
    from .query import subquery

    inner = node.this if isinstance(node, exp.Subquery) else node
    relation = subquery(inner, scope)
    if len(relation.columns) != 1:
        raise scope.statement.error("Scalar subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values", node)  # fmt: skip
    return Expr(f"({relation.sql})", relation.columns[0][1])


def _exists(node: exp.Expr, scope: Scope) -> Expr:
    from .query import subquery

    return Expr(f"EXISTS ({subquery(node.this, scope).sql})", BOOL)


def _anonymous(node: exp.Expr, scope: Scope) -> Expr:
    return call(node, scope)


def _window(node: exp.Expr, scope: Scope) -> Expr:
    inner = node.this
    nulls = ""
    if isinstance(inner, (exp.IgnoreNulls, exp.RespectNulls)):
        nulls = "IGNORE" if isinstance(inner, exp.IgnoreNulls) else "RESPECT"
        inner = inner.this
    if isinstance(inner, exp.Dot):
        names, last = _flatten(inner)
        return call(last, scope, namespace=names or [], window=node, nulls=nulls)
    return call(inner, scope, window=node, nulls=nulls)


def _extract(node: exp.Expr, scope: Scope) -> Expr:
    nodes = [node.this, node.expression]
    return FUNCTIONS["EXTRACT"](Call("EXTRACT", nodes, scope, node, analyze))


def call(
    node: exp.Expr,
    scope: Scope,
    *,
    namespace: list[str] | None = None,
    window: exp.Expr | None = None,
    nulls: str = "",
) -> Expr:
    """A function call, aggregate or analytic or not."""
    from . import aggregates, routines

    if not isinstance(node, exp.Anonymous):
        raise scope.statement.refuse(f"The expression {node.key.upper()}", node)
    path = [*(namespace or []), node.name]
    name = ".".join(path).upper()
    modifiers = aggregates.modifiers(list(node.expressions))
    made = Call(name, modifiers.pop("nodes"), scope, node, analyze, window=window, **modifiers)
    made.nulls = nulls or made.nulls
    if name in aggregates.AGGREGATES or name in aggregates.ANALYTIC:
        return aggregates.call(made)
    if window is not None:
        raise made.error(f"Function {name} does not support an OVER clause")
    if name in FUNCTIONS:
        return FUNCTIONS[name](made)
    if name in SIGNATURES:
        answer = call_signature(made)
        if answer is None:
            raise made.mismatch()
        return answer
    routine = routines.find(path, scope)
    if routine is not None:
        return routines.expand(routine, made)
    if name.startswith(_REFUSED) or name in _KNOWN_MISSING:
        raise scope.statement.refuse(f"The function {name}", node)
    raise made.error(f"Function not found: {'.'.join(path)}{_hint(name)}")


def _hint(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*FUNCTIONS, *SIGNATURES], 1, 0.8)
    return f"; Did you mean {near[0].lower()}?" if near else ""


_HANDLERS: dict[type[Any], Callable[[exp.Expr, Scope], Expr]] = {
    exp.Column: _column, exp.Identifier: _identifier, exp.Var: _identifier, exp.Dot: _dot,
    exp.Literal: _literal, exp.HexString: _hex, exp.ByteString: _bytes, exp.RawString: _raw,
    exp.Null: _null, exp.Boolean: _boolean, exp.Interval: _interval,
    exp.Parameter: _parameter, exp.Placeholder: _placeholder, exp.Paren: _paren,
    exp.Add: _arithmetic("+"), exp.Sub: _arithmetic("-"), exp.Mul: _arithmetic("*"), exp.Div: _divide,
    exp.Neg: _negate, exp.BitwiseAnd: _bits("&"), exp.BitwiseOr: _bits("|"), exp.BitwiseXor: _bits("^"),
    exp.BitwiseLeftShift: _bits("<<"), exp.BitwiseRightShift: _bits(">>"), exp.BitwiseNot: _bit_not,
    exp.EQ: _comparison("="), exp.NEQ: _comparison("<>"), exp.LT: _comparison("<"), exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"), exp.GTE: _comparison(">="), exp.And: _logic("AND"), exp.Or: _logic("OR"),
    exp.Not: _not, exp.Is: _is, exp.NullSafeEQ: _distinct_from("NOT "), exp.NullSafeNEQ: _distinct_from(""),
    exp.Between: _between, exp.In: _in, exp.Like: _like, exp.DPipe: _concat, exp.Case: _case,
    exp.Array: _array_literal, exp.Tuple: _tuple, exp.Cast: _cast, exp.TryCast: _cast,
    exp.ParseJSON: _json_literal, exp.Bracket: _bracket,
    exp.Subquery: _scalar_subquery, exp.Select: _scalar_subquery, exp.Exists: _exists,
    exp.Anonymous: _anonymous, exp.Window: _window, exp.Extract: _extract,
    exp.IgnoreNulls: _window, exp.RespectNulls: _window,
}  # fmt: skip
