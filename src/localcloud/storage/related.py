"""The body of a multipart upload, read as a stream: a part of metadata, then a part of content of any size.

Source: RFC 2387 and cloud.google.com/storage/docs/json_api/v1/how-tos/multipart-upload.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.message import Message

from localcloud.storage import errors
from localcloud.storage.http import MAX_JSON

_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Related:
    """A multipart/related body.

    Args:
        content_type: The request's Content-Type, with the boundary.
        stream: The body.

    Raises:
        StorageError: 400 if there is no boundary.
    """

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        self._delimiter = b"--" + boundary_of(content_type)
        self._stream = stream
        self._buffer = b""
        self._newline = b"\r\n"

    async def open(self) -> tuple[bytes, str | None]:
        """Read up to the content: the metadata and the Content-Type of the content.

        Raises:
            StorageError: 400 if there are no two parts.
        """
        start = await self._find(re.compile(re.escape(self._delimiter) + rb"\r?\n"), 0)
        self._newline = b"\r\n" if start.group().endswith(b"\r\n") else b"\n"
        head = await self._find(_HEAD_END, start.end() - len(self._newline))
        part = re.compile(re.escape(self._newline + self._delimiter) + rb"[ \t]*\r?\n")
        end = await self._find(part, head.end() - len(self._newline))
        metadata = self._buffer[head.end() : max(end.start(), head.end())]
        content_head = await self._find(_HEAD_END, end.end() - len(self._newline))
        headers = self._buffer[end.end() : content_head.start()].decode("latin-1")
        self._buffer = self._buffer[content_head.end() :]
        match = re.search(r"^content-type:\s*(.*?)\s*$", headers, re.IGNORECASE | re.MULTILINE)
        return metadata, match[1] if match else None

    async def data(self) -> AsyncIterator[bytes]:
        """The content, piece by piece; 400 if the body ends before its closing delimiter."""
        keep = len(self._delimiter) + 64  # room for the delimiter, `--`, line ends and white space
        held = self._buffer
        async for piece in self._stream:
            if len(piece) < keep:
                held += piece
                if len(held) > keep:
                    yield held[:-keep]
                    held = held[-keep:]
                continue
            if held:
                yield held
            # A big piece is passed on without being copied together with what is held.
            yield piece[:-keep]
            held = piece[-keep:]
        end = held.rfind(self._delimiter + b"--")
        if end < 0:
            raise _malformed("its closing delimiter is missing")
        yield held[:end].removesuffix(self._newline) if end else b""

    async def _find(self, pattern: re.Pattern[bytes], start: int) -> re.Match[bytes]:
        """The first match in the buffer from `start` on, reading as much as it takes."""
        while not (match := pattern.search(self._buffer, start)):
            if len(self._buffer) > MAX_JSON:
                raise _malformed("its metadata has no end")
            piece = await anext(self._stream, None)
            if piece is None:
                raise _malformed("it does not consist of two parts")
            self._buffer += piece
        return match


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; 400 if it names none."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise errors.invalid("The multipart body cannot be read: its Content-Type names no boundary.")
    # apitools (gcloud builds submit, gsutil) writes the boundary as Python does a string, in single quotes.
    return boundary.strip("'").encode("latin-1", "replace")


def _malformed(why: str) -> errors.StorageError:
    return errors.invalid(f"The multipart body cannot be read: {why}.")
