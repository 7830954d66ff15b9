"""Errors of Cloud Storage as its JSON API and its XML API word them.

Reasons and statuses: cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Any
from xml.sax.saxutils import escape

from localcloud.errors import CloudError


class StorageError(Exception):
    """An error answer.

    Args:
        status: The HTTP status.
        reason: The JSON API's reason, such as `notFound`.
        message: What is wrong and, where it can be said, what to do next.
        location: The parameter or header at fault, as (locationType, location).
        xml_code: The XML API's code, such as `NoSuchKey`.
        headers: What the answer says in headers.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        location: tuple[str, str] | None = None,
        xml_code: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location
        self.headers = headers or {}
        self.xml_code = xml_code or reason[:1].upper() + reason[1:]

    def json(self) -> dict[str, Any]:
        """The body that the JSON API answers with."""
        entry = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            entry["locationType"], entry["location"] = self.location
        return {"error": {"code": self.status, "message": self.message, "errors": [entry]}}

    def xml(self) -> str:
        """The body that the XML API answers with."""
        return (
            "<?xml version='1.0' encoding='UTF-8'?>"
            f"<Error><Code>{escape(self.xml_code)}</Code><Message>{escape(self.message)}</Message></Error>"
        )


def invalid(message: str, parameter: str = "") -> StorageError:
    """400: the request is wrong whatever the state."""
    location = ("parameter", parameter) if parameter else None
    return StorageError(400, "invalid", message, location, "InvalidArgument")


def required(message: str, parameter: str) -> StorageError:
    """400: a parameter is missing."""
    return StorageError(400, "required", message, ("parameter", parameter), "InvalidArgument")


def no_object(bucket: str, name: str) -> StorageError:
    """404: the object, or this generation of it."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}", xml_code="NoSuchKey")


def no_bucket() -> StorageError:
    """404: the bucket."""
    return StorageError(404, "notFound", "The specified bucket does not exist.", xml_code="NoSuchBucket")


def not_found(message: str) -> StorageError:
    """404: something else."""
    return StorageError(404, "notFound", message)


def conflict(message: str, xml_code: str = "") -> StorageError:
    """409: the state does not allow it."""
    return StorageError(409, "conflict", message, xml_code=xml_code)


def precondition() -> StorageError:
    """412: a precondition did not hold."""
    return StorageError(
        412,
        "conditionNotMet",
        "At least one of the pre-conditions you specified did not hold.",
        ("header", "If-Match"),
        "PreconditionFailed",
    )


def not_modified() -> StorageError:
    """304: a negative precondition of a read did not hold; it has no body."""
    return StorageError(304, "notModified", "Not Modified")


def forbidden(message: str) -> StorageError:
    """403: a hold or another rule of the bucket."""
    return StorageError(403, "forbidden", message, xml_code="AccessDenied")


def unimplemented(what: str) -> StorageError:
    """501: the local cloud does not do this."""
    message = f"{what} is not implemented by the local cloud."
    return StorageError(501, "notImplemented", message, xml_code="NotImplemented")


def of(error: Exception) -> StorageError | None:
    """The answer to an exception that is no StorageError yet; None if the server itself is at fault.

    A full disk is 413 `uploadTooLarge`: of the documented statuses the one that says so and that none of
    Google's clients retries (they retry 408, 429 and 5xx, gcloud every 5xx).
    """
    if isinstance(error, StorageError):
        return error
    if isinstance(error, CloudError):
        reason = {404: "notFound", 400: "invalid", 409: "conflict"}.get(error.code.http, "backendError")
        return StorageError(error.code.http, reason, error.message)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return forbidden(f"The local cloud may not touch a file of the bucket: {error.strerror}: {error.filename}")
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
        return StorageError(
            413,
            "uploadTooLarge",
            "There is no room: the disk that holds the local cloud's state is full, or a file size limit is "
            "reached. Nothing was stored. Free space or delete objects, then try again.",
            xml_code="EntityTooLarge",
        )
    return None
