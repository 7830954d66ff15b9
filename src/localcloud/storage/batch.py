"""Batches: many calls in one multipart/mixed request, each answered as if it had come alone.

Source: cloud.google.com/storage/docs/batch.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import MutableMapping
from http.client import responses
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from localcloud.storage import errors
from localcloud.storage.http import Answer, read_small
from localcloud.storage.related import boundary_of

MAX_CALLS = 100
_LINE = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/[0-9.]+)?")


class Batch:
    """The batch endpoint.

    Args:
        app: What answers the calls.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def run(self, request: Request) -> Answer:
        """POST /batch/storage/v1.

        Raises:
            StorageError: 400 if the body is no batch, or one of more than 100 calls.
        """
        delimiter = b"--" + boundary_of(request.headers.get("content-type", ""))
        body = b"\n" + (await read_small(request)).replace(b"\r\n", b"\n")
        parts = body.split(b"\n" + delimiter)[1:]
        calls = [part.lstrip(b" \t\n") for part in parts if not part.startswith(b"--")]
        if not calls:
            raise errors.invalid("The batch holds no calls.")
        if len(calls) > MAX_CALLS:
            raise errors.invalid(f"The batch has {len(calls)} calls; at most {MAX_CALLS} are allowed.")
        boundary = f"batch_{secrets.token_hex(16)}"
        answers = bytearray()
        for call in calls:
            answers += f"--{boundary}\r\n".encode() + await self._answer(request, call) + b"\r\n"
        answers += f"--{boundary}--\r\n".encode()
        return Response(bytes(answers), media_type=f"multipart/mixed; boundary={boundary}")

    async def _answer(self, outer: Request, part: bytes) -> bytes:
        head, _, call = part.partition(b"\n\n")
        identity = _headers(head).get("content-id", "<>")
        status, headers, body = await self._call(outer, call)
        lines = [
            "Content-Type: application/http",
            f"Content-ID: <response-{identity.removeprefix('<')}",
            "",
            f"HTTP/1.1 {status}",
            *(f"{name.decode('latin-1').title()}: {value.decode('latin-1')}" for name, value in headers),
            "",
            "",
        ]
        return "\r\n".join(lines).encode("latin-1") + body

    async def _call(self, outer: Request, call: bytes) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
        head, _, body = call.partition(b"\n\n")
        line, _, rest = head.partition(b"\n")
        match = _LINE.fullmatch(line.strip())
        if not match:
            return "400 Bad Request", [], b"The request line of this call cannot be read."
        target = re.sub(rb"^https?://[^/]+", b"", match[2])
        path, _, query = target.partition(b"?")
        headers = _headers(rest)
        headers.setdefault("host", outer.headers.get("host", ""))
        scope = {
            **outer.scope,
            "method": match[1].decode(),
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
        return await self._run(scope, body)

    async def _run(self, scope: dict[str, Any], body: bytes) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
        status, headers, received = 500, list[tuple[bytes, bytes]](), bytearray()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message["headers"])
            else:
                received.extend(message.get("body", b""))

        await self._app(scope, receive, send)
        return f"{status} {responses.get(status, '')}", headers, bytes(received)


def _headers(text: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.decode("latin-1").split("\n"))
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
