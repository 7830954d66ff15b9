"""Load generator: keep-alive clients on raw sockets in one loop, each sending the same request over and over.

Standard library and uvloop alone, so that it takes little of the processors it shares with the server.
Prints one JSON line: requests answered, seconds, and latencies in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlsplit


class Client(asyncio.Protocol):
    """One client: sends the request, waits for the whole answer, sends it again until the end.

    It keeps its connection until the server asks it to connect anew.
    """

    def __init__(self, request: bytes, end: float, latencies: list[float], done: asyncio.Future[None]) -> None:
        self._request = request
        self._end = end
        self._latencies = latencies
        self._done = done
        self._missing = 0
        self._head = b""
        self._anew = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._peer = transport.get_extra_info("peername")[:2]
        self._anew = False
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, blank, body = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(self._head)
                return
            lower = head.lower()
            self._anew = b"\r\nconnection: close" in lower
            length = lower.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            self._missing = int(length) - len(body)
            self._head = b""
        if self._missing <= 0:
            now = time.perf_counter()
            self._latencies.append(now - self._sent)
            if self._anew or now >= self._end:
                self._transport.close()
            else:
                self._send()

    def _fail(self, answer: bytes) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(answer.decode(errors="replace")[:2000]))
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None and self._anew and time.perf_counter() < self._end:
            loop = asyncio.get_running_loop()
            self._connecting = loop.create_task(loop.create_connection(lambda: self, *self._peer))
        else:
            if error is not None or time.perf_counter() < self._end:
                self._done.set_exception(error or RuntimeError("the server closed the connection"))
            else:
                self._done.set_result(None)


async def load(url: str, body: bytes, clients: int, seconds: float) -> dict[str, float]:
    """Run the load and measure it."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    started = time.perf_counter()
    ends = []
    for _ in range(clients):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)

        def client(done: asyncio.Future[None] = done) -> Client:
            return Client(request, started + seconds, latencies, done)

        await loop.create_connection(client, parts.hostname, parts.port)
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "requests": len(latencies),
        "seconds": took,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))] * 1000,
    }


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body", type=Path, help="file with the request's body")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    work = load(given.url, given.body.read_bytes(), given.clients, given.seconds)
    try:
        import uvloop

        print(json.dumps(uvloop.run(work)))
    except ImportError:
        print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
