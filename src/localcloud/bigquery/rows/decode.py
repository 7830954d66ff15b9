"""JSON objects as Arrow columns of a table's schema, with every bad value named by row and field.

Columns whose values already fit are converted at once; only the others are looked at value by value.
Serves insertAll, JSON loads and, from the text column on, CSV loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from localcloud.bigquery.types import FieldSchema, arrow_field, arrow_schema

from .scalars import EPOCH, READERS, json_text, json_value, shown

_EXACT: dict[str, frozenset[type]] = {
    "STRING": frozenset({str}),
    "INTEGER": frozenset({int}),
    "FLOAT": frozenset({float, int}),
    "BOOLEAN": frozenset({bool}),
}


@dataclass(frozen=True)
class RowError:
    """What is wrong with one row."""

    row: int
    """Index into the rows given."""
    location: str
    """The field's path, `address.zip`; empty for the row as a whole."""
    message: str


@dataclass
class Decoder:
    """Turns rows into columns.

    Args:
        fields: The table's REST schema.
        ignore_unknown: Drop values that no field takes instead of reporting them.
        parse_json_text: A JSON column's strings are JSON text (insertAll) rather than values (loads).
    """

    fields: Sequence[FieldSchema]
    ignore_unknown: bool = False
    parse_json_text: bool = False
    errors: list[RowError] = field(default_factory=list, init=False)

    def decode(self, rows: Sequence[Any]) -> tuple[pa.Table, list[RowError]]:
        """All rows as a table, and what is wrong; the values of a wrong row are not to be used.

        Field names are matched without regard to case, as BigQuery does.
        """
        self.errors = []
        records: list[Mapping[str, Any] | None] = []
        for index, row in enumerate(rows):
            if isinstance(row, Mapping):
                records.append(row)
            else:
                self._error(index, "", f"A row must be a JSON object, not {shown(row)}")
                records.append(None)
        columns = self._record(records, self.fields, "", range(len(records)))
        return pa.Table.from_arrays(columns, schema=_relaxed(arrow_schema(self.fields))), self.errors

    def _error(self, row: int, location: str, message: str) -> None:
        self.errors.append(RowError(row, location, message))

    def _record(
        self,
        records: Sequence[Mapping[str, Any] | None],
        fields: Sequence[FieldSchema],
        prefix: str,
        rows: Sequence[int],
    ) -> list[pa.Array]:
        names = {f["name"]: f["name"] for f in fields}
        by_lower = {f["name"].lower(): f["name"] for f in fields}
        known = names.keys()
        cleaned: list[Mapping[str, Any] | None] = []
        for record, row in zip(records, rows, strict=True):
            if record is None or record.keys() <= known:
                cleaned.append(record)
                continue
            matched: dict[str, Any] = {}
            for key, value in record.items():
                name = by_lower.get(key.lower())
                if name is not None:
                    matched[name] = value
                elif not self.ignore_unknown:
                    self._error(row, prefix + key, f"no such field: {prefix}{key}.")
            cleaned.append(matched)
        columns = []
        for item in fields:
            name = item["name"]
            values = [None if record is None else record.get(name) for record in cleaned]
            if item["mode"] == "REQUIRED":
                for value, record, row in zip(values, cleaned, rows, strict=True):
                    if value is None and record is not None:
                        self._error(row, prefix + name, f"Missing required field: {prefix}{name}.")
            columns.append(self._column(values, item, prefix + name, rows))
        return columns

    def _column(self, values: Sequence[Any], item: FieldSchema, path: str, rows: Sequence[int]) -> pa.Array:
        if item["mode"] == "REPEATED":
            return self._repeated(values, item, path, rows)
        if item["type"] == "RECORD":
            records: list[Mapping[str, Any] | None] = []
            for value, row in zip(values, rows, strict=True):
                if value is not None and not isinstance(value, Mapping):
                    self._error(row, path, f"This field: {path} is not a record.")
                records.append(value if isinstance(value, Mapping) else None)
            children = self._record(records, item["fields"], f"{path}.", rows)
            missing = pa.array([record is None for record in records], pa.bool_())
            child_fields = [_relaxed_field(arrow_field(f)) for f in item["fields"]]
            return pa.StructArray.from_arrays(children, fields=child_fields, mask=missing)
        return self._scalars(values, item, path, rows)

    def _repeated(self, values: Sequence[Any], item: FieldSchema, path: str, rows: Sequence[int]) -> pa.Array:
        elements: list[Any] = []
        element_rows: list[int] = []
        lengths = []
        for value, row in zip(values, rows, strict=True):
            items = [] if value is None else value
            if not isinstance(items, (list, tuple)):
                self._error(row, path, f"Field {path} is repeated: its value must be an array.")
                items = []
            if any(element is None for element in items):
                self._error(row, path, f"Only optional fields can be set to NULL. Field: {path}; Value: NULL")
            elements.extend(items)
            element_rows.extend([row] * len(items))
            lengths.append(len(items))
        column = self._column(elements, {**item, "mode": "NULLABLE"}, path, element_rows)
        offsets = pa.array(list(accumulate(lengths, initial=0)), pa.int32())
        return pa.ListArray.from_arrays(offsets, column, type=_relaxed_field(arrow_field(item)).type)

    def _scalars(self, values: Sequence[Any], item: FieldSchema, path: str, rows: Sequence[int]) -> pa.Array:
        type_ = arrow_field({**item, "mode": "NULLABLE"}).type
        kinds = set(map(type, values)) - {type(None)}
        if kinds <= _EXACT.get(item["type"], frozenset()):
            try:
                return pa.array(values, type_)
            except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
                pass  # a value out of range: found below
        elif kinds == {str} and item["type"] not in ("JSON", "BYTES"):
            fitting = text_column(pa.array(values, pa.string()), item)
            if fitting is not None:
                return fitting
        reader = READERS.get(item["type"]) or (json_text if self.parse_json_text else json_value)
        converted, bad = read_values(values, reader)
        for index, message in bad:
            value = values[index]
            if isinstance(value, list):
                message = f"Array specified for non-repeated field: {path}."
            elif isinstance(value, Mapping) and item["type"] != "JSON":
                message = f"This field: {path} is not a record."
            self._error(rows[index], path, message)
        return build(converted, item, type_)


def read_values(values: Sequence[Any], reader: Callable[[Any], Any]) -> tuple[list[Any], list[tuple[int, str]]]:
    """The values as the reader has them (None for a bad one) and, for each bad one, index and message."""
    converted: list[Any] = []
    bad = []
    for index, value in enumerate(values):
        try:
            converted.append(None if value is None else reader(value))
        except ValueError as error:
            converted.append(None)
            bad.append((index, str(error)))
    return converted, bad


def build(values: Sequence[Any], item: FieldSchema, type_: pa.DataType) -> pa.Array:
    """An Arrow column of what the readers return."""
    if item["type"] == "TIMESTAMP":
        micros = [None if v is None else _microseconds(v) for v in values]
        return pa.array(micros, pa.int64()).cast(type_)
    return pa.array(values, type_)


def _microseconds(moment: Any) -> int:
    delta = moment - EPOCH
    return int((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def text_column(text: pa.Array, item: FieldSchema) -> pa.Array | None:
    """A whole column of text converted at once, or None where some value needs a closer look."""
    kind = item["type"]
    type_ = arrow_field({**item, "mode": "NULLABLE"}).type
    try:
        if kind in ("STRING", "GEOGRAPHY"):
            return text
        if kind in ("INTEGER", "FLOAT", "DATE"):
            return pc.cast(text, type_)
        if kind == "DATETIME":
            return pc.cast(text, pa.timestamp("us"))
        if kind == "TIMESTAMP":
            utc = pc.replace_substring_regex(text, r" ?(UTC|Z|\+00(:?00)?)$", "")
            return pc.cast(utc, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        if kind == "BOOLEAN":
            lower = pc.utf8_lower(text)
            true, false = pc.equal(lower, "true"), pc.equal(lower, "false")
            return true if pc.all(pc.or_(true, false)).as_py() is not False else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    return None


def _relaxed_field(item: pa.Field) -> pa.Field:
    """The field with nulls allowed all the way down: wrong rows hold nulls until they are dropped."""
    type_ = item.type
    if pa.types.is_struct(type_):
        type_ = pa.struct([_relaxed_field(child) for child in type_])
    elif pa.types.is_list(type_):
        type_ = pa.list_(_relaxed_field(type_.value_field))
    return pa.field(item.name, type_, metadata=item.metadata)


def _relaxed(schema: pa.Schema) -> pa.Schema:
    return pa.schema([_relaxed_field(item) for item in schema])
