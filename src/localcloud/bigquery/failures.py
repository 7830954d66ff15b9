"""BigQuery's errors: the shared error family with the `reason` that REST error bodies and job errors carry.

Reasons are those of https://cloud.google.com/bigquery/docs/error-messages; the REST layer writes the bodies.
"""

from __future__ import annotations

import errno

from localcloud import errors


class BigQueryError(errors.CloudError):
    """An error with BigQuery's `reason` and, in SQL, the `location` of a job's errorResult.

    Args:
        message: BigQuery's own message.
        reason: `notFound`, `duplicate`, `invalid`, `invalidQuery`, `resourceInUse` …
        location: What an errorResult's `location` says; "query" for SQL.
    """

    default_reason = "invalid"

    def __init__(self, message: str, *, reason: str = "", location: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason
        self.location = location


class Invalid(BigQueryError, errors.InvalidArgument):
    """A request that is wrong (400, `invalid`)."""


class InvalidQuery(BigQueryError, errors.InvalidArgument):
    """SQL that is wrong or failed while it ran (400, `invalidQuery`)."""

    default_reason = "invalidQuery"

    def __init__(self, message: str, *, reason: str = "", location: str = "query") -> None:
        super().__init__(message, reason=reason, location=location)


class Missing(BigQueryError, errors.NotFound):
    """`Not found: Table p:d.t` (404, `notFound`)."""

    default_reason = "notFound"


class Duplicate(BigQueryError, errors.AlreadyExists):
    """`Already Exists: Dataset p:d` (409, `duplicate`)."""

    default_reason = "duplicate"


class InUse(BigQueryError, errors.InvalidArgument):
    """`Dataset p:d is still in use` (400, `resourceInUse`)."""

    default_reason = "resourceInUse"


class EtagMismatch(BigQueryError, errors.FailedPrecondition):
    """An `If-Match` etag that is no longer right (412 in REST, `conditionNotMet`)."""

    default_reason = "conditionNotMet"


class Stopped(BigQueryError, errors.Cancelled):
    """The query was cancelled (`stopped`)."""

    default_reason = "stopped"


class Refused(BigQueryError, errors.Unimplemented):
    """SQL or a feature that BigQuery has and the local BigQuery does not: the message names the construct."""

    default_reason = "notImplemented"

    def __init__(self, message: str, *, reason: str = "", location: str = "query") -> None:
        super().__init__(message, reason=reason, location=location)


class DiskError(BigQueryError, errors.FailedPrecondition):
    """The disk does not take what has to be written (400, `resourcesExceeded`: no 5xx, which clients retry)."""

    default_reason = "resourcesExceeded"


def disk_error(error: BaseException) -> DiskError | None:
    """What a full disk looks like from DuckDB and from the file system; None for any other error."""
    text = str(error)
    if "has been invalidated" in text:
        return DiskError(
            "BigQuery's file could not be written, and takes nothing more until the local cloud is started again: free "
            "some space, then `mlops down` and `mlops up`. What was acknowledged is kept."
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text:
        return DiskError(f"The disk is full: {text.splitlines()[0]}. Free some space and try again.")
    return None
