"""Files that come with load jobs: multipart and resumable uploads, kept in a folder until the job has read them.

A resumable session is two files in that folder, so that it goes on after a restart of the server.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import orjson

from localcloud.bigquery.failures import Invalid, Missing

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_ID = re.compile(r"[0-9a-f]{32}")
_WEEK = 7 * 24 * 3600.0


class Uploads:
    """The uploads in progress.

    Args:
        folder: Created when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def purge(self) -> None:
        """Removes what no job can want any more: sessions of a week ago, and files without a session."""
        for path in self._folder.iterdir():
            session = path.with_suffix(".json")
            if not session.exists() or session.stat().st_mtime < time.time() - _WEEK:
                path.unlink(missing_ok=True)

    async def multipart(self, content_type: str, body: AsyncIterator[bytes]) -> tuple[dict[str, Any], Path]:
        """The JSON part and the file of a `multipart/related` body.

        Raises:
            Invalid: It does not have those two parts.
        """
        header = Message()
        header["content-type"] = content_type
        boundary = header.get_param("boundary")
        if not isinstance(boundary, str) or not boundary:
            raise Invalid("Multipart upload: the Content-Type names no boundary")
        whole = self._folder / f"{secrets.token_hex(16)}.part"
        try:
            with whole.open("wb") as file:
                async for chunk in body:
                    file.write(chunk)
            return self._split(whole, boundary.encode())
        finally:
            whole.unlink(missing_ok=True)

    def _split(self, whole: Path, boundary: bytes) -> tuple[dict[str, Any], Path]:
        content = whole.read_bytes()
        delimiter = b"--" + boundary
        first = content.find(delimiter)
        second = content.find(b"\n" + delimiter, first + 1)
        last = content.rfind(b"\n" + delimiter + b"--")
        if first < 0 or second < 0 or last <= second:
            raise Invalid("Multipart upload: the body must have a JSON part and a file")
        metadata = _content_of(content, first + len(delimiter), second)
        start, end = _bounds(content, second + 1 + len(delimiter), last)
        target = self._folder / f"{secrets.token_hex(16)}.data"
        with target.open("wb") as file:
            file.write(memoryview(content)[start:end])
        return _json(metadata), target

    def begin(self, resource: Mapping[str, Any]) -> str:
        """Opens a resumable session for a job and gives its id."""
        name = secrets.token_hex(16)
        (self._folder / f"{name}.data").touch()
        (self._folder / f"{name}.json").write_bytes(orjson.dumps(dict(resource)))
        return name

    async def receive(
        self, name: str, content_range: str, body: AsyncIterator[bytes]
    ) -> tuple[int, tuple[dict[str, Any], Path] | None]:
        """Takes a chunk of a session.

        Args:
            name: The session.
            content_range: The Content-Range header; empty where the chunk is the whole file.
            body: The bytes.

        Returns:
            How many bytes are there and, once all are, the job and the file.

        Raises:
            Missing: No such session.
            Invalid: The range is malformed or leaves a gap.
        """
        data = self._folder / f"{name}.data"
        session = self._folder / f"{name}.json"
        if not _ID.fullmatch(name) or not session.exists():
            raise Missing("Upload session not found: it is complete, or older than a week. Begin a new one.")
        have = data.stat().st_size
        total: int | None = None
        start = 0
        if content_range:
            match = _RANGE.fullmatch(content_range.strip())
            if match is None:
                raise Invalid(f"Invalid Content-Range header: {content_range}")
            total = None if match[3] == "*" else int(match[3])
            start = have if match[1] is None else int(match[1])
        if start > have:
            raise Invalid(f"Invalid Content-Range header: {have} bytes are there, so the next is {have}, not {start}")
        with data.open("r+b") as file:
            file.seek(start)
            async for chunk in body:
                file.write(chunk)
            have = max(have, file.tell())
        if content_range and (total is None or have < total):
            return have, None
        resource = orjson.loads(session.read_bytes())
        # The job removes the file when it ends; without its session it is nobody's.
        complete = data.rename(self._folder / f"{secrets.token_hex(16)}.data")
        session.unlink()
        return have, (resource, complete)


def _bounds(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Where a part's content lies, after its headers."""
    for separator in (b"\r\n\r\n", b"\n\n"):
        place = content.find(separator, start, end)
        if place >= 0:
            stop = end - 1 if content[end - 1 : end] == b"\r" else end
            return place + len(separator), stop
    raise Invalid("Multipart upload: a part has no blank line after its headers")


def _content_of(content: bytes, start: int, end: int) -> bytes:
    first, last = _bounds(content, start, end)
    return content[first:last]


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"Parse Error: the job is not JSON: {error}", reason="parseError") from None
    if not isinstance(value, dict):
        raise Invalid("Parse Error: the job must be a JSON object", reason="parseError")
    return value
