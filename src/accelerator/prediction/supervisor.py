"""The container's first process: holds the port, starts and restarts the workers on it, passes on SIGTERM.

It imports neither the model nor its libraries, and has 503 answered while no worker has the model loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from typing import BinaryIO

from accelerator.errors import ConfigError
from accelerator.prediction.board import new_board, vacate
from accelerator.prediction.logs import log
from accelerator.prediction.settings import Settings, processors
from accelerator.prediction.standby import Standby

BACKLOG = 2048
LONGEST_PAUSE = 30.0
"""Seconds between two starts of a worker that keeps dying."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class StartFailed(Exception):
    """The first worker ended before it had the model loaded; it has said why."""


class Supervisor:
    """Runs the workers of one container.

    Args:
        settings: How many, where, and what they serve.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listener = _listen(settings)
        self._board: BinaryIO = new_board(settings.workers)
        self._scratch = tempfile.TemporaryDirectory(prefix="model-")
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()
        self._standby: Standby | None = None
        self._decided = asyncio.Event()
        """Set once a worker has loaded the model, so that it can be done, or nobody needs to know any more."""
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM.

        Raises:
            StartFailed: The model could not be loaded.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        host, port = self._listener.getsockname()[:2]
        log("INFO", f"Listening on http://{host}:{port}, loading the model", port=port)
        self._update_standby()
        keepers = [asyncio.create_task(self._keep(row)) for row in range(self._settings.workers)]
        try:
            await asyncio.gather(*keepers)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            for process in self._processes.values():
                _send(process, signal.SIGKILL)
                await process.wait()
            if self._standby is not None:
                self._standby.end()
            self._scratch.cleanup()
            self._listener.close()

    def _stop(self) -> None:
        """Drain at the first signal, end at the second."""
        again = self._stopping.is_set()
        self._stopping.set()
        self._decided.set()
        for process in self._processes.values():
            _send(process, signal.SIGKILL if again else signal.SIGTERM)
        if not again:
            log("INFO", "Shutting down: health fails from now on, requests in flight are finished")

    async def _keep(self, row: int) -> None:
        """Keep one worker running.

        Raises:
            StartFailed: This is the first row, and no worker has been able to load the model.
        """
        pause = 0.0
        while not self._stopping.is_set():
            code, was_ready = await self._run_worker(row)
            if row > 0:  # whether the model can be loaded at all is for the first row to tell
                await self._decided.wait()
            if self._stopping.is_set():
                return
            if not self._decided.is_set():
                if code < 0:
                    log("ERROR", f"The model could not be loaded: {_how_it_ended(code)}")
                raise StartFailed
            pause = 0.0 if was_ready and pause == 0.0 else min(max(1.0, 2 * pause), LONGEST_PAUSE)
            log("ERROR", f"Worker {row} {_how_it_ended(code)}; it is started again in {pause:g} s")
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                continue

    async def _run_worker(self, row: int) -> tuple[int, bool]:
        """Run one worker to its end: its exit code, and whether it had the model loaded."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            descriptors = [self._listener.fileno(), self._board.fileno(), theirs.fileno()]
            command = [sys.executable, "-m", "accelerator.prediction.worker"]
            process = await asyncio.create_subprocess_exec(
                *command,
                *map(str, descriptors),
                str(row),
                self._scratch.name,
                *(["silent"] if row > 0 and not self._decided.is_set() else []),
                pass_fds=descriptors,
                env=self._environment(),
            )
            theirs.close()
            self._processes[row] = process
            if self._stopping.is_set():  # the signal came while it was started
                _send(process, signal.SIGTERM)
            if await asyncio.get_running_loop().sock_recv(ours, 1):
                self._ready.add(row)
                self._decided.set()
                self._update_standby()
            code = await process.wait()
            was_ready = row in self._ready
            self._ready.discard(row)
            vacate(self._board.fileno(), self._settings.workers, row)
            if not self._stopping.is_set():
                self._update_standby()
            return code, was_ready

    def _update_standby(self) -> None:
        """Answer in the workers' place exactly as long as none of them can."""
        if self._ready and self._standby is not None:
            self._standby.end()
            self._standby = None
        elif not self._ready and self._standby is None:
            self._standby = Standby(self._listener)
            self._standby.begin()

    def _environment(self) -> dict[str, str]:
        threads = str(max(1, processors() // self._settings.workers))
        # Workers that each use every processor for one call get in each other's way.
        return {**dict.fromkeys(_THREAD_VARIABLES, threads), **os.environ}


def _listen(settings: Settings) -> socket.socket:
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"The container cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            place="AIP_HTTP_PORT",
            next_step="end what uses the port, or set AIP_HTTP_PORT to another",
        ) from error
    listener.setblocking(False)  # whoever loses a connection to another process goes on
    return listener


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended.

    Its own `send_signal` would look whether it has, and so take the exit code from whoever waits for it.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    hint = ", which is what running out of memory looks like" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"
