"""Content on its way to becoming an object: written to a file of its own, hashed while it streams.

Which object it becomes is left to the store.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
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

_hashers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="storage-hash")


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
    """MD5 and CRC32C of a stream. MD5 runs beside the writing: it is the slowest step."""

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
    """A file that is being written, in blocks, by one request at a time.

    Args:
        path: Where to write; it is continued if it is there.
        hashes: What has been hashed of it so far; None to read it again.
    """

    def __init__(self, path: str, hashes: Hashes | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self.size = os.fstat(self._descriptor).st_size
        if hashes is None or hashes.size != self.size:
            hashes = hash_file(self._descriptor) if self.size else Hashes()
        self.hashes = hashes
        self._blocks: list[bytes] = []
        self._pending = 0
        self._step: asyncio.Task[None] | None = None

    async def add(self, data: bytes) -> None:
        """Take in data; while some is written and hashed more may arrive.

        Raises:
            OSError: The disk is full, say.
        """
        self._blocks.append(data)
        self._pending += len(data)
        if self._pending >= BLOCK or len(self._blocks) >= _MAX_BLOCKS:
            await self.settle()
            self._step = asyncio.create_task(self._store(self._take()))

    async def settle(self) -> None:
        """Wait until what is in hand is stored."""
        if self._step:
            step, self._step = self._step, None
            await step

    async def flush(self) -> None:
        """Store everything that has been added."""
        await self.settle()
        if self._pending >= _WORTH_A_THREAD:
            await self._store(self._take())
        elif self._pending:
            blocks = self._take()
            self.size += _write(self._descriptor, blocks, self.size)
            self.hashes.update(blocks)

    def _take(self) -> list[bytes]:
        blocks, self._blocks, self._pending = self._blocks, [], 0
        return blocks

    async def _store(self, blocks: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        hashed = loop.run_in_executor(_hashers, self.hashes.update, blocks)
        try:
            self.size += await loop.run_in_executor(_hashers, _write, self._descriptor, blocks, self.size)
        finally:
            await hashed

    def content(self) -> Content:
        """The finished content; call flush first."""
        return Content(self.path, self.size, self.hashes.md5, self.hashes.crc32c)

    def close(self) -> None:
        """Close the file and keep it."""
        os.close(self._descriptor)

    async def abandon(self) -> None:
        """Close the file and delete it."""
        try:
            await self.settle()
        except OSError:
            pass
        finally:
            self.close()
            if os.path.exists(self.path):
                os.unlink(self.path)


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
