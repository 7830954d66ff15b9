"""Analysed expressions: DuckDB SQL with its GoogleSQL type, and the rules by which types give way to each other.

https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules has the coercions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..storage import literal
from ..types import BIGNUMERIC, FLOAT64, INT64, NULL, NUMERIC, Type, array, quote, struct

NUMBERS = ("INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64")
_COERCIONS = {
    "INT64": ("NUMERIC", "BIGNUMERIC", "FLOAT64"),
    "NUMERIC": ("BIGNUMERIC", "FLOAT64"),
    "BIGNUMERIC": ("FLOAT64",),
    "DATE": ("DATETIME",),
}
# What a literal (or parameter) of one type may become where another is wanted.
_LITERALS = {
    "INT64": ("NUMERIC", "BIGNUMERIC", "FLOAT64"),
    "FLOAT64": ("NUMERIC", "BIGNUMERIC"),
    "STRING": ("DATE", "DATETIME", "TIME", "TIMESTAMP", "BYTES", "INTERVAL"),
    "BYTES": ("STRING",),
}


@dataclass(frozen=True, slots=True)
class Expr:
    """A GoogleSQL expression as DuckDB SQL.

    Args:
        sql: An operand: parenthesized where it needs to be.
        type: Its GoogleSQL type.
        constant: Whether it is a literal or a parameter, which coerces further than other expressions.
        value: The literal's value, where it is one that functions look at (texts, numbers).
        value_table: Whether it is a whole row of a value table.
    """

    sql: str
    type: Type
    constant: bool = False
    value: Any = None

    def typed(self, type_: Type) -> Expr:
        """The same SQL as another type."""
        return replace(self, type=type_)


def text(value: str) -> Expr:
    """A STRING literal."""
    return Expr(text_sql(value), Type("STRING"), True, value)


def text_sql(value: str) -> str:
    """A DuckDB string literal; NUL, which DuckDB's parser ends at, by its code."""
    if "\0" in value:
        return "(" + " || ".join(_pieces(value)) + ")"
    return literal(value)


def _pieces(value: str) -> list[str]:
    pieces = []
    for position, piece in enumerate(value.split("\0")):
        if position:
            pieces.append("chr(0)")
        pieces.append(literal(piece))
    return pieces


def integer(value: int) -> Expr:
    """An INT64 literal."""
    sql = f"CAST('{value}' AS BIGINT)" if value == -(2**63) else f"{value}::BIGINT"
    return Expr(sql if value >= 0 else f"({sql})", INT64, True, value)


def untyped_null() -> Expr:
    """A bare NULL."""
    return Expr("NULL", NULL, True, None)


def coercible(expr: Expr, target: Type) -> bool:
    """Whether an expression may stand where a type is wanted."""
    source = expr.type
    if source == target or source.kind == "NULL":
        return True
    if source.element is not None and target.element is not None:
        if expr.value == ():
            return True
        return expr.constant and coercible(Expr("", source.element, True), target.element)
    if source.kind == "STRUCT" and target.kind == "STRUCT" and len(source.fields) == len(target.fields):
        pairs = zip(source.fields, target.fields, strict=True)
        return all(coercible(Expr("", a, expr.constant), b) for (_, a), (_, b) in pairs)
    if target.kind in _COERCIONS.get(source.kind, ()):
        return True
    return expr.constant and target.kind in _LITERALS.get(source.kind, ())


def supertype(exprs: Sequence[Expr]) -> Type | None:
    """The type that all the expressions coerce to (CASE branches, arrays, set operations); None if none."""
    types = [e.type for e in exprs if e.type.kind != "NULL"]
    if not types:
        return NULL
    candidates: list[Type] = []
    for type_ in types:
        if type_ not in candidates:
            candidates.append(type_)
    if len(candidates) > 1 and all(t.kind == "STRUCT" for t in candidates):
        merged = _struct_supertype(exprs)
        if merged is not None:
            return merged
    if {t.kind for t in candidates} == {"INT64", "FLOAT64"}:
        return FLOAT64
    # A literal gives way to what is not one: it is asked last.
    solid = [e.type for e in exprs if not e.constant and e.type.kind != "NULL"]
    order = [*solid, *candidates, NUMERIC, BIGNUMERIC, FLOAT64]
    for target in order:
        if all(coercible(e, target) for e in exprs):
            return target
    return None


def _struct_supertype(exprs: Sequence[Expr]) -> Type | None:
    structs = [e for e in exprs if e.type.kind == "STRUCT"]
    width = len(structs[0].type.fields)
    if any(len(e.type.fields) != width for e in structs):
        return None
    fields = []
    for position in range(width):
        names = [e.type.fields[position][0] for e in structs]
        inner = supertype([Expr("", e.type.fields[position][1], e.constant) for e in structs])
        if inner is None:
            return None
        fields.append((next((n for n in names if n), ""), inner))
    return struct(fields)


def coerce(expr: Expr, target: Type) -> Expr:
    """The expression as another type that it is `coercible` to."""
    source = expr.type
    if source == target:
        return expr
    if source.kind == "NULL":
        return Expr(f"CAST({expr.sql} AS {target.duckdb})", target, expr.constant)
    if source.duckdb == target.duckdb:
        return replace(expr, type=target)
    if expr.value == ():
        return Expr(f"CAST({expr.sql} AS {target.duckdb})", target, True, ())
    if source.element is not None and target.element is not None and source.element.kind == "STRUCT":
        item = coerce(Expr("item", source.element, True), target.element)
        return Expr(f"list_transform({expr.sql}, lambda item: {item.sql})", target, expr.constant)
    if source.kind == "STRUCT":
        parts = []
        names = list(zip(source.named_fields(), target.named_fields(), strict=True))
        for (name, from_type), (to_name, to_type) in names:
            inner = coerce(field_access(expr, name, from_type), to_type)
            parts.append(f"{quote(to_name)} := {inner.sql}")
        packed = f"struct_pack({', '.join(parts)})"
        return Expr(f"CASE WHEN {expr.sql} IS NULL THEN NULL ELSE {packed} END", target, expr.constant)
    if source.kind == "DATE" and target.kind == "DATETIME":
        return Expr(f"CAST({expr.sql} AS TIMESTAMP)", target, expr.constant)
    if source.kind == "STRING" and expr.value is not None and target.kind == "BYTES":
        return Expr(f"encode({expr.sql})", target, True)
    if source.kind == "STRING" and target.kind in ("DATE", "DATETIME", "TIME", "TIMESTAMP"):
        return Expr(f"bq.parse_{target.kind.lower()}({expr.sql})", target, True)
    value = float(expr.value) if isinstance(expr.value, int) and target == FLOAT64 else None
    return Expr(f"CAST({expr.sql} AS {target.duckdb})", target, expr.constant, value)


def field_access(expr: Expr, name: str, type_: Type) -> Expr:
    """A field of a STRUCT by its DuckDB name."""
    return Expr(f"struct_extract({expr.sql}, {literal(name)})", type_)


def array_of(items: Sequence[Expr], element: Type) -> Expr:
    """ARRAY<element> of items that are coercible to it."""
    listed = ", ".join(coerce(item, element).sql for item in items)
    constant = all(item.constant for item in items)
    inner = INT64 if element.kind == "NULL" else element
    if not items or element.kind == "NULL":
        # Nothing in it says what it is an array of: it becomes whichever is wanted.
        return Expr(f"CAST([{listed}] AS {inner.duckdb}[])", array(inner), True, ())
    return Expr(f"[{listed}]", array(element), constant)
