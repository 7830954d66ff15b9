"""Uploads: simple, multipart and resumable.

Source: cloud.google.com/storage/docs/uploads-downloads and …/performing-resumable-uploads. What an upload
becomes is left to the store.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from localcloud.storage import errors
from localcloud.storage.content import BLOCK, Content, Hashes, Incoming, new_path
from localcloud.storage.database import Session, StoredObject
from localcloud.storage.http import (
    Answer,
    base_url,
    body_stream,
    in_thread,
    media_url,
    parse_json,
    read_json,
)
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.related import Related
from localcloud.storage.resources import object_properties, object_resource
from localcloud.storage.store import Store

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Uploads:
    """The upload methods.

    Args:
        store: Where objects go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hashes: dict[str, Hashes] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    # The three kinds of upload

    async def insert(self, request: Request, bucket: str) -> Answer:
        """POST /upload/storage/v1/b/BUCKET/o: `uploadType` says how."""
        kind = request.query_params.get("uploadType") or request.headers.get("x-goog-upload-protocol")
        if kind == "media":
            return await self._media(request, bucket)
        if kind == "multipart":
            return await self._multipart(request, bucket)
        if kind == "resumable":
            if "upload_id" in request.query_params:
                return await self.resume(request)
            return await self._begin(request, bucket)
        raise errors.invalid(f"Invalid uploadType: '{kind}'. It must be media, multipart or resumable.", "uploadType")

    async def _media(self, request: Request, bucket: str) -> Answer:
        properties = _properties(request, {}, request.headers.get("content-type"))
        name = _name(request, {})
        stream = _decoded(request, body_stream(request))
        return await self.receive(request, bucket, name, stream, properties, {})

    async def _multipart(self, request: Request, bucket: str) -> Answer:
        related = Related(request.headers.get("content-type", ""), _decoded(request, body_stream(request)))
        metadata, content_type = await related.open()
        body = parse_json(metadata)
        properties = _properties(request, body, content_type)
        return await self.receive(request, bucket, _name(request, body), related.data(), properties, body)

    async def receive(
        self,
        request: Request,
        bucket: str,
        name: str,
        stream: AsyncIterator[bytes],
        properties: dict[str, Any],
        body: Mapping[str, Any],
        conditions: Preconditions | None = None,
    ) -> dict[str, Any]:
        """Take in an object's content and store it; its resource.

        Raises:
            StorageError: 404, 412 and 403, before a large body is read; 400 if a checksum is not the content's.
        """
        if conditions is None:
            conditions = Preconditions.of(request.query_params)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BLOCK:
            # What is small is checked when it is stored; nothing large is taken in for nothing.
            await in_thread(self._store.check_write, bucket, name, conditions)
        incoming = Incoming(new_path(self._store.incoming))
        try:
            async for data in stream:
                await incoming.add(data)
            await incoming.flush()
            content = incoming.content()
            check_hashes(content, body, request.headers)
            version = await in_thread(self._store.put, bucket, name, content, properties, conditions)
        finally:
            await incoming.abandon()
        return object_resource(version, media_url(request))

    # Resumable

    async def _begin(self, request: Request, bucket: str) -> Answer:
        body = await read_json(request)
        properties = _properties(request, body, request.headers.get("x-upload-content-type"))
        length = request.headers.get("x-upload-content-length")
        parameters = {key: value for key, value in request.query_params.items() if key.startswith("if")}
        location = await self.begin(
            request,
            bucket,
            _name(request, body),
            properties,
            parameters,
            {key: body[key] for key in ("md5Hash", "crc32c") if key in body},
            int(length) if length and length.isdigit() else None,
        )
        return Response(headers={"location": location, "x-guploader-uploadid": location.rpartition("=")[2]})

    async def begin(
        self,
        request: Request,
        bucket: str,
        name: str,
        properties: dict[str, Any],
        parameters: dict[str, str],
        hashes: dict[str, str],
        size: int | None,
    ) -> str:
        """Open a resumable session, which lasts over restarts of the server; its URI."""
        await in_thread(self._store.check_write, bucket, name, Preconditions.of(parameters))
        session_id = f"resumable-{secrets.token_hex(20)}"
        state = {"properties": properties, "parameters": parameters, "hashes": hashes, "size": size}
        session = Session(session_id, "resumable", bucket, name, time.time_ns() // 1000, state)
        await in_thread(self._store.database.save_session, session)
        return f"{base_url(request)}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session_id}"

    async def resume(self, request: Request, *_: str) -> Answer:
        """PUT on a session: a chunk, the whole, or a question how far it got."""
        session_id = request.query_params.get("upload_id", "")
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            session = await in_thread(self._store.database.session, session_id, "resumable")
            if not session:
                self._locks.pop(session_id, None)
                raise errors.not_found(f"There is no upload session '{session_id}': it was finished or deleted.")
            if "generation" in session.state:
                return await self._finished(request, session)
            return await self._chunk(request, session)

    async def _finished(self, request: Request, session: Session) -> Answer:
        generation = session.state["generation"]
        version = await in_thread(self._store.get, session.bucket, session.name, generation)
        return object_resource(version, media_url(request))

    async def _chunk(self, request: Request, session: Session) -> Answer:
        start, end, total = _content_range(request, session.state["size"])
        incoming = Incoming(os.path.join(self._store.incoming, session.id), self._hashes.pop(session.id, None))
        try:
            if start is not None:
                if start > incoming.size:
                    raise errors.invalid(
                        f"Invalid Content-Range: the chunk begins at byte {start}, "
                        f"but {incoming.size} bytes have been received."
                    )
                try:
                    await _append(incoming, body_stream(request), incoming.size - start)
                finally:
                    # What has arrived stays, even if the connection broke.
                    await incoming.flush()
                if total is None and end is None:
                    total = incoming.size
            if total is not None and incoming.size > total:
                raise errors.invalid(f"{incoming.size} bytes were sent of an upload of {total} bytes.")
            if incoming.size == total:
                content = incoming.content()
                check_hashes(content, session.state["hashes"], request.headers)
                version = await in_thread(self._store_session, session, content)
                self._locks.pop(session.id, None)
                return object_resource(version, media_url(request))
            self._hashes[session.id] = incoming.hashes
            return _incomplete(incoming.size)
        finally:
            await incoming.close()

    def _store_session(self, session: Session, content: Content) -> StoredObject:
        conditions = Preconditions.of(session.state["parameters"])
        properties = session.state["properties"]

        def note(version: StoredObject) -> None:
            state = {"generation": version.generation}
            done = Session(session.id, session.kind, session.bucket, session.name, session.created, state)
            self._store.database.save_session(done)

        return self._store.put(session.bucket, session.name, content, properties, conditions, note)

    async def cancel(self, request: Request, *_: str) -> Answer:
        """DELETE on a session: 499, as Google answers."""
        session_id = request.query_params.get("upload_id", "")
        session = await in_thread(self._store.database.session, session_id, "resumable")
        if not session:
            raise errors.not_found(f"There is no upload session '{session_id}'.")
        await in_thread(self._store.drop_session, session)
        self._hashes.pop(session_id, None)
        self._locks.pop(session_id, None)
        return Response(status_code=499)


def _properties(request: Request, body: Mapping[str, Any], content_type: str | None) -> dict[str, Any]:
    if request.query_params.get("kmsKeyName"):
        raise errors.unimplemented("Encryption with customer-managed keys")
    properties = object_properties(body)
    if not content_type or "*" in content_type:
        content_type = "application/octet-stream"
    properties.setdefault("contentType", content_type)
    if request.query_params.get("contentEncoding"):
        properties["contentEncoding"] = request.query_params["contentEncoding"]
    return properties


async def _append(incoming: Incoming, stream: AsyncIterator[bytes], skip: int) -> None:
    """Add the stream, but for its first bytes, which have been received before."""
    async for data in stream:
        if skip >= len(data):
            skip -= len(data)
            continue
        await incoming.add(data[skip:] if skip else data)
        skip = 0


def _content_range(request: Request, size: int | None) -> tuple[int | None, int | None, int | None]:
    """The chunk as (first byte, last byte, total); the first is None for a question how far it got."""
    text = request.headers.get("content-range")
    if text is None:
        return 0, None, size
    match = _RANGE.fullmatch(text.strip())
    if not match:
        raise errors.invalid(f"Failed to parse Content-Range header: '{text}'.")
    total = size if match[3] == "*" else int(match[3])
    if size is not None and total != size:
        raise errors.invalid(f"Content-Range says {total} bytes; X-Upload-Content-Length said {size}.")
    if match[1] is None:
        return None, None, total
    return int(match[1]), int(match[2]), total


def _incomplete(size: int) -> Response:
    headers = {"x-http-status-code-override": "308"}
    if size:
        headers["range"] = f"bytes=0-{size - 1}"
    return Response(status_code=308, headers=headers)


def check_hashes(content: Content, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """400 unless the checksums that the client gave are those of the content."""
    expected = {"md5": body.get("md5Hash"), "crc32c": body.get("crc32c")}
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind in expected and value:
            expected[kind] = value
    expected["md5"] = headers.get("content-md5") or expected["md5"]
    for kind, label, actual in (("md5", "MD5 hash", content.md5), ("crc32c", "CRC32C", content.crc32c)):
        if expected[kind] and expected[kind] != actual:
            raise errors.invalid(f'Provided {label} "{expected[kind]}" doesn\'t match calculated {label} "{actual}".')


def _name(request: Request, body: Mapping[str, Any]) -> str:
    name = request.query_params.get("name") or body.get("name")
    if not name or not isinstance(name, str):
        raise errors.required("Required parameter: name", "name")
    return name


async def _decoded(request: Request, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream without the gzip that a client may send it in (`gcloud storage cp --gzip-in-flight`)."""
    if request.headers.get("content-encoding") != "gzip":
        async for data in stream:
            yield data
        return
    inflate = zlib.decompressobj(wbits=31)
    try:
        async for data in stream:
            yield inflate.decompress(data)
        yield inflate.flush()
    except zlib.error as error:
        raise errors.invalid(f"The body is not valid gzip, as its Content-Encoding says: {error}.") from None
