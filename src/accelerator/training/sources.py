"""Where the rows of each split come from: Vertex AI's data variables or mlops.yaml; and files of any kind.

Tables of BigQuery are read by accelerator.training.bigquery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from accelerator.config import Config, Split
from accelerator.config.sections import SPLIT_VALUES
from accelerator.errors import ConfigError, DataError, suggestion
from accelerator.storage import Files
from accelerator.training.columns import Columns, is_text, usable
from accelerator.training.fractions import FractionSource
from accelerator.windows import TimeRange

MANAGED = {
    "train": "AIP_TRAINING_DATA_URI",
    "validation": "AIP_VALIDATION_DATA_URI",
    "test": "AIP_TEST_DATA_URI",
}
"""The variables in which Vertex AI says where a managed dataset's splits are."""

DEFAULT_SPLIT = Split(train=0.8, validation=0.2)
"""What holds where mlops.yaml has no `data.split`."""

_FORMATS = {"parquet": "parquet", "csv": "csv", "jsonl": "json", "json": "json", "ndjson": "json"}


class Source(Protocol):
    """Rows of one split, which can be read more than once."""

    place: str
    """What an error names: the table or the files, and the window or fraction."""

    def schema(self) -> pa.Schema:
        """Every column there is, found out without reading rows."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, in the same order every time, a bounded number of them in memory."""


def splits(config: Config, environment: Mapping[str, str], scratch: Path) -> dict[str, Source]:
    """The source of each split: `train`, `validation` and, where there is one, `test`.

    Args:
        config: Its `data` section tells the table or files and the split, unless Vertex AI tells them.
        environment: Where AIP_DATA_FORMAT and the uris of a managed dataset are looked up.
        scratch: A folder for files fetched from buckets.

    Raises:
        ConfigError: Nothing names the data, or there is nothing to validate on.
        DataError: A column that fractions are drawn by is not there.
    """
    managed = {name: environment[key] for name, key in MANAGED.items() if environment.get(key)}
    found = (
        _managed(config, managed, environment.get("AIP_DATA_FORMAT", ""), scratch)
        if "train" in managed
        else _configured(config, scratch)
    )
    if "validation" not in found:
        raise ConfigError(
            "There are no rows to validate on",
            place=config.place("data.split"),
            next_step="Give data.split a validation window or fraction, such as validation: 0.2.",
        )
    return found


def _managed(config: Config, uris: Mapping[str, str], kind: str, scratch: Path) -> dict[str, Source]:
    from accelerator.training.bigquery import TableSource

    if kind == "bigquery":
        return {name: TableSource(uri.removeprefix("bq://"), project=config.project) for name, uri in uris.items()}
    if kind not in ("csv", "jsonl"):
        raise ConfigError(
            f"AIP_DATA_FORMAT is '{kind}'",
            place="the environment of the job",
            next_step="Vertex AI sets csv, jsonl or bigquery; set one of them beside AIP_TRAINING_DATA_URI.",
        )
    return {
        name: FileSource(uri.split(","), base=config.directory, scratch=scratch, form=_FORMATS[kind])
        for name, uri in uris.items()
    }


def _configured(config: Config, scratch: Path) -> dict[str, Source]:
    from accelerator.training.bigquery import TableSource

    data = config.data
    if data.table is None and not data.files:
        raise ConfigError(
            "Nothing says where the data are",
            place=config.place("data"),
            next_step="Add data.table (BigQuery) or data.files (gs:// uris or paths).",
        )

    def rows(window: TimeRange | None, part: tuple[str, str] | None = None) -> Source:
        if data.table is not None:
            return TableSource(data.table, project=config.project, time=data.time, window=window, part=part)
        return FileSource(data.files, base=config.directory, scratch=scratch, time=data.time, window=window, part=part)

    split = data.split or DEFAULT_SPLIT
    if split.column is not None:
        return {name: rows(None, (split.column, value)) for name, value in SPLIT_VALUES.items()}
    windows = split.windows()
    return {name: rows(window) for name, window in windows.items()} if windows else _drawn(config, split, rows(None))


def _drawn(config: Config, split: Split, rows: Source) -> dict[str, Source]:
    """The splits of fractions, drawn by `data.key` or else by every column that is learned from or learned."""
    key, schema = config.data.key, rows.schema()
    if key is not None and (key not in schema.names or not usable(schema.field(key).type)):
        there = key in schema.names
        raise DataError(
            f"The key column '{key}' is of type {schema.field(key).type}"
            if there
            else f"There is no key column '{key}' in {rows.place}",
            place=config.place("data.key"),
            next_step="Name a column of text, numbers or times." if there else suggestion(key, schema.names),
        )
    by = [key] if key is not None else Columns.of(schema, config, rows.place).names
    of = f"of the values of {key}" if key is not None else "of the rows"
    why = "" if config.data.split is not None else ", the default without data.split"
    return {
        name: FractionSource(rows, by=by, part=part, place=f"{rows.place} ({getattr(split, name):g} {of}{why})")
        for name, part in split.parts().items()
    }


class FileSource:
    """Parquet, CSV with a header, or JSON lines, in buckets or on disk.

    Args:
        patterns: Uris and paths, with wildcards or without.
        base: What relative paths are relative to.
        scratch: Where files from buckets are kept.
        form: `parquet`, `csv` or `json`; by the files' suffix if empty.
        time: The column that `window` is over.
        window: Which rows; all if None.
        part: A column and the text that it holds in the rows that are taken; all if None.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        base: Path,
        scratch: Path,
        form: str = "",
        time: str | None = None,
        window: TimeRange | None = None,
        part: tuple[str, str] | None = None,
    ) -> None:
        self._patterns = patterns
        self._base, self._scratch = base, scratch
        self._form = form
        self._time, self._window, self._part = time, window, part
        self.place = ", ".join(patterns) + (f" ({window})" if window is not None else "")
        self.place += f" ({part[0]} = {part[1]})" if part is not None else ""

    @cached_property
    def _files(self) -> Files:
        return Files(self._patterns, base=self._base, scratch=self._scratch)

    def schema(self) -> pa.Schema:
        with self._errors():
            return self._dataset([self._files.first()]).schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._errors():
            dataset = self._dataset(self._files.all())
            condition, told_by = self._condition(dataset.schema)
            read = [*columns, *(name for name in told_by if name not in columns)]
            # One file at a time and little ahead: the default holds hundreds of megabytes of a wide table. The rows
            # are filtered here, since Arrow's scanner lets a gigabyte gather before a filter of its own.
            for fragment in dataset.get_fragments():
                if condition is not None and isinstance(fragment, ds.ParquetFileFragment):
                    fragment = fragment.subset(condition)  # without the row groups that have none
                scanner = fragment.scanner(dataset.schema, columns=read, batch_size=32_768, batch_readahead=1)
                for batch in scanner.to_batches():
                    rows = pa.Table.from_batches([batch])
                    if condition is not None:
                        rows = rows.filter(condition).select(list(columns))
                    yield from (piece for piece in rows.to_batches() if piece.num_rows)

    def _dataset(self, paths: list[Path]) -> ds.Dataset:
        suffix = paths[0].name.removesuffix(".gz").rpartition(".")[2].lower()
        form = self._form or _FORMATS.get(suffix)
        if form is None:
            raise DataError(
                f"The data files end in '.{suffix}', which is no known format",
                place=self.place,
                next_step="Give Parquet (.parquet), CSV (.csv) or JSON lines (.jsonl).",
            )
        return ds.dataset([str(path) for path in paths], format=form)

    def _condition(self, schema: pa.Schema) -> tuple[pc.Expression | None, list[str]]:
        """What holds for the rows that are taken, and the columns that tell; None for all."""
        if self._part is not None:
            column, value = self._part
            if column not in schema.names:
                raise DataError(
                    f"There is no column '{column}' in the data, which data.split.column names",
                    place=self.place,
                    next_step=suggestion(column, schema.names),
                )
            return ds.field(column) == value, [column]
        if self._window is None or self._time is None:
            return None, []
        if self._time not in schema.names:
            raise missing_time(self._time, self.place, schema.names)
        kind, column = schema.field(self._time).type, ds.field(self._time)
        if is_text(kind):
            # Fractions of a second and the UTC that BigQuery writes keep CSV and JSON readers from seeing a time.
            kind = pa.timestamp("us")
            column = pc.replace_substring_regex(column, r"( UTC|Z|\+00:?00)$", "").cast(kind)
        if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
            raise DataError(
                f"The time column '{self._time}' is of type {kind}",
                place=self.place,
                next_step="Write times as 2013-07-01T12:00:00Z and dates as 2013-07-01.",
            )
        condition = column.is_valid()
        if self._window.start is not None:
            condition &= column >= _scalar(self._window.start, kind)
        if self._window.end is not None:
            condition &= column < _scalar(self._window.end, kind)
        return condition, [self._time]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"The data files cannot be read: {str(error).splitlines()[0]}",
                place=self.place,
                next_step="Check that all files are whole, of one format, and have the same columns.",
            ) from error


def missing_time(name: str, place: str, there: Sequence[str]) -> DataError:
    """The error for a `data.time` that is no column."""
    return DataError(f"There is no time column '{name}' in {place}", place=place, next_step=suggestion(name, there))


def _scalar(moment: datetime, kind: pa.DataType) -> Any:
    """A bound of a window as the column has it: a day, a local time taken as UTC, or an instant."""
    if pa.types.is_date(kind):
        return pa.scalar(moment.date(), pa.date32())
    if kind.tz is None:
        moment = moment.replace(tzinfo=None)
    return pa.scalar(moment, pa.timestamp("us", tz=kind.tz))
