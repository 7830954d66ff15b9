"""Rows as AppendRows brings them, protobuf or Arrow, as Arrow tables of the destination's schema.

The encodings are those of https://cloud.google.com/bigquery/docs/supported-data-types; streams and offsets are
`write.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.formats.columnar import conform
from localcloud.bigquery.rows.decode import Decoder, RowError
from localcloud.bigquery.types import FieldSchema
from localcloud.errors import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExtraFields(InvalidArgument):
    """The writer's schema has fields that the table does not have."""


class ProtoRows:
    """Decodes rows of one writer schema.

    Args:
        descriptor: The self-contained message type that the rows are of.
        fields: The table's REST schema.

    Raises:
        InvalidArgument: The descriptor is not self-contained.
        ExtraFields: It has fields that the table does not have.
    """

    def __init__(self, descriptor: descriptor_pb2.DescriptorProto, fields: Sequence[FieldSchema]) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="rows.proto", package="rows", syntax="proto2")
        file.message_type.add().CopyFrom(descriptor)
        pool = descriptor_pool.DescriptorPool()
        try:
            pool.Add(file)
            message = pool.FindMessageTypeByName(f"rows.{descriptor.name}")
        except (TypeError, KeyError) as error:
            raise InvalidArgument(
                f"Invalid proto schema: {error}. The descriptor must hold all types that it uses."
            ) from None
        self._class = message_factory.GetMessageClass(message)
        names = {f.name.lower() for f in message.fields}
        self._fields = [item for item in fields if item["name"].lower() in names]
        self._read = _record_reader(message, fields, "")

    def decode(self, serialized: Sequence[bytes]) -> tuple[pa.Table, list[RowError]]:
        """The rows as a table with the columns that the writer has, and what is wrong with which."""
        records: list[Any] = []
        errors = []
        for index, content in enumerate(serialized):
            try:
                records.append(self._read(self._class.FromString(content)))
            except DecodeError as error:
                errors.append(RowError(index, "", f"The row is not a message of the writer's schema: {error}"))
                records.append({item["name"]: None for item in self._fields})
            except ValueError as error:
                errors.append(RowError(index, "", str(error)))
                records.append({})
        table, found = Decoder(self._fields, parse_json_text=True).decode(records)
        broken = {error.row for error in errors}
        return table, errors + [error for error in found if error.row not in broken]


def arrow_rows(schema: bytes, batch: bytes, fields: Sequence[FieldSchema]) -> pa.Table:
    """The rows of serialized Arrow.

    Raises:
        InvalidArgument: It is not Arrow, or its types do not fit the table's.
    """
    try:
        known = pa.ipc.read_schema(pa.py_buffer(schema))
        table = pa.Table.from_batches([pa.ipc.read_record_batch(pa.py_buffer(batch), known)])
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"arrow_rows cannot be read: {error}") from None
    names = {item["name"].lower() for item in fields}
    extra = [name for name in table.column_names if name.lower() not in names]
    if extra:
        raise ExtraFields(f"Input schema has more fields than the table's: {', '.join(extra)}")
    try:
        return conform(table, fields)
    except Invalid as error:
        raise InvalidArgument(error.message) from None


def _record_reader(message: Any, fields: Sequence[FieldSchema], prefix: str) -> Callable[[Any], dict[str, Any]]:
    """A function from a message to the object that JSON rows are."""
    by_lower = {item["name"].lower(): item for item in fields}
    readers: list[tuple[str, str, bool, bool, Callable[[Any], Any]]] = []
    extra = [f.name for f in message.fields if f.name.lower() not in by_lower]
    if extra:
        raise ExtraFields(f"Input schema has more fields than the table's: {', '.join(prefix + n for n in extra)}")
    for field in message.fields:
        item = by_lower[field.name.lower()]
        if item["type"] == "RECORD":
            if field.message_type is None:
                raise InvalidArgument(f"Field {prefix}{field.name} of the proto schema must be a message")
            reader: Callable[[Any], Any] = _record_reader(field.message_type, item["fields"], f"{prefix}{field.name}.")
        else:
            reader = _scalar_reader(field, item)
        readers.append((field.name, item["name"], field.is_repeated, field.has_presence, reader))

    def read(value: Any) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for proto_name, name, repeated, presence, convert in readers:
            inner = getattr(value, proto_name)
            if repeated:
                record[name] = [convert(element) for element in inner]
            elif not presence or value.HasField(proto_name):
                record[name] = convert(inner)
        return record

    return read


def _scalar_reader(field: Any, item: FieldSchema) -> Callable[[Any], Any]:
    kind = item["type"]
    number = field.cpp_type in (
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    )
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return (lambda value: names.get(value, str(value))) if kind == "STRING" else _same
    if number and kind == "TIMESTAMP":
        return lambda value: (_EPOCH + timedelta(microseconds=value)).isoformat()
    if number and kind == "DATE":
        return lambda value: (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    if number and kind == "TIME":
        return packed_time
    if number and kind == "DATETIME":
        return packed_datetime
    if kind == "BOOLEAN" and number:
        return bool
    if field.type == FieldDescriptor.TYPE_BYTES and kind in ("NUMERIC", "BIGNUMERIC"):
        scale = 9 if kind == "NUMERIC" else 38
        return lambda value: _unscaled(int.from_bytes(value, "little", signed=True), scale)
    return _same


def _unscaled(units: int, scale: int) -> Decimal:
    return Decimal((int(units < 0), tuple(map(int, str(abs(units)))), -scale))


def _same(value: Any) -> Any:
    return value


def packed_time(value: int) -> str:
    """A TIME packed into an integer as CivilTimeEncoder does: hour, minute, second, 20 bits of microseconds."""
    micros, seconds = value & 0xFFFFF, value >> 20
    return f"{seconds >> 12 & 0x1F:02d}:{seconds >> 6 & 0x3F:02d}:{seconds & 0x3F:02d}.{micros:06d}"


def packed_datetime(value: int) -> str:
    """A DATETIME packed as CivilTimeEncoder does: year, month and day above the 37 bits of the time."""
    day = value >> 37
    text = f"{day >> 9:04d}-{day >> 5 & 0xF:02d}-{day & 0x1F:02d}"
    return f"{text}T{packed_time(value & (1 << 37) - 1)}"
