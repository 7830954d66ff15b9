"""Rows set aside as Arrow files: query results for a day, and what read sessions and pages go through.

A file never changes once it has its name, so that whoever reads it sees one snapshot, memory-mapped.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import orjson
import pyarrow as pa

from .types import FieldSchema

_FIELDS = b"bigquery:fields"
_ID = re.compile(r"[A-Za-z0-9_]{8,128}")
_BATCH_ROWS = 65_536
_KEPT_OPEN = 256
"""Snapshots that stay mapped; others are opened again when they are asked for."""


@dataclass(frozen=True)
class Snapshot:
    """Rows that stay as they are.

    Args:
        id: Its name in the folder.
        path: The Arrow IPC file.
        created: Seconds since 1970.
        expires: Seconds since 1970; afterwards it is not found any more.
    """

    id: str
    path: Path
    created: float
    expires: float
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @cached_property
    def table(self) -> pa.Table:
        """All rows, memory-mapped: slices cost nothing."""
        with pa.memory_map(os.fspath(self.path)) as source:
            return pa.ipc.open_file(source).read_all()

    @cached_property
    def fields(self) -> list[FieldSchema]:
        """The REST schema of the rows."""
        fields: list[FieldSchema] = orjson.loads(self.table.schema.metadata[_FIELDS])
        return fields

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    @cached_property
    def num_bytes(self) -> int:
        """How much the rows take in Arrow's layout."""
        return int(self.table.nbytes)

    def delete(self) -> None:
        """Removes the file; readers that have it open keep it."""
        self.path.unlink(missing_ok=True)


class Snapshots:
    """The snapshots in one folder. Thread safe.

    Args:
        folder: Created when missing; files of an earlier process are found again.
        lifetime: Seconds until a snapshot is gone.
    """

    def __init__(self, folder: Path, lifetime: float) -> None:
        self._folder = folder
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._open: dict[str, Snapshot] = {}
        self._purged = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):
            leftover.unlink()
        self.purge()

    def write(
        self,
        reader: pa.RecordBatchReader,
        fields: Sequence[FieldSchema],
        *,
        name: str = "",
        check: Callable[[], None] = lambda: None,
    ) -> Snapshot:
        """Sets the reader's rows aside; the reader is exhausted, or closed upon an error.

        Args:
            reader: The rows.
            fields: Their REST schema.
            name: The id it is to have; a random one otherwise.
            check: Called before each batch; what it raises ends the writing and leaves no file.
        """
        self._purge_now_and_then()
        name = name or secrets.token_hex(20)
        path = self._folder / f"{name}.arrow"
        part = path.with_suffix(".part")
        schema = reader.schema.with_metadata({_FIELDS: orjson.dumps(list(fields))})
        try:
            with (
                reader,
                pa.OSFile(os.fspath(part), "wb") as sink,
                pa.ipc.new_file(sink, schema) as writer,
            ):
                for batch in _ahead(reader):
                    check()
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema), _BATCH_ROWS)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        snapshot = self.get(name)
        assert snapshot is not None, "it was written a moment ago"
        return snapshot

    def get(self, name: str) -> Snapshot | None:
        """The snapshot of that id; None where there is none (any more)."""
        if not _ID.fullmatch(name):
            return None
        with self._lock:
            snapshot = self._open.get(name)
            if snapshot is None:
                path = self._folder / f"{name}.arrow"
                try:
                    created = path.stat().st_mtime
                except FileNotFoundError:
                    return None
                snapshot = self._open[name] = Snapshot(name, path, created, created + self._lifetime)
                while len(self._open) > _KEPT_OPEN:
                    del self._open[next(iter(self._open))]
        return snapshot if snapshot.expires > time.time() else None

    def delete(self, name: str) -> None:
        """Removes a snapshot; none of that id is fine."""
        snapshot = self.get(name)
        with self._lock:
            self._open.pop(name, None)
        if snapshot is not None:
            snapshot.delete()

    def purge(self) -> None:
        """Removes what has expired."""
        self._purged = time.time()
        for path in self._folder.glob("*.arrow"):
            if path.stat().st_mtime + self._lifetime < self._purged:
                with self._lock:
                    self._open.pop(path.stem, None)
                path.unlink(missing_ok=True)

    def _purge_now_and_then(self) -> None:
        if time.time() - self._purged > min(self._lifetime, 600):
            self.purge()


def _ahead(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The reader's batches, each next one being computed while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="bigquery-snapshot") as thread:
        upcoming = thread.submit(next, reader, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, reader, None)
            yield batch
