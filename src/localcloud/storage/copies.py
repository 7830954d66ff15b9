"""Objects made of objects: compose, copy, rewrite, move.

Source: cloud.google.com/storage/docs/json_api/v1/objects. The content is always a copy of its own, so that a
job which writes into one file never changes another object.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from localcloud.storage import errors
from localcloud.storage.content import BLOCK, Content, encode_crc32c, hash_file, new_path
from localcloud.storage.database import Session, StoredObject
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.resources import object_properties
from localcloud.storage.store import NO_CONDITIONS, Store

MAX_SOURCES = 32
MEBIBYTE = 1 << 20

Place = tuple[str, str]
"""A bucket and the name of an object in it."""


def compose(store: Store, bucket: str, name: str, body: Mapping[str, Any], conditions: Preconditions) -> StoredObject:
    """Make an object of up to 32 objects of its bucket, one after another.

    Raises:
        StorageError: 404 for a source, 412 for a precondition, 400 for their number.
    """
    sources = body.get("sourceObjects")
    if not isinstance(sources, list) or not 1 <= len(sources) <= MAX_SOURCES:
        raise errors.invalid(f"The number of source components must be from 1 to {MAX_SOURCES}.", "sourceObjects")
    store.check_write(bucket, name, conditions)
    path = new_path(store.incoming)
    checksum, components, size = 0, 0, 0
    first: StoredObject | None = None
    try:
        with open(path, "wb") as target:
            for source in sources:
                wanted = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
                check = Preconditions(generation=int(wanted)) if wanted is not None else NO_CONDITIONS
                generation = int(source["generation"]) if source.get("generation") else None
                part, descriptor = store.open(bucket, source.get("name", ""), generation, check)
                with os.fdopen(descriptor, "rb") as file:
                    while block := file.read(BLOCK):
                        target.write(block)
                        checksum = google_crc32c.extend(checksum, block)
                        size += len(block)
                first = first or part
                components += part.properties.get("componentCount", 1)
        properties = object_properties(body.get("destination") or {})
        if first and "contentType" in first.properties:
            properties.setdefault("contentType", first.properties["contentType"])
        properties["componentCount"] = components
        return store.put(bucket, name, Content(path, size, "", encode_crc32c(checksum)), properties, conditions)
    finally:
        Path(path).unlink(missing_ok=True)


def copied_properties(source: StoredObject, body: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a copy: those of the request where it gives any, else those of the source."""
    given = object_properties(body)
    if not given:
        kept = dict(source.properties)
        for name in ("eventBasedHold", "temporaryHold"):
            kept.pop(name, None)
        return kept
    if set(given) == {"storageClass"}:
        return {**source.properties, **given}
    given.setdefault("contentType", source.properties.get("contentType", "application/octet-stream"))
    if "componentCount" in source.properties:
        given["componentCount"] = source.properties["componentCount"]
    return given


def copy(
    store: Store,
    source: Place,
    target: Place,
    body: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> StoredObject:
    """Copy an object at once.

    Args:
        store: Where both are.
        source: What to copy.
        target: Where to; the same place is allowed.
        body: Properties for the copy.
        parameters: The query, with the source's generation and the preconditions on both.
    """
    conditions = Preconditions.of(parameters)
    store.check_write(*target, conditions)
    version, descriptor = open_source(store, source, parameters)
    path = new_path(store.incoming)
    try:
        with os.fdopen(descriptor, "rb") as file, open(path, "wb") as new:
            shutil.copyfileobj(file, new, BLOCK)
        content = _copied(store, version, path)
        return store.put(*target, content, copied_properties(version, body), conditions)
    finally:
        Path(path).unlink(missing_ok=True)


def open_source(store: Store, source: Place, parameters: Mapping[str, str]) -> tuple[StoredObject, int]:
    """The source of a copy, opened; 404, or 412 by the preconditions on it."""
    text = parameters.get("sourceGeneration")
    conditions = Preconditions.of(parameters, "Source")
    generation = int(text) if text else None
    try:
        return store.open(*source, generation, conditions)
    except errors.StorageError as error:
        raise errors.precondition() if error.status == 304 else error from None


def _copied(store: Store, version: StoredObject, path: str) -> Content:
    """The copy's content: the hashes are those of the source, where they are known."""
    size = os.path.getsize(path)
    if version.crc32c and size == version.size:
        return Content(path, size, version.md5, version.crc32c)
    with open(path, "rb") as file:
        hashes = hash_file(file.fileno())
    return Content(path, size, hashes.md5, hashes.crc32c)


def rewrite(
    store: Store,
    source: Place,
    target: Place,
    body: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> tuple[int, int, str, StoredObject | None]:
    """One call of a rewrite: all of it, unless the client limits the bytes a call.

    Returns:
        Bytes written so far, the object's size, a token for the next call, and the object when done.
    """
    token = parameters.get("rewriteToken", "")
    limit = int(parameters.get("maxBytesRewrittenPerCall") or 0)
    if limit % MEBIBYTE:
        raise errors.invalid(
            "maxBytesRewrittenPerCall must be a multiple of 1 MiB (1048576).", "maxBytesRewrittenPerCall"
        )
    version, descriptor = open_source(store, source, parameters)
    if not token and not 0 < limit < version.size:
        os.close(descriptor)
        parameters = {**parameters, "sourceGeneration": str(version.generation)}
        done = copy(store, source, target, body, parameters)
        return done.size, done.size, "", done
    with os.fdopen(descriptor, "rb") as file:
        if not token:
            token = _begin_rewrite(store, source, target, version)
        return _continue_rewrite(store, token, version, file, limit or version.size, target, body, parameters)


def _begin_rewrite(store: Store, source: Place, target: Place, version: StoredObject) -> str:
    token = f"rewrite-{secrets.token_hex(20)}"
    state = {"source": list(source), "sourceGeneration": version.generation}
    store.database.save_session(Session(token, "rewrite", *target, store.database.now(), state))
    return token


def _continue_rewrite(
    store: Store,
    token: str,
    version: StoredObject,
    file: Any,
    limit: int,
    target: Place,
    body: Mapping[str, Any],
    parameters: Mapping[str, str],
) -> tuple[int, int, str, StoredObject | None]:
    session = store.database.session(token, "rewrite")
    same = session and (session.bucket, session.name) == target
    if not session or not same or session.state["source"] != [version.bucket, version.name]:
        raise errors.invalid("Invalid rewriteToken: it belongs to no rewrite of these objects.", "rewriteToken")
    if session.state["sourceGeneration"] != version.generation:
        store.drop_session(session)
        raise errors.precondition()
    conditions = Preconditions.of(parameters)
    store.check_write(*target, conditions)
    path = os.path.join(store.incoming, token)
    with open(path, "ab") as new:
        file.seek(new.tell())
        left = limit
        while left and (block := file.read(min(BLOCK, left))):
            new.write(block)
            left -= len(block)
        written = new.tell()
    if written < version.size:
        return written, version.size, token, None
    content = _copied(store, version, path)
    done = store.put(
        *target,
        content,
        copied_properties(version, body),
        conditions,
        lambda _: store.database.forget_session(token),
    )
    return written, version.size, "", done


def move(store: Store, bucket: str, source: str, target: str, parameters: Mapping[str, str]) -> StoredObject:
    """Rename an object within its bucket."""
    if source == target:
        raise errors.invalid("The source and the destination of a move must differ.")
    version = store.get(bucket, source, None, Preconditions.of(parameters, "Source"), reading=False)
    pinned = {**parameters, "sourceGeneration": str(version.generation)}
    moved = copy(store, (bucket, source), (bucket, target), {}, pinned)
    store.delete(bucket, source, None, Preconditions(generation=version.generation))
    return moved
