"""Arrow tables as the rows of the REST API: `{"f": [{"v": …}]}`, encoded a column at a time.

Knows how each BigQuery type is written (https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list);
which rows and columns are wanted is the caller's to say.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from localcloud.bigquery.types import FieldSchema

TimestampFormat = Literal["FLOAT64", "INT64", "ISO8601_STRING"]

_NULL = '{"v":null}'
_COMMA = pa.scalar(",", pa.large_string())
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


def encode_rows(table: pa.Table, fields: Sequence[FieldSchema], timestamps: TimestampFormat = "FLOAT64") -> bytes:
    """The rows as one JSON array of `{"f": […]}` objects.

    Args:
        table: The rows, with one column for each field, in that order.
        fields: The REST schema of the columns.
        timestamps: How TIMESTAMP is written: seconds as a float, microseconds as an integer, or ISO 8601.
    """
    if table.num_rows == 0:
        return b"[]"
    cells = [
        _cells(table.column(position), field, timestamps).cast(pa.large_string())
        for position, field in enumerate(fields)
    ]
    if not cells:
        return b"[" + b",".join([b'{"f":[]}'] * table.num_rows) + b"]"
    rows = _beside(cells)
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
    joined = pc.binary_join(whole, pa.scalar(']},{"f":[', pa.large_string()))
    return b"".join((b'[{"f":[', joined[0].as_buffer(), b"]}]"))


def encode_text(column: pa.Array, field: FieldSchema, timestamps: TimestampFormat = "ISO8601_STRING") -> pa.Array:
    """A scalar column as the text BigQuery writes for its values; nulls stay null."""
    return _text(_plain(column), field["type"].upper(), timestamps)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array of a plain (not dictionary, not view) type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column


def _cells(column: pa.Array | pa.ChunkedArray, field: FieldSchema, timestamps: TimestampFormat) -> pa.Array:
    """Each value of the column as its `{"v": …}`."""
    array = _plain(column)
    kind = field["type"].upper()
    if field.get("mode", "").upper() == "REPEATED":
        element = {**field, "mode": "NULLABLE"}
        inner = _cells(array.flatten(), element, timestamps).cast(pa.large_string())
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        lists = pa.LargeListArray.from_arrays(offsets, inner)
        return _wrap('{"v":[', pc.binary_join(lists, _COMMA), "]}")
    if kind == "RECORD":
        children = [
            _cells(child, child_field, timestamps).cast(pa.large_string())
            for child, child_field in zip(array.flatten(), field["fields"], strict=True)
        ]
        cells = _wrap('{"v":{"f":[', _beside(children), "]}}")
        return pc.if_else(array.is_valid(), cells, _NULL) if array.null_count else cells
    text = _text(array, kind, timestamps)
    if kind in ("STRING", "JSON", "GEOGRAPHY"):
        text = _escaped(text)
    cells = _wrap('{"v":"', text, '"}')
    return pc.fill_null(cells, _NULL) if cells.null_count else cells


def _beside(cells: Sequence[pa.Array]) -> pa.Array:
    """The cells of each row, with commas between them."""
    return pc.binary_join_element_wise(*cells, _COMMA) if len(cells) > 1 else cells[0]


def _wrap(before: str, text: pa.Array, after: str) -> pa.Array:
    kind = text.type
    return pc.binary_join_element_wise(pa.scalar(before, kind), text, pa.scalar(after, kind), pa.scalar("", kind))


def _escaped(text: pa.Array) -> pa.Array:
    """JSON string contents; only the values that hold a quote, backslash or control are touched."""
    odd = pc.match_substring_regex(text, _NEEDS_ESCAPE)
    if not pc.any(odd).as_py():
        return text
    return _patched(text, odd, lambda value: orjson.dumps(value)[1:-1].decode())


def _patched(array: pa.Array, mask: pa.Array, change: Callable[[Any], str], source: Any = None) -> pa.Array:
    """The text array with the masked values replaced by `change` of the source's value there."""
    mask = pc.fill_null(mask, False)
    chosen = (array if source is None else source).filter(mask).to_pylist()
    return pc.replace_with_mask(array, mask, pa.array([change(value) for value in chosen], array.type))


def _text(array: pa.Array, kind: str, timestamps: TimestampFormat) -> pa.Array:
    """Scalar values as the text REST writes between the quotes."""
    if kind == "TIMESTAMP":
        return _timestamp_text(array, timestamps)
    if kind == "DATETIME":
        text = pc.cast(pc.cast(array, pa.timestamp("us")), pa.string())
        return pc.replace_substring_regex(pc.replace_substring(text, " ", "T", max_replacements=1), r"\.000000$", "")
    if kind == "TIME":
        text = pc.cast(pc.cast(array, pa.time64("us")), pa.string())
        return pc.replace_substring_regex(text, r"\.000000$", "")
    if kind == "FLOAT":
        return _float_text(pc.cast(array, pa.float64()))
    if kind in ("NUMERIC", "BIGNUMERIC"):
        return _decimal_text(array)
    if kind == "BYTES":
        encoded = (None if v is None else base64.b64encode(v).decode() for v in array.to_pylist())
        return pa.array(list(encoded), pa.string())
    if kind == "INTERVAL":
        return pa.array([interval_text(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_large_string(array.type) or pa.types.is_string(array.type):
        return array
    return pc.cast(array, pa.string())


def _timestamp_text(array: pa.Array, timestamps: TimestampFormat) -> pa.Array:
    array = pc.cast(array, pa.timestamp("us", "UTC"))
    if timestamps == "INT64":
        return pc.cast(pc.cast(array, pa.int64()), pa.string())
    if timestamps == "FLOAT64":
        return _float_text(pc.divide(pc.cast(pc.cast(array, pa.int64()), pa.float64(), safe=False), 1e6))
    return pc.replace_substring(pc.cast(array, pa.string()), " ", "T", max_replacements=1)


def _float_text(array: pa.Array) -> pa.Array:
    """Doubles as BigQuery writes them: `1.0`, `1.5E10`, `NaN`, `-Infinity`."""
    text = pc.replace_substring_regex(pc.cast(array, pa.string()), r"^(-?\d+)$", r"\1.0")
    size = pc.abs(array)
    usual = pc.or_(pc.equal(array, 0.0), pc.and_(pc.greater_equal(size, 1e-3), pc.less(size, 1e7)))
    odd = pc.invert(pc.fill_null(usual, True))
    return _patched(text, odd, float_text, array) if pc.any(odd).as_py() else text


def float_text(value: float) -> str:
    """One double as BigQuery writes it: at least one decimal, `E` outside 0.001 to 10 million."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = repr(value)
        return format(Decimal(text), "f") if "e" in text else text
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    mantissa = "".join(map(str, digits))
    power = int(exponent) + len(mantissa) - 1
    return f"{'-' if sign else ''}{mantissa[0]}.{mantissa[1:] or '0'}E{power}"


def _decimal_text(array: pa.Array) -> pa.Array:
    """Decimals without trailing zeros and without an exponent."""
    if not pa.types.is_decimal(array.type):
        return pc.cast(array, pa.string())
    text = pc.cast(array, pa.string())
    trimmed = pc.replace_substring_regex(text, r"(\.\d*?)0+$", r"\1")
    trimmed = pc.replace_substring_regex(trimmed, r"\.$", "")
    odd = pc.match_substring(text, "E")
    return _patched(trimmed, odd, decimal_text, array) if pc.any(odd).as_py() else trimmed


def decimal_text(value: Decimal) -> str:
    """One decimal in full, without trailing zeros: `0.1`, `-3`, `100`."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval_text(value: Any) -> str | None:
    """An interval (months, days, nanoseconds) as `Y-M D H:M:S[.F]`, each part with its own sign."""
    if value is None:
        return None
    months, days, nanoseconds = value
    years, month = divmod(abs(months), 12)
    seconds, nanosecond = divmod(abs(nanoseconds), 1_000_000_000)
    hours, rest = divmod(seconds, 3600)
    fraction = f".{nanosecond // 1000:06d}" if nanosecond else ""
    return (
        f"{'-' if months < 0 else ''}{years}-{month} {days} "
        f"{'-' if nanoseconds < 0 else ''}{hours}:{rest // 60}:{rest % 60}{fraction}"
    )
