"""Builds that nobody wants any longer end early, however deep in them the work is done.

Who starts one says within `stoppable` by which event it is stopped; what takes long asks here. Both are in the same
thread, so that nothing between them has to hand the event on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOOK_SECONDS = 0.05
_asked: ContextVar[threading.Event | None] = ContextVar("asked", default=None)


class Stopped(Exception):
    """The work was given up, since nobody wants it any longer."""


@contextmanager
def stoppable(event: threading.Event) -> Iterator[None]:
    """What this thread builds within ends with `Stopped` soon after the event is set."""
    token = _asked.set(event)
    try:
        yield
    finally:
        _asked.reset(token)


def check() -> None:
    """Go on only if the work is wanted still.

    Raises:
        Stopped: It is not.
    """
    event = _asked.get()
    if event is not None and event.is_set():
        raise Stopped


def acquire(take: Callable[[], bool]) -> None:
    """Wait for something that others hold.

    Args:
        take: Takes it if it is free, and says whether it did.

    Raises:
        Stopped: Before it was free.
    """
    while not take():
        check()
        time.sleep(_LOOK_SECONDS)


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock of this process.

    Raises:
        Stopped: Before it was free.
    """
    acquire(lambda: lock.acquire(blocking=False))
    try:
        yield
    finally:
        lock.release()


def on_stop(act: Callable[[], None], over: threading.Event) -> None:
    """Have `act` called, in a thread of its own, if this thread's work is stopped before `over` is set."""
    event = _asked.get()
    if event is None:
        return

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            if event.is_set():
                act()
                return

    threading.Thread(target=watch, name="watch-build", daemon=True).start()
