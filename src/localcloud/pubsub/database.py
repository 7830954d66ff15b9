"""The thread that owns Pub/Sub's SQLite file: work from the loop, done in order, many pieces in one commit.

What the work is stands in `journal`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.errors import CloudError, Internal, ResourceExhausted

Work = Callable[[sqlite3.Connection], Any]

_GROUP = 256
"""At most so many pieces of work share a transaction, so that the first need not wait for too many."""


class _Job:
    __slots__ = ("failure", "future", "loop", "result", "then", "work")

    def __init__(self, work: Work, then: Callable[[Any], None] | None, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.then = then
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.failure: BaseException | None = None


class Database:
    """A SQLite file that one thread reads and writes (WAL, synchronous=NORMAL: safe against the end of the process).

    Work that arrives while a transaction is under way makes up the next one (group commit). A piece that fails
    takes no other with it.

    Args:
        path: The file; it is made if it is not there.
        schema: SQL that makes what is not there yet.
    """

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA journal_size_limit=67108864")
        self._connection.executescript(schema)
        self._thread = threading.Thread(target=self._run, name="pubsub-database", daemon=True)

    def start(self, recover: Work) -> Any:
        """Do a first piece of work in the calling thread, then take work from the loop."""
        self._connection.execute("BEGIN IMMEDIATE")
        found = recover(self._connection)
        self._connection.execute("COMMIT")
        self._thread.start()
        return found

    def submit(self, work: Work, then: Callable[[Any], None] | None = None) -> asyncio.Future[Any]:
        """Have a piece of work done and committed; to be called on the loop.

        Args:
            work: Gets the connection, inside a transaction; it may be called twice, the first try rolled back.
            then: Called on the loop with what `work` returned, after the commit, in the order of submission.

        Returns:
            Done after `then`. Its errors are CloudError: disk full, or the local cloud at fault.
        """
        job = _Job(work, then, asyncio.get_running_loop())
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finish what was submitted and close the file."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            group: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == _GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            open_for_more = job is not None
            if not group:
                continue
            if not self._commit(group):
                for job in group:
                    self._commit([job])
            for loop in {job.loop for job in group}:
                done = [job for job in group if job.loop is loop]
                try:
                    loop.call_soon_threadsafe(_finish, done)
                except RuntimeError:  # the loop was closed: nobody waits any more
                    continue

    def _commit(self, group: list[_Job]) -> bool:
        """Whether all of the group is committed; if not, nothing of it is."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                job.failure = None
                job.result = job.work(self._connection)
            self._connection.execute("COMMIT")
        except Exception as error:
            for job in group:
                job.failure = _translated(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return False
        return True


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.failure is None and job.then is not None:
            job.then(job.result)
        if job.future.cancelled():
            continue
        if job.failure is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.failure)


def _translated(error: Exception) -> CloudError:
    if isinstance(error, CloudError):
        return error
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        return ResourceExhausted(
            "Pub/Sub could not store this: the disk is full. Free space under the local cloud's state folder."
        )
    return Internal(f"Pub/Sub could not use its database: {error}.")
