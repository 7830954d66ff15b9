"""A value as BigQuery's JSON text, built from its type: what TO_JSON_STRING gives.

https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings has the encodings.
"""

from __future__ import annotations

from ..types import Type
from .values import Expr, field_access

_FRACTION = "bq.fraction((epoch_us({0}) % 1000000 + 1000000) % 1000000)"
_QUOTED = {
    "DATE": "strftime({0}, '%Y-%m-%d')",
    "DATETIME": "strftime({0}, '%Y-%m-%dT%H:%M:%S') || " + _FRACTION,
    "TIMESTAMP": "strftime(bq.utc({0}), '%Y-%m-%dT%H:%M:%S') || " + _FRACTION + " || 'Z'",
    "TIME": "bq.time_string({0})",
    "BYTES": "to_base64({0})",
    "INTERVAL": "CAST({0} AS VARCHAR)",
}


def json_text(value: Expr, *, quoted_integers: bool = True) -> str:
    """The DuckDB expression of a value's JSON text; `null` for NULL.

    Args:
        value: Any value.
        quoted_integers: Whether integers beyond 2**53 are strings, as TO_JSON_STRING has them.
    """
    return f"coalesce({_text(value.sql, value.type, quoted_integers)}, 'null')"


def _text(sql: str, type_: Type, quoted: bool) -> str:
    if type_.element is not None:
        inner = f"coalesce({_text('e', type_.element, quoted)}, 'null')"
        return f"'[' || array_to_string(list_transform({sql}, lambda e: {inner}), ',') || ']'"
    if type_.kind == "STRUCT":
        parts = []
        for (given, _), (name, inner_type) in zip(type_.fields, type_.named_fields(), strict=True):
            value = field_access(Expr(sql, type_), name, inner_type)
            key = given.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
            parts.append(f"'\"{key}\":' || coalesce({_text(value.sql, inner_type, quoted)}, 'null')")
        inside = " || ',' || ".join(parts)
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE '{{' || {inside} || '}}' END"
    if type_.kind == "INT64":
        return f"bq.json_integer({sql})" if quoted else f"CAST({sql} AS VARCHAR)"
    if type_.kind == "FLOAT64":
        return f"bq.json_float({sql})"
    if type_.kind in ("NUMERIC", "BIGNUMERIC"):
        return f"bq.numeric_string({sql})"
    if type_.kind in ("BOOL", "JSON"):
        return f"CAST({sql} AS VARCHAR)"
    if type_.kind == "NULL":
        return "NULL"
    template = _QUOTED.get(type_.kind)
    if template is not None:
        return f"'\"' || {template.format(sql)} || '\"'"
    return f"bq.json_escape({sql})"
