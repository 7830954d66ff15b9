"""Answers that are not predictions: an HTTP status and a JSON error in Google's form.

What is wrong is found elsewhere; this only says it.
https://google.aip.dev/193
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class Failure(Exception):
    """A request that gets no predictions.

    Args:
        http: The HTTP status.
        message: What is wrong and what was expected.
        details: google.rpc error details in JSON.
    """

    def __init__(self, http: int, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.http = http
        self.message = message
        self.details = details

    def body(self) -> bytes:
        """The response body."""
        error: dict[str, Any] = {"code": self.http, "message": self.message}
        error["status"] = _STATUS.get(self.http, "INVALID_ARGUMENT" if self.http < 500 else "INTERNAL")
        if self.details:
            error["details"] = list(self.details)
        return orjson.dumps({"error": error}, default=str)


@dataclass(frozen=True)
class Violation:
    """One value that a model cannot take.

    Args:
        instance: The index in `instances`.
        field: The feature, or empty where the instance as a whole is at fault.
        expected: What belongs there.
        actual: What was there.
    """

    instance: int
    field: str
    expected: str
    actual: str

    @property
    def place(self) -> str:
        """`instances[3].distance`."""
        return f"instances[{self.instance}]" + (f".{self.field}" if self.field else "")

    def __str__(self) -> str:
        return f"expected {self.expected}, got {self.actual}"


def invalid(violations: Sequence[Violation], *, more: bool = False) -> Failure:
    """The 400 for instances that a model cannot take, as a google.rpc.BadRequest; the first is the message.

    Args:
        violations: At least one.
        more: Whether the search stopped before the last instance.
    """
    first, others = violations[0], len(violations) - 1
    message = f"{first.place}: {first}."
    if others:
        message += f" {others}{' or more' if more else ''} further in details."
    return Failure(
        400,
        message,
        [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": one.place, "description": str(one)} for one in violations],
            }
        ],
    )
