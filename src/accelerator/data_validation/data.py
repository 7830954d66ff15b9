"""Which rows are validated: the splits as training has them, and those to be served; and as what TFDV takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from accelerator.config import Config
from accelerator.errors import ConfigError, DataError
from accelerator.training import sources
from accelerator.training.bigquery import TableSource
from accelerator.training.columns import Columns, is_text
from accelerator.training.sources import FileSource, Source

_JSON = re.compile(r"\.(jsonl?|ndjson)(\.gz)?$")
_ROWS = 131_072
_BYTES = 64 << 20
"""What TFDV gets at a time: each call costs some milliseconds a column, and all of it is in memory."""


@dataclass(frozen=True)
class Rows:
    """One data set.

    Args:
        name: `train`, `validation`, `test` or `serving`.
        source: Where the rows come from.
        types: The columns to look at, as the source has them.
        optional: Whether there may be no such rows: a column that tells the split may know of no test rows.
    """

    name: str
    source: Source
    types: pa.Schema
    optional: bool = False

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in batches of some size, in the types that TFDV takes."""
        waiting: list[pa.RecordBatch] = []
        for batch in self.source.batches(self.types.names):
            waiting.append(batch)
            if sum(map(len, waiting)) >= _ROWS or sum(one.nbytes for one in waiting) >= _BYTES:
                yield _merged(waiting)
                waiting = []
        if waiting:
            yield _merged(waiting)

    @property
    def truths(self) -> list[str]:
        """The columns of true and false, which reach TFDV as 1 and 0."""
        return [field.name for field in self.types if pa.types.is_boolean(field.type)]

    @property
    def whole(self) -> list[str]:
        """The columns of whole numbers."""
        return [field.name for field in self.types if pa.types.is_integer(field.type)]


def rows(config: Config, environment: Mapping[str, str], scratch: Path) -> list[Rows]:
    """The data sets of a project, training data first.

    Args:
        config: `data` tells the splits, `data_validation.serving` the rows to be served.
        environment: Where the variables of a managed dataset are looked up.
        scratch: A folder for files fetched from buckets.

    Raises:
        ConfigError: Nothing names the data, or they are in a form that cannot be read here.
        DataError: A table or column is not there, or of a type that no model takes.
    """
    _refuse_json(config, environment)
    splits = sources.splits(config, environment, scratch)
    train = splits["train"]
    columns = Columns.of(train.schema(), config, train.place)
    told = config.data.split is not None and config.data.split.column is not None
    found = [
        Rows(name, source, _types(source, columns.names), optional=told and name == "test")
        for name, source in splits.items()
    ]
    serving = _serving(config, scratch)
    if serving is not None:
        found.append(Rows("serving", serving, _types(serving, list(columns.features))))
    return found


def _types(source: Source, names: list[str]) -> pa.Schema:
    """Those of the columns that are there: what is missing is an anomaly, which TFDV names."""
    schema = source.schema()
    return pa.schema([schema.field(name) for name in names if name in schema.names])


def _serving(config: Config, scratch: Path) -> Source | None:
    section = config.data_validation.serving if config.data_validation is not None else None
    if section is None:
        return None
    time, window = config.data.time, section.window
    if window is not None and time is None:
        raise ConfigError(
            "data_validation.serving.window is given, but data.time names no column to cut by",
            place=config.place("data_validation.serving.window"),
            next_step="Name the column of the times under data.time.",
        )
    table = section.table or config.data.table
    if table is not None:
        return TableSource(table, project=config.project, time=time, window=window)
    return FileSource(config.data.files, base=config.directory, scratch=scratch, time=time, window=window)


def _refuse_json(config: Config, environment: Mapping[str, str]) -> None:
    managed = "AIP_TRAINING_DATA_URI" in environment
    files = () if managed or config.data.table is not None else config.data.files
    if (managed and environment.get("AIP_DATA_FORMAT") == "jsonl") or any(map(_JSON.search, files)):
        raise DataError(
            "Data validation reads no JSON lines: the Arrow that TFDV 1.16.1 needs has no such reader",
            place=config.place("data.files"),
            next_step="Give Parquet, CSV or a BigQuery table, or leave data_validation out.",
        )


def _merged(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all the rows."""
    table = pa.Table.from_batches(batches).combine_chunks()
    names = table.column_names
    return pa.RecordBatch.from_arrays([_plain(table.column(name)) for name in names], names)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Text as bytes, true and false as 1 and 0, decimals as floats, dates and times as seconds since 1970."""
    kind = column.type
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if is_text(kind):
        return (array.cast(pa.string()) if pa.types.is_dictionary(kind) else array).cast(pa.large_binary())
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8())
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return array.cast(pa.float64(), safe=False)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    return array.cast(pa.float64() if pa.types.is_floating(kind) else pa.int64(), safe=False)
