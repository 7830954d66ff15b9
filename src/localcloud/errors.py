"""The errors of Google's APIs, once: a canonical code, its HTTP status and the message.

A service raises one of these; the gateway turns it into a gRPC status or a REST error body.
Codes and HTTP statuses are those of https://google.aip.dev/193 and google/rpc/code.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from google.protobuf.message import Message


class Code(Enum):
    """A canonical code: (number in google.rpc.Code, HTTP status)."""

    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        """The value in google.rpc.Code, which is also gRPC's."""
        return self.value[0]

    @property
    def http(self) -> int:
        """The HTTP status that REST answers carry."""
        return self.value[1]

    @classmethod
    def of_number(cls, number: int) -> Code:
        """The code with this google.rpc.Code value; UNKNOWN for a number that is none."""
        return next((code for code in cls if code.number == number), cls.UNKNOWN)

    @classmethod
    def of_http(cls, status: int) -> Code:
        """The code that Google's front ends give an HTTP status that came from elsewhere."""
        known = {
            400: cls.INVALID_ARGUMENT,
            401: cls.UNAUTHENTICATED,
            403: cls.PERMISSION_DENIED,
            404: cls.NOT_FOUND,
            409: cls.ABORTED,
            429: cls.RESOURCE_EXHAUSTED,
            499: cls.CANCELLED,
            501: cls.UNIMPLEMENTED,
            503: cls.UNAVAILABLE,
            504: cls.DEADLINE_EXCEEDED,
        }
        if status in known:
            return known[status]
        return cls.INTERNAL if status >= 500 else cls.FAILED_PRECONDITION


class CloudError(Exception):
    """An error as a client of Google's APIs sees it.

    Args:
        message: What is wrong and, where it can be said, what to do next.
        details: google.rpc error details (BadRequest, ErrorInfo …), sent on both transports.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str, details: Sequence[Message] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)


class InvalidArgument(CloudError):
    """A request that is wrong whatever the state: name the field."""

    code = Code.INVALID_ARGUMENT


class FailedPrecondition(CloudError):
    """A request that the state as it stands does not allow."""

    code = Code.FAILED_PRECONDITION


class OutOfRange(CloudError):
    """A request past the end of something."""

    code = Code.OUT_OF_RANGE


class Unauthenticated(CloudError):
    """A request without the credentials it needs."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(CloudError):
    """A request that the caller may not make."""

    code = Code.PERMISSION_DENIED


class NotFound(CloudError):
    """The named resource does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(CloudError):
    """The resource to be created is there already."""

    code = Code.ALREADY_EXISTS


class Aborted(CloudError):
    """A concurrent change: an etag that is no longer right, an operation cut short."""

    code = Code.ABORTED


class ResourceExhausted(CloudError):
    """A limit was reached: a quota, a payload size, the disk."""

    code = Code.RESOURCE_EXHAUSTED


class Cancelled(CloudError):
    """The caller cancelled."""

    code = Code.CANCELLED


class DeadlineExceeded(CloudError):
    """The work did not finish in its time."""

    code = Code.DEADLINE_EXCEEDED


class Unavailable(CloudError):
    """Try again later: what serves this is not up."""

    code = Code.UNAVAILABLE


class Internal(CloudError):
    """The local cloud itself is at fault."""

    code = Code.INTERNAL


class Unimplemented(CloudError):
    """The local cloud does not do this: the message names what."""

    code = Code.UNIMPLEMENTED


def of(code: Code, message: str, details: Sequence[Message] = ()) -> CloudError:
    """The error of a code that is known only at run time."""
    kind = next((k for k in CloudError.__subclasses__() if k.code is code), CloudError)
    return kind(message, details)
