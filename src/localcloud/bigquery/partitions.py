"""Partitions of a table: the conditions that select one and the time that new rows get.

https://cloud.google.com/bigquery/docs/partitioned-tables; rows are stored in one DuckDB table all the same.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from .failures import Invalid
from .types import quote

PARTITION_TIME = "_PARTITIONTIME"
_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}


def partition_column(resource: Mapping[str, Any]) -> str:
    """The name of the column that the table is partitioned by; "" for an unpartitioned table."""
    if resource.get("timePartitioning"):
        return str(resource["timePartitioning"].get("field") or PARTITION_TIME)
    return str((resource.get("rangePartitioning") or {}).get("field") or "")


def partition_condition(resource: Mapping[str, Any], partition: str) -> str:
    """The DuckDB condition on a table's rows for a decorator: `20130101`, `2013`, `1000`, `__NULL__`.

    Raises:
        Invalid: No partition of this table is written so.
    """
    column = quote(partition_column(resource))
    ranges = resource.get("rangePartitioning")
    if partition == "__NULL__":
        return f"{column} IS NULL"
    if ranges:
        limits = {key: int(value) for key, value in ranges["range"].items()}
        start, end, step = limits["start"], limits["end"], limits["interval"]
        if partition == "__UNPARTITIONED__":
            return f"({column} < {start} OR {column} >= {end})"
        if not partition.lstrip("-").isdigit():
            raise Invalid(f"Invalid partition id {partition} for a range partitioned table")
        low = int(partition)
        return f"({column} >= {low} AND {column} < {min(low + step, end)})"
    if not resource.get("timePartitioning"):
        raise Invalid(f"Cannot use partition decorator ${partition}: the table is not partitioned")
    unit = resource["timePartitioning"]["type"]
    moment = _moment(unit, partition)
    return f"date_trunc('{unit.lower()}', CAST({column} AS TIMESTAMP)) = TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}'"


def partition_time(resource: Mapping[str, Any], partition: str) -> str:
    """The DuckDB expression of `_PARTITIONTIME` for rows that arrive now, or in a partition by decorator."""
    unit = resource["timePartitioning"]["type"]
    if partition:
        return f"TIMESTAMPTZ '{_moment(unit, partition):%Y-%m-%d %H:%M:%S}+00'"
    return f"date_trunc('{unit.lower()}', now())"


def partition_id(resource: Mapping[str, Any]) -> str:
    """The DuckDB expression of a row's partition id, as INFORMATION_SCHEMA.PARTITIONS shows it."""
    column = quote(partition_column(resource))
    ranges = resource.get("rangePartitioning")
    if ranges:
        limits = {key: int(value) for key, value in ranges["range"].items()}
        start, end, step = limits["start"], limits["end"], limits["interval"]
        return (
            f"CASE WHEN {column} IS NULL THEN '__NULL__' WHEN {column} < {start} OR {column} >= {end} "
            f"THEN '__UNPARTITIONED__' ELSE CAST({start} + ({column} - {start}) // {step} * {step} AS VARCHAR) END"
        )
    unit = resource["timePartitioning"]["type"]
    return f"coalesce(strftime(CAST({column} AS TIMESTAMP), '{_FORMATS[unit]}'), '__NULL__')"


def _moment(unit: str, partition: str) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(partition, _FORMATS[unit])
    except ValueError:
        raise Invalid(f"Invalid partition id {partition}: a table partitioned by {unit} has {_FORMATS[unit]}") from None
