"""Avro object container files, read for load jobs and written for extract jobs, through fastavro.

Conversions are those of https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.rows.decode import Decoder
from localcloud.bigquery.rows.encode import interval_text
from localcloud.bigquery.types import FieldSchema

from .source import CHUNK_ROWS, BadRecords, LoadOptions, Source, unreadable

_PRIMITIVES = {
    "string": "STRING",
    "bytes": "BYTES",
    "fixed": "BYTES",
    "enum": "STRING",
    "int": "INTEGER",
    "long": "INTEGER",
    "float": "FLOAT",
    "double": "FLOAT",
    "boolean": "BOOLEAN",
}
_LOGICAL = {
    "date": "DATE",
    "datetime": "DATETIME",
    "time-millis": "TIME",
    "time-micros": "TIME",
    "timestamp-millis": "TIMESTAMP",
    "timestamp-micros": "TIMESTAMP",
    "local-timestamp-millis": "DATETIME",
    "local-timestamp-micros": "DATETIME",
}
_EPOCH_DAY = date(1970, 1, 1)


def detect(source: Source, options: LoadOptions) -> list[FieldSchema]:
    """The schema that the file itself has."""
    with source.path.open("rb") as file:
        schema: Any = _reader(file, source).writer_schema
    try:
        return _record_fields(schema, options.use_avro_logical_types)
    except Invalid as error:
        raise unreadable(source, "The Apache Avro schema cannot be loaded", error.message) from None


def read(source: Source, fields: Sequence[FieldSchema], options: LoadOptions, bad: BadRecords) -> Iterator[pa.Table]:
    """The rows of one file."""
    decoder = Decoder(fields, ignore_unknown=options.ignore_unknown_values)
    with source.path.open("rb") as file:
        reader = _reader(file, source)
        records = iter(reader)
        start = 0
        while True:
            bad.check()
            try:
                chunk = list(islice(records, CHUNK_ROWS))
            except (ValueError, EOFError, KeyError) as error:
                raise unreadable(source, "The Apache Avro library failed to read data", error) from None
            if not chunk:
                return
            bad.rows += len(chunk)
            table, errors = decoder.decode(
                [_shaped(_plain(record, options.use_avro_logical_types), fields) for record in chunk]
            )
            for wrong_row in errors:
                place = f"record {start + wrong_row.row + 1}, field {wrong_row.location}"
                bad.add(source, f"{place}: {wrong_row.message}")
            bad.judge()
            wrong = {wrong_row.row for wrong_row in errors}
            start += len(chunk)
            yield table.filter(pa.array([row not in wrong for row in range(len(table))])) if wrong else table


def _reader(file: Any, source: Source) -> Any:
    try:
        return fastavro.reader(file)
    except (ValueError, EOFError, KeyError) as error:
        raise unreadable(source, "The Apache Avro library failed to parse the header", error) from None


def _record_fields(schema: Any, logical: bool) -> list[FieldSchema]:
    if not isinstance(schema, Mapping) or schema.get("type") != "record":
        raise Invalid("The root schema must be a record")
    return [_field(item["name"], item["type"], logical) for item in schema["fields"]]


def _field(name: str, schema: Any, logical: bool, mode: str = "REQUIRED") -> FieldSchema:
    """The REST field of an Avro one; a union with null is NULLABLE."""
    if isinstance(schema, list):
        rest = [branch for branch in schema if branch != "null"]
        if len(rest) != 1:
            raise Invalid(f"Field {name} is a union of several types, which is not carried over")
        return _field(name, rest[0], logical, "NULLABLE")
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(kind, (Mapping, list)):
        return _field(name, kind, logical, mode)
    if kind == "array":
        return {**_field(name, schema["items"], logical), "mode": "REPEATED"}
    if kind == "map":
        value = _field("value", schema["values"], logical)
        fields = [{"name": "key", "type": "STRING", "mode": "REQUIRED"}, value]
        return {"name": name, "type": "RECORD", "mode": "REPEATED", "fields": fields}
    if kind == "record":
        return {"name": name, "type": "RECORD", "mode": mode, "fields": _record_fields(schema, logical)}
    if kind not in _PRIMITIVES:
        raise Invalid(f"Field {name} has the type {kind}, which is not carried over")
    type_ = _PRIMITIVES[kind]
    annotation = schema.get("logicalType") if isinstance(schema, Mapping) else None
    if annotation == "decimal":
        scale, precision = schema.get("scale", 0), schema["precision"]
        type_ = "NUMERIC" if scale <= 9 and precision - scale <= 29 else "BIGNUMERIC"
    elif annotation == "datetime" or (logical and annotation in _LOGICAL):
        type_ = _LOGICAL[annotation]
    return {"name": name, "type": type_, "mode": mode}


def _shaped(record: Mapping[str, Any], fields: Sequence[FieldSchema]) -> dict[str, Any]:
    """The record with its maps as lists of keys and values, which is how a table holds them."""
    by_name = {item["name"]: item for item in fields}
    shaped = dict(record)
    for name, value in record.items():
        item = by_name.get(name)
        if item is None or item["type"] != "RECORD":
            continue
        if isinstance(value, Mapping) and item["mode"] == "REPEATED":
            value = [{"key": key, "value": inner} for key, inner in value.items()]
        if isinstance(value, Mapping):
            shaped[name] = _shaped(value, item["fields"])
        elif isinstance(value, list):
            shaped[name] = [_shaped(element, item["fields"]) for element in value]
    return shaped


def _plain(value: Any, logical: bool) -> Any:
    """What fastavro read in the form that rows are decoded from; without logical types dates are numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(inner, logical) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, logical) for inner in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        if logical:
            return value.isoformat()
        utc = value.replace(tzinfo=None) - datetime(1970, 1, 1)
        return utc.days * 86_400_000_000 + utc.seconds * 1_000_000 + utc.microseconds
    if isinstance(value, date):
        return value.isoformat() if logical else (value - _EPOCH_DAY).days
    if isinstance(value, time):
        if logical:
            return value.isoformat()
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return value


# writing

_AVRO_TYPES: dict[str, Any] = {
    "STRING": "string",
    "BYTES": "bytes",
    "INTEGER": "long",
    "FLOAT": "double",
    "BOOLEAN": "boolean",
    "JSON": {"type": "string", "sqlType": "JSON"},
    "GEOGRAPHY": {"type": "string", "sqlType": "GEOGRAPHY"},
    "INTERVAL": {"type": "string", "sqlType": "INTERVAL"},
    "NUMERIC": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9},
    "BIGNUMERIC": {"type": "bytes", "logicalType": "decimal", "precision": 77, "scale": 38},
}
_AVRO_MOMENTS: dict[str, tuple[Any, Any]] = {
    "DATE": ({"type": "int", "logicalType": "date"}, {"type": "string", "sqlType": "DATE"}),
    "TIME": ({"type": "long", "logicalType": "time-micros"}, {"type": "string", "sqlType": "TIME"}),
    "DATETIME": ({"type": "string", "logicalType": "datetime"}, {"type": "string", "sqlType": "DATETIME"}),
    "TIMESTAMP": ({"type": "long", "logicalType": "timestamp-micros"}, {"type": "long", "sqlType": "TIMESTAMP"}),
}


def avro_schema(fields: Sequence[FieldSchema], logical: bool, name: str = "Root") -> dict[str, Any]:
    """The Avro schema of rows with these fields.

    Args:
        fields: The REST schema.
        logical: Write dates and times as logical types (useAvroLogicalTypes) instead of text.
        name: Name of the record.
    """

    def typed(item: FieldSchema) -> Any:
        if item["type"] == "RECORD":
            base: Any = avro_schema(item["fields"], logical, f"{name}_{item['name']}")
        elif item["type"] in _AVRO_MOMENTS:
            base = _AVRO_MOMENTS[item["type"]][0 if logical else 1]
        else:
            base = _AVRO_TYPES[item["type"]]
        if item["mode"] == "REPEATED":
            return {"type": "array", "items": base}
        return base if item["mode"] == "REQUIRED" else ["null", base]

    return {"type": "record", "name": name, "fields": [{"name": f["name"], "type": typed(f)} for f in fields]}


def write(path: Path, tables: Iterable[pa.Table], fields: Sequence[FieldSchema], *, codec: str, logical: bool) -> None:
    """Writes rows as one container file.

    Args:
        path: The file.
        tables: The rows.
        fields: Their REST schema.
        codec: `null`, `deflate` or `snappy`.
        logical: See avro_schema.
    """

    def records() -> Iterator[dict[str, Any]]:
        for table in tables:
            for row in table.to_pylist():
                yield {f["name"]: written(row[f["name"]], f, logical) for f in fields}

    schema = fastavro.parse_schema(avro_schema(fields, logical))
    with path.open("wb") as file:
        fastavro.writer(file, schema, records(), codec=codec)


def written(value: Any, item: FieldSchema, logical: bool) -> Any:
    """A value of a row in the form that fastavro writes by `avro_schema`."""
    if item["mode"] == "REPEATED":
        return [written(v, {**item, "mode": "REQUIRED"}, logical) for v in value or ()]
    if value is None:
        return None
    if item["type"] == "RECORD":
        return {f["name"]: written(value[f["name"]], f, logical) for f in item["fields"]}
    if item["type"] == "INTERVAL":
        return interval_text(value)
    if item["type"] == "DATETIME" or (not logical and item["type"] in ("DATE", "TIME")):
        return value.isoformat()
    if not logical and item["type"] == "TIMESTAMP":
        return _plain(value, logical=False)
    return value
