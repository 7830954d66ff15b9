"""The HTTP client towards prediction containers: kept connections, streams, servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from localcloud.vertex.upstream import Disconnected, Upstream

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def _with(serve: Serve, use: Callable[[Upstream], Awaitable[None]]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        await use(upstream)
    finally:
        upstream.close()
        server.close()
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def test_connections_are_kept() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            body = await _read(reader)
            writer.write(b"HTTP/1.1 201 Created\r\nX-Header: value\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def use(upstream: Upstream) -> None:
        for number in range(5):
            answer = await upstream.request("POST", "/p", "text/plain", b"x" * number, 10)
            assert (answer.status, answer.body) == (201, b"x" * number)
            assert answer.headers["x-header"] == "value"
        await asyncio.gather(*(upstream.request("POST", "/p", "text/plain", b"y", 10) for _ in range(8)))

    asyncio.run(_with(serve, use))
    assert connections <= 8


def test_an_idle_connection_that_was_closed_is_replaced() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read(reader)
        writer.write(OK)  # says it keeps the connection, and closes it

    async def use(upstream: Upstream) -> None:
        for _ in range(20):
            assert (await upstream.request("POST", "/", "text/plain", b"", 10)).body == b"ok"

    asyncio.run(_with(serve, use))


def test_answers_without_a_length_and_interim_answers() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it")

    async def use(upstream: Upstream) -> None:
        assert (await upstream.request("POST", "/", "text/plain", b"", 10)).body == b"all of it"

    asyncio.run(_with(serve, use))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", b"this is no HTTP at all\r\n\r\n"]
)
def test_half_an_answer_is_an_error(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read(reader)
        writer.write(answer)

    async def use(upstream: Upstream) -> None:
        with pytest.raises(Disconnected):
            await upstream.request("POST", "/", "text/plain", b"", 10)

    asyncio.run(_with(serve, use))


def test_a_server_that_is_not_there_and_one_that_does_not_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def use(upstream: Upstream) -> None:
        with pytest.raises(TimeoutError):
            await upstream.request("POST", "/", "text/plain", b"", 0.05)
        gone = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await Upstream("127.0.0.1", port).request("POST", "/", "text/plain", b"", 10)

    asyncio.run(_with(serve, use))


def test_a_stream_arrives_as_it_is_written() -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await go_on.wait()
            for _ in range(500):
                writer.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")

    async def use(upstream: Upstream) -> None:
        for _ in range(2):
            go_on.clear()
            status, _, pieces = await upstream.stream("POST", "/", "text/plain", b"", 10)
            assert status == 200
            assert await anext(pieces) == b"first"
            go_on.set()
            await asyncio.sleep(0.05)
            assert sum([len(piece) async for piece in pieces]) == 500_000

    asyncio.run(_with(serve, use))
