"""BigQuery's types, in its four spellings: REST schema fields, SQL names, DuckDB columns and Arrow columns.

Values are not touched here: `tables.py` stores them and `engine/` computes with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from localcloud.errors import Unimplemented

from .failures import Invalid

FieldSchema = dict[str, Any]
"""A TableFieldSchema of the REST API: name, type, mode, fields, precision, scale, maxLength, description."""

BIGNUMERIC_SCALE = 18
"""Digits after the point that a stored BIGNUMERIC keeps: DuckDB's decimals have 38 digits in all, Google's 76."""

# SQL name -> (REST name, DuckDB type, Arrow type as the Storage Read API sends it)
_SCALARS: dict[str, tuple[str, str, pa.DataType]] = {
    "INT64": ("INTEGER", "BIGINT", pa.int64()),
    "FLOAT64": ("FLOAT", "DOUBLE", pa.float64()),
    "NUMERIC": ("NUMERIC", "DECIMAL(38,9)", pa.decimal128(38, 9)),
    "BIGNUMERIC": (
        "BIGNUMERIC",
        f"DECIMAL(38,{BIGNUMERIC_SCALE})",
        pa.decimal256(76, 38),
    ),
    "BOOL": ("BOOLEAN", "BOOLEAN", pa.bool_()),
    "STRING": ("STRING", "VARCHAR", pa.string()),
    "BYTES": ("BYTES", "BLOB", pa.binary()),
    "DATE": ("DATE", "DATE", pa.date32()),
    "DATETIME": ("DATETIME", "TIMESTAMP", pa.timestamp("us")),
    "TIME": ("TIME", "TIME", pa.time64("us")),
    "TIMESTAMP": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC")),
    "INTERVAL": ("INTERVAL", "INTERVAL", pa.month_day_nano_interval()),
    "JSON": ("JSON", "JSON", pa.string()),
    "GEOGRAPHY": ("GEOGRAPHY", "VARCHAR", pa.string()),
    "NULL": ("STRING", "VARCHAR", pa.string()),
}
_ALIASES = {
    "INT": "INT64",
    "SMALLINT": "INT64",
    "INTEGER": "INT64",
    "BIGINT": "INT64",
    "TINYINT": "INT64",
    "BYTEINT": "INT64",
    "FLOAT": "FLOAT64",
    "DOUBLE": "FLOAT64",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
_EXTENSION = b"ARROW:extension:name"
_GOOGLE_EXTENSIONS = {
    "JSON": b"google:sqlType:json",
    "GEOGRAPHY": b"google:sqlType:geography",
    "DATETIME": b"google:sqlType:datetime",
}
_FIELD_NAME = re.compile(r"^[^\x00-\x1f!\"$()*,./;?@\[\\\]^`{}~]{1,300}$")
_RESERVED_PREFIXES = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
)


@dataclass(frozen=True, slots=True)
class Type:
    """A GoogleSQL type: a scalar by its SQL name, `ARRAY` with its element, `STRUCT` with its fields."""

    kind: str
    element: Type | None = None
    fields: tuple[tuple[str, Type], ...] = ()
    """Names and types of a STRUCT; an anonymous field has the name ""."""

    def __str__(self) -> str:
        """The type as GoogleSQL writes it: `ARRAY<STRUCT<a INT64, STRING>>`."""
        if self.element is not None:
            return f"ARRAY<{self.element}>"
        if self.kind == "STRUCT":
            inner = ", ".join(f"{name} {type_}" if name else str(type_) for name, type_ in self.fields)
            return f"STRUCT<{inner}>"
        return self.kind

    @property
    def duckdb(self) -> str:
        """The DuckDB type that holds it; anonymous STRUCT fields are `_field_1`, `_field_2` …"""
        if self.element is not None:
            return f"{self.element.duckdb}[]"
        if self.kind == "STRUCT":
            if not self.fields:
                raise Unimplemented("STRUCT<> without fields cannot be stored")
            return f"STRUCT({', '.join(f'{quote(n)} {t.duckdb}' for n, t in self.named_fields())})"
        return _scalar(self.kind)[1]

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which the Storage Read API sends it."""
        if self.element is not None:
            return pa.list_(pa.field("item", self.element.arrow))
        if self.kind == "STRUCT":
            return pa.struct([pa.field(n, t.arrow) for n, t in self.named_fields()])
        return _scalar(self.kind)[2]

    def named_fields(self) -> Iterator[tuple[str, Type]]:
        """The fields of a STRUCT with names for the anonymous ones."""
        for position, (name, type_) in enumerate(self.fields, 1):
            yield name or f"_field_{position}", type_


INT64, FLOAT64, NUMERIC, BIGNUMERIC = (
    Type("INT64"),
    Type("FLOAT64"),
    Type("NUMERIC"),
    Type("BIGNUMERIC"),
)
BOOL, STRING, BYTES, JSON, INTERVAL = (
    Type("BOOL"),
    Type("STRING"),
    Type("BYTES"),
    Type("JSON"),
    Type("INTERVAL"),
)
DATE, DATETIME, TIME, TIMESTAMP = (
    Type("DATE"),
    Type("DATETIME"),
    Type("TIME"),
    Type("TIMESTAMP"),
)
GEOGRAPHY = Type("GEOGRAPHY")
NULL = Type("NULL")
"""The type of a bare NULL, which goes into any column; a column made of nothing else is a STRING or, in SQL, INT64."""


def array(element: Type) -> Type:
    """ARRAY<element>."""
    return Type("ARRAY", element=element)


def struct(fields: Iterable[tuple[str, Type]]) -> Type:
    """STRUCT<fields>."""
    return Type("STRUCT", fields=tuple(fields))


def scalar(name: str) -> Type:
    """The scalar type of a SQL or REST name in any case (`INTEGER`, `int64`).

    Raises:
        Invalid: No such type.
        Unimplemented: RANGE, which has no equivalent in DuckDB.
    """
    upper = name.upper()
    upper = _ALIASES.get(upper, upper)
    _scalar(upper)
    return Type(upper)


def _scalar(kind: str) -> tuple[str, str, pa.DataType]:
    if kind in _SCALARS:  # "NULL" comes from Arrow and SQL only: no request can name it
        return _SCALARS[kind]
    if kind == "RANGE":
        raise Unimplemented("The type RANGE is not carried over to the local BigQuery")
    raise Invalid(f"Invalid value for type: {kind} is not a valid value")


def quote(name: str) -> str:
    """A DuckDB identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


# REST fields


def normalize(fields: Sequence[Mapping[str, Any]], *, prefix: str = "") -> list[FieldSchema]:
    """REST fields as BigQuery answers them: legacy type names, upper-case modes, checked names.

    Raises:
        Invalid: A bad name, type or mode, or a name that occurs twice (names are compared without case).
    """
    seen: set[str] = set()
    answer = []
    for given in fields:
        name = str(given.get("name", ""))
        path = f"{prefix}{name}"
        if not _FIELD_NAME.match(name):
            raise Invalid(
                f'Invalid field name "{path}". Fields must contain only letters, numbers, and underscores, '
                "start with a letter or underscore, and be at most 300 characters long."
            )
        if name.lower().startswith(_RESERVED_PREFIXES):
            raise Invalid(f"Invalid field name {path}. The prefix is reserved for BigQuery's own columns.")
        if name.lower() in seen:
            raise Invalid(f"Field {path} already exists in schema")
        seen.add(name.lower())
        if not given.get("type"):
            raise Invalid(f"Field {path} is missing its type")
        kind = str(given["type"]).upper()
        kind = _ALIASES.get(kind, kind)
        mode = str(given.get("mode") or "NULLABLE").upper()
        if mode not in ("NULLABLE", "REQUIRED", "REPEATED"):
            raise Invalid(f"Invalid value for mode: {mode} is not a valid value (field {path})")
        clean: FieldSchema = {key: value for key, value in given.items() if value is not None}
        clean["name"] = name
        clean["mode"] = mode
        if kind == "STRUCT":
            if not given.get("fields"):
                raise Invalid(f"Field {path} is type RECORD but has no schema")
            clean["type"] = "RECORD"
            clean["fields"] = normalize(given["fields"], prefix=f"{path}.")
        else:
            clean["type"] = _scalar(kind)[0]
            clean.pop("fields", None)
        answer.append(clean)
    return answer


def type_of(field_: Mapping[str, Any]) -> Type:
    """The type of a REST field, mode REPEATED giving an ARRAY."""
    kind = str(field_["type"]).upper()
    kind = _ALIASES.get(kind, kind)
    base = struct((f["name"], type_of(f)) for f in field_.get("fields", ())) if kind == "STRUCT" else scalar(kind)
    return array(base) if str(field_.get("mode", "")).upper() == "REPEATED" else base


def field_of(name: str, type_: Type, mode: str = "NULLABLE") -> FieldSchema:
    """The REST field of a type.

    Raises:
        Invalid: An array of arrays, which no column can be.
    """
    if type_.element is not None:
        if type_.element.element is not None:
            raise Invalid(f"Cannot write or return arrays of arrays (column {name})")
        return field_of(name, type_.element, "REPEATED")
    if type_.kind == "STRUCT":
        fields = [field_of(n, t) for n, t in type_.named_fields()]
        return {"name": name, "type": "RECORD", "mode": mode, "fields": fields}
    return {"name": name, "type": _scalar(type_.kind)[0], "mode": mode}


def duckdb_columns(fields: Sequence[Mapping[str, Any]]) -> str:
    """The column list of a DuckDB CREATE TABLE for these fields, REQUIRED being NOT NULL."""
    return ", ".join(
        f"{quote(f['name'])} {type_of(f).duckdb}{' NOT NULL' if f.get('mode') == 'REQUIRED' else ''}" for f in fields
    )


# Arrow


def arrow_field(field_: Mapping[str, Any]) -> pa.Field:
    """The Arrow field of a REST field, with Google's extension names as metadata."""
    kind = str(field_["type"]).upper()
    kind = _ALIASES.get(kind, kind)
    mode = str(field_.get("mode") or "NULLABLE").upper()
    if kind == "STRUCT":
        base: pa.DataType = pa.struct([arrow_field(f) for f in field_["fields"]])
    else:
        base = _scalar(kind)[2]
    metadata = {_EXTENSION: _GOOGLE_EXTENSIONS[kind]} if kind in _GOOGLE_EXTENSIONS else None
    if mode == "REPEATED":
        return pa.field(
            field_["name"],
            pa.list_(pa.field("item", base)),
            nullable=False,
            metadata=metadata,
        )
    return pa.field(field_["name"], base, nullable=mode != "REQUIRED", metadata=metadata)


def arrow_schema(fields: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The Arrow schema in which the Storage Read API sends a table with these fields."""
    return pa.schema([arrow_field(f) for f in fields])


def type_of_arrow(type_: pa.DataType, extension: bytes = b"") -> Type:
    """The GoogleSQL type that takes an Arrow type.

    Raises:
        Invalid: No type takes it (maps, unions).
    """
    is_ = pa.types
    if is_.is_dictionary(type_):
        return type_of_arrow(type_.value_type)
    if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
        return array(type_of_arrow(type_.value_type))
    if is_.is_struct(type_):
        return struct((f.name, type_of_arrow_field(f)) for f in type_)
    if is_.is_decimal(type_):
        return NUMERIC if type_.scale <= 9 and type_.precision - type_.scale <= 29 else BIGNUMERIC
    if is_.is_timestamp(type_):
        return DATETIME if type_.tz is None else TIMESTAMP
    for test, answer in (
        (is_.is_boolean, BOOL),
        (is_.is_integer, INT64),
        (is_.is_floating, FLOAT64),
        (is_.is_binary, BYTES),
        (is_.is_large_binary, BYTES),
        (is_.is_fixed_size_binary, BYTES),
        (is_.is_date, DATE),
        (is_.is_time, TIME),
        (is_.is_interval, INTERVAL),
        (is_.is_null, NULL),
    ):
        if test(type_):
            return answer
    if is_.is_string(type_) or is_.is_large_string(type_) or str(type_) == "string_view":
        return {
            b"google:sqlType:json": JSON,
            b"google:sqlType:geography": GEOGRAPHY,
        }.get(extension, STRING)
    if isinstance(type_, pa.BaseExtensionType):
        return JSON if type_.extension_name == "arrow.json" else type_of_arrow(type_.storage_type)
    raise Invalid(f"Arrow type {type_} has no BigQuery type")


def type_of_arrow_field(item: pa.Field) -> Type:
    """The GoogleSQL type that takes an Arrow field, JSON and GEOGRAPHY by Google's extension names."""
    return type_of_arrow(item.type, (item.metadata or {}).get(_EXTENSION, b""))


def fields_of_arrow(schema: pa.Schema) -> list[FieldSchema]:
    """The REST fields of an Arrow schema (a load job's schema detection)."""
    answer = []
    for item in schema:
        mode = "NULLABLE" if item.nullable else "REQUIRED"
        answer.append(field_of(item.name, type_of_arrow_field(item), mode))
    return answer


@dataclass(frozen=True)
class ArrowCast:
    """Casts the batches that DuckDB gives to the Arrow schema the Storage Read API has."""

    schema: pa.Schema
    fields: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch in `schema`, sharing the buffers that already fit."""
        columns = [_fit(column, item) for column, item in zip(batch.columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def reader(self, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
        """A reader over the cast batches."""
        return pa.RecordBatchReader.from_batches(self.schema, (self.batch(b) for b in batches))


def _fit(column: pa.Array, item: pa.Field) -> pa.Array:
    if column.type.equals(item.type):
        return column
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_struct(item.type):
        children = [_fit(column.field(index), child) for index, child in enumerate(item.type)]
        return pa.StructArray.from_arrays(children, fields=list(item.type), mask=column.is_null())
    if pa.types.is_list(item.type):
        # no mask: an ARRAY is never NULL, and one within a STRUCT that is NULL comes as such from DuckDB
        return pa.ListArray.from_arrays(column.offsets, _fit(column.values, item.type.value_field), type=item.type)
    return column.cast(item.type)
