"""Columns of Arrow as JSON values, whole columns at a time, in the forms that Vertex AI sends BigQuery's types in.

TIMESTAMP is `2019-01-01 23:59:59.999999+00:00`, DATETIME has a T, NUMERIC is a float, RECORD an object, BYTES Base64:
https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions. Which columns are sent is not known here.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FEW = 4
"""How many times a value must occur on average for strings to be taken from a dictionary."""


def values(column: pa.Array) -> list[Any]:
    """A column's values as orjson takes them.

    Python objects are made by numpy and from dictionaries: asking Arrow for each value costs several times as much.
    """
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(column)
    if pa.types.is_decimal(kind):
        return _numbers(pc.cast(column, pa.float64(), safe=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _strings(column)
    if pa.types.is_timestamp(kind):
        text = pc.cast(pc.cast(column, pa.timestamp("us")), pa.string())
        text = _without_zeros(text)
        if kind.tz is None:
            return _strings(pc.replace_substring(text, " ", "T"))
        return _strings(pc.binary_join_element_wise(text, pa.scalar("+00:00"), pa.scalar("")))
    if pa.types.is_date(kind):
        return _strings(pc.cast(column, pa.string()))
    if pa.types.is_time(kind):
        return _strings(_without_zeros(pc.cast(column, pa.string())))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if each is None else base64.b64encode(each).decode() for each in column.to_pylist()]
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner, ends = (
            values(column.flatten()),
            np.cumsum([0, *pc.fill_null(pc.list_value_length(column), 0).to_pylist()]),
        )
        return [inner[start:end] for start, end in zip(ends.tolist(), ends[1:].tolist(), strict=False)]
    if pa.types.is_null(kind):
        return [None] * len(column)
    return [None if each is None else str(each) for each in column.to_pylist()]


def rows(batch: pa.RecordBatch, names: tuple[str, ...], *, objects: bool) -> list[Any]:
    """The rows of some columns: objects `{name: value}`, or arrays in the order of the names."""
    columns = [values(batch.column(name)) for name in names]
    if not columns:
        return [{} if objects else () for _ in range(batch.num_rows)]
    arrays = zip(*columns, strict=True)
    return [dict(zip(names, row, strict=True)) for row in arrays] if objects else list(arrays)


def _numbers(column: pa.Array) -> list[Any]:
    if not column.null_count:
        found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return found
    zero = pa.scalar(False if pa.types.is_boolean(column.type) else 0, column.type)
    found = pc.fill_null(column, zero).to_numpy(zero_copy_only=False).tolist()
    for index in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
        found[index] = None
    return found


def _strings(column: pa.Array) -> list[Any]:
    encoded = column.dictionary_encode()
    known = encoded.dictionary.to_pylist()
    if len(known) * _FEW > len(column):
        found: list[Any] = column.to_pylist()
        return found
    known.append(None)
    codes = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False).tolist()
    return [known[code] for code in codes]


def _without_zeros(text: pa.Array) -> pa.Array:
    """A fraction of a second of zeros is left out, as Python writes times."""
    return pc.replace_substring_regex(text, r"\.0+$", "")


def _structs(column: pa.Array) -> list[Any]:
    names = [field.name for field in column.type]
    inner = [values(child) for child in column.flatten()]
    found: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*inner, strict=True)]
    for index in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
        found[index] = None
    return found
