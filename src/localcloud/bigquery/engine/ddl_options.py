"""Names, PARTITION BY, CLUSTER BY and OPTIONS of DDL as fields of REST resources."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from ..schema import by_name
from ..types import FieldSchema
from .scope import Statement

_DAY_MS = 86_400_000


def path_of(node: exp.Expr) -> list[str]:
    """The names of a path that DDL creates, changes or drops."""
    inner = node.this if isinstance(node, (exp.Schema, exp.UserDefinedFunction)) else node
    return [part.name for part in inner.parts] if isinstance(inner, exp.Table) else [inner.name]


def partitioning(properties: Sequence[exp.Expr], fields: Sequence[FieldSchema], statement: Statement) -> dict[str, Any]:
    """timePartitioning or rangePartitioning of PARTITION BY."""
    node = next((p.this for p in properties if isinstance(p, exp.PartitionedByProperty)), None)
    if node is None:
        return {}
    if isinstance(node, (exp.Column, exp.Identifier)):
        name = node.name
        if name.upper() == "_PARTITIONDATE":
            return {"timePartitioning": {"type": "DAY"}}
        if by_name(fields).get(name.lower(), {}).get("type") not in (None, "DATE"):
            raise statement.error(
                "PARTITION BY expression must be DATE(<timestamp_column>), DATE_TRUNC, DATETIME_TRUNC, "
                "TIMESTAMP_TRUNC, a DATE column or RANGE_BUCKET(<int64_column>, GENERATE_ARRAY(…))",
                node,
            )
        return {"timePartitioning": {"type": "DAY", "field": name}}
    call = node.name.upper() if isinstance(node, exp.Anonymous) else ""
    arguments = list(node.expressions)
    if call == "RANGE_BUCKET" and isinstance(arguments[1], exp.Anonymous):
        limits = [_number(n) for n in arguments[1].expressions]
        start, end, interval = (*limits, 1)[:3]
        return {
            "rangePartitioning": {
                "field": arguments[0].name,
                "range": {"start": str(start), "end": str(end), "interval": str(interval)},
            }
        }
    if call == "DATE":
        return _time(arguments[0].name, "DAY")
    if call in ("DATE_TRUNC", "DATETIME_TRUNC", "TIMESTAMP_TRUNC"):
        return _time(arguments[0].name, arguments[1].name.upper())
    raise statement.refuse(f"PARTITION BY {node.sql(dialect='bigquery')}", node)


def _time(name: str, unit: str) -> dict[str, Any]:
    if name.upper() in ("_PARTITIONTIME", "_PARTITIONDATE"):
        return {"timePartitioning": {"type": unit}}
    return {"timePartitioning": {"type": unit, "field": name}}


def _number(node: exp.Expr) -> int:
    return -_number(node.this) if isinstance(node, exp.Neg) else int(str(node.this))


def clustering(properties: Sequence[exp.Expr]) -> dict[str, Any]:
    """clustering of CLUSTER BY."""
    for item in properties:
        if isinstance(item, (exp.ClusterProperty, exp.Cluster)):
            return {"clustering": {"fields": [c.name for c in item.expressions]}}
    return {}


def _options(properties: Sequence[exp.Expr]) -> dict[str, exp.Expr]:
    found = {}
    for item in properties:
        if type(item) is exp.Property:
            found[item.name.lower()] = item.args["value"]
        elif isinstance(item, exp.LocationProperty):
            found["location"] = item.this
    return found


def _value(node: exp.Expr) -> Any:
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Array):
        return [_value(n) for n in node.expressions]
    if isinstance(node, (exp.Tuple, exp.Struct)):
        return tuple(_value(n) for n in node.expressions)
    if isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else float(str(node.this))
    return node


def _milliseconds(node: exp.Expr, statement: Statement) -> str:
    """The moment of `TIMESTAMP '…'` in milliseconds since 1970."""
    inner = node.this if isinstance(node, exp.Cast) else node
    try:
        moment = datetime.datetime.fromisoformat(str(inner.this).replace(" UTC", "+00:00"))
    except ValueError:
        raise statement.refuse("expiration_timestamp that is not a literal", node) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return str(int(moment.timestamp() * 1000))


def table_options(properties: Sequence[exp.Expr], statement: Statement, *, keep_nulls: bool = False) -> dict[str, Any]:
    """The Table resource fields of OPTIONS; with `keep_nulls` a NULL option is None, which removes it."""
    answer: dict[str, Any] = {}
    for name, node in _options(properties).items():
        value = _value(node)
        if name in ("description", "friendly_name"):
            answer["friendlyName" if name == "friendly_name" else name] = value
        elif name == "labels":
            answer["labels"] = None if value is None else dict(value)
        elif name == "expiration_timestamp":
            answer["expirationTime"] = None if value is None else _milliseconds(node, statement)
        elif name == "partition_expiration_days":
            answer["partitionExpirationMs"] = None if value is None else str(int(value * _DAY_MS))
        elif name == "require_partition_filter":
            answer["requirePartitionFilter"] = value
        else:
            raise statement.refuse(f"The option {name}", node)
    return answer if keep_nulls else {k: v for k, v in answer.items() if v is not None}


def dataset_options(properties: Sequence[exp.Expr], statement: Statement) -> dict[str, Any]:
    """The Dataset resource fields of OPTIONS."""
    answer: dict[str, Any] = {}
    for name, node in _options(properties).items():
        value = _value(node)
        if name in ("location", "description"):
            answer[name] = value
        elif name == "friendly_name":
            answer["friendlyName"] = value
        elif name == "labels":
            answer["labels"] = dict(value or [])
        elif name == "default_table_expiration_days":
            answer["defaultTableExpirationMs"] = str(int(value * _DAY_MS))
        elif name == "default_partition_expiration_days":
            answer["defaultPartitionExpirationMs"] = str(int(value * _DAY_MS))
        else:
            raise statement.refuse(f"The option {name}", node)
    return answer
