"""A small pooled HTTP/1.1 client for the prediction containers on this machine.

A general client costs several times what the rest of a prediction does. It knows loopback connections without
TLS, and nothing of predictions.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httptools

MAXIMUM_IDLE = 64
"""Open connections that are kept for each server."""
_HIGH_WATER = 64
_QUICK = getattr(socket, "TCP_QUICKACK", None)


class Disconnected(ConnectionError):
    """The server closed the connection before its answer was complete."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    headers: dict[str, str]
    """Keys in lower case."""
    body: bytes


class Upstream:
    """One HTTP server; to be used on one event loop.

    Args:
        host: Its address.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def request(self, method: str, path: str, content_type: str, body: bytes, timeout: float) -> Answer:
        """Send a request and wait for the whole answer.

        Args:
            method: `POST`.
            path: With query.
            content_type: Of the body.
            body: The body.
            timeout: Seconds for all of it.

        Raises:
            TimeoutError: It took longer.
            Disconnected: The server went away.
            OSError: It cannot be reached.
        """
        message = self._message(method, path, content_type, body)
        async with asyncio.timeout(timeout):
            connection = await self._send(message)
            try:
                await connection.finished
                return Answer(connection.status, connection.headers, b"".join(connection.chunks))
            finally:
                self._release(connection)

    async def stream(
        self, method: str, path: str, content_type: str, body: bytes, timeout: float
    ) -> tuple[int, dict[str, str], AsyncIterator[bytes]]:
        """Send a request; gives status and headers, and the body piece by piece as it comes.

        The arguments and errors are those of `request`; the timeout is for the headers.
        """
        async with asyncio.timeout(timeout):
            connection = await self._send(self._message(method, path, content_type, body))
        return connection.status, connection.headers, self._pieces(connection)

    async def _pieces(self, connection: _Connection) -> AsyncIterator[bytes]:
        try:
            while (piece := await connection.next_piece()) is not None:
                yield piece
        finally:
            self._release(connection)

    def close(self) -> None:
        """Close the connections that are idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _message(self, method: str, path: str, content_type: str, body: bytes) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    async def _send(self, message: bytes) -> _Connection:
        """Send on an idle connection or a new one, until the head of the answer is there.

        A server may close an idle connection just as it is used again: then, and only then, it is tried anew.
        """
        tried = False
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            try:
                await connection.begin(message)
                return connection
            except Disconnected:
                if connection.received:
                    raise
                tried = True
            except BaseException:
                connection.close()
                raise
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except OSError as error:
            if tried:  # it ended while it had the request: that is not to be sent to anybody else
                raise Disconnected("the server ended") from error
            raise
        try:
            await connection.begin(message)
        except BaseException:
            connection.close()
            raise
        return connection

    def _release(self, connection: _Connection) -> None:
        if connection.reusable and len(self._idle) < MAXIMUM_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection; it carries one exchange at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._socket: Any = None
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.received = False
        self.reusable = False
        self.head: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._wake: asyncio.Future[None] | None = None
        self._paused = False

    async def begin(self, message: bytes) -> None:
        """Send a request and wait for the head of the answer."""
        self._reset()
        self._acknowledge_at_once()
        self._transport.write(message)
        await self.head

    async def next_piece(self) -> bytes | None:
        """What of the body has come since the last call; None at its end."""
        while not self.chunks:
            if self.finished.done():
                self.finished.result()
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        piece = b"".join(self.chunks)
        self.chunks.clear()
        if self._paused:
            self._paused = False
            with suppress(RuntimeError):
                self._transport.resume_reading()
        return piece

    def close(self) -> None:
        """Close it, whatever it is doing."""
        self.closed = True
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    def _acknowledge_at_once(self) -> None:
        """Simple servers write head and body apart, and then wait for the acknowledgment of the first: 40 ms."""
        if _QUICK is not None and self._socket is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self.received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Disconnected(f"the server's answer is not HTTP: {error}"))
            self.close()
        if not self.finished.done():
            self._acknowledge_at_once()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.reusable = False
        ends_by_closing = not {"content-length", "transfer-encoding"} & self.headers.keys()
        if self.head.done() and not self.finished.done() and error is None and ends_by_closing:
            self._finish()
        else:
            self._fail(Disconnected("the server closed the connection"))

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200 and not self.head.done():
            self.head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)
        if self._wake is not None and len(self.chunks) > _HIGH_WATER and not self._paused:
            self._paused = True  # only who streams ever waits, so nobody else is held up
            self._transport.pause_reading()
        self._wake_up()

    def on_message_complete(self) -> None:
        if self.status < 200:
            self.headers.clear()
            return
        self.reusable = self._parser.should_keep_alive() and not self.closed
        self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
        self._wake_up()

    def _fail(self, error: Exception) -> None:
        if not self.head.done():
            self.head.set_exception(error)
            self.finished.cancel()
        elif not self.finished.done():
            self.finished.set_exception(error)
            self.finished.exception()  # looked at: a stream that nobody reads to its end is no bug
        self._wake_up()

    def _wake_up(self) -> None:
        wake: Callable[[None], None] | None = None if self._wake is None else self._wake.set_result
        if wake is not None and self._wake is not None and not self._wake.done():
            wake(None)
