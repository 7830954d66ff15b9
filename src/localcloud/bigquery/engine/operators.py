"""Operators: arithmetic, comparison, logic, membership, concatenation and CASE.

https://cloud.google.com/bigquery/docs/reference/standard-sql/operators has their rules.
"""

from __future__ import annotations

from collections.abc import Callable

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
)
from .expressions import HANDLERS, analyze, branches, condition
from .scope import Scope
from .values import NUMBERS, Expr, coerce, coercible, integer, supertype, untyped_null


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
        guard = _not_nan(symbol, a, b)
        if guard:
            sql = f"({sql} AND {guard})"
    elif target == FLOAT64 and a.value is None and b.value is None:
        sql = f"({sql} OR isnan({a.sql}))"
    return Expr(sql, BOOL)


def _not_nan(symbol: str, left: Expr, right: Expr) -> str:
    """What keeps NaN out: DuckDB has it equal to itself and above all else, IEEE every comparison false."""
    if symbol == "=":
        return "" if left.value is not None or right.value is not None else f"NOT isnan({left.sql})"
    greater = left if symbol in (">", ">=") else right
    return "" if greater.value is not None else f"NOT isnan({greater.sql})"


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
            raise scope.statement.error(
                f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {array_.type}", node
            )
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
            missing = f"{pair[0]} IS NULL OR {pair[1]} IS NULL"
            return Expr(f"CASE WHEN {missing} THEN NULL ELSE list_concat({pair[0]}, {pair[1]}) END", target)
    for type_ in (STRING, BYTES):
        if coercible(left, type_) and coercible(right, type_):
            return Expr(f"({coerce(left, type_).sql} || {coerce(right, type_).sql})", type_)
    raise _mismatch("||", node, scope, left, right)


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


HANDLERS.update(
    {
        exp.Paren: _paren,
        exp.Add: _arithmetic("+"),
        exp.Sub: _arithmetic("-"),
        exp.Mul: _arithmetic("*"),
        exp.Div: _divide,
        exp.Neg: _negate,
        exp.BitwiseAnd: _bits("&"),
        exp.BitwiseOr: _bits("|"),
        exp.BitwiseXor: _bits("^"),
        exp.BitwiseLeftShift: _bits("<<"),
        exp.BitwiseRightShift: _bits(">>"),
        exp.BitwiseNot: _bit_not,
        exp.EQ: _comparison("="),
        exp.NEQ: _comparison("<>"),
        exp.LT: _comparison("<"),
        exp.LTE: _comparison("<="),
        exp.GT: _comparison(">"),
        exp.GTE: _comparison(">="),
        exp.And: _logic("AND"),
        exp.Or: _logic("OR"),
        exp.Not: _not,
        exp.Is: _is,
        exp.NullSafeEQ: _distinct_from("NOT "),
        exp.NullSafeNEQ: _distinct_from(""),
        exp.Between: _between,
        exp.In: _in,
        exp.Like: _like,
        exp.DPipe: _concat,
        exp.Case: _case,
    }
)
