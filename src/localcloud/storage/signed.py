"""Signed URLs: whether one is well formed and still valid. The signature itself is not verified.

Source: cloud.google.com/storage/docs/authentication/canonical-requests. Locally every key is a throw-away
key, so a verified signature would prove nothing.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from localcloud.storage import errors

MAX_SECONDS = 604_800
"""The longest that a V4 signed URL may be valid: seven days."""

_CREDENTIAL = re.compile(r"[^/]+/\d{8}/[^/]+/(storage|s3)/goog4_request")


def check(parameters: Mapping[str, str]) -> None:
    """Check the query of a request, if it is that of a signed URL (V4 or V2).

    Raises:
        StorageError: 400 if it is malformed or has expired.
    """
    if "X-Goog-Signature" in parameters or "X-Goog-Algorithm" in parameters:
        _check_v4(parameters)
    elif "GoogleAccessId" in parameters:
        _check_v2(parameters)


def _check_v4(parameters: Mapping[str, str]) -> None:
    for name, pattern in (
        ("X-Goog-Algorithm", r"GOOG4-(RSA|HMAC)-SHA256"),
        ("X-Goog-Credential", _CREDENTIAL.pattern),
        ("X-Goog-Date", r"\d{8}T\d{6}Z"),
        ("X-Goog-Expires", r"\d{1,6}"),
        ("X-Goog-SignedHeaders", r"(.*;)?host(;.*)?"),
        ("X-Goog-Signature", r"([0-9a-fA-F]{2})+"),
    ):
        if not re.fullmatch(pattern, parameters.get(name, "")):
            raise _malformed(name)
    seconds = int(parameters["X-Goog-Expires"])
    if not 1 <= seconds <= MAX_SECONDS:
        raise _malformed("X-Goog-Expires")
    try:
        moment = datetime.strptime(parameters["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _malformed("X-Goog-Date") from None
    if moment.timestamp() + seconds < time.time():
        raise _expired()


def _check_v2(parameters: Mapping[str, str]) -> None:
    expires = parameters.get("Expires", "")
    if not expires.isdigit():
        raise _malformed("Expires")
    try:
        base64.b64decode(parameters.get("Signature", ""), validate=True)
    except ValueError:
        raise _malformed("Signature") from None
    if not parameters.get("Signature"):
        raise _malformed("Signature")
    if int(expires) < time.time():
        raise _expired()


def _malformed(name: str) -> errors.StorageError:
    message = f"The signed URL is malformed: its parameter '{name}' is missing or wrong."
    return errors.StorageError(400, "invalid", message, ("parameter", name), "MalformedSecurityHeader")


def _expired() -> errors.StorageError:
    message = "The provided token has expired. Sign a new URL."
    return errors.StorageError(400, "expired", message, xml_code="ExpiredToken")
