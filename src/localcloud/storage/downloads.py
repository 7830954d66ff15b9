"""Downloads: whole objects and byte ranges, streamed from an open file; gzip undone for clients without it.

Source: cloud.google.com/storage/docs/json_api/v1/objects/get and …/transcoding. Which version is meant is
left to the store.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud.storage import errors
from localcloud.storage.content import BLOCK
from localcloud.storage.database import StoredObject
from localcloud.storage.http import in_thread
from localcloud.storage.resources import object_etag
from localcloud.storage.store import Store

_readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="storage-read")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileSlice(Response):
    """A response that sends part of an open file and closes it.

    Args:
        descriptor: The open file.
        start: The first byte to send.
        size: How many bytes to send.
        status: The HTTP status.
        headers: Response headers; Content-Length is added.
    """

    def __init__(self, descriptor: int, start: int, size: int, status: int, headers: dict[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = b""
        self.init_headers({**headers, "content-length": str(size)})
        self._descriptor = descriptor
        self._start = start
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, reading the next block while one is sent."""
        loop = asyncio.get_running_loop()
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            at, end = self._start, self._start + self._size
            if scope["method"] == "HEAD":
                at = end
            if end - at <= BLOCK:
                await send({"type": "http.response.body", "body": self._read(at, end)})
                return
            following = loop.run_in_executor(_readers, self._read, at, end)
            while at < end:
                block = await following
                at += len(block)
                if not block:
                    # The file was cut short from outside: break the connection rather than pretend.
                    raise EOFError("the object's file became shorter while it was read")
                following = loop.run_in_executor(_readers, self._read, at, end)
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await following
            await send({"type": "http.response.body", "body": b""})
        finally:
            _readers.submit(os.close, self._descriptor)

    def _read(self, at: int, end: int) -> bytes:
        return os.pread(self._descriptor, min(BLOCK, end - at), at) if at < end else b""


async def download(store: Store, request: Request, version: StoredObject, descriptor: int) -> Response:
    """The content of an opened version, as the request's Range and Accept-Encoding ask for it.

    Raises:
        StorageError: 416 for a range that begins past the end.
    """
    try:
        wanted = _range(request.headers.get("range"), version.size)
        if wanted is None or version.crc32c:
            # Reading a file from outside only for its hashes pays when all of it is sent anyway.
            version = await in_thread(store.hashed, version)
        headers = content_headers(version)
        if _to_inflate(request, version):
            return await in_thread(_inflated, descriptor, version, headers)
        start, size = wanted or (0, version.size)
        if wanted:
            headers["content-range"] = f"bytes {start}-{start + size - 1}/{version.size}"
        response = FileSlice(descriptor, start, size, 206 if wanted else 200, headers)
        descriptor = -1
        return response
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def content_headers(version: StoredObject) -> dict[str, str]:
    """The headers that describe an object with its content."""
    properties: dict[str, Any] = version.properties
    headers = {
        "accept-ranges": "bytes",
        "etag": object_etag(version),
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-storage-class": properties.get("storageClass", "STANDARD"),
        "x-goog-stored-content-encoding": properties.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(version.size),
        "content-type": properties.get("contentType", "application/octet-stream"),
        "cache-control": properties.get("cacheControl", "no-cache, no-store, max-age=0, must-revalidate"),
    }
    hashes = [("crc32c", version.crc32c), ("md5", version.md5)]
    if version.crc32c:
        headers["x-goog-hash"] = ",".join(f"{kind}={value}" for kind, value in hashes if value)
    for name in ("contentEncoding", "contentDisposition", "contentLanguage"):
        if properties.get(name):
            headers[f"content-{name.removeprefix('content').lower()}"] = properties[name]
    return {name: _header_text(value) for name, value in headers.items()}


def _header_text(value: str) -> str:
    """Text as a header may carry it: what is not Latin-1, or would end the line, percent-encoded."""
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        value = quote(value, safe=" !#$&'()*+,/:;<=>?@[]^`{|}~\"%")
    return value.replace("\r", "%0D").replace("\n", "%0A").replace("\0", "%00")


def _range(text: str | None, size: int) -> tuple[int, int] | None:
    """The range as (first byte, bytes); None for the whole object, as for what is no single range."""
    match = _RANGE.fullmatch(text.strip()) if text else None
    if not match or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) if match[2] else size - 1, size - 1)
        if match[2] and int(match[2]) < start:
            return None
    else:
        start, end = max(0, size - int(match[2])), size - 1
    if start >= size or start > end:
        raise errors.StorageError(
            416,
            "requestedRangeNotSatisfiable",
            "Request range not satisfiable",
            ("header", "Range"),
            "InvalidRange",
            {"content-range": f"bytes */{size}"},
        )
    return start, end - start + 1


def _to_inflate(request: Request, version: StoredObject) -> bool:
    """Whether decompressive transcoding applies."""
    properties = version.properties
    return (
        properties.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("accept-encoding", "")
        and "no-transform" not in properties.get("cacheControl", "")
    )


def _inflated(descriptor: int, version: StoredObject, headers: dict[str, str]) -> Response:
    """The content without its gzip; as it is where it is no gzip after all."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read()
    headers.pop("accept-ranges")
    try:
        content = gzip.decompress(content)
        headers.pop("content-encoding")
        headers["warning"] = "214 UploadServer gunzipped"
    except (OSError, EOFError):
        return Response(content, headers=headers)
    return Response(content, headers=headers)
