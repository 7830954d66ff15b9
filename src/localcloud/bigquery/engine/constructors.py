"""What makes and takes apart values: arrays, structs, casts, JSON literals, element access."""

from __future__ import annotations

from sqlglot import exp

from ..failures import InvalidQuery
from ..types import (
    INT64,
    JSON,
    STRING,
    Type,
    array,
    quote,
    struct,
)
from . import formats
from .calls import Call
from .casts import cast
from .expressions import HANDLERS, analyze
from .scope import Scope
from .type_syntax import type_of_node
from .values import Expr, array_of, coerce, coercible, supertype


def _array_literal(node: exp.Expr, scope: Scope) -> Expr:
    from .query import subquery

    items = node.expressions
    if len(items) == 1 and isinstance(items[0], exp.Query) and not isinstance(items[0], exp.Subquery):
        relation = subquery(items[0], scope)
        if len(relation.columns) != 1:
            raise scope.statement.error(
                "ARRAY subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values",
                node,
            )
        element = relation.columns[0][1]
        if element.element is not None:
            raise scope.statement.error(
                "Cannot use array subquery with column of type ARRAY because nested arrays are not supported", node
            )
        return Expr(f"coalesce(ARRAY({relation.sql}), [])", array(element))
    values = [analyze(item, scope) for item in items]
    element_ = supertype(values)
    if element_ is None:
        types = sorted({str(v.type) for v in values})
        raise scope.statement.error(
            f"Array elements of types {{{', '.join(types)}}} do not have a common supertype", node
        )
    if element_.element is not None:
        raise scope.statement.error(
            "Cannot construct array with element type ARRAY because nested arrays are not supported", node
        )
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
        raise scope.statement.error(
            f"STRUCT constructor has {len(values)} values for {len(target.fields)} fields", node
        )
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


HANDLERS.update(
    {
        exp.Array: _array_literal,
        exp.Tuple: _tuple,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.ParseJSON: _json_literal,
        exp.Bracket: _bracket,
    }
)
