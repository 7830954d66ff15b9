"""Partitioning and clustering of a table, checked against its schema and written as REST has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .failures import Invalid
from .schema import by_name
from .types import FieldSchema

_PARTITION_TYPES = {"DAY", "HOUR", "MONTH", "YEAR"}


def fields_of(resource: Mapping[str, Any]) -> list[FieldSchema]:
    """The schema fields of a table resource; none where it has no schema."""
    fields: list[FieldSchema] = (resource.get("schema") or {}).get("fields") or []
    return fields


def check_layout(resource: dict[str, Any]) -> None:
    """Partitioning and clustering columns exist, have permitted types; numbers are strings as in REST."""
    columns = by_name(fields_of(resource))
    partitioning = resource.get("timePartitioning")
    ranges = resource.get("rangePartitioning")
    if partitioning:
        kind = str(partitioning.get("type", "DAY")).upper()
        if kind not in _PARTITION_TYPES:
            raise Invalid(f"Invalid value for timePartitioning.type: {kind} is not a valid value")
        column = str(partitioning.get("field") or "")
        partitioning = {**partitioning, "type": kind}
        if partitioning.get("expirationMs") is not None:
            partitioning["expirationMs"] = str(partitioning["expirationMs"])
        resource["timePartitioning"] = partitioning
        if column:
            _partition_column(columns, column, ("DATE", "TIMESTAMP", "DATETIME"))
    if ranges:
        if partitioning:
            raise Invalid("Cannot specify both timePartitioning and rangePartitioning")
        _partition_column(columns, str(ranges.get("field", "")), ("INTEGER",))
        limits = ranges.get("range") or {}
        if int(limits.get("interval") or 0) <= 0:
            raise Invalid("rangePartitioning.range needs start, end and a positive interval")
        resource["rangePartitioning"] = {
            **ranges,
            "range": {k: str(v) for k, v in limits.items()},
        }
    for name in (resource.get("clustering") or {}).get("fields") or ():
        if name.lower() not in columns:
            raise Invalid(f"The field specified for clustering cannot be found in the schema. Invalid field: {name}.")
    if len((resource.get("clustering") or {}).get("fields") or ()) > 4:
        raise Invalid("Too many fields specified for clustering: 4 are allowed")
    if resource.get("expirationTime") is not None:
        resource["expirationTime"] = str(resource["expirationTime"])


def _partition_column(columns: Mapping[str, Mapping[str, Any]], name: str, types: Sequence[str]) -> None:
    column = columns.get(name.lower())
    if column is None:
        raise Invalid(f"The field specified for partitioning cannot be found in the schema. Invalid field: {name}.")
    if column["type"] not in types or column["mode"] == "REPEATED":
        raise Invalid(
            f"The field specified for partitioning can only be of type {', '.join(types)}. "
            f"The type found is: {column['type']}."
        )
