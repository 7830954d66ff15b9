"""One value of text or JSON as the Python value of a BigQuery type, or a ValueError that says why not.

The rules are those of JSON and CSV loads (https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json);
columns and rows are put together elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

Scalar = Callable[[Any], Any]

_MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?")
_MOMENT = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})"
    r"(?:(?:[ Tt]|[ ]+)(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,9}))?)?)?"
    r"[ ]*(Z|z|[+-]\d{1,2}(?::?\d{2})?|[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+)*)?"
)
_INTERVAL = re.compile(r"(-)?(\d+)-(\d+) (-?\d+) (-)?(\d+):(\d+):(\d+)(?:\.(\d{1,9}))?")


def integer(value: Any) -> int:
    """An INT64: a JSON integer, a whole float, or decimal text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"Cannot convert value to integer (bad value): {shown(value)}")
    try:
        number = int(value.strip()) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):
        raise ValueError(f"Cannot convert value to integer (bad value): {shown(value)}") from None
    if isinstance(value, float) and number != value:
        raise ValueError(f"Cannot convert value to integer (bad value): {shown(value)}")
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"Integer is outside the range of INT64: {shown(value)}")
    return number


def floating(value: Any) -> float:
    """A FLOAT64: a number or text, with NaN and (+-)Inf(inity) in any case."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"Cannot convert value to floating point (bad value): {shown(value)}")
    if isinstance(value, str) and "_" in value:
        raise ValueError(f"Cannot convert value to floating point (bad value): {shown(value)}")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"Cannot convert value to floating point (bad value): {shown(value)}") from None


def boolean(value: Any) -> bool:
    """A BOOL: true or false, or text such as `t`, `yes`, `0`."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"Cannot convert value to boolean (bad value): {shown(value)}")


def string(value: Any) -> str:
    """A STRING; numbers and booleans are written out."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise ValueError(f"Cannot convert value to string (bad value): {shown(value)}")


def octets(value: Any) -> bytes:
    """BYTES from base64 text."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError(f"Cannot decode base64 value to bytes: {shown(value)}") from None


def decimal(precision: int, scale: int) -> Scalar:
    """The reader of a decimal type: NUMERIC is (38, 9), BIGNUMERIC (76, 38); digits beyond are rounded."""
    context = Context(prec=precision + 1, rounding=ROUND_HALF_UP)
    quantum = Decimal(1).scaleb(-scale)
    limit = Decimal(10) ** (precision - scale)

    def read(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
            raise ValueError(f"Invalid NUMERIC value: {shown(value)}")
        try:
            number = Decimal(value.strip() if isinstance(value, str) else str(value))
            if number.is_finite() and abs(number) < limit:
                return number.quantize(quantum, context=context)
        except InvalidOperation:
            pass
        raise ValueError(f"Invalid NUMERIC value: {shown(value)}")

    return read


def calendar_date(value: Any) -> date:
    """A DATE: `YYYY-[M]M-[D]D`."""
    match = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"Invalid date: {shown(value)}")
    try:
        return date(*map(int, match.groups()))
    except ValueError:
        raise ValueError(f"Invalid date: {shown(value)}") from None


def clock_time(value: Any) -> time:
    """A TIME: `[H]H:[M]M:[S]S[.DDDDDD]`."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"Invalid time: {shown(value)}")
    try:
        return time(int(match[1]), int(match[2]), int(match[3]), _microseconds(match[4]))
    except ValueError:
        raise ValueError(f"Invalid time: {shown(value)}") from None


def civil_datetime(value: Any) -> datetime:
    """A DATETIME: a date and optionally a time, with no zone."""
    match = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[8]:
        raise ValueError(f"Invalid datetime string {shown(value)}")
    return _moment(match, "datetime", value)


def timestamp(value: Any) -> datetime:
    """A TIMESTAMP: seconds since 1970 as a number, or text with an optional zone (UTC without one)."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _from_seconds(value)
    if not isinstance(value, str):
        raise ValueError(f"Invalid timestamp: {shown(value)}")
    text = value.strip()
    match = _MOMENT.fullmatch(text)
    if match is None:
        try:
            return _from_seconds(Decimal(text))
        except InvalidOperation:
            raise ValueError(f"Invalid timestamp: {shown(value)}") from None
    naive = _moment(match, "timestamp", value)
    try:
        return (naive.replace(tzinfo=UTC) - _offset(match[8], naive)).astimezone(UTC)
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        raise ValueError(f"Invalid timestamp: {shown(value)}") from None


def _from_seconds(value: int | float | Decimal) -> datetime:
    try:
        return EPOCH + round(Decimal(str(value)) * 1_000_000) * _MICROSECOND
    except (OverflowError, ValueError, InvalidOperation):
        raise ValueError(f"Invalid timestamp: {shown(value)}") from None


def _moment(match: re.Match[str], kind: str, value: Any) -> datetime:
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        return datetime(year, month, day, hour, minute, second, _microseconds(match[7]))
    except ValueError:
        raise ValueError(f"Invalid {kind}: {shown(value)}") from None


def _offset(zone: str | None, naive: datetime) -> timedelta:
    """How far the zone is ahead of UTC at that local time."""
    if zone is None or zone.upper() in ("Z", "UTC", "GMT"):
        return timedelta(0)
    if zone[0] in "+-":
        digits = zone[1:].replace(":", "")
        hours, minutes = (digits, "0") if len(digits) <= 2 else (digits[:-2], digits[-2:])
        size = timedelta(hours=int(hours), minutes=int(minutes))
        return -size if zone[0] == "-" else size
    return naive.replace(tzinfo=ZoneInfo(zone)).utcoffset() or timedelta(0)


def _microseconds(digits: str | None) -> int:
    return int((digits or "")[:6].ljust(6, "0"))


def interval(value: Any) -> tuple[int, int, int]:
    """An INTERVAL `Y-M D H:M:S[.F]` as (months, days, nanoseconds)."""
    match = _INTERVAL.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"Invalid INTERVAL value: {shown(value)}")
    months = int(match[2]) * 12 + int(match[3])
    seconds = int(match[6]) * 3600 + int(match[7]) * 60 + int(match[8])
    nanoseconds = seconds * 1_000_000_000 + int((match[9] or "").ljust(9, "0"))
    return -months if match[1] else months, int(match[4]), -nanoseconds if match[5] else nanoseconds


def json_value(value: Any) -> str:
    """A JSON column from a JSON document: the value itself, written out."""
    return orjson.dumps(value).decode()


def json_text(value: Any) -> str:
    """A JSON column as insertAll and CSV give it: text is parsed, anything else is the value itself."""
    if not isinstance(value, str):
        return json_value(value)
    try:
        return orjson.dumps(orjson.loads(value)).decode()
    except orjson.JSONDecodeError:
        raise ValueError(f"Invalid JSON value: {shown(value)}") from None


def shown(value: Any) -> str:
    """The offending value for an error message, cut short."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


READERS: dict[str, Scalar] = {
    "STRING": string,
    "GEOGRAPHY": string,
    "INTEGER": integer,
    "FLOAT": floating,
    "BOOLEAN": boolean,
    "BYTES": octets,
    "NUMERIC": decimal(38, 9),
    "BIGNUMERIC": decimal(76, 38),
    "DATE": calendar_date,
    "TIME": clock_time,
    "DATETIME": civil_datetime,
    "TIMESTAMP": timestamp,
    "INTERVAL": interval,
}
"""The reader of each scalar type, by its REST name; JSON depends on where the value comes from."""
