"""Multipart uploads of the XML API: numbered parts, sent side by side, made one object at the end.

Source: cloud.google.com/storage/docs/multipart-uploads. google-cloud-storage's transfer_manager uses them.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import google_crc32c
from starlette.requests import Request

from localcloud.storage import errors
from localcloud.storage.content import BLOCK, Content, Incoming, encode_crc32c, new_path
from localcloud.storage.database import Session, StoredObject
from localcloud.storage.http import body_stream, in_thread
from localcloud.storage.store import NO_CONDITIONS, Store
from localcloud.storage.uploads import check_hashes

MAX_PARTS = 10_000


class PartUploads:
    """Multipart uploads under way.

    Args:
        store: Where objects go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, bucket: str, name: str, properties: dict[str, Any]) -> str:
        """Open an upload, which lasts over restarts of the server; its id."""
        self._store.check_write(bucket, name, NO_CONDITIONS)
        identity = f"parts-{secrets.token_hex(20)}"
        session = Session(identity, "parts", bucket, name, self._store.database.now(), properties)
        self._folder(identity).mkdir()
        self._store.database.save_session(session)
        return identity

    async def receive(self, request: Request, bucket: str, name: str, identity: str, part: int) -> Content:
        """Take in one part, replacing an earlier one of its number."""
        await in_thread(self._session, bucket, name, identity)
        if not 1 <= part <= MAX_PARTS:
            raise errors.invalid(f"partNumber must be from 1 to {MAX_PARTS}.", "partNumber")
        incoming = Incoming(new_path(self._store.incoming))
        try:
            async for data in body_stream(request):
                await incoming.add(data)
            await incoming.flush()
            content = incoming.content()
            check_hashes(content, {}, request.headers)
            os.replace(content.path, self._folder(identity) / f"{part}-{content.md5_hex}")
            return content
        finally:
            await incoming.abandon()

    def complete(self, bucket: str, name: str, identity: str, body: bytes) -> StoredObject:
        """Make the object of its parts.

        Raises:
            StorageError: 404 without the upload, 400 for a part that is not there.
        """
        session = self._session(bucket, name, identity)
        path = new_path(self._store.incoming)
        checksum, size = 0, 0
        try:
            with open(path, "wb") as target:
                for part, md5 in sorted(_listed_parts(body)):
                    file = self._folder(identity) / f"{part}-{md5}"
                    if not file.exists():
                        raise errors.StorageError(
                            400, "invalid", f"Part {part} has not been uploaded.", None, "InvalidPart"
                        )
                    with file.open("rb") as source:
                        while block := source.read(BLOCK):
                            target.write(block)
                            checksum = google_crc32c.extend(checksum, block)
                            size += len(block)
            content = Content(path, size, "", encode_crc32c(checksum))
            version = self._store.put(
                bucket,
                name,
                content,
                session.state,
                note=lambda _: self._store.database.forget_session(identity),
            )
            shutil.rmtree(self._folder(identity), ignore_errors=True)
            return version
        finally:
            Path(path).unlink(missing_ok=True)

    def abort(self, bucket: str, name: str, identity: str) -> None:
        """Give an upload up."""
        self._store.drop_session(self._session(bucket, name, identity))

    def _session(self, bucket: str, name: str, identity: str) -> Session:
        session = self._store.database.session(identity, "parts")
        if not session or (session.bucket, session.name) != (bucket, name):
            raise errors.StorageError(404, "notFound", "The requested upload was not found.", None, "NoSuchUpload")
        return session

    def _folder(self, identity: str) -> Path:
        return self._store.incoming / f"{identity}.parts"


def _listed_parts(body: bytes) -> list[tuple[int, str]]:
    """The parts that the request to complete names, as (number, MD5)."""
    try:
        if b"<!" in body:
            raise ValueError("it declares a document type")
        root = ElementTree.fromstring(body)
        parts = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Part"]
        listed = []
        for part in parts:
            values = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in part}
            listed.append((int(values["PartNumber"]), re.sub(r"[^0-9a-f]", "", values["ETag"])))
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        raise errors.StorageError(
            400, "invalid", f"The list of parts cannot be read: {error}.", None, "MalformedXML"
        ) from None
    if not listed:
        raise errors.StorageError(400, "invalid", "No parts are named.", None, "MalformedXML")
    return listed
