"""One serving process: loads the model, says it is ready, answers until it is told to drain.

Started by `supervisor` with the listening socket; run as `python -m accelerator.prediction.worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from accelerator.errors import AcceleratorError
from accelerator.prediction.app import App
from accelerator.prediction.artifact import bring, open_artifact
from accelerator.prediction.board import Board
from accelerator.prediction.logs import log, stack, to_json
from accelerator.prediction.settings import Settings

if TYPE_CHECKING:
    from accelerator.prediction.service import Service

SWITCH_SECONDS = 0.0005
"""How long the model's thread may keep the loop from running Python; 5 ms is the interpreter's own choice."""
GARBAGE_THRESHOLD = 100_000
"""Objects made until Python looks for cycles among them. A request of 2,000 rows makes some 30,000 objects, none of
them in a cycle; at the interpreter's own 700 the looking takes longer than reading the request."""


class _Server(uvicorn.Server):
    """Leaves signals to us: health has to fail before anything else happens."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: Settings, service: Service, board: Board, listener: socket.socket, parent: socket.socket
) -> None:
    """Serve until SIGTERM or the supervisor's end, then finish what is in flight."""
    from accelerator.prediction.engine import Engine

    loop = asyncio.get_running_loop()
    app = App(settings, Engine(service, settings.max_batch, board.batch), board)
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,  # longer than the load balancers before us keep theirs
    )
    server = _Server(config)
    app.connections = server.server_state.connections

    def stop_listening() -> None:
        server.should_exit = True

    def drain() -> None:
        if not app.draining:
            app.draining = True
            loop.call_later(settings.drain_seconds, stop_listening)

    def parent_gone() -> None:
        loop.remove_reader(parent)
        drain()

    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_reader(parent, parent_gone)  # nothing is ever sent: readable means closed
    parent.send(b"1")
    await server.serve(sockets=[listener])


def load(settings: Settings, scratch: Path) -> Service:
    """Bring the artifact here and load it.

    Raises:
        AcceleratorError: With what is wrong and what to do next.
    """
    artifact = open_artifact(bring(settings.storage_uri, scratch), settings.code)
    # pandas comes with it, and takes a second that nobody should wait for to hear of a missing file
    from accelerator.prediction.service import Service

    return Service.load(artifact)


def main(arguments: list[str]) -> int:
    """Run a worker.

    Args:
        arguments: Descriptors of the listening socket, the board and the supervisor; this worker's row;
            the folder for downloads; "silent" if another worker tells what keeps the model from being loaded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the supervisor decides
    listening, shared, supervisor, row = map(int, arguments[:4])
    to_json()
    started = time.perf_counter()
    try:
        settings = Settings.of(os.environ)
        service = load(settings, Path(arguments[4]))
    except Exception as error:
        if "silent" not in arguments[5:]:
            unknown = f"The worker could not start: {type(error).__name__}: {error}"
            log("ERROR", error.render() if isinstance(error, AcceleratorError) else unknown, **stack(error))
        return 1
    log("INFO", f"Worker {row} loaded the model in {time.perf_counter() - started:.2f} s")
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.freeze()  # the libraries and the model stay: nobody need look through them again
    board = Board(shared, settings.workers, row)
    board.connections(0)
    listener, parent = socket.socket(fileno=listening), socket.socket(fileno=supervisor)
    if sys.platform == "win32":
        asyncio.run(serve(settings, service, board, listener, parent))
    else:
        import uvloop

        uvloop.run(serve(settings, service, board, listener, parent))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
