"""CAST and SAFE_CAST: which types turn into which, and how BigQuery writes and reads their texts.

https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions has the rules; CAST … FORMAT
is in `formats.py`.
"""

from __future__ import annotations

from ..types import Type, quote
from .values import Expr, field_access

_DECIMALS = ("NUMERIC", "BIGNUMERIC")
_TO_TEXT = {
    "FLOAT64": "bq.float_string({0})",
    "NUMERIC": "bq.numeric_string({0})",
    "BIGNUMERIC": "bq.numeric_string({0})",
    "DATETIME": "bq.datetime_string({0})",
    "TIMESTAMP": "bq.timestamp_string({0})",
    "TIME": "bq.time_string({0})",
    "BYTES": "bq.decode_utf8({0})",
    "INT64": "CAST({0} AS VARCHAR)",
    "BOOL": "CAST({0} AS VARCHAR)",
    "DATE": "strftime({0}, '%Y-%m-%d')",
    "GEOGRAPHY": "{0}",
}
_FROM_TEXT = {
    "INT64": "bq.parse_int64({0})",
    "FLOAT64": "bq.parse_float64({0})",
    "NUMERIC": "bq.parse_numeric({0})",
    "BIGNUMERIC": "bq.parse_bignumeric({0})",
    "BOOL": "bq.parse_bool({0})",
    "BYTES": "encode({0})",
    "DATE": "bq.parse_date({0})",
    "DATETIME": "bq.parse_datetime({0})",
    "TIMESTAMP": "bq.parse_timestamp({0})",
    "TIME": "bq.parse_time({0})",
    "INTERVAL": "CAST({0} AS INTERVAL)",
    "GEOGRAPHY": "{0}",
}
_OTHERS = {
    ("INT64", "BOOL"): "({0} <> 0)",
    ("BOOL", "INT64"): "CAST({0} AS BIGINT)",
    ("INT64", "FLOAT64"): "CAST({0} AS DOUBLE)",
    ("FLOAT64", "INT64"): "bq.round_int64({0})",
    ("NUMERIC", "INT64"): "CAST({0} AS BIGINT)",
    ("BIGNUMERIC", "INT64"): "CAST({0} AS BIGINT)",
    ("NUMERIC", "FLOAT64"): "CAST({0} AS DOUBLE)",
    ("BIGNUMERIC", "FLOAT64"): "CAST({0} AS DOUBLE)",
    ("DATE", "DATETIME"): "CAST({0} AS TIMESTAMP)",
    ("DATE", "TIMESTAMP"): "bq.stamp(CAST({0} AS TIMESTAMP))",
    ("DATETIME", "DATE"): "CAST({0} AS DATE)",
    ("DATETIME", "TIME"): "CAST({0} AS TIME)",
    ("DATETIME", "TIMESTAMP"): "bq.stamp({0})",
    ("TIMESTAMP", "DATE"): "CAST(bq.utc({0}) AS DATE)",
    ("TIMESTAMP", "DATETIME"): "bq.utc({0})",
    ("TIMESTAMP", "TIME"): "CAST(bq.utc({0}) AS TIME)",
}


def cast(expr: Expr, target: Type) -> Expr | None:
    """The expression cast to a type; None where BigQuery has no such cast."""
    source = expr.type
    if source == target:
        return Expr(expr.sql, target)
    if source.kind == "NULL":
        return Expr(f"CAST(NULL AS {target.duckdb})", target)
    if source.element is not None or target.element is not None:
        return _array(expr, target)
    if source.kind == "STRUCT" or target.kind == "STRUCT":
        return _struct(expr, target)
    template = None
    if target.kind == "STRING":
        template = _TO_TEXT.get(source.kind)
    elif source.kind == "STRING":
        template = _FROM_TEXT.get(target.kind)
    elif target.kind in _DECIMALS and source.kind in ("INT64", "FLOAT64", *_DECIMALS):
        # A FLOAT64 goes by its shortest text, so that 1.1 becomes 1.1 and not what the double is nearest to.
        value = "bq.float_string({0})" if source.kind == "FLOAT64" else "{0}"
        template = f"CAST({value} AS {target.duckdb})"
    else:
        template = _OTHERS.get((source.kind, target.kind))
    return None if template is None else Expr(template.format(expr.sql), target)


def _array(expr: Expr, target: Type) -> Expr | None:
    source = expr.type
    if source.element is None or target.element is None:
        return None
    if source.element.kind == "NULL":
        return Expr(f"CAST({expr.sql} AS {target.duckdb})", target)
    inner = cast(Expr("item", source.element), target.element)
    if inner is None:
        return None
    return Expr(f"list_transform({expr.sql}, lambda item: {inner.sql})", target)


def _struct(expr: Expr, target: Type) -> Expr | None:
    source = expr.type
    if source.kind != target.kind or len(source.fields) != len(target.fields):
        return None
    parts = []
    for (name, from_type), (to_name, to_type) in zip(source.named_fields(), target.named_fields(), strict=True):
        inner = cast(field_access(expr, name, from_type), to_type)
        if inner is None:
            return None
        parts.append(f"{quote(to_name)} := {inner.sql}")
    packed = f"struct_pack({', '.join(parts)})"
    return Expr(f"CASE WHEN {expr.sql} IS NULL THEN NULL ELSE {packed} END", target)
