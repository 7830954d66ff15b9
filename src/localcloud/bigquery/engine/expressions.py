"""GoogleSQL expressions as DuckDB SQL with their types: the dispatch, names, parameters, subqueries and calls.

Literals, operators and constructors are in the modules of those names, functions in `functions_*`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ..types import (
    BOOL,
    INT64,
    Type,
)
from .calls import FUNCTIONS, SIGNATURES, Call, call_signature
from .scope import Scope, bind
from .values import Expr, coerce, coercible, supertype

_REFUSED = ("ML.", "AI.", "ST_", "S2_", "HLL_COUNT.", "AEAD.", "KEYS.", "OBJ.", "BQ.", "KLL_QUANTILES.")
_KNOWN_MISSING = {
    "SEARCH", "VECTOR_SEARCH", "RANGE_CONTAINS", "RANGE_OVERLAPS", "GENERATE_RANGE_ARRAY", "JSON_SET",
    "JSON_REMOVE", "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT", "JSON_STRIP_NULLS", "JUSTIFY_DAYS",
    "JUSTIFY_HOURS", "JUSTIFY_INTERVAL", "PARSE_NUMERIC", "PARSE_BIGNUMERIC", "NET.IP_TO_STRING",
    "NET.IP_FROM_STRING", "NET.SAFE_IP_FROM_STRING", "NET.IP_NET_MASK", "NET.IP_TRUNC", "NET.IPV4_FROM_INT64",
    "NET.IPV4_TO_INT64", "NET.PUBLIC_SUFFIX", "NET.REG_DOMAIN", "TO_BASE32", "FROM_BASE32",
    "CODE_POINTS_TO_BYTES", "EXTERNAL_QUERY", "COLLATE", "APPENDS", "CHANGES", "GAP_FILL", "ERROR_MESSAGE",
}  # fmt: skip


HANDLERS: dict[type[Any], Callable[[exp.Expr, Scope], Expr]] = {}
"""What analyses each kind of node; the modules `literals`, `operators` and `constructors` add theirs."""


def analyze(node: exp.Expr, scope: Scope) -> Expr:
    """An expression in a scope.

    Raises:
        InvalidQuery: It is wrong; the message has the place.
        Refused: BigQuery has it and this engine has not.
    """
    handler = HANDLERS.get(type(node))
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


# names and parameters


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


def branches(exprs: list[Expr], what: str, node: exp.Expr, scope: Scope) -> tuple[list[Expr], Type]:
    """Expressions brought to their common type."""
    target = supertype(exprs)
    if target is None:
        types = ", ".join(str(e.type) for e in exprs)
        raise scope.statement.error(f"No matching signature for {what} for argument types: {types}", node)
    if target.kind == "NULL":
        target = INT64
    return [coerce(e, target) for e in exprs], target


# subqueries and calls


def _scalar_subquery(node: exp.Expr, scope: Scope) -> Expr:
    from .query import subquery

    inner = node.this if isinstance(node, exp.Subquery) else node
    relation = subquery(inner, scope)
    if len(relation.columns) != 1:
        raise scope.statement.error(
            "Scalar subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values",
            node,
        )
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


HANDLERS.update(
    {
        exp.Column: _column,
        exp.Identifier: _identifier,
        exp.Var: _identifier,
        exp.Dot: _dot,
        exp.Parameter: _parameter,
        exp.Placeholder: _placeholder,
        exp.Subquery: _scalar_subquery,
        exp.Select: _scalar_subquery,
        exp.Exists: _exists,
        exp.Anonymous: _anonymous,
        exp.Window: _window,
        exp.Extract: _extract,
        exp.IgnoreNulls: _window,
        exp.RespectNulls: _window,
    }
)
