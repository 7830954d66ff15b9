"""An exception as BigQuery's clients see it: the ErrorProto of a job and the body of an HTTP error.

The forms are those of https://cloud.google.com/bigquery/docs/error-messages; raising is left to everybody else.
"""

from __future__ import annotations

import logging
from typing import Any

from localcloud.errors import CloudError, Code

from .failures import BigQueryError, EtagMismatch, disk_error

_log = logging.getLogger(__name__)

_REASONS = {
    Code.INVALID_ARGUMENT: "invalid",
    Code.NOT_FOUND: "notFound",
    Code.ALREADY_EXISTS: "duplicate",
    Code.PERMISSION_DENIED: "accessDenied",
    Code.FAILED_PRECONDITION: "invalid",
    Code.ABORTED: "jobBackendError",
    Code.OUT_OF_RANGE: "invalid",
    Code.RESOURCE_EXHAUSTED: "resourcesExceeded",
    Code.UNIMPLEMENTED: "notImplemented",
    Code.UNAVAILABLE: "backendError",
    Code.CANCELLED: "stopped",
    Code.DEADLINE_EXCEEDED: "timeout",
}
_STATUS_OF_REASON = {
    "notFound": (404, "NOT_FOUND"),
    "duplicate": (409, "ALREADY_EXISTS"),
    "accessDenied": (403, "PERMISSION_DENIED"),
    "notImplemented": (501, "UNIMPLEMENTED"),
    "backendError": (503, "UNAVAILABLE"),
    "internalError": (500, "INTERNAL"),
    "stopped": (499, "CANCELLED"),
}


def error_proto(error: BaseException) -> dict[str, str]:
    """What a failed job's `errorResult` says.

    An exception that is not an error of Google's APIs is the local cloud's own fault: it is logged, and the job
    says so without a stack trace.
    """
    error = disk_error(error) or error
    if isinstance(error, BigQueryError):
        proto = {
            "reason": error.reason,
            "location": error.location,
            "message": error.message,
        }
        return {key: value for key, value in proto.items() if value}
    if isinstance(error, CloudError):
        return {
            "reason": _REASONS.get(error.code, "internalError"),
            "message": error.message,
        }
    _log.error("BigQuery failed on something unexpected", exc_info=error)
    return {
        "reason": "internalError",
        "message": f"An internal error occurred in the local BigQuery: {type(error).__name__}: {error}",
    }


def http_error(error: BaseException) -> tuple[int, dict[str, Any]]:
    """The HTTP status and body that answer a request which raised."""
    error = disk_error(error) or error
    proto = error_proto(error)
    if isinstance(error, EtagMismatch):
        status, name = 412, "FAILED_PRECONDITION"
    elif isinstance(error, CloudError):
        status, name = error.code.http, error.code.name
    else:
        status, name = (500, "INTERNAL")
    return status, _body(status, name, proto)


def http_error_of_job(proto: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """The HTTP status and body with which a query's results answer when its job failed."""
    status, name = _STATUS_OF_REASON.get(proto.get("reason", ""), (400, "INVALID_ARGUMENT"))
    return status, _body(status, name, proto)


def _body(status: int, name: str, proto: dict[str, str]) -> dict[str, Any]:
    detail = {
        "message": proto["message"],
        "domain": "global",
        "reason": proto["reason"],
    }
    if proto.get("location"):
        detail |= {"location": proto["location"], "locationType": "parameter"}
    return {
        "error": {
            "code": status,
            "message": proto["message"],
            "errors": [detail],
            "status": name,
        }
    }
