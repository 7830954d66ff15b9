"""Parquet and ORC: files that have columns and a schema already.

Conversions are those of https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet; what type a
column of a table has is decided in `types.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.types import FieldSchema, arrow_field, fields_of_arrow, type_of, type_of_arrow

from .source import CHUNK_ROWS, BadRecords, LoadOptions, Source, unreadable

_WIDENING = {("INT64", "FLOAT64"), ("INT64", "NUMERIC"), ("INT64", "BIGNUMERIC"), ("NUMERIC", "BIGNUMERIC")}
_TEXTS = {"STRING", "JSON", "GEOGRAPHY"}


def detect_parquet(source: Source, options: LoadOptions) -> list[FieldSchema]:
    """The schema that the file itself has."""
    return _detect(source, _open_parquet(source).schema_arrow, options.enable_list_inference)


def read_parquet(
    source: Source, fields: Sequence[FieldSchema], options: LoadOptions, bad: BadRecords
) -> Iterator[pa.Table]:
    """The rows of one Parquet file."""
    file = _open_parquet(source)
    try:
        for batch in file.iter_batches(CHUNK_ROWS * 2):
            yield _conformed(pa.Table.from_batches([batch]), fields, source, bad, options.ignore_unknown_values)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(source, "Failed to read the Parquet file", error) from None


def _open_parquet(source: Source) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source.path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(source, "Input file is not in Parquet format", error) from None


def detect_orc(source: Source, options: LoadOptions) -> list[FieldSchema]:
    """The schema that the file itself has."""
    return _detect(source, _open_orc(source).schema, lists_inferred=True)


def read_orc(
    source: Source, fields: Sequence[FieldSchema], options: LoadOptions, bad: BadRecords
) -> Iterator[pa.Table]:
    """The rows of one ORC file."""
    file = _open_orc(source)
    try:
        for stripe in range(file.nstripes):
            table = pa.Table.from_batches([file.read_stripe(stripe)])
            yield _conformed(table, fields, source, bad, options.ignore_unknown_values)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(source, "Failed to read the ORC file", error) from None


def _open_orc(source: Source) -> pa.orc.ORCFile:
    from pyarrow import orc

    try:
        return orc.ORCFile(source.path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(source, "Input file is not in ORC format", error) from None


def _detect(source: Source, schema: pa.Schema, lists_inferred: bool) -> list[FieldSchema]:
    plain = pa.schema([item for item in schema if not _pandas_index(item.name)])
    try:
        fields = fields_of_arrow(plain)
    except Invalid as error:
        raise unreadable(source, "Unsupported column", error.message) from None
    relaxed = [{**f, "mode": "NULLABLE"} if f["mode"] == "REQUIRED" else f for f in fields]
    return relaxed if lists_inferred else [_with_list_records(f) for f in relaxed]


def _with_list_records(item: FieldSchema) -> FieldSchema:
    """Without list inference a Parquet LIST becomes a record `list` of records `element`."""
    inner = {k: v for k, v in item.items() if k != "fields"}
    if "fields" in item:
        inner["fields"] = [_with_list_records(f) for f in item["fields"]]
    if item["mode"] != "REPEATED":
        return inner
    element = {**inner, "name": "element", "mode": "NULLABLE"}
    wrapper = {"name": "list", "type": "RECORD", "mode": "REPEATED", "fields": [element]}
    return {"name": item["name"], "type": "RECORD", "mode": "NULLABLE", "fields": [wrapper]}


def _pandas_index(name: str) -> bool:
    return name.startswith("__index_level_")


def _conformed(
    table: pa.Table, fields: Sequence[FieldSchema], source: Source, bad: BadRecords, ignore_unknown: bool
) -> pa.Table:
    bad.check()
    bad.rows += len(table)
    try:
        return conform(table, fields, ignore_unknown=ignore_unknown)
    except Invalid as error:
        raise unreadable(source, "Provided schema does not match the file", error.message) from None


def conform(table: pa.Table, fields: Sequence[FieldSchema], *, ignore_unknown: bool = False) -> pa.Table:
    """The table with exactly the columns of the schema, in their Arrow types; columns it lacks are left out.

    Raises:
        Invalid: A column that the schema does not have, or of a type that does not fit; the message names it.
    """
    by_lower = {item["name"].lower(): item for item in fields}
    columns, chosen = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        item = by_lower.get(name.lower())
        if item is None:
            if ignore_unknown or _pandas_index(name):
                continue
            raise Invalid(f"Column {name} is not in the table's schema ({', '.join(f['name'] for f in fields)})")
        target = arrow_field(item)
        chosen.append(pa.field(item["name"], target.type, metadata=target.metadata))
        columns.append(_fitted(column, item, target.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(chosen))


def _fitted(column: pa.ChunkedArray, item: FieldSchema, target: pa.DataType) -> pa.ChunkedArray:
    name = item["name"]
    if item["type"] == "RECORD" and item["mode"] != "REPEATED" and _is_list(column.type):
        column = _list_record(column, item)
    if column.type.equals(target):
        return column
    try:
        found = type_of_arrow(column.type)
    except Invalid as error:
        raise Invalid(f"Column {name}: {error.message}") from None
    wanted = type_of(item)
    same = str(found) == str(wanted) or pa.types.is_null(column.type)
    scalar = found.element is None and found.kind != "STRUCT"
    if scalar and not same:
        both_text = found.kind in _TEXTS and wanted.kind in _TEXTS
        bytes_as_text = found.kind == "BYTES" and wanted.kind in _TEXTS
        moments = {found.kind, wanted.kind} == {"DATETIME", "TIMESTAMP"}
        if not (both_text or bytes_as_text or moments or (found.kind, wanted.kind) in _WIDENING):
            raise Invalid(f"Column {name} has type {found} which does not match the table's type {wanted}")
    try:
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        return pc.cast(column, target, safe=not pa.types.is_timestamp(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Invalid(f"Column {name} of type {found} cannot be written as {wanted}: {error}") from None


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def _list_record(column: pa.ChunkedArray, item: FieldSchema) -> pa.ChunkedArray:
    """A list column as `{list: [{element: …}]}`, for a table that was made without list inference."""
    target = arrow_field(item).type
    element = target.field(0).type.value_type
    chunks = []
    for chunk in column.chunks:
        values = pc.cast(chunk.flatten(), element.field(0).type)
        inner = pa.StructArray.from_arrays([values], fields=list(element))
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
        lists = pa.ListArray.from_arrays(offsets, inner, type=target.field(0).type)
        chunks.append(pa.StructArray.from_arrays([lists], fields=list(target), mask=chunk.is_null()))
    return pa.chunked_array(chunks, target)
