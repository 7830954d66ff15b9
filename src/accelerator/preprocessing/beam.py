"""The Beam pipeline: streams of tables in, Parquet files of clean and of rejected rows out, tables loaded at the end.

A stream is the unit of work, read and written in bounded memory. What a worker that is tried again leaves behind is in
no table: only files that its finished work names are loaded. The configuration is accelerator.preprocessing.run's.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from accelerator.errors import AcceleratorError
from accelerator.preprocessing import tables
from accelerator.preprocessing.batches import gathered, read_ahead
from accelerator.preprocessing.functions import Function, Outcome, as_json
from accelerator.storage import folder

PART_ROWS = 1_000_000
"""Rows of a file."""
REASONS = 100
"""Reasons that are counted one by one; the others are counted together."""
REJECTED = pa.schema(
    [
        ("source", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("run", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""The dead-letter table."""


@dataclass(frozen=True)
class Work:
    """What is to be done with one table.

    Args:
        source: The table that is read.
        target: The table that is made.
        rejected: The dead-letter table.
        function: Its function's name.
        by_rows: Whether it takes single rows.
        schema: The Arrow schema of the rows, serialized.
        made: The Arrow schema of what the function makes of them, serialized.
        streams: The pieces of the table.
    """

    source: str
    target: str
    rejected: str
    function: str
    by_rows: bool
    schema: bytes
    made: bytes
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What is the same for all tables.

    Args:
        project: Who reads and writes.
        code: The team's file, where the workers have it.
        staging: The folder of the files, gs://….
        run: The run's name.
        max_rejected: The share of a table's rows above which it is not written.
    """

    project: str
    code: str
    staging: str
    run: str
    max_rejected: float


def build(pipeline: Any, work: Iterable[Work], settings: Settings) -> None:
    """Add all tables to a pipeline."""
    streams = [(one, stream) for one in work for stream in one.streams]
    empty = [(one, None) for one in work if not one.streams]
    _ = (
        pipeline
        | "streams" >> beam.Create([*streams, *empty], reshuffle=False)
        | "shared among workers" >> beam.Reshuffle()
        | "transform" >> beam.ParDo(Transform(settings))
        | "by table" >> beam.GroupByKey()
        | "load" >> beam.ParDo(Load(settings))
    )


class Transform(beam.DoFn):  # type: ignore[misc]
    """Puts one stream through its table's function; gives (source, what was written and counted)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._functions: dict[str, Function] = {}

    def process(self, element: tuple[Work, str | None]) -> Iterator[tuple[str, dict[str, Any]]]:
        """One stream."""
        work, stream = element
        counted: dict[str, Any] = {"work": work, "read": 0, "files": [], "rejected_files": [], "reasons": {}}
        if stream is not None:
            try:
                self._through(work, stream, counted)
            except AcceleratorError as error:
                # told once, at the end; a worker that fails would be tried again to fail again
                counted["error"] = error.render()
        yield work.source, counted

    def _through(self, work: Work, stream: str, counted: dict[str, Any]) -> None:
        function = self._functions.get(work.function)
        if function is None:
            function = Function(Path(self._settings.code), work.function, work.by_rows)
            self._functions[work.function] = function
        made = pa.ipc.read_schema(pa.py_buffer(work.made))
        reasons: Counter[str] = Counter()
        with (
            Parts(made, f"{self._settings.staging}/rows") as kept,
            Parts(REJECTED, f"{self._settings.staging}/rejected") as rejected,
        ):
            for batch in gathered(read_ahead(tables.rows(stream, work.schema))):
                outcome = function.apply(batch)
                counted["read"] += batch.num_rows
                kept.write(fitted(outcome.kept, made, work.function))
                if outcome.rejected:
                    reasons.update(outcome.reasons)
                    rejected.write(self._dead_letters(work, batch, outcome))
            kept.finish()
            rejected.finish()
        counted["files"], counted["rejected_files"] = kept.files, rejected.files
        counted["reasons"] = dict(reasons.most_common(REASONS))
        if left := reasons.total() - sum(counted["reasons"].values()):
            counted["reasons"]["other reasons"] = left

    def _dead_letters(self, work: Work, batch: pa.RecordBatch, outcome: Outcome) -> pa.Table:
        rows = batch.take(pa.array(outcome.rejected, pa.int64())).to_pylist()
        now = datetime.now(UTC)
        return pa.table(
            [
                [work.source] * len(rows),
                list(outcome.reasons),
                [as_json(row) for row in rows],
                [self._settings.run] * len(rows),
                [now] * len(rows),
            ],
            schema=REJECTED,
        )


class Parts:
    """Rows as Parquet files of a folder, one after the other; nothing is kept in memory but a row group.

    Args:
        schema: Of the rows.
        uri: The folder.
    """

    def __init__(self, schema: pa.Schema, uri: str) -> None:
        self.files: list[str] = []
        self._schema = schema
        self._folder = folder(uri)
        self._scratch = tempfile.TemporaryDirectory(prefix="parts-")
        self._path = Path(self._scratch.name) / "part.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    def write(self, rows: pa.Table) -> None:
        """Add rows."""
        if not rows.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd", compression_level=1)
        self._writer.write_table(rows)
        self._rows += rows.num_rows
        if self._rows >= PART_ROWS:
            self.finish()

    def finish(self) -> None:
        """Put what was written where loads find it."""
        if self._writer is None:
            return
        self._writer.close()
        name = f"{uuid.uuid4().hex}.parquet"
        self._folder.upload(name, self._path)
        self.files.append(f"{self._folder.uri.rstrip('/')}/{name}")
        self._writer, self._rows = None, 0


class Load(beam.DoFn):  # type: ignore[misc]
    """Loads one table's files when all of its streams are through, and writes down what came of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def process(self, element: tuple[str, Iterable[dict[str, Any]]]) -> None:
        """One table."""
        parts = list(element[1])
        work: Work = parts[0]["work"]
        settings = self._settings
        reasons: Counter[str] = Counter()
        for part in parts:
            reasons.update(part["reasons"])
        summary: dict[str, Any] = {
            "source": work.source,
            "target": work.target,
            "read": sum(part["read"] for part in parts),
            "written": 0,
            "rejected": reasons.total(),
            "reasons": dict(reasons.most_common()),
            "error": next((part["error"] for part in parts if "error" in part), ""),
        }
        try:
            dead = [file for part in parts for file in part["rejected_files"]]
            if dead:
                tables.load(settings.project, work.rejected, dead, f"{settings.run} {work.source}", append=True)
            share = summary["rejected"] / summary["read"] if summary["read"] else 0.0
            if share > settings.max_rejected:
                summary["error"] = summary["error"] or (
                    f"{summary['rejected']:,} of {summary['read']:,} rows of {work.source} were rejected, "
                    f"{share:.1%}, and {settings.max_rejected:.1%} are allowed\n"
                    f"  at:   BigQuery table {work.rejected}, which has them with the reasons\n"
                    f"  next: mend the rows, or the function, or raise preprocessing.max_rejected; "
                    f"{work.target} is as it was"
                )
            files = [file for part in parts for file in part["files"]]
            if not summary["error"]:
                files = files or [self._nothing(work)]
                summary["written"] = tables.load(settings.project, work.target, files, settings.run, append=False)
        except AcceleratorError as error:
            summary["error"] = error.render()
        folder(f"{settings.staging}/summaries").write(f"{uuid.uuid4().hex}.json", json.dumps(summary).encode())

    def _nothing(self, work: Work) -> str:
        """A file without rows, so that the table is there with its columns."""
        made = pa.ipc.read_schema(pa.py_buffer(work.made))
        with tempfile.TemporaryDirectory(prefix="parts-") as scratch:
            path = Path(scratch) / "empty.parquet"
            pq.write_table(made.empty_table(), path)
            folder(f"{self._settings.staging}/rows").upload("empty.parquet", path)
        return f"{self._settings.staging}/rows/empty.parquet"


def fitted(rows: pa.Table, schema: pa.Schema, function: str) -> pa.Table:
    """Rows in the columns that the function's first rows had.

    Raises:
        AcceleratorError: They have others, or values of another type.
    """
    try:
        missing = [name for name in schema.names if name not in rows.column_names]
        for name in missing:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
        extra = [name for name in rows.column_names if name not in schema.names]
        if extra:
            raise pa.ArrowInvalid(f"there is a column {extra[0]} that its first rows did not have")
        return rows.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise AcceleratorError(
            f"{function} does not always return the same columns: {error}",
            place="the preprocessing code",
            next_step="give a column one type, in the first rows as in the last",
        ) from error
