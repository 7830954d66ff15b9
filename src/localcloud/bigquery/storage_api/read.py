"""The Storage Read API: sessions over a snapshot of a table, cut into streams of Arrow or Avro rows.

Snapshots are made in `reading.py`; a stream's name says which of its rows it reads.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import fastavro
import pyarrow as pa

from localcloud.bigquery.formats.avro import avro_schema, written
from localcloud.bigquery.reading import Reading
from localcloud.bigquery.snapshots import Snapshot
from localcloud.bigquery.types import FieldSchema, arrow_schema
from localcloud.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange, Unimplemented

from .names import ReadStreamName, storage, table_of

_MESSAGE_BYTES = 8 << 20
"""At most how large a message is before compression, by the average row."""
_AVRO_ROWS = 2_000
_STREAM_BYTES = 24 << 20
_MAX_STREAMS = 8
_CODECS = {0: "none", 1: "lz4", 2: "zstd"}


class BigQueryRead:
    """google.cloud.bigquery.storage.v1.BigQueryRead.

    Args:
        reading: Reads the tables.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def create_read_session(self, request: Any) -> Any:
        """Sets the rows aside and cuts them into streams, which together have each row once.

        A table without rows has no streams.
        """
        session = request.read_session
        ref = table_of(session.table, "read_session.table")
        options = session.read_options
        _refuse(session)
        avro = session.data_format == storage.DataFormat.Value("AVRO")
        codec = "none" if avro else _CODECS[options.arrow_serialization_options.buffer_compression]
        snapshot = self._reading.snapshot(ref, list(options.selected_fields), options.row_restriction)
        name = f"projects/{_project(request.parent)}/locations/us/sessions/{secrets.token_hex(16)}"
        answer = storage.ReadSession()
        answer.CopyFrom(session)
        answer.name = name
        answer.data_format = storage.DataFormat.Value("AVRO" if avro else "ARROW")
        answer.expire_time.FromSeconds(int(snapshot.expires))
        answer.estimated_total_bytes_scanned = snapshot.num_bytes
        answer.estimated_row_count = snapshot.num_rows
        if avro:
            answer.avro_schema.schema = _avro_json(snapshot.fields)
        else:
            answer.arrow_schema.serialized_schema = _arrow_schema(snapshot)
        count = _stream_count(snapshot, request.max_stream_count, request.preferred_min_stream_count)
        bounds = [snapshot.num_rows * position // count for position in range(count + 1)] if count else []
        for start, end in itertools.pairwise(bounds):
            stream = ReadStreamName(name, snapshot.id, start, end, "avro" if avro else "arrow", codec)
            answer.streams.append(stream.message)
        return answer

    async def read_rows(self, request: Any) -> AsyncIterator[Any]:
        """The rows of a stream from an offset on, in messages of equal size, 8 MB at most.

        Messages are made ahead while earlier ones are on their way, and the end follows the last one at once.
        """
        stream = ReadStreamName.parse(request.read_stream)
        messages = self._messages(stream, request.offset)
        upcoming = await asyncio.to_thread(next, messages, None)
        while upcoming is not None:
            message, last = upcoming
            ahead = None if last else asyncio.create_task(asyncio.to_thread(next, messages, None))
            yield message
            upcoming = None if ahead is None else await ahead

    def _messages(self, stream: ReadStreamName, offset: int) -> Iterator[tuple[Any, bool]]:
        """The answers of a stream, each with whether it is the last."""
        snapshot = self._snapshot(stream)
        size = stream.end - stream.start
        if not 0 <= offset <= size:
            raise OutOfRange(f"offset {offset} is past the end of the stream, which has {size} rows")
        rows = snapshot.table.slice(stream.start + offset, size - offset)
        avro = stream.format == "avro"
        done = offset
        for message in _avro_messages(rows, snapshot) if avro else _arrow_messages(rows, stream.codec):
            if done == offset and avro:
                message.avro_schema.schema = _avro_json(snapshot.fields)
            elif done == offset:
                message.arrow_schema.serialized_schema = _arrow_schema(snapshot)
            message.stats.progress.at_response_start = done / size
            done += message.row_count
            message.stats.progress.at_response_end = done / size
            yield message, done == size

    def split_read_stream(self, request: Any) -> Any:
        """Two streams that together have the rows of one; the given one stays as it is.

        A stream too small to be split gives an empty answer.
        """
        stream = ReadStreamName.parse(request.name)
        self._snapshot(stream)
        fraction = request.fraction or 0.5
        if not 0 < fraction < 1:
            raise InvalidArgument(f"fraction must be between 0 and 1, it is {fraction}")
        middle = stream.start + round((stream.end - stream.start) * fraction)
        answer = storage.SplitReadStreamResponse()
        if stream.start < middle < stream.end:
            answer.primary_stream.CopyFrom(stream.part(stream.start, middle).message)
            answer.remainder_stream.CopyFrom(stream.part(middle, stream.end).message)
        return answer

    def _snapshot(self, stream: ReadStreamName) -> Snapshot:
        snapshots = (self._reading.snapshots.get(stream.snapshot), self._reading.results.get(stream.snapshot))
        snapshot = next((found for found in snapshots if found is not None), None)
        if snapshot is None or snapshot.expires < time.time():
            raise FailedPrecondition(f"Session {stream.session} has expired: create another one")
        if stream.end > snapshot.num_rows:
            raise NotFound(f"No such read stream: {stream}")
        return snapshot


def _refuse(session: Any) -> None:
    """Names what is asked for and not done."""
    if session.table_modifiers.HasField("snapshot_time"):
        raise Unimplemented("table_modifiers.snapshot_time is not carried over to the local BigQuery")
    if session.read_options.HasField("sample_percentage"):
        raise Unimplemented("read_options.sample_percentage is not carried over to the local BigQuery")
    if session.read_options.response_compression_codec:
        raise Unimplemented("read_options.response_compression_codec is not carried over to the local BigQuery")


def _project(parent: str) -> str:
    kind, _, project = parent.partition("/")
    if kind != "projects" or not project or "/" in project:
        raise InvalidArgument(f"Invalid parent: '{parent}'. It must be projects/PROJECT.")
    return project


def _stream_count(snapshot: Snapshot, maximum: int, preferred: int) -> int:
    """As many streams as the data are worth, within what the client asks for."""
    if not snapshot.num_rows:
        return 0
    worth = min(_MAX_STREAMS, -(-snapshot.num_bytes // _STREAM_BYTES))
    count = max(worth, preferred, 1)
    return min(count, maximum or count, snapshot.num_rows)


def _arrow_schema(snapshot: Snapshot) -> bytes:
    return bytes(arrow_schema(snapshot.fields).serialize())


def _arrow_messages(rows: pa.Table, codec: str) -> Iterator[Any]:
    count = min(rows.num_rows, -(-rows.nbytes // _MESSAGE_BYTES))
    bounds = [rows.num_rows * position // count for position in range(count + 1)] if count else []
    for start, end in itertools.pairwise(bounds):
        [batch] = rows.slice(start, end - start).combine_chunks().to_batches()
        message = storage.ReadRowsResponse(row_count=batch.num_rows, uncompressed_byte_size=batch.nbytes)
        message.arrow_record_batch.serialized_record_batch = _serialized(batch, codec)
        message.arrow_record_batch.row_count = batch.num_rows
        yield message


def _serialized(batch: pa.RecordBatch, codec: str) -> bytes:
    """The batch as one IPC message, without its schema."""
    if codec == "none":
        return bytes(batch.serialize())
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        # The stream begins with the schema, and ends with a mark that comes with closing.
        writer.write_batch(batch)
        end = sink.tell()
    stream = sink.getvalue()
    reader = pa.ipc.MessageReader.open_stream(stream)
    start = len(reader.read_next_message().serialize())
    return bytes(stream[start:end])


def _avro_json(fields: list[FieldSchema]) -> str:
    return json.dumps(avro_schema(fields, logical=True, name="__root__"))


def _avro_messages(rows: pa.Table, snapshot: Snapshot) -> Iterator[Any]:
    schema = fastavro.parse_schema(avro_schema(snapshot.fields, logical=True, name="__root__"))
    for start in range(0, rows.num_rows, _AVRO_ROWS):
        part = rows.slice(start, _AVRO_ROWS)
        buffer = io.BytesIO()
        for row in part.to_pylist():
            record = {f["name"]: written(row[f["name"]], f, logical=True) for f in snapshot.fields}
            fastavro.schemaless_writer(buffer, schema, record)
        message = storage.ReadRowsResponse(row_count=part.num_rows)
        message.avro_rows.serialized_binary_rows = buffer.getvalue()
        message.avro_rows.row_count = part.num_rows
        yield message
