"""Values of the API as a person reads them: times, durations, sizes, parameters."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format


def plain(value: Any) -> Any:
    """A google.protobuf.Value, Struct or ListValue as Python has it; whole numbers as integers."""
    return _whole(json_format.MessageToDict(value))


def seconds_of(stamp: Any) -> float:
    """A Timestamp in seconds since the epoch."""
    return float(stamp.seconds) + float(stamp.nanos) / 1e9


def moment(stamp: Any) -> str:
    """A Timestamp, or its text in RFC 3339, as `2026-01-31 09:05:07 UTC`; empty where it is not set."""
    if isinstance(stamp, str):
        return stamp[:19].replace("T", " ") + " UTC" if stamp else ""
    if not stamp.seconds:
        return ""
    return f"{datetime.fromtimestamp(stamp.seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Bytes as `12 B`, `3.4 KiB`, `5.6 MiB`."""
    number, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def text_of(value: Any) -> str:
    """A parameter: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def last_of(name: str) -> str:
    """The last segment of a resource name."""
    return name.rpartition("/")[2]


def location_of(name: str) -> str:
    """`us-central1` of `projects/1/locations/us-central1/…`."""
    parts = name.split("/")
    return parts[3] if len(parts) > 3 else ""


def project_of(name: str) -> str:
    """`1` of `projects/1/locations/us-central1/…`."""
    parts = name.split("/")
    return parts[1] if len(parts) > 1 else ""


def _whole(value: Any) -> Any:
    """A Struct knows floating point alone."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value
