"""Newline-delimited JSON: rows of load jobs, decoded in chunks.

Values are the business of `rows/decode.py`, which also serves insertAll.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from localcloud.bigquery.rows.decode import Decoder, RowError
from localcloud.bigquery.types import FieldSchema

from .infer import SAMPLE_ROWS, fields_of_records
from .source import CHUNK_ROWS, BadRecords, LoadOptions, Source


def detect(source: Source, options: LoadOptions) -> list[FieldSchema]:
    """The schema by the first rows."""
    records = []
    for _, line in islice(_lines(source, options), SAMPLE_ROWS):
        try:
            records.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue  # the load itself says what is wrong with it
    return fields_of_records(records)


def read(source: Source, fields: Sequence[FieldSchema], options: LoadOptions, bad: BadRecords) -> Iterator[pa.Table]:
    """The rows of one file; bad lines are counted and left out."""
    decoder = Decoder(fields, ignore_unknown=options.ignore_unknown_values)
    lines = _lines(source, options)
    while chunk := list(islice(lines, CHUNK_ROWS)):
        bad.check()
        bad.rows += len(chunk)
        records: list[Any] = []
        numbers = []
        problems = []
        for number, line in chunk:
            try:
                records.append(orjson.loads(line))
                numbers.append(number)
            except orjson.JSONDecodeError as error:
                problems.append(
                    (number, f"JSON parsing error in row at line {number}, column {error.colno}: {error.msg}")
                )
        table, errors = decoder.decode(records)
        if errors:
            table = _without(table, errors)
            for row, message in _by_row(errors).items():
                problems.append((numbers[row], f"JSON processing error in row at line {numbers[row]}: {message}"))
        for _, message in sorted(problems):
            bad.add(source, message)
        bad.judge()
        yield table


def _lines(source: Source, options: LoadOptions) -> Iterator[tuple[int, str | bytes]]:
    """The lines that are not blank, with their numbers from 1 on."""
    with source.open() as file:
        if options.encoding == "UTF-8":
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.isspace():
                    yield number, line
        else:
            for number, text in enumerate(io.TextIOWrapper(file, options.encoding), 1):
                if not text.isspace():
                    yield number, text


def _without(table: pa.Table, errors: Sequence[RowError]) -> pa.Table:
    wrong = {error.row for error in errors}
    return table.filter(pa.array([row not in wrong for row in range(table.num_rows)], pa.bool_()))


def _by_row(errors: Sequence[RowError]) -> dict[int, str]:
    """One message a row, naming each of its fields that is wrong."""
    messages: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda error: error.row):
        place = f"field {error.location}: " if error.location else ""
        messages.setdefault(error.row, []).append(place + error.message)
    return {row: "; ".join(texts) for row, texts in messages.items()}
