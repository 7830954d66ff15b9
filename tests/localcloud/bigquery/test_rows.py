"""Rows as REST writes and reads them, without a server."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.bigquery.rows import scalars
from localcloud.bigquery.rows.decode import Decoder
from localcloud.bigquery.rows.encode import decimal_text, encode_rows, float_text
from localcloud.bigquery.types import arrow_schema, normalize

UTC = dt.UTC


def cell(kind: str, value: Any, **more: Any) -> Any:
    """What REST writes for one value."""
    fields = normalize([{"name": "x", "type": kind, **more}])
    table = pa.Table.from_pylist([{"x": value}], schema=arrow_schema(fields))
    rows = json.loads(encode_rows(table, fields, more.get("timestamps", "FLOAT64")))
    return rows[0]["f"][0]["v"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("INT64", -(2**63), "-9223372036854775808"),
        ("FLOAT64", 1.0, "1.0"),
        ("FLOAT64", 0.1, "0.1"),
        ("FLOAT64", 1.5e10, "1.5E10"),
        ("FLOAT64", -2.5e-7, "-2.5E-7"),
        ("FLOAT64", math.nan, "NaN"),
        ("FLOAT64", -math.inf, "-Infinity"),
        ("NUMERIC", Decimal("1.50"), "1.5"),
        ("NUMERIC", Decimal("0"), "0"),
        ("NUMERIC", Decimal("-0.000000001"), "-0.000000001"),
        ("NUMERIC", Decimal("100"), "100"),
        ("BOOL", True, "true"),
        ("STRING", 'a"b\\c\n\u20ac', 'a"b\\c\n\u20ac'),
        ("STRING", "", ""),
        ("BYTES", b"abc", "YWJj"),
        ("DATE", dt.date(2013, 1, 2), "2013-01-02"),
        ("TIME", dt.time(1, 2, 3), "01:02:03"),
        ("TIME", dt.time(1, 2, 3, 4), "01:02:03.000004"),
        ("DATETIME", dt.datetime(2013, 1, 2, 3, 4, 5), "2013-01-02T03:04:05"),
        ("DATETIME", dt.datetime(2013, 1, 2, 3, 4, 5, 600), "2013-01-02T03:04:05.000600"),
        ("TIMESTAMP", dt.datetime(2013, 1, 2, tzinfo=UTC), "1.3570848E9"),
        ("JSON", '{"a": 1}', '{"a": 1}'),
    ],
)
def test_scalars_have_bigquerys_text(kind: str, value: Any, text: str) -> None:
    assert cell(kind, value) == text
    assert cell(kind, None) is None


def test_timestamps_have_the_format_asked_for() -> None:
    fields = normalize([{"name": "x", "type": "TIMESTAMP"}])
    moment = dt.datetime(2013, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    table = pa.Table.from_pylist([{"x": moment}], schema=arrow_schema(fields))
    written = {
        style: json.loads(encode_rows(table, fields, style))[0]["f"][0]["v"]  # type: ignore[arg-type]
        for style in ("INT64", "ISO8601_STRING")
    }
    assert written == {"INT64": "1357095845000678", "ISO8601_STRING": "2013-01-02T03:04:05.000678Z"}


def test_structs_and_arrays_nest() -> None:
    fields = normalize(
        [
            {
                "name": "s",
                "type": "STRUCT",
                "mode": "REPEATED",
                "fields": [{"name": "a", "type": "INT64"}, {"name": "b", "type": "STRING", "mode": "REPEATED"}],
            },
            {"name": "r", "type": "STRUCT", "fields": [{"name": "c", "type": "BOOL"}]},
        ]
    )
    rows = [{"s": [{"a": 1, "b": ["x", "y"]}, {"a": None, "b": []}], "r": {"c": False}}, {"s": [], "r": None}]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(fields))
    first, second = json.loads(encode_rows(table.slice(0, 2), fields))
    assert first["f"][0]["v"] == [
        {"v": {"f": [{"v": "1"}, {"v": [{"v": "x"}, {"v": "y"}]}]}},
        {"v": {"f": [{"v": None}, {"v": []}]}},
    ]
    assert first["f"][1] == {"v": {"f": [{"v": "false"}]}}
    assert second == {"f": [{"v": []}, {"v": None}]}
    assert json.loads(encode_rows(table.slice(1), fields)) == [second]
    assert encode_rows(table.slice(2), fields) == b"[]"


@given(st.floats())
def test_floats_survive_their_text(value: float) -> None:
    back = float(float_text(value))
    assert back == value or (math.isnan(back) and math.isnan(value))


@given(st.decimals(min_value=-(10**28), max_value=10**28, places=9))
def test_numerics_survive_their_text(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8")))))
def test_any_text_survives(values: list[str | None]) -> None:
    fields = normalize([{"name": "x", "type": "STRING"}])
    table = pa.Table.from_pylist([{"x": value} for value in values], schema=arrow_schema(fields))
    assert [row["f"][0]["v"] for row in json.loads(encode_rows(table, fields))] == values


@given(st.datetimes(min_value=dt.datetime(1, 1, 2), max_value=dt.datetime(9999, 12, 30)))
def test_timestamps_are_read_as_written(moment: dt.datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert scalars.timestamp(aware.isoformat()) == aware
    assert scalars.timestamp(aware.strftime("%Y-%m-%d %H:%M:%S.%f UTC").zfill(30)) == aware
    assert scalars.civil_datetime(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-01-02", dt.datetime(2013, 1, 2, tzinfo=UTC)),
        ("2013-1-2 3:4:5", dt.datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2013-01-02T03:04:05.5+02:00", dt.datetime(2013, 1, 2, 1, 4, 5, 500000, tzinfo=UTC)),
        ("2013-07-02 03:04:05 America/New_York", dt.datetime(2013, 7, 2, 7, 4, 5, tzinfo=UTC)),
        ("2013-01-02 03:04:05 UTC", dt.datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1357095845, dt.datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1357095845.5", dt.datetime(2013, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
    ],
)
def test_timestamps_in_many_spellings(text: Any, moment: dt.datetime) -> None:
    assert scalars.timestamp(text) == moment


FIELDS = normalize(
    [
        {"name": "i", "type": "INT64", "mode": "REQUIRED"},
        {"name": "s", "type": "STRING"},
        {"name": "t", "type": "TIMESTAMP"},
        {
            "name": "r",
            "type": "STRUCT",
            "mode": "REPEATED",
            "fields": [{"name": "a", "type": "INT64"}, {"name": "d", "type": "DATE"}],
        },
        {"name": "j", "type": "JSON"},
    ]
)


def test_rows_are_decoded_to_columns() -> None:
    rows = [
        {"I": "7", "s": 5, "t": "2013-01-02 00:00:00 UTC", "r": [{"a": "1", "d": "2013-01-02"}], "j": '{"k": [1]}'},
        {"i": 8.0},
    ]
    table, errors = Decoder(FIELDS, parse_json_text=True).decode(rows)
    assert errors == []
    first, second = table.to_pylist()
    assert first["i"] == 7
    assert first["s"] == "5"
    assert first["r"] == [{"a": 1, "d": dt.date(2013, 1, 2)}]
    assert json.loads(first["j"]) == {"k": [1]}
    assert second == {"i": 8, "s": None, "t": None, "r": [], "j": None}


@pytest.mark.parametrize(
    ("row", "location", "message"),
    [
        ({}, "i", "Missing required field: i."),
        ({"i": "x"}, "i", "Cannot convert value to integer (bad value): x"),
        ({"i": 1.5}, "i", "Cannot convert value to integer (bad value): 1.5"),
        ({"i": 2**63}, "i", "Integer is outside the range of INT64: 9223372036854775808"),
        ({"i": True}, "i", "Cannot convert value to integer (bad value): True"),
        ({"i": 1, "zz": 1}, "zz", "no such field: zz."),
        ({"i": 1, "s": [1]}, "s", "Array specified for non-repeated field: s."),
        ({"i": 1, "s": {"a": 1}}, "s", "This field: s is not a record."),
        ({"i": 1, "r": [{"q": 1}]}, "r.q", "no such field: r.q."),
        ({"i": 1, "r": [None]}, "r", "Only optional fields can be set to NULL. Field: r; Value: NULL"),
        ({"i": 1, "r": {"a": 1}}, "r", "Field r is repeated: its value must be an array."),
        ({"i": 1, "t": "yesterday"}, "t", "Invalid timestamp: yesterday"),
        ({"i": 1, "j": "{"}, "j", "Invalid JSON value: {"),
        (["i", 1], "", "A row must be a JSON object, not ['i', 1]"),
    ],
)
def test_bad_values_are_named(row: Any, location: str, message: str) -> None:
    _, errors = Decoder(FIELDS, parse_json_text=True).decode([{"i": 1}, row])
    found = [error for error in errors if error.row == 1]
    assert (found[-1].location, found[-1].message) == (location, message)
    assert not [error for error in errors if error.row == 0]


def test_unknown_values_can_be_ignored() -> None:
    _, errors = Decoder(FIELDS, ignore_unknown=True).decode([{"i": 1, "zz": 1, "r": [{"q": 1}]}])
    assert errors == []
