"""The ASGI application: the routes that Vertex AI calls, and what a request must pass to reach the model.

Answers come from the engine; sockets and processes are `worker`'s.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sized
from typing import TYPE_CHECKING, Any, Protocol

from accelerator.prediction.board import Board
from accelerator.prediction.failures import Failure
from accelerator.prediction.settings import Settings

if TYPE_CHECKING:
    from accelerator.prediction.service import Answer

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Answering(Protocol):
    """What the application asks for answers: the engine."""

    async def answer(self, body: bytes) -> Answer:
        """The answer to one request's body."""


class App:
    """Serves one loaded model.

    Args:
        settings: Routes and limits.
        engine: Gives the answers.
        board: Where requests are counted.
    """

    def __init__(self, settings: Settings, engine: Answering, board: Board) -> None:
        self._engine = engine
        self._board = board
        self._health_route = settings.health_route
        self._predict_route = settings.predict_route
        self._max_body = settings.max_body
        self._max_waiting = settings.max_waiting
        self._max_bytes = 8 * settings.max_body
        self._waiting = 0
        self._bytes = 0
        self.draining = False
        """Set at SIGTERM: health fails, connections end after their answer."""
        self.connections: Sized = ()
        """The open connections: the server's own collection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if path == self._predict_route and method == "POST":
            await self._predict(scope, receive, send)
        elif path == self._predict_route and path != self._health_route:
            await self._refuse(send, Failure(405, f"{method} is not what {path} takes: POST to it."))
        elif path == self._health_route:
            if self.draining:
                await self._refuse(send, Failure(503, "The container is shutting down."))
            else:
                await self._respond(send, 200, b"{}", _JSON)
        elif path == "/metrics":
            await self._respond(send, 200, self._board.text().encode(), _TEXT)
        else:
            routes = f"POST {self._predict_route}, GET {self._health_route} and GET /metrics"
            await self._refuse(send, Failure(404, f"There is nothing at {path}: this container has {routes}."))

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        self._board.connections(len(self.connections))
        self._waiting += 1
        self._board.waiting(self._waiting)
        held = 0
        try:
            if self._waiting > self._max_waiting:
                raise _overloaded(f"{self._max_waiting} requests are waiting")
            self._check_size(_declared(scope))
            chunks = []
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                chunk = message.get("body", b"")
                held += len(chunk)
                self._bytes += len(chunk)
                self._check_size(held)
                if self._bytes > self._max_bytes:
                    raise _overloaded(f"{self._bytes} bytes of requests are waiting")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
            answer = await self._engine.answer(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except Failure as failure:
            answer = failure
        finally:
            self._waiting -= 1
            self._bytes -= held
            self._board.waiting(self._waiting)
        if isinstance(answer, Failure):
            await self._refuse(send, answer)
            self._board.request(answer.http, time.perf_counter() - started)
        else:
            await self._respond(send, 200, answer, _JSON)
            self._board.request(200, time.perf_counter() - started)

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise Failure(
                413,
                f"The body is larger than {self._max_body} bytes: send fewer instances a request, "
                "or use batch prediction.",
            )

    async def _refuse(self, send: Send, failure: Failure) -> None:
        headers = [_JSON]
        if failure.http == 503:
            headers.append((b"retry-after", b"1"))
        if failure.http == 413:  # do not read the rest
            headers.append((b"connection", b"close"))
        await self._respond(send, failure.http, failure.body(), *headers)

    async def _respond(self, send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        sent = [*headers, (b"content-length", b"%d" % len(body))]
        if self.draining or self._board.let_go():
            sent.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


def _overloaded(why: str) -> Failure:
    return Failure(503, f"The container is overloaded: {why}. Try again in a second, or add replicas.")
