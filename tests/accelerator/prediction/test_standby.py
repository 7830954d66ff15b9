"""What stands in for the workers: no connection is lost at the change of watch."""

from __future__ import annotations

import asyncio
import socket

import pytest

from accelerator.prediction.standby import Standby


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_is_answered_or_left_to_the_workers(turns: int) -> None:
    async def change() -> bytes | None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            standby = Standby(listener)
            standby.begin()
            client.connect(listener.getsockname())
            client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            standby.end()
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                return await asyncio.wait_for(loop.sock_recv(client, 100), 60)
            return None

    answer = asyncio.run(change())
    assert answer is None or answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


def test_it_begins_again_after_an_end() -> None:
    async def ask_twice() -> list[bytes]:
        answers = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for _ in range(2):
                standby = Standby(listener)
                standby.begin()
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(b"x")
                answers.append(await reader.readline())
                writer.close()
                standby.end()
        return answers

    assert asyncio.run(ask_twice()) == [b"HTTP/1.1 503 Service Unavailable\r\n"] * 2
