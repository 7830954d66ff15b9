"""The Storage Write API: rows appended over a stream of requests, as protobuf or Arrow.

What streams keep is in `streams.py`, how rows are read in `rows.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2

from localcloud.bigquery.rows.decode import RowError
from localcloud.bigquery.tables import Tables
from localcloud.bigquery.types import FieldSchema
from localcloud.errors import CloudError, InvalidArgument, Unimplemented

from .names import storage, table_name, table_of, write_stream_of
from .rows import ExtraFields, ProtoRows, arrow_rows
from .streams import WriteStream, WriteStreams, storage_error

_DEFAULT = "_default"
_TYPES = {"INTEGER": "INT64", "FLOAT": "DOUBLE", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


class BigQueryWrite:
    """google.cloud.bigquery.storage.v1.BigQueryWrite.

    Args:
        tables: Where rows go.
        streams: The streams that clients created.
    """

    def __init__(self, tables: Tables, streams: WriteStreams) -> None:
        self._tables = tables
        self._streams = streams

    def create_write_stream(self, request: Any) -> Any:
        """A COMMITTED, PENDING or BUFFERED stream on a table."""
        ref = table_of(request.parent, "parent")
        kind = storage.WriteStream.Type.Name(request.write_stream.type_)
        if kind == "TYPE_UNSPECIFIED":
            raise InvalidArgument("write_stream.type must be COMMITTED, PENDING or BUFFERED")
        return self._message(self._streams.create(ref, kind), full=True)

    def get_write_stream(self, request: Any) -> Any:
        """A stream; with view FULL also the table's schema."""
        ref, name = write_stream_of(request.name)
        full = request.view == storage.WriteStreamView.Value("FULL")
        if name == _DEFAULT:
            table = self._tables.get_table(ref)
            answer = storage.WriteStream(name=f"{table_name(ref)}/streams/{_DEFAULT}")
            answer.type_ = storage.WriteStream.Type.Value("COMMITTED")
            answer.create_time.FromMilliseconds(int(table["creationTime"]))
            if full:
                _fill_schema(answer.table_schema.fields, _fields(table))
            return answer
        return self._message(self._streams.get(ref, name), full=full)

    async def append_rows(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Appends rows, request by request; stream and schema are remembered from the first request."""
        connection = _Connection(self._tables, self._streams)
        async for request in requests:
            yield await asyncio.to_thread(connection.append, request)

    def finalize_write_stream(self, request: Any) -> Any:
        """Ends a stream."""
        stream = self._own_stream(request.name)
        return storage.FinalizeWriteStreamResponse(row_count=self._streams.finalize(stream))

    def batch_commit_write_streams(self, request: Any) -> Any:
        """Shows the rows of finalized PENDING streams of a table, all at once or none."""
        ref = table_of(request.parent, "parent")
        streams, errors = [], []
        for name in request.write_streams:
            table, id_ = write_stream_of(name)
            if table != ref:
                raise InvalidArgument(f"Stream {name} is not on the table {table_name(ref)}")
            try:
                streams.append(self._streams.get(table, id_))
            except CloudError as error:
                errors.append(storage_error("STREAM_NOT_FOUND", error.message, name))
        moment = 0
        if not errors:
            moment, errors = self._streams.commit(ref, streams)
        answer = storage.BatchCommitWriteStreamsResponse(stream_errors=errors)
        if moment:
            answer.commit_time.FromMicroseconds(moment)
        return answer

    def flush_rows(self, request: Any) -> Any:
        """Shows the rows of a BUFFERED stream up to and including an offset."""
        if not request.HasField("offset"):
            raise InvalidArgument("offset is required to flush rows")
        self._streams.flush(self._own_stream(request.write_stream), request.offset.value)
        return storage.FlushRowsResponse(offset=request.offset.value)

    def _own_stream(self, name: str) -> WriteStream:
        ref, id_ = write_stream_of(name)
        if id_ == _DEFAULT:
            raise InvalidArgument("The default stream has no end and nothing to flush: its rows are there at once")
        return self._streams.get(ref, id_)

    def _message(self, stream: WriteStream, *, full: bool) -> Any:
        answer = storage.WriteStream(name=stream.name, location="us")
        answer.type_ = storage.WriteStream.Type.Value(stream.type)
        answer.write_mode = storage.WriteStream.WriteMode.Value("INSERT")
        answer.create_time.FromMicroseconds(stream.created)
        if stream.committed:
            answer.commit_time.FromMicroseconds(stream.committed)
        if full:
            _fill_schema(answer.table_schema.fields, _fields(self._tables.get_table(stream.ref)))
        return answer


class _Connection:
    """One AppendRows call: what it has said about its stream and schema so far."""

    def __init__(self, tables: Tables, streams: WriteStreams) -> None:
        self._tables = tables
        self._streams = streams
        self._stream = ""
        self._proto: dict[str, bytes] = {}
        self._arrow: dict[str, bytes] = {}
        self._decoder: ProtoRows
        self._decoded: tuple[bytes, list[FieldSchema]] | None = None
        """What `_decoder` was made for: a further request mostly has the same."""

    def append(self, request: Any) -> Any:
        """The answer to one request; what is wrong with its rows is in the answer."""
        name = request.write_stream or self._stream
        if not name:
            raise InvalidArgument("write_stream must be set in the first request")
        self._stream = name
        ref, id_ = write_stream_of(name)
        answer = storage.AppendRowsResponse(write_stream=name)
        try:
            default = id_ == _DEFAULT
            stream = None if default else self._streams.get(ref, id_)
            if default and request.HasField("offset"):
                raise InvalidArgument("offset must not be set on the default stream")
            rows, errors = self._rows(request, name, self._tables.get_table(ref))
            if errors:
                return _with_row_errors(answer, errors)
            if stream is None:
                self._streams.append_default(ref, rows)
                answer.append_result.SetInParent()
            else:
                offset = request.offset.value if request.HasField("offset") else None
                answer.append_result.offset.value = self._streams.append(stream, rows, offset)
        except ExtraFields as error:
            _with_error(answer, error, [storage_error("SCHEMA_MISMATCH_EXTRA_FIELDS", error.message, name)])
        except CloudError as error:
            if isinstance(error, Unimplemented):
                raise
            _with_error(answer, error, error.details)
        return answer

    def _rows(self, request: Any, name: str, table: dict[str, Any]) -> tuple[pa.Table, list[RowError]]:
        fields = _fields(table)
        kind = request.WhichOneof("rows")
        if kind == "proto_rows":
            data = request.proto_rows
            if data.HasField("writer_schema"):
                self._proto[name] = data.writer_schema.proto_descriptor.SerializeToString()
            schema = self._proto.get(name)
            if schema is None:
                raise InvalidArgument("proto_rows.writer_schema must be set in the first request")
            if self._decoded != (schema, fields):
                self._decoder = ProtoRows(descriptor_pb2.DescriptorProto.FromString(schema), fields)
                self._decoded = (schema, fields)
            return self._decoder.decode(data.rows.serialized_rows)
        if kind == "arrow_rows":
            arrow = request.arrow_rows
            if arrow.HasField("writer_schema"):
                self._arrow[name] = arrow.writer_schema.serialized_schema
            if name not in self._arrow:
                raise InvalidArgument("arrow_rows.writer_schema must be set in the first request")
            return arrow_rows(self._arrow[name], arrow.rows.serialized_record_batch, fields), []
        raise InvalidArgument("rows must be set: proto_rows or arrow_rows")


def _fields(table: dict[str, Any]) -> list[FieldSchema]:
    fields: list[FieldSchema] = (table.get("schema") or {}).get("fields") or []
    return fields


def _with_row_errors(answer: Any, errors: list[RowError]) -> Any:
    message = (
        "Errors found while processing rows. Please refer to the row_errors field for details. "
        "The list may not be complete because of the size limitations."
    )
    _with_error(answer, InvalidArgument(message), ())
    code = storage.RowError.RowErrorCode.Value("FIELDS_ERROR")
    for error in sorted(errors, key=lambda error: error.row)[:1000]:
        place = f"Field {error.location}: " if error.location else ""
        answer.row_errors.add(index=error.row, code=code, message=place + error.message)
    return answer


def _with_error(answer: Any, error: CloudError, details: Any) -> None:
    answer.error.code = error.code.number
    answer.error.message = error.message
    for detail in details:
        answer.error.details.add().Pack(detail)


def _fill_schema(target: Any, fields: list[FieldSchema]) -> None:
    """A REST schema as the API's TableFieldSchema messages."""
    message = storage.TableFieldSchema
    for item in fields:
        added = target.add(name=item["name"], description=item.get("description", ""))
        added.type_ = message.Type.Value(_TYPES.get(item["type"], item["type"]))
        added.mode = message.Mode.Value(item["mode"])
        _fill_schema(added.fields, item.get("fields", []))
