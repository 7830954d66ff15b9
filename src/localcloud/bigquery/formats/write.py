"""Rows as files of extract jobs: CSV, newline-delimited JSON, Parquet and Avro.

The forms of values are those of https://cloud.google.com/bigquery/docs/exporting-data; which rows go into which
file is `jobs/extract.py`'s to say.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.rows.encode import encode_text, float_text
from localcloud.bigquery.types import FieldSchema, arrow_schema

from . import avro

COMPRESSIONS = {
    "CSV": ("NONE", "GZIP"),
    "NEWLINE_DELIMITED_JSON": ("NONE", "GZIP"),
    "PARQUET": ("NONE", "SNAPPY", "GZIP", "ZSTD"),
    "AVRO": ("NONE", "DEFLATE", "SNAPPY"),
}
"""What each format can be compressed with."""


@dataclass(frozen=True)
class ExtractOptions:
    """JobConfigurationExtract as the writers use it."""

    format: str = "CSV"
    compression: str = "NONE"
    field_delimiter: str = ","
    print_header: bool = True
    use_avro_logical_types: bool = False


def write_file(path: Path, tables: Iterable[pa.Table], fields: Sequence[FieldSchema], options: ExtractOptions) -> None:
    """Writes one file.

    Raises:
        Invalid: The format cannot hold the fields.
    """
    if options.format == "PARQUET":
        schema = arrow_schema(fields)
        codec = options.compression.lower()
        with pq.ParquetWriter(path, schema, compression=codec) as writer:
            for table in tables:
                writer.write_table(table.cast(schema))
    elif options.format == "AVRO":
        codec = {"NONE": "null"}.get(options.compression, options.compression.lower())
        avro.write(path, tables, fields, codec=codec, logical=options.use_avro_logical_types)
    else:
        with _open(path, options.compression) as file:
            if options.format == "CSV":
                _write_csv(file, tables, fields, options)
            else:
                for table in tables:
                    file.writelines(_json_lines(table, fields))


def _open(path: Path, compression: str) -> IO[bytes]:
    if compression == "GZIP":
        return cast("IO[bytes]", gzip.open(path, "wb", compresslevel=6))
    return path.open("wb")


def _write_csv(
    file: IO[bytes], tables: Iterable[pa.Table], fields: Sequence[FieldSchema], options: ExtractOptions
) -> None:
    for item in fields:
        if item["type"] == "RECORD" or item["mode"] == "REPEATED":
            raise Invalid(
                f"Operation cannot be performed on a nested schema. Field: {item['name']}. "
                "Use NEWLINE_DELIMITED_JSON, AVRO or PARQUET instead."
            )
    delimiter = options.field_delimiter
    if options.print_header:
        names = (_quoted(pa.array([item["name"]]), delimiter)[0].as_py() for item in fields)
        file.write(delimiter.join(names).encode() + b"\n")
    for table in tables:
        if not len(table):
            continue
        columns = [_csv_column(table.column(i), item, delimiter) for i, item in enumerate(fields)]
        rows = columns[0]
        if len(columns) > 1:
            rows = pc.binary_join_element_wise(*columns, pa.scalar(delimiter, pa.large_string()))
        whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
        file.write(pc.binary_join(whole, pa.scalar("\n", pa.large_string()))[0].as_buffer())
        file.write(b"\n")


def _csv_column(column: pa.ChunkedArray, item: FieldSchema, delimiter: str) -> pa.Array:
    text = file_text(column, item)
    if item["type"] in ("STRING", "JSON", "GEOGRAPHY"):
        text = _quoted(text, delimiter)
    return pc.fill_null(text, "").cast(pa.large_string())


def _quoted(text: pa.Array, delimiter: str) -> pa.Array:
    """Text in quotes where it needs them; empty text has them, which tells it from NULL."""
    special = "".join(f"\\{c}" if not c.isalnum() else c for c in ('"', delimiter))
    needed = pc.or_(pc.match_substring_regex(text, f"[{special}\\r\\n]"), pc.equal(text, ""))
    inner = pc.replace_substring(text, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', inner, '"', ""), text)


def file_text(column: pa.ChunkedArray | pa.Array, item: FieldSchema) -> pa.Array:
    """A scalar column as exported files write it: a TIMESTAMP is `2013-01-01 05:00:00 UTC`."""
    if item["type"] == "TIMESTAMP":
        naive = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), pa.timestamp("us"))
        moment = encode_text(naive, {**item, "type": "DATETIME"})
        spaced = pc.replace_substring(moment, "T", " ", max_replacements=1)
        return pc.binary_join_element_wise(spaced, "UTC", " ")
    return encode_text(column, item)


def _json_lines(table: pa.Table, fields: Sequence[FieldSchema]) -> Iterator[bytes]:
    """One object a row; nulls are left out, INT64 and NUMERIC are text, as BigQuery exports them."""
    names = [item["name"] for item in fields]
    columns = [_json_column(table.column(i), item) for i, item in enumerate(fields)]
    for row in zip(*columns, strict=True):
        pairs = zip(names, row, strict=True)
        yield orjson.dumps({name: value for name, value in pairs if value is not None}) + b"\n"


def _json_column(column: pa.ChunkedArray | pa.Array, item: FieldSchema) -> list[Any]:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if item["mode"] == "REPEATED":
        flat = iter(_json_column(column.flatten(), {**item, "mode": "NULLABLE"}))
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_pylist()
        return [[next(flat) for _ in range(length)] for length in lengths]
    if item["type"] == "RECORD":
        children = [_json_column(child, f) for child, f in zip(column.flatten(), item["fields"], strict=True)]
        names = [f["name"] for f in item["fields"]]
        records = (
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*children, strict=True)
        )
        return [record if valid else None for record, valid in zip(records, column.is_valid().to_pylist(), strict=True)]
    if item["type"] == "BOOLEAN":
        return cast("list[Any]", column.to_pylist())
    if item["type"] == "FLOAT":
        return [_json_float(value) for value in column.to_pylist()]
    if item["type"] == "JSON":
        return [None if v is None else orjson.Fragment(v) for v in column.to_pylist()]
    return cast("list[Any]", file_text(column, item).to_pylist())


def _json_float(value: float | None) -> Any:
    """A number; what JSON has no number for is text."""
    if value is None or value - value == 0:
        return value
    return float_text(value)
