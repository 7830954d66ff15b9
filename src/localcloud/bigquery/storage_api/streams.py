"""Write streams: what was appended to each, exactly once, and what of it the table shows.

Rows that a table shows and the stream's account of them change in one DuckDB transaction; rows that wait for a
flush or commit are Arrow files. The RPCs are `write.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from localcloud.bigquery import storage as stored
from localcloud.bigquery.refs import TableRef
from localcloud.bigquery.tables import Tables
from localcloud.bigquery.types import fields_of_arrow, quote, type_of_arrow_field
from localcloud.errors import AlreadyExists, CloudError, FailedPrecondition, InvalidArgument, NotFound, OutOfRange

from .names import storage, table_name

_CREATE = """
CREATE TABLE IF NOT EXISTS localcloud.write_streams (
    id VARCHAR NOT NULL, project VARCHAR NOT NULL, dataset VARCHAR NOT NULL, name VARCHAR NOT NULL,
    type VARCHAR NOT NULL, created BIGINT NOT NULL, committed BIGINT NOT NULL, visible BIGINT NOT NULL,
    finalized BOOLEAN NOT NULL
)
"""
_COLUMNS = "id, project, dataset, name, type, created, committed, visible, finalized"


@dataclass
class WriteStream:
    """A stream that a client created.

    Args:
        id: The last part of its name.
        ref: The table.
        type: COMMITTED, PENDING or BUFFERED.
        created: Microseconds since 1970.
        committed: Microseconds since 1970; 0 before the commit of a PENDING stream.
        visible: How many of its rows the table shows.
        finalized: Whether it takes no more rows.
        staged: How many rows wait for a flush or commit.
    """

    id: str
    ref: TableRef
    type: str
    created: int
    committed: int = 0
    visible: int = 0
    finalized: bool = False
    staged: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def name(self) -> str:
        """As the API has it."""
        return f"{table_name(self.ref)}/streams/{self.id}"

    @property
    def rows(self) -> int:
        """How many rows it was given: the next offset."""
        return self.visible + self.staged


class WriteStreams:
    """All streams. Thread safe.

    Args:
        tables: Where rows go.
        folder: Where rows wait.
    """

    def __init__(self, tables: Tables, folder: Path) -> None:
        self._tables = tables
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(tables.database.cursor()) as cursor:
            cursor.execute(_CREATE)
            rows = cursor.execute(f"SELECT {_COLUMNS} FROM localcloud.write_streams").fetchall()
        self._streams = {}
        for id_, project, dataset, name, type_, created, committed, visible, finalized in rows:
            ref = TableRef(project, dataset, name)
            stream = WriteStream(id_, ref, type_, created, committed, visible, finalized)
            # A flush or commit may have been followed by a crash before its files were removed.
            files = list(self._files(stream))
            end = max((start + count for _, start, count in files), default=visible)
            stream.staged = max(0, end - visible) if not committed else 0
            self._streams[ref, id_] = stream

    def create(self, ref: TableRef, type_: str) -> WriteStream:
        """A new stream on a table that is there."""
        self._tables.get_table(ref)
        stream = WriteStream(secrets.token_hex(16), ref, type_, time.time_ns() // 1000)
        with contextlib.closing(self._tables.database.cursor()) as cursor:
            cursor.execute(
                f"INSERT INTO localcloud.write_streams ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 0, 0, false)",
                [stream.id, ref.project, ref.dataset, ref.table, type_, stream.created],
            )
        (self._folder / stream.id).mkdir()
        with self._lock:
            self._streams[ref, stream.id] = stream
        return stream

    def get(self, ref: TableRef, name: str) -> WriteStream:
        """The stream of that id.

        Raises:
            NotFound: There is none.
        """
        with self._lock:
            stream = self._streams.get((ref, name))
        if stream is None:
            raise _problem(NotFound, "STREAM_NOT_FOUND", f"Requested stream {name} on table {ref} was not found")
        return stream

    def append(self, stream: WriteStream, rows: pa.Table, offset: int | None) -> int:
        """Takes rows at an offset and gives the offset at which they are.

        Raises:
            AlreadyExists: Rows at that offset were taken before.
            OutOfRange: The offset leaves a gap.
            FailedPrecondition: The stream is finalized.
        """
        with stream.lock:
            if stream.finalized:
                raise _problem(FailedPrecondition, "STREAM_FINALIZED", f"Stream {stream.name} is finalized", stream)
            at = stream.rows
            if offset is not None and offset < at:
                message = f"The offset is within stream, expected offset {at}, received {offset}"
                raise _problem(AlreadyExists, "OFFSET_ALREADY_EXISTS", message, stream)
            if offset is not None and offset > at:
                message = f"The offset is beyond stream, expected offset {at}, received {offset}"
                raise _problem(OutOfRange, "OFFSET_OUT_OF_RANGE", message, stream)
            if stream.type == "COMMITTED":
                self._show(stream, rows)
            else:
                self._stage(stream, rows, at)
            return at

    def append_default(self, ref: TableRef, rows: pa.Table) -> None:
        """Takes rows on the default stream, which the table shows at once."""
        self._tables.append(ref, rows)

    def finalize(self, stream: WriteStream) -> int:
        """Ends a stream and gives the number of its rows."""
        with stream.lock:
            if not stream.finalized:
                with contextlib.closing(self._tables.database.cursor()) as cursor:
                    cursor.execute("UPDATE localcloud.write_streams SET finalized = true WHERE id = ?", [stream.id])
                stream.finalized = True
            return stream.rows

    def flush(self, stream: WriteStream, offset: int) -> None:
        """Has the table show a BUFFERED stream's rows up to and including an offset.

        Raises:
            InvalidArgument: It is not BUFFERED.
            OutOfRange: It has no such row.
        """
        with stream.lock:
            if stream.type != "BUFFERED":
                message = f"Stream {stream.name} is {stream.type}: only BUFFERED streams can be flushed"
                raise _problem(InvalidArgument, "INVALID_STREAM_TYPE", message, stream)
            if offset >= stream.rows:
                message = f"Stream {stream.name} has {stream.rows} rows: there is none at offset {offset}"
                raise _problem(OutOfRange, "OFFSET_OUT_OF_RANGE", message, stream)
            parts = [
                table.slice(shown := max(0, stream.visible - start), min(count, offset + 1 - start) - shown)
                for table, start, count in self._staged(stream)
                if start <= offset and start + count > stream.visible
            ]
            if not parts:
                return
            self._show(stream, pa.concat_tables(parts), from_stage=True)
            for path, start, count in list(self._files(stream)):
                if start + count <= stream.visible:
                    path.unlink()

    def commit(self, ref: TableRef, streams: Sequence[WriteStream]) -> tuple[int, list[Any]]:
        """Has the table show the rows of PENDING streams, of all or of none.

        Returns:
            The commit time in microseconds since 1970 (0 when nothing was committed) and what is wrong.
        """
        with contextlib.ExitStack() as locks:
            for stream in sorted(streams, key=lambda stream: stream.id):
                locks.enter_context(stream.lock)
            errors = [error for stream in streams if (error := _obstacle(stream)) is not None]
            if errors:
                return 0, errors
            moment = time.time_ns() // 1000
            with self._tables.writing(ref) as transaction:
                for stream in streams:
                    parts = [table for table, _, _ in self._staged(stream)]
                    if parts:
                        self._insert(transaction, ref, pa.concat_tables(parts))
                    transaction.connection.execute(
                        "UPDATE localcloud.write_streams SET committed = ?, visible = ? WHERE id = ?",
                        [moment, stream.rows, stream.id],
                    )
            for stream in streams:
                stream.committed, stream.visible, stream.staged = moment, stream.rows, 0
                shutil.rmtree(self._folder / stream.id, ignore_errors=True)
            return moment, []

    def _show(self, stream: WriteStream, rows: pa.Table, *, from_stage: bool = False) -> None:
        with self._tables.writing(stream.ref) as transaction:
            self._insert(transaction, stream.ref, rows)
            transaction.connection.execute(
                "UPDATE localcloud.write_streams SET visible = visible + ? WHERE id = ?", [len(rows), stream.id]
            )
        stream.visible += len(rows)
        if from_stage:
            stream.staged -= len(rows)

    def _insert(self, transaction: Any, ref: TableRef, rows: pa.Table) -> None:
        reader = stored.readable_batches(rows.to_reader())
        base, partition = self._tables.prepare(
            transaction,
            ref,
            fields_of_arrow(reader.schema),
            write_disposition="WRITE_APPEND",
            create_disposition="CREATE_NEVER",
        )
        sources = {f.name.lower(): (quote(f.name), type_of_arrow_field(f)) for f in reader.schema}
        transaction.connection.register("incoming", reader)
        self._tables.insert(transaction, base, sources, "incoming", partition)
        transaction.connection.unregister("incoming")

    def _stage(self, stream: WriteStream, rows: pa.Table, at: int) -> None:
        path = self._folder / stream.id / f"{at:015d}-{len(rows)}.arrow"
        part = path.with_suffix(".part")
        with pa.OSFile(os.fspath(part), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        part.replace(path)
        stream.staged += len(rows)

    def _files(self, stream: WriteStream) -> Iterator[tuple[Path, int, int]]:
        """The files of rows that wait: path, offset of the first row, number of rows."""
        for path in sorted((self._folder / stream.id).glob("*.arrow")):
            start, _, count = path.stem.partition("-")
            yield path, int(start), int(count)

    def _staged(self, stream: WriteStream) -> Iterator[tuple[pa.Table, int, int]]:
        for path, start, count in self._files(stream):
            with pa.memory_map(os.fspath(path)) as source:
                yield pa.ipc.open_file(source).read_all(), start, count


def _obstacle(stream: WriteStream) -> Any:
    """Why a stream cannot be committed, as a StorageError; None where it can."""
    if stream.type != "PENDING":
        code, message = "INVALID_STREAM_TYPE", f"Stream is {stream.type}, only PENDING streams can be committed"
    elif stream.committed:
        code, message = "STREAM_ALREADY_COMMITTED", "Stream has been committed already"
    elif not stream.finalized:
        code, message = "INVALID_STREAM_STATE", "Stream must be finalized before it is committed"
    else:
        return None
    return storage_error(code, message, stream.name)


def storage_error(code: str, message: str, entity: str) -> Any:
    """A StorageError."""
    number = storage.StorageError.StorageErrorCode.Value(code)
    return storage.StorageError(code=number, entity=entity, error_message=message)


def _problem(kind: type[CloudError], code: str, message: str, stream: WriteStream | None = None) -> CloudError:
    """An error of Google's with its StorageError as a detail."""
    return kind(message, [storage_error(code, message, stream.name if stream else "")])
