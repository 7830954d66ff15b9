"""What DuckDB lacks of GoogleSQL: the macros of `prelude.sql`, and a few functions over Arrow columns.

The analyzer names these in the SQL it writes; `duckdb_errors.py` reads the messages they raise.
"""

from __future__ import annotations

import decimal
import functools
import hashlib
import importlib.resources as resources
import unicodedata
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from ..types import BIGNUMERIC_SCALE
from .farm import fingerprint64

# What stands around the text of an error that a macro raises.
MARK = ("\x01", "\x02")


_Function = Callable[..., Any]


def _by_row(type_: pa.DataType) -> Callable[[_Function], _Function]:
    """An Arrow function from one of single values; NULL where any argument is NULL."""

    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def columns(*arrays: pa.Array) -> pa.Array:
            rows = zip(*(a.to_pylist() for a in arrays), strict=True)
            return pa.array([None if None in row else function(*row) for row in rows], type_)

        return columns

    return decorate


def _quotient(scale: int) -> _Function:
    context = decimal.Context(prec=90)
    unit = decimal.Decimal(1).scaleb(-scale)

    @_by_row(pa.decimal128(38, scale))
    def divide(a: decimal.Decimal, b: decimal.Decimal) -> decimal.Decimal:
        if not b:
            return decimal.Decimal(0)
        return context.divide(a, b).quantize(unit, decimal.ROUND_HALF_UP, context)

    return divide


@_by_row(pa.decimal128(38, BIGNUMERIC_SCALE))
def _bignumeric_multiply(a: decimal.Decimal, b: decimal.Decimal) -> decimal.Decimal:
    context = decimal.Context(prec=90)
    unit = decimal.Decimal(1).scaleb(-BIGNUMERIC_SCALE)
    return context.multiply(a, b).quantize(unit, decimal.ROUND_HALF_UP, context)


@_by_row(pa.binary())
def _sha1(value: bytes) -> bytes:
    return hashlib.sha1(value).digest()


@_by_row(pa.binary())
def _sha512(value: bytes) -> bytes:
    return hashlib.sha512(value).digest()


@_by_row(pa.string())
def _initcap(value: str, delimiters: str) -> str:
    answer, start = [], True
    for letter in value:
        answer.append(letter.upper() if start else letter.lower())
        start = letter in delimiters
    return "".join(answer)


@_by_row(pa.int64())
def _instr(value: str, wanted: str, position: int, occurrence: int) -> int:
    if position == 0 or occurrence <= 0:
        return 0
    if position > 0:
        found = position - 2
        for _ in range(occurrence):
            found = value.find(wanted, found + 1)
            if found < 0:
                return 0
        return found + 1
    end = len(value) + position + len(wanted)
    found = -1
    for _ in range(occurrence):
        found = value.rfind(wanted, 0, end)
        if found < 0:
            return 0
        end = found + len(wanted) - 1
    return found + 1


@_by_row(pa.binary())
def _substr_bytes(value: bytes, position: int, length: int) -> bytes:
    start = max(len(value) + position, 0) if position < 0 else max(position, 1) - 1
    return value[start : start + length]


@_by_row(pa.string())
def _normalize(value: str, mode: str) -> str:
    return unicodedata.normalize(mode, value)  # type: ignore[arg-type]


@_by_row(pa.string())
def _soundex(value: str) -> str:
    codes = {c: d for d, group in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for c in group}
    letters = [c for c in value.lower() if c.isalpha() and c.isascii()]
    if not letters:
        return ""
    answer, last = letters[0].upper(), codes.get(letters[0], 0)
    for letter in letters[1:]:
        code = codes.get(letter, 0)
        if code and code != last:
            answer += str(code)
        if letter not in "hw":
            last = code
    return (answer + "000")[:4]


_NUMERIC, _BIGNUMERIC = "DECIMAL(38,9)", f"DECIMAL(38,{BIGNUMERIC_SCALE})"
_FUNCTIONS: tuple[tuple[str, _Function, list[str], str], ...] = (
    ("bq_farm_fingerprint", fingerprint64, ["BLOB"], "BIGINT"),
    ("bq_numeric_divide", _quotient(9), [_NUMERIC, _NUMERIC], _NUMERIC),
    ("bq_bignumeric_divide", _quotient(BIGNUMERIC_SCALE), [_BIGNUMERIC, _BIGNUMERIC], _BIGNUMERIC),
    ("bq_bignumeric_multiply", _bignumeric_multiply, [_BIGNUMERIC, _BIGNUMERIC], _BIGNUMERIC),
    ("bq_sha1", _sha1, ["BLOB"], "BLOB"),
    ("bq_sha512", _sha512, ["BLOB"], "BLOB"),
    ("bq_initcap", _initcap, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_instr", _instr, ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT"], "BIGINT"),
    ("bq_substr_bytes", _substr_bytes, ["BLOB", "BIGINT", "BIGINT"], "BLOB"),
    ("bq_normalize", _normalize, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    ("bq_soundex", _soundex, ["VARCHAR"], "VARCHAR"),
)


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes macros and functions known to every cursor of the connection's database."""
    create: Any = connection.create_function
    for name, function, arguments, answer in _FUNCTIONS:
        create(name, function, arguments, answer, type="arrow", null_handling="special")
    connection.execute("ATTACH ':memory:' AS bq")
    connection.execute(resources.files(__package__).joinpath("prelude.sql").read_text("utf-8"))
