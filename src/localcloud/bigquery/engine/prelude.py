"""What DuckDB lacks of GoogleSQL: macros in an attached schema `bq`, and a few functions over Arrow columns.

The analyzer names these in the SQL it writes; `failures_of_duckdb.py` reads the messages they raise.
"""

from __future__ import annotations

import decimal
import functools
import hashlib
import unicodedata
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa

from ..types import BIGNUMERIC_SCALE
from .farm import fingerprint64

# An error raised in SQL: a cast that must fail, its text between two marks. `error()` is volatile, and
# DuckDB allows nothing volatile in TRY, which SAFE functions are made of.
MARK = ("\x01", "\x02")

_MACROS = r"""
fail(m) := CAST(CAST(chr(1) || m || chr(2) AS BIGINT) AS VARCHAR)
utc(t) := make_timestamp(epoch_us(t))
stamp(t) := make_timestamptz(epoch_us(t))
float_string(x) := CASE WHEN x = 0 THEN '0' WHEN CAST(printf('%.15g', x) AS DOUBLE) = x THEN printf('%.15g', x) ELSE printf('%.17g', x) END
numeric_string(x) := CASE WHEN x = trunc(x) THEN CAST(CAST(trunc(x) AS DECIMAL(38, 0)) AS VARCHAR) ELSE rtrim(CAST(x AS VARCHAR), '0') END
fraction(m) := CASE WHEN m = 0 THEN '' WHEN m % 1000 = 0 THEN '.' || lpad(CAST(m // 1000 AS VARCHAR), 3, '0') ELSE '.' || lpad(CAST(m AS VARCHAR), 6, '0') END
datetime_string(t) := strftime(t, '%Y-%m-%d %H:%M:%S') || bq.fraction((epoch_us(t) % 1000000 + 1000000) % 1000000)
timestamp_string(t) := bq.datetime_string(bq.utc(t)) || '+00'
time_string(t) := strftime(DATE '1970-01-01' + t, '%H:%M:%S') || bq.fraction(epoch_us(DATE '1970-01-01' + t) % 1000000)
parse_int64(x) := CASE WHEN regexp_full_match(trim(x), '[+-]?[0-9]+') THEN CAST(trim(x) AS BIGINT) WHEN regexp_full_match(trim(x), '0[xX][0-9a-fA-F]+') THEN CAST(trim(x) AS BIGINT) WHEN x IS NOT NULL THEN CAST(bq.fail('Bad int64 value: ' || x) AS BIGINT) END
parse_float64(x) := CASE WHEN TRY_CAST(trim(x) AS DOUBLE) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Bad double value: ' || x) AS DOUBLE) ELSE TRY_CAST(trim(x) AS DOUBLE) END
parse_bool(x) := CASE lower(trim(x)) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE ELSE CASE WHEN x IS NOT NULL THEN CAST(bq.fail('Bad bool value: ' || x) AS BOOLEAN) END END
parse_numeric(x) := CASE WHEN TRY_CAST(trim(x) AS DECIMAL(38, 9)) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Invalid NUMERIC value: ' || x) AS DECIMAL(38, 9)) ELSE TRY_CAST(trim(x) AS DECIMAL(38, 9)) END
parse_bignumeric(x) := CASE WHEN TRY_CAST(trim(x) AS DECIMAL(38, $S)) IS NULL AND x IS NOT NULL THEN CAST(bq.fail('Invalid BIGNUMERIC value: ' || x) AS DECIMAL(38, $S)) ELSE TRY_CAST(trim(x) AS DECIMAL(38, $S)) END
parse_date(x) := CASE WHEN x IS NULL THEN NULL WHEN regexp_full_match(trim(x), '\d{1,4}-\d{1,2}-\d{1,2}') AND TRY_CAST(trim(x) AS DATE) IS NOT NULL THEN CAST(trim(x) AS DATE) ELSE CAST(bq.fail('Invalid date: ''' || x || '''') AS DATE) END
parse_datetime(x) := CASE WHEN x IS NULL THEN NULL WHEN regexp_full_match(trim(x), '\d{1,4}-\d{1,2}-\d{1,2}([ tT]+\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{0,6})?)?)?') AND TRY_CAST(trim(x) AS TIMESTAMP) IS NOT NULL THEN CAST(trim(x) AS TIMESTAMP) ELSE CAST(bq.fail('Invalid datetime string "' || x || '"') AS TIMESTAMP) END
parse_timestamp(x) := CASE WHEN x IS NULL THEN NULL WHEN regexp_matches(trim(x), '^\d{1,4}-\d{1,2}-\d{1,2}') AND TRY_CAST(trim(x) AS TIMESTAMPTZ) IS NOT NULL THEN CAST(trim(x) AS TIMESTAMPTZ) ELSE CAST(bq.fail('Invalid timestamp: ''' || x || '''') AS TIMESTAMPTZ) END
parse_time(x) := CASE WHEN x IS NULL THEN NULL WHEN regexp_full_match(trim(x), '\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{0,6})?)?') AND TRY_CAST(trim(x) AS TIME) IS NOT NULL THEN CAST(trim(x) AS TIME) ELSE CAST(bq.fail('Invalid time string "' || x || '"') AS TIME) END
round_int64(x) := CASE WHEN isnan(x) OR isinf(x) THEN CAST(bq.fail('Illegal conversion of non-finite floating point number to an integer: ' || CAST(x AS VARCHAR)) AS BIGINT) WHEN abs(x) >= 9223372036854775808.0 THEN CAST(bq.fail('int64 out of range: ' || bq.float_string(x)) AS BIGINT) ELSE CAST(round(x) AS BIGINT) END
decode_utf8(x) := CASE WHEN x IS NOT NULL AND TRY(decode(x)) IS NULL THEN bq.fail('Invalid UTF-8 string') ELSE TRY(decode(x)) END
divide(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.float_string(a) || ' / ' || bq.float_string(b)) AS DOUBLE) ELSE a / b END
divide_numeric(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.numeric_string(a) || ' / ' || bq.numeric_string(b)) AS DECIMAL(38, 9)) ELSE bq_numeric_divide(a, b) END
divide_bignumeric(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || bq.numeric_string(a) || ' / ' || bq.numeric_string(b)) AS DECIMAL(38, $S)) ELSE bq_bignumeric_divide(a, b) END
div(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: ' || a || ' / ' || b) AS BIGINT) WHEN b = -1 THEN -a ELSE (a - a % b) // b END
mod(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: MOD(' || a || ', ' || b || ')') AS BIGINT) WHEN b = -1 THEN 0 ELSE a % b END
mod_numeric(a, b) := CASE WHEN b = 0 THEN CAST(bq.fail('division by zero: MOD(' || bq.numeric_string(a) || ', ' || bq.numeric_string(b) || ')') AS DECIMAL(38, 9)) ELSE CAST(a % b AS DECIMAL(38, 9)) END
safe_divide(a, b) := CASE WHEN b = 0 THEN NULL ELSE a / b END
sqrt(x) := CASE WHEN x < 0 THEN CAST(bq.fail('Argument to SQRT cannot be negative: ' || bq.float_string(x)) AS DOUBLE) ELSE sqrt(x) END
ln(x) := CASE WHEN x <= 0 THEN CAST(bq.fail('Argument to LN must be positive: ' || bq.float_string(x)) AS DOUBLE) ELSE ln(x) END
log(x, b) := CASE WHEN x <= 0 OR b <= 0 OR b = 1 THEN CAST(bq.fail('Invalid argument to LOG: LOG(' || bq.float_string(x) || ', ' || bq.float_string(b) || ')') AS DOUBLE) ELSE ln(x) / ln(b) END
log10(x) := CASE WHEN x <= 0 THEN CAST(bq.fail('Argument to LOG10 must be positive: ' || bq.float_string(x)) AS DOUBLE) ELSE log10(x) END
round_digits(x, n) := CASE WHEN n > 15 OR isnan(x) OR isinf(x) THEN x ELSE round(x, CAST(n AS INTEGER)) END
trunc_digits(x, n) := trunc(x * power(10e0, n)) / power(10e0, n)
substr(x, p) := CASE WHEN p < 0 AND -p > length(x) THEN x WHEN p < 0 THEN substring(x, CAST(length(x) + p + 1 AS BIGINT)) ELSE substring(x, greatest(p, 1)) END
substr_length(x, p, n) := CASE WHEN n < 0 THEN bq.fail('Third argument in SUBSTR() cannot be negative') ELSE left(bq.substr(x, p), n) END
substr_bytes(x, p, n) := CASE WHEN n < 0 THEN CAST(bq.fail('Third argument in SUBSTR() cannot be negative') AS BLOB) ELSE bq_substr_bytes(x, p, n) END
repeat(x, n) := CASE WHEN n < 0 THEN bq.fail('Second argument in REPEAT() cannot be negative') ELSE repeat(x, n) END
left(x, n) := CASE WHEN n < 0 THEN bq.fail('Second argument in LEFT() cannot be negative') ELSE left(x, n) END
right(x, n) := CASE WHEN n < 0 THEN bq.fail('Second argument in RIGHT() cannot be negative') ELSE right(x, n) END
lpad(x, n, p) := CASE WHEN n < 0 THEN bq.fail('Second argument in LPAD() cannot be negative') WHEN p = '' THEN bq.fail('Third argument in LPAD() cannot be empty') ELSE lpad(x, CAST(n AS INTEGER), p) END
rpad(x, n, p) := CASE WHEN n < 0 THEN bq.fail('Second argument in RPAD() cannot be negative') WHEN p = '' THEN bq.fail('Third argument in RPAD() cannot be empty') ELSE rpad(x, CAST(n AS INTEGER), p) END
split(x, d) := CASE WHEN x = '' THEN [''] WHEN d = '' THEN string_split(x, '') ELSE string_split(x, d) END
replace(x, a, b) := CASE WHEN a = '' THEN x ELSE replace(x, a, b) END
initcap(x, d) := bq_initcap(x, d)
instr(x, y, p, n) := bq_instr(x, y, p, n)
groups(r) := regexp_matches(regexp_replace(r, '\\.|\[[^\]]*\]', '', 'g'), '\((\?P|[^?])')
regexp_extract(x, r) := CASE WHEN regexp_matches(x, r) THEN CASE WHEN bq.groups(r) THEN regexp_extract(x, r, 1) ELSE regexp_extract(x, r) END END
regexp_extract_all(x, r) := CASE WHEN bq.groups(r) THEN regexp_extract_all(x, r, 1) ELSE regexp_extract_all(x, r) END
at(a, i) := CASE WHEN a IS NULL OR i IS NULL THEN NULL WHEN i < 0 OR i >= len(a) THEN list_extract(a, CAST(CAST(bq.fail('Array index ' || i || ' is out of bounds') AS VARCHAR) AS BIGINT)) ELSE list_extract(a, i + 1) END
at_safe(a, i) := CASE WHEN i < 0 THEN NULL ELSE list_extract(a, i + 1) END
generate_array(a, b, s) := CASE WHEN s = 0 THEN CAST([CAST(bq.fail('Sequence step cannot be 0.') AS BIGINT)] AS BIGINT[]) WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL ELSE generate_series(a, b, s) END
generate_floats(a, b, s) := CASE WHEN s = 0 THEN [CAST(bq.fail('Sequence step cannot be 0.') AS DOUBLE)] WHEN a IS NULL OR b IS NULL OR s IS NULL THEN NULL WHEN (b - a) / s < 0 THEN CAST([] AS DOUBLE[]) ELSE list_transform(range(CAST(floor((b - a) / s + 1e-12) AS BIGINT) + 1), lambda i: a + i * s) END
week_start(d, w) := CAST(d AS DATE) - CAST((isodow(d) - w + 7) % 7 AS INTEGER)
isoyear_start(d) := bq.week_start(make_date(CAST(isoyear(d) AS BIGINT), 1, 4), 1)
week_number(d, w) := (dayofyear(d) - 1 + 7 - (isodow(d) - w + 7) % 7) // 7
add_months(d, n) := CAST(d + to_months(CAST(n AS INTEGER)) AS DATE)
add_time(t, us) := CAST(make_timestamp(((epoch_us(DATE '1970-01-01' + t) + us) % 86400000000 + 86400000000) % 86400000000) AS TIME)
time_us(t) := epoch_us(DATE '1970-01-01' + t)
add_us(t, us) := make_timestamptz(epoch_us(t) + us)
floor_div(a, b) := (a - ((a % b) + b) % b) // b
strptime(x, f) := CASE WHEN x IS NULL THEN NULL WHEN TRY_STRPTIME(x, f) IS NULL THEN CAST(bq.fail('Failed to parse input string "' || x || '"') AS TIMESTAMP) ELSE TRY_STRPTIME(x, f) END
json_check(x) := CASE WHEN x IS NULL THEN NULL WHEN json_valid(x) THEN json(x) ELSE CAST(bq.fail('Invalid input to PARSE_JSON: syntax error while parsing value') AS JSON) END
json_text(j) := CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'VARCHAR' THEN j->>'$' ELSE bq.fail('The provided JSON input is not a string') END
json_int64(j) := CASE WHEN j IS NULL THEN NULL WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN CAST(j->>'$' AS BIGINT) WHEN json_type(j) = 'DOUBLE' AND CAST(j->>'$' AS DOUBLE) = trunc(CAST(j->>'$' AS DOUBLE)) THEN CAST(CAST(j->>'$' AS DOUBLE) AS BIGINT) ELSE CAST(bq.fail('The provided JSON input is not an integer') AS BIGINT) END
json_float64(j) := CASE WHEN j IS NULL THEN NULL WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(j->>'$' AS DOUBLE) ELSE CAST(bq.fail('The provided JSON input is not a number') AS DOUBLE) END
json_bool(j) := CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'BOOLEAN' THEN CAST(j->>'$' AS BOOLEAN) ELSE CAST(bq.fail('The provided JSON input is not a boolean') AS BOOLEAN) END
json_kind(j) := CASE json_type(j) WHEN 'VARCHAR' THEN 'string' WHEN 'BIGINT' THEN 'number' WHEN 'UBIGINT' THEN 'number' WHEN 'DOUBLE' THEN 'number' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' WHEN 'ARRAY' THEN 'array' WHEN 'OBJECT' THEN 'object' END
json_scalar(x, p) := CASE WHEN json_type(json_extract(x, p)) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(x, p) END
json_found(x, p) := CASE WHEN json_type(json_extract(x, p)) = 'NULL' THEN NULL ELSE CAST(json_extract(x, p) AS VARCHAR) END
json_array(x, p) := CASE WHEN json_type(json_extract(x, p)) = 'ARRAY' THEN json_extract(x, p || '[*]') END
json_escape(x) := CAST(to_json(x) AS VARCHAR)
json_float(x) := CASE WHEN isnan(x) OR isinf(x) THEN '"' || CASE WHEN isnan(x) THEN 'NaN' WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END || '"' ELSE bq.float_string(x) END
json_integer(x) := CASE WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN '"' || x || '"' ELSE CAST(x AS VARCHAR) END
from_hex(x) := CASE WHEN x IS NULL THEN NULL WHEN regexp_full_match(x, '([0-9a-fA-F]{2})*') THEN unhex(x) WHEN regexp_full_match(x, '[0-9a-fA-F]*') THEN unhex('0' || x) ELSE CAST(bq.fail('Failed to decode invalid hexadecimal string: ' || x) AS BLOB) END
bucket(x, a) := CASE WHEN x IS NULL OR a IS NULL THEN NULL ELSE len(list_filter(a, lambda e: e <= x)) END
"""

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
    for name, function, arguments, answer in _FUNCTIONS:
        connection.create_function(name, function, arguments, answer, type="arrow", null_handling="special")
    connection.execute("ATTACH ':memory:' AS bq")
    for line in _MACROS.strip().splitlines():
        head, _, body = line.replace("$S", str(BIGNUMERIC_SCALE)).partition(" := ")
        connection.execute(f"CREATE MACRO bq.{head} AS {body}")
