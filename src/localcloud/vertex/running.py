"""The runs of one kind of job that are under way in this process, by the name of their job."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar

from localcloud.service import patience

JOB_PATIENCE = 18.0
"""Seconds that a read waits for a job's end, for clients that would look again only after that time."""
_END_SECONDS = 15


class Run(Protocol):
    """What a job's run can do."""

    name: str

    def start(self) -> None:
        """Begin, in a thread of its own."""

    def cancel(self) -> None:
        """End as cancelled, soon."""

    def shut_down(self) -> None:
        """End because the server does."""

    def join(self, timeout: float) -> object:
        """Wait for the end, so many seconds at most."""


R = TypeVar("R", bound=Run)


class Running(Generic[R]):
    """Runs by name; to be used from any thread."""

    def __init__(self) -> None:
        self._runs: dict[str, R] = {}
        self._lock = threading.Lock()

    def begin(self, run: R) -> None:
        """Start a run and keep it until `forget`."""
        with self._lock:
            self._runs[run.name] = run
        run.start()

    def find(self, name: str) -> R | None:
        """The run of a job; None if it is over."""
        return self._runs.get(name)

    def forget(self, name: str) -> None:
        """Called by a run at its end."""
        with self._lock:
            self._runs.pop(name, None)

    def cancel(self, name: str) -> None:
        """Have a job end, if it runs."""
        if run := self.find(name):
            run.cancel()

    def await_end(self, name: str) -> None:
        """Wait for a job's end if the client of this request would rather wait than look again."""
        run = self.find(name)
        if run is not None and (seconds := patience(JOB_PATIENCE)):
            run.join(seconds)

    def stop(self) -> None:
        """End all runs."""
        runs = list(self._runs.values())
        for run in runs:
            run.shut_down()
        for run in runs:
            run.join(_END_SECONDS)
