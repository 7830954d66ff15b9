"""CSV: rows of load jobs, split by pyarrow and converted a column at a time.

A value or line that is wrong is named by its line and column; detection of schemas is in `infer.py`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.rows.decode import build, read_values, text_column
from localcloud.bigquery.rows.scalars import READERS, json_text, shown
from localcloud.bigquery.types import FieldSchema, arrow_field, type_of

from .infer import SAMPLE_ROWS, fields_of_table, looks_like_header
from .source import BadRecords, LoadOptions, Source, unreadable

_BLOCK = 8 << 20


def detect(source: Source, options: LoadOptions) -> list[FieldSchema]:
    """The schema by the first rows and, where there is one, the header."""
    header, rows = _sample(source, options)
    return fields_of_table(header, rows)


def leading_rows(source: Source, options: LoadOptions, *, autodetect: bool) -> int:
    """How many lines come before the data: as asked, or the header that auto-detection finds."""
    if options.skip_leading_rows is not None:
        return options.skip_leading_rows
    return int(autodetect and _sample(source, options)[0] is not None)


def read(
    source: Source, fields: Sequence[FieldSchema], options: LoadOptions, bad: BadRecords, skip: int
) -> Iterator[pa.Table]:
    """The rows of one file after `skip` lines; bad lines are counted and left out.

    Raises:
        Invalid: The schema has nested or repeated fields, or there are too many bad lines.
    """
    for item in fields:
        if item["type"] == "RECORD" or item["mode"] == "REPEATED":
            raise Invalid(
                f"Failed to parse CSV: field {item['name']} is nested or repeated, which CSV cannot hold. "
                "Load newline-delimited JSON, Avro or Parquet instead."
            )
    yield from _Reader(source, list(fields), options, bad, skip).tables()


@dataclass
class _Reader:
    source: Source
    fields: list[FieldSchema]
    options: LoadOptions
    bad: BadRecords
    skip: int
    invalid: list[Any] = field(default_factory=list)
    """Lines with another number of values than the schema has fields."""

    def tables(self) -> Iterator[pa.Table]:
        done = 0
        try:
            for batch in self._batches():
                self.bad.check()
                text = pa.Table.from_batches([batch])
                self.bad.rows += len(text)
                yield self._convert(text, done, None)
                done += len(text)
                yield from self._ragged()
        except pa.ArrowInvalid as error:
            raise unreadable(self.source, "CSV processing encountered an error", error) from None
        except UnicodeDecodeError as error:
            raise unreadable(self.source, f"The file is not {self.options.encoding}", error) from None
        yield from self._ragged()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        names = [str(position) for position in range(len(self.fields))]
        with self.source.open() as file:
            try:
                reader = arrow_csv.open_csv(
                    file,
                    read_options=arrow_csv.ReadOptions(
                        column_names=names,
                        skip_rows=self.skip,
                        encoding=self.options.encoding,
                        block_size=_BLOCK,
                        use_threads=False,  # else a line that is wrong does not know its number
                    ),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self.options.field_delimiter,
                        quote_char=self.options.quote or False,
                        newlines_in_values=self.options.allow_quoted_newlines,
                        invalid_row_handler=self._wrong_width,
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string()),
                        null_values=list(self.options.null_markers),
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV file" in str(error) or not self._has_data():
                    return
                raise
            with reader:
                yield from reader

    def _has_data(self) -> bool:
        """Whether any line is left after those skipped."""
        with self.source.open() as file:
            return next(islice(file, self.skip, None), None) is not None

    def _wrong_width(self, row: Any) -> str:
        self.invalid.append(row)
        return "skip"

    def _ragged(self) -> Iterator[pa.Table]:
        """The lines that have too few or too many values: padded or cut where that is allowed."""
        invalid, self.invalid = self.invalid, []
        if not invalid:
            return
        texts, lines = [], []
        width = len(self.fields)
        # pyarrow numbers the rows from 1, the skipped lines included and blank lines left out.
        numbers = self._line_numbers([row.number - 1 - self.skip for row in invalid], range(1 << 30))
        for row, line in zip(invalid, numbers, strict=True):
            self.bad.rows += 1
            if (row.actual_columns < width and self.options.allow_jagged_rows) or (
                row.actual_columns > width and self.options.ignore_unknown_values
            ):
                texts.append(row.text)
            elif row.actual_columns < width:
                missing = self.fields[row.actual_columns]["name"]
                self.bad.add(
                    self.source,
                    f"CSV table references column position {row.actual_columns} ({missing}), but line {line} contains "
                    f"only {row.actual_columns} columns.",
                )
                continue
            else:
                self.bad.add(
                    self.source,
                    f"Too many values in line {line}. Found {row.actual_columns} column(s) while expected {width}.",
                )
                continue
            lines.append(line)
        self.bad.judge()
        if texts:
            rows = [_padded(row, width) for row in _parsed(io.StringIO("\n".join(texts)), self.options)]
            columns = [pa.array([self._null(row[i]) for row in rows], pa.string()) for i in range(width)]
            yield self._convert(pa.table(columns, [str(i) for i in range(width)]), 0, lines)

    def _null(self, value: str | None) -> str | None:
        return None if value in self.options.null_markers else value

    def _convert(self, text: pa.Table, offset: int, lines: Sequence[int] | None) -> pa.Table:
        """The text columns as columns of the schema, without the rows that are wrong.

        Args:
            text: A column of text for each field.
            offset: How many well-formed rows of the file came before.
            lines: The line of each row where they are known.
        """
        wrong: dict[int, str] = {}
        columns = []
        for position, item in enumerate(self.fields):
            column = text.column(position).combine_chunks()
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks)
            if not self.options.allow_quoted_newlines and self.options.quote:
                broken = pc.fill_null(pc.match_substring(column, "\n"), False)
                if pc.any(broken).as_py():
                    for row in pc.indices_nonzero(broken).to_pylist():
                        wrong.setdefault(
                            row,
                            f"Missing close quote character ({self.options.quote}), or a line break in quotes "
                            f"without allowQuotedNewlines, in field {item['name']} (position {position})",
                        )
            converted = text_column(column, item)
            if converted is None:
                converted = self._slowly(column, position, item, wrong)
            if item["mode"] == "REQUIRED" and column.null_count:
                for row in pc.indices_nonzero(column.is_null()).to_pylist():
                    wrong.setdefault(row, f"Missing required field {item['name']} (position {position})")
            columns.append(converted)
        schema = pa.schema([_nullable(arrow_field(item)) for item in self.fields])
        table = pa.Table.from_arrays(columns, schema=schema)
        if wrong:
            if lines is None:
                width = range(len(self.fields), len(self.fields) + 1)
                numbers = self._line_numbers([offset + row for row in wrong], width)
            else:
                numbers = [lines[row] for row in wrong]
            for number, message in sorted(zip(numbers, wrong.values(), strict=True)):
                self.bad.add(self.source, f"{message} at line {number}.")
            self.bad.judge()
            table = table.filter(pa.array([row not in wrong for row in range(len(table))], pa.bool_()))
        return table

    def _slowly(self, column: pa.Array, position: int, item: FieldSchema, wrong: dict[int, str]) -> pa.Array:
        values = column.to_pylist()
        converted, problems = read_values(values, READERS.get(item["type"], json_text))
        for row, _ in problems:
            wrong.setdefault(
                row,
                f"Could not parse '{shown(values[row])}' as {type_of(item)} for field {item['name']} "
                f"(position {position})",
            )
        return build(converted, item, arrow_field(item).type)

    def _line_numbers(self, rows: Sequence[int], widths: range) -> list[int]:
        """The lines on which rows begin, by reading the file again.

        Args:
            rows: Indexes among the rows of the file that have one of these widths.
            widths: How many values those rows have.
        """
        wanted = set(rows)
        found: dict[int, int] = {}
        with self.source.open() as file:
            text = io.TextIOWrapper(file, self.options.encoding, newline="")
            for _ in islice(text, self.skip):
                pass
            reader = csv.reader(text, **_dialect(self.options))
            index, line = 0, self.skip + 1
            for row in reader:
                if row and len(row) in widths:
                    if index in wanted:
                        found[index] = line
                        if len(found) == len(wanted):
                            break
                    index += 1
                line = self.skip + reader.line_num + 1
        return [found.get(row, 0) for row in rows]


def _nullable(item: pa.Field) -> pa.Field:
    return pa.field(item.name, item.type, metadata=item.metadata)


def _dialect(options: LoadOptions) -> dict[str, Any]:
    quoting = csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE
    return {"delimiter": options.field_delimiter, "quotechar": options.quote or None, "quoting": quoting}


def _parsed(text: io.TextIOBase | io.StringIO, options: LoadOptions) -> Iterator[list[str]]:
    """Rows of text; blank lines are no rows."""
    return (row for row in csv.reader(text, **_dialect(options)) if row)


def _padded(row: Sequence[str], width: int) -> list[str | None]:
    return [*row[:width], *[None] * (width - len(row))]


def _sample(source: Source, options: LoadOptions) -> tuple[list[str] | None, list[list[str | None]]]:
    """The header, where there is one, and the first rows of data with nulls as None.

    With skipLeadingRows N the header is looked for in line N; with 0 there is none.
    """
    skip = options.skip_leading_rows
    with source.open() as file:
        text = io.TextIOWrapper(file, options.encoding, newline="")
        for _ in islice(text, max(0, (skip or 0) - 1)):
            pass
        rows = list(islice(_parsed(text, options), SAMPLE_ROWS + 1))
    data: list[list[str | None]] = [[None if v in options.null_markers else v for v in row] for row in rows]
    if not rows or skip == 0:
        return None, data
    if skip or looks_like_header(data[0], data[1:]):
        return rows[0], data[1:]
    return None, data
