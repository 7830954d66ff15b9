"""One JSON line a message on stdout, in the form that Cloud Logging reads; nothing about files or levels.

https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

Severity = Literal["INFO", "WARNING", "ERROR"]


def log(severity: Severity, message: str, **fields: Any) -> None:
    """Write one entry; further fields become parts of its jsonPayload."""
    entry = {"severity": severity, "message": message, "time": datetime.now(UTC), **fields}
    # One write of one line: the lines of several workers on one pipe never mix.
    sys.stdout.write(orjson.dumps(entry, default=str, option=orjson.OPT_UTC_Z).decode() + "\n")
    sys.stdout.flush()


def stack(error: BaseException) -> dict[str, str]:
    """The stack trace as a field of the entry, if MLOPS_DEBUG=1 asks for it."""
    if os.environ.get("MLOPS_DEBUG") != "1":
        return {}
    return {"stack_trace": "".join(traceback.format_exception(error))}


class _Json(logging.Handler):
    """Writes what libraries and a team's code log through `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        severity: Severity = "INFO"
        if record.levelno >= logging.WARNING:
            severity = "WARNING" if record.levelno < logging.ERROR else "ERROR"
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage()
        if error is not None:
            message += f": {type(error).__name__}: {error}"
        log(severity, message, **(stack(error) if error is not None else {}))


def to_json() -> None:
    """Send Python's logging, from INFO on, to the same lines; uvicorn only where something is wrong."""
    logging.basicConfig(level=logging.INFO, handlers=[_Json()], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
