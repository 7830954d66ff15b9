"""The loopback port: looks at a connection's first bytes and hands it to whoever speaks that.

TLS by ALPN to gRPC or HTTP, `PRI` to gRPC in clear, CONNECT to ourselves once more (Google's hosts) or on to the
network (all others), anything else to HTTP. HTTP connections are handed over whole; only gRPC is spliced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from localcloud.gateway import hello
from localcloud.gateway.tunnel import Tunnel

_log = logging.getLogger("localcloud")

PEEK = 64 * 1024
FIRST_BYTES_WITHIN = 30.0
"""Seconds a client has to say its first words."""
_CONNECT, _PRIOR_KNOWLEDGE = b"CONNECT ", b"PRI * HT"
LOOPBACK = "127.0.0.1"


class Port:
    """Accepts connections on the loopback address.

    Args:
        port: The number, 0 for any that is free.
        http: Takes over a connection as HTTP, with a TLS context or in clear.
        context: The TLS context for a server name.
        grpc: The sockets of the gRPC server, behind TLS and in clear.
        tunnel: Where CONNECT to a host that is not Google's goes.
        is_google: Whether a host is answered here.
    """

    def __init__(
        self,
        port: int,
        *,
        http: Callable[[socket.socket, ssl.SSLContext | None], Awaitable[None]],
        context: Callable[[str], ssl.SSLContext],
        grpc: tuple[Path, Path],
        tunnel: Tunnel,
        is_google: Callable[[str], bool],
    ) -> None:
        self._http, self._context, self._tunnel, self._is_google = http, context, tunnel, is_google
        self._grpc_tls, self._grpc_clear = grpc
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, port))
        self._socket.setblocking(False)
        self.number: int = self._socket.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Starts to accept."""
        self._socket.listen(512)
        self._tasks.add(asyncio.create_task(self._accept()))

    async def close(self) -> None:
        """Stops accepting and drops the connections that are still being told apart or spliced."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                # out of file descriptors: those that are there will end, so wait rather than fail
                _log.warning("A connection could not be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(FIRST_BYTES_WITHIN):
                handle = await self._dispatch(connection)
            await handle
        except (OSError, ValueError, TimeoutError, ssl.SSLError):
            # a client that left or that speaks nothing we know: there is nobody to tell
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _dispatch(self, connection: socket.socket) -> Awaitable[None]:
        """What to do with a connection, decided by its first bytes."""
        first = await _peek(connection, lambda data: len(data) >= 8 or (data != b"" and data[0] == hello.HANDSHAKE))
        if first[0] == hello.HANDSHAKE:
            return await self._tls(connection, "")
        if first.startswith(_PRIOR_KNOWLEDGE):
            return splice(connection, self._grpc_clear)
        if first.startswith(_CONNECT):
            return await self._connect(connection)
        return self._http(connection, None)

    async def _connect(self, connection: socket.socket) -> Awaitable[None]:
        head = await _peek(connection, lambda data: b"\r\n\r\n" in data or len(data) >= PEEK)
        length = head.index(b"\r\n\r\n") + 4
        loop = asyncio.get_running_loop()
        await loop.sock_recv(connection, length)
        authority = head.split(b" ", 2)[1].decode("ascii")
        host, _, port = authority.rpartition(":")
        if not self._is_google(host):
            return self._tunnel.open(connection, host, int(port))
        await loop.sock_sendall(connection, b"HTTP/1.1 200 Connection established\r\n\r\n")
        first = await _peek(connection, lambda data: len(data) >= 1)
        if first[0] == hello.HANDSHAKE:
            return await self._tls(connection, host)
        return self._http(connection, None)

    async def _tls(self, connection: socket.socket, connected_to: str) -> Awaitable[None]:
        record = await _peek(connection, lambda data: 0 < hello.record_length(data) <= len(data) or len(data) >= PEEK)
        greeting = hello.parse(record[: hello.record_length(record)])
        if not greeting.speaks_http1:
            return splice(connection, self._grpc_tls)
        return self._http(connection, self._context(greeting.server_name or connected_to or "googleapis.com"))


async def _peek(connection: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    """The first bytes of a connection, left where they are, once there are enough of them."""
    loop = asyncio.get_running_loop()
    seen = -1
    while True:
        readable = loop.create_future()
        loop.add_reader(connection, _resolve, readable)
        try:
            await readable
        finally:
            loop.remove_reader(connection)
        data = connection.recv(PEEK, socket.MSG_PEEK)
        if not data:
            raise ConnectionResetError("the client left before it said anything")
        if enough(data):
            return data
        if len(data) == seen:
            # still readable and nothing new: wait for the rest without spinning
            await asyncio.sleep(0.005)
        seen = len(data)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def splice(connection: socket.socket, path: Path) -> None:
    """Joins a connection to a Unix socket until either side ends."""
    loop = asyncio.get_running_loop()
    near, far = Pipe(), Pipe()
    near.peer, far.peer = far, near
    await loop.create_unix_connection(lambda: far, str(path))
    await loop.connect_accepted_socket(lambda: near, connection)
    if far.ended.done() and near.transport is not None:
        # the server hung up before the client's side was joined
        near.transport.close()
    await asyncio.gather(near.ended, far.ended)


class Pipe(asyncio.Protocol):
    """One end of a splice: what it reads its peer writes, at the pace of the slower side."""

    def __init__(self) -> None:
        self.peer: Pipe | None = None
        self.transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early = b""
        """What came before there was a peer to write to: uvloop reads on although it was told to pause."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's
        self.transport = cast(asyncio.Transport, transport)
        if self.peer is not None and self.peer.transport is None:
            # nobody to write to yet
            self.transport.pause_reading()
        elif self.peer is not None and self.peer.transport is not None:
            if self.peer._early:
                self.transport.write(self.peer._early)
                self.peer._early = b""
            with contextlib.suppress(RuntimeError):
                self.peer.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.peer is None or self.peer.transport is None:
            self._early += data
        elif not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        if self.peer is not None and self.peer.transport is not None and self.peer.transport.can_write_eof():
            self.peer.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            with contextlib.suppress(RuntimeError):
                self.peer.transport.resume_reading()
