"""What answers on the container's port while no worker can: 503, and the connection ends.

When it has to stand in is `supervisor`'s to know.
"""

from __future__ import annotations

import asyncio
import socket

from accelerator.prediction.failures import Failure

PAUSE_WITHOUT_DESCRIPTORS = 1.0
"""Seconds until the next try to accept, when the process has no descriptor left."""


class Standby:
    """Accepts on a socket that the workers accept on too.

    It is no `asyncio.Server`, because a connection that one of those has accepted in the very turn of the loop that
    closes it is neither answered nor closed: its client waits for ever.

    Args:
        listener: The listening socket, which does not block.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._answers: set[asyncio.Task[object]] = set()
        self._standing = False

    def begin(self) -> None:
        """Accept from now on."""
        self._standing = True
        self._loop.add_reader(self._listener, self._accept)

    def end(self) -> None:
        """Leave what connects from now on to the workers; what is accepted is answered."""
        self._standing = False
        self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(PAUSE_WITHOUT_DESCRIPTORS, self._accept_again)
            return
        connection.setblocking(False)
        answer = self._loop.create_task(self._loop.connect_accepted_socket(_Refusal, connection))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def _accept_again(self) -> None:
        if self._standing:
            self.begin()


class _Refusal(asyncio.Protocol):
    """Answers anything with 503 and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        body = Failure(503, "The model is being loaded. Try again in a second.").body()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(head.encode() + body)
        self._transport.close()
