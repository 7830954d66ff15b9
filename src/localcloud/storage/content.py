"""Content on its way to becoming an object: written to a file of its own, hashed while it streams.

Which object it becomes is left to the store.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

BLOCK = 1 << 20
"""Bytes that are written, hashed or sent in one step."""

_MAX_BLOCKS = 512
"""Pieces that one system call may write (IOV_MAX is 1024)."""
_WORTH_A_THREAD = 1 << 16
"""Bytes from which writing and hashing take longer than changing threads."""
_AHEAD = 16
"""Steps, two for each block, that the threads may be behind."""


@dataclass(frozen=True)
class Content:
    """A finished file that is no object yet."""

    path: str
    size: int
    md5: str
    """Base64; empty for content that is composed of other objects."""
    crc32c: str
    """Base64."""

    @property
    def md5_hex(self) -> str:
        """The MD5 as the XML API shows it."""
        return base64.b64decode(self.md5).hex()


class Hashes:
    """MD5 and CRC32C of a stream."""

    def __init__(self) -> None:
        self.size = 0
        self._md5: Any = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0

    def update(self, blocks: list[bytes]) -> None:
        """Take in the next bytes."""
        for block in blocks:
            self._md5.update(block)
            self._crc32c = google_crc32c.extend(self._crc32c, block)
            self.size += len(block)

    @property
    def md5(self) -> str:
        """Base64 of the digest, as the JSON API shows it."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        """Base64 of the big-endian checksum."""
        return encode_crc32c(self._crc32c)


def encode_crc32c(value: int) -> str:
    """The checksum as the JSON API shows it: base64 of its big-endian bytes."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def hash_file(descriptor: int, size: int | None = None) -> Hashes:
    """The hashes of an open file from its first byte, or of its first `size` bytes."""
    hashes = Hashes()
    while size is None or hashes.size < size:
        length = BLOCK if size is None else min(BLOCK, size - hashes.size)
        block = os.pread(descriptor, length, hashes.size)
        if not block:
            break
        hashes.update([block])
    return hashes


class Incoming:
    """A file that is being written by one request at a time.

    What is large is written and hashed by two threads of its own, in order, some blocks behind what arrives: MD5 is
    the slowest step of an upload, and a file that a kill cuts short has no holes.

    Args:
        path: Where to write; it is continued if it is there.
        hashes: What has been hashed of it so far; None to read it again.
    """

    def __init__(self, path: str, hashes: Hashes | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self.size = os.fstat(self._descriptor).st_size
        """Bytes in the file, once flushed."""
        if hashes is None or hashes.size != self.size:
            hashes = hash_file(self._descriptor) if self.size else Hashes()
        self.hashes = hashes
        self._blocks: list[bytes] = []
        self._pending = 0
        self._threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._steps: deque[asyncio.Future[None]] = deque()
        self._error: OSError | None = None

    async def add(self, data: bytes) -> None:
        """Take in data, which is written and hashed while more arrives."""
        self._blocks.append(data)
        self._pending += len(data)
        if self._pending >= BLOCK or len(self._blocks) >= _MAX_BLOCKS:
            self._begin(self._take())
            while len(self._steps) > _AHEAD:
                await self._steps.popleft()
            if self._error:
                await self._settle()

    async def flush(self) -> None:
        """Store everything that has been added.

        Raises:
            OSError: Some of it could not be written: the disk is full, say.
        """
        if self._pending and (self._threads or self._pending >= _WORTH_A_THREAD):
            self._begin(self._take())
        elif self._pending:
            blocks = self._take()
            self._store(blocks)
            self.hashes.update(blocks)
        await self._settle()

    def content(self) -> Content:
        """The finished content; call flush first."""
        return Content(self.path, self.size, self.hashes.md5, self.hashes.crc32c)

    async def close(self) -> None:
        """Close the file and keep it."""
        await asyncio.gather(*self._steps, return_exceptions=True)
        for thread in self._threads or ():
            thread.shutdown(wait=False)
        os.close(self._descriptor)

    async def abandon(self) -> None:
        """Close the file and delete it, unless it has become an object."""
        await self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _take(self) -> list[bytes]:
        blocks, self._blocks, self._pending = self._blocks, [], 0
        return blocks

    def _begin(self, blocks: list[bytes]) -> None:
        if not self._threads:
            self._threads = (ThreadPoolExecutor(1, "storage-write"), ThreadPoolExecutor(1, "storage-hash"))
        writer, hasher = self._threads
        loop = asyncio.get_running_loop()
        self._steps.append(loop.run_in_executor(writer, self._store, blocks))
        self._steps.append(loop.run_in_executor(hasher, self.hashes.update, blocks))

    def _store(self, blocks: list[bytes]) -> None:
        if self._error:
            return  # nothing may follow what could not be written
        try:
            self.size += _write(self._descriptor, blocks, self.size)
        except OSError as error:
            self._error = error

    async def _settle(self) -> None:
        while self._steps:
            await self._steps.popleft()
        if self._error:
            raise self._error


def _write(descriptor: int, blocks: list[bytes], offset: int) -> int:
    """Write blocks one after another; how many bytes they have."""
    size = sum(map(len, blocks))
    written = os.pwritev(descriptor, blocks, offset)
    if written < size:  # the disk is nearly full: the rest says so
        rest = memoryview(b"".join(blocks))[written:]
        while rest:
            rest = rest[os.pwrite(descriptor, rest, offset + size - len(rest)) :]
    return size


def new_path(folder: Path) -> str:
    """A path for a new incoming file."""
    return os.path.join(folder, f"new-{secrets.token_hex(8)}")
