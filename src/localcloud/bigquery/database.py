"""The one DuckDB file: connections, transactions over rows and resources together, and the resources in memory.

A resource is written in the transaction that changes its rows, so both are there after a kill -9 or neither.
What a resource means is the business of `tables.py`.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from .failures import BigQueryError, Invalid
from .refs import DatasetRef, TableRef

Resource = dict[str, Any]
Key = tuple[str, DatasetRef | TableRef]
"""("dataset" | "table" | "routine", reference)."""

_LOCK_SECONDS = 120.0
_CREATE = """
CREATE SCHEMA IF NOT EXISTS localcloud;
CREATE TABLE IF NOT EXISTS localcloud.resources (
    kind VARCHAR NOT NULL, project VARCHAR NOT NULL, dataset VARCHAR NOT NULL, name VARCHAR NOT NULL,
    resource VARCHAR NOT NULL
);
"""


def _row(key: Key) -> tuple[str, str, str, str]:
    kind, ref = key
    return (
        kind,
        ref.project,
        ref.dataset,
        ref.table if isinstance(ref, TableRef) else "",
    )


class Database:
    """The file and what it holds in resources.

    Args:
        path: The DuckDB file; created when missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.connection = duckdb.connect(str(path), config={"autoinstall_known_extensions": "false"})
        except duckdb.IOException as error:
            raise Invalid(
                f"The BigQuery file {path} cannot be opened: {str(error).splitlines()[0]}. "
                "Is another local cloud running on this state folder?"
            ) from error
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self.connection.execute(_CREATE)
        self._guard = threading.Lock()
        self._locks: dict[Key, threading.Lock] = {}
        self._resources: dict[Key, Resource] = {}
        self.version = 0
        """Grows with every change of a resource that SQL can see: what was analysed before is stale."""
        for kind, project, dataset, name, text in self.connection.execute(
            "SELECT kind, project, dataset, name, resource FROM localcloud.resources"
        ).fetchall():
            ref = TableRef(project, dataset, name) if name else DatasetRef(project, dataset)
            self._resources[kind, ref] = json.loads(text)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the file, for one thread at a time."""
        return self.connection.cursor()

    def find(self, kind: str, ref: DatasetRef | TableRef) -> Resource | None:
        """The committed resource; never change it in place."""
        return self._resources.get((kind, ref))

    def all(self, kind: str) -> list[tuple[Any, Resource]]:
        """All committed resources of a kind with their references."""
        with self._guard:
            return [(ref, resource) for (k, ref), resource in self._resources.items() if k == kind]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that commits at the end of the block and rolls back when it raises."""
        transaction = Transaction(self)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.close()

    def close(self) -> None:
        """Checkpoints and closes the file."""
        with contextlib.suppress(duckdb.Error):
            self.connection.execute("CHECKPOINT")
        self.connection.close()

    def _lock_of(self, key: Key) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())

    def _apply(self, changes: dict[Key, Resource | None], visible: bool) -> None:
        with self._guard:
            for key, resource in changes.items():
                if resource is None:
                    self._resources.pop(key, None)
                else:
                    self._resources[key] = resource
            if visible:
                self.version += 1


class Transaction:
    """Changes of rows and resources that become real together.

    Every table that is written is locked first, so that writers of one table follow each other and DuckDB
    sees no conflict; a transaction of several statements takes its locks as it goes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.connection = database.cursor()
        """Run the statements that belong to the transaction on this connection, after `lock`."""
        self._held: dict[Key, threading.Lock] = {}
        self._changes: dict[Key, Resource | None] = {}
        self._visible = False
        self._begun = False

    def lock(self, kind: str, ref: DatasetRef | TableRef) -> None:
        """Keeps other writers off `ref` until the end of the transaction."""
        key = (kind, ref)
        if key not in self._held:
            lock = self._database._lock_of(key)
            if not lock.acquire(timeout=_LOCK_SECONDS):
                raise Invalid(
                    f"Could not serialize access to {kind} {ref} due to concurrent update; try again",
                    reason="jobRateLimitExceeded",
                )
            self._held[key] = lock
        self.begin()

    def begin(self) -> None:
        """Starts it in DuckDB, if it has not: the snapshot of its reads."""
        if not self._begun:
            self.connection.execute("BEGIN TRANSACTION")
            self._begun = True

    def find(self, kind: str, ref: DatasetRef | TableRef) -> Resource | None:
        """The resource as this transaction sees it."""
        key = (kind, ref)
        return self._changes[key] if key in self._changes else self._database.find(kind, ref)

    def put(
        self,
        kind: str,
        ref: DatasetRef | TableRef,
        resource: Resource,
        *,
        visible: bool = True,
    ) -> None:
        """Writes a resource; `visible` says that SQL sees the difference."""
        known = self.find(kind, ref) is not None
        row = _row((kind, ref))
        text = json.dumps(resource)
        if known:
            self.connection.execute(
                "UPDATE localcloud.resources SET resource = ? "
                "WHERE kind = ? AND project = ? AND dataset = ? AND name = ?",
                [text, *row],
            )
        else:
            self.connection.execute("INSERT INTO localcloud.resources VALUES (?, ?, ?, ?, ?)", [*row, text])
        self._changes[kind, ref] = resource
        self._visible |= visible

    def remove(self, kind: str, ref: DatasetRef | TableRef) -> None:
        """Deletes a resource."""
        self.connection.execute(
            "DELETE FROM localcloud.resources WHERE kind = ? AND project = ? AND dataset = ? AND name = ?",
            [*_row((kind, ref))],
        )
        self._changes[kind, ref] = None
        self._visible = True

    def commit(self) -> None:
        """Makes the changes real and lets others in."""
        if self._begun:
            try:
                self.connection.execute("COMMIT")
            except duckdb.Error as error:
                raise conflict(error) from error
            self._begun = False
            self._database._apply(self._changes, self._visible)
        self._changes = {}
        self._release()

    def rollback(self) -> None:
        """Forgets the changes and lets others in."""
        if self._begun:
            with contextlib.suppress(duckdb.Error):
                self.connection.execute("ROLLBACK")
            self._begun = False
        self._changes = {}
        self._release()

    def close(self) -> None:
        """Rolls back what was not committed and gives the connection back."""
        self.rollback()
        self.connection.close()

    def _release(self) -> None:
        held, self._held = self._held, {}
        for lock in held.values():
            lock.release()


def conflict(error: duckdb.Error) -> BigQueryError:
    """The error of a commit that DuckDB refused."""
    return Invalid(
        f"Transaction is aborted due to concurrent update: {str(error).splitlines()[0]}",
        reason="invalidQuery",
    )
