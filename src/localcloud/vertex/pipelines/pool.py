"""The threads in which leaf tasks run: so many at a time on this machine, the runs served in turn.

It knows nothing of pipelines: work is a function, its owner a name.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable


def default_size() -> int:
    """How many tasks run at a time: twice the processors, since many a task waits for another service."""
    return max(4, 2 * (os.cpu_count() or 1))


class TaskPool:
    """Runs functions in threads, fairly between their owners.

    Args:
        size: How many run at a time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._queues: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, owner: str, work: Callable[[], None]) -> None:
        """Run `work` as soon as it is its owner's turn; it must not raise."""
        with self._changed:
            self._queues.setdefault(owner, deque()).append(work)
            if self._idle == 0 and len(self._threads) < self._size:
                thread = threading.Thread(target=self._serve, name=f"pipeline-task-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Take no more work; what waits is forgotten."""
        with self._changed:
            self._closed = True
            self._queues.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queues and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if self._closed:
                    return
                owner, queue = self._queues.popitem(last=False)
                work = queue.popleft()
                if queue:
                    self._queues[owner] = queue  # at the end: the others' turn first
            work()
