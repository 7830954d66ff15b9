"""The edges of a metadata graph: what a context holds, which contexts are inside which, and the events.

Edges are rows between resource names, found from both ends by an index; the nodes are in the resource store.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from localcloud.vertex.common import v1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS holds (context TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (context, node))
    STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_by_node ON holds (node);
CREATE TABLE IF NOT EXISTS children (parent TEXT NOT NULL, child TEXT NOT NULL, PRIMARY KEY (parent, child))
    STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS children_by_child ON children (child);
CREATE TABLE IF NOT EXISTS events (
    execution TEXT NOT NULL,
    artifact TEXT NOT NULL,
    input INTEGER NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (execution, artifact, input)
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_artifact ON events (artifact);
"""
_MOST_VARIABLES = 500


class Edges:
    """The edges of all metadata stores, safe to use from many threads and durable against the end of the process.

    Args:
        path: The database file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    # Contexts and what they hold

    def hold(self, context: str, nodes: Iterable[str]) -> None:
        """Put artifacts and executions into a context; those that are in it already stay."""
        self._write("INSERT OR IGNORE INTO holds VALUES (?, ?)", [(context, node) for node in nodes])

    def held(self, context: str) -> list[str]:
        """The artifacts and executions in a context."""
        return self._names("SELECT node FROM holds WHERE context = ?", context)

    def holding(self, node: str) -> list[str]:
        """The contexts that an artifact or execution is in."""
        return self._names("SELECT context FROM holds WHERE node = ?", node)

    def add_children(self, parent: str, children: Iterable[str]) -> None:
        """Put contexts below a context."""
        self._write("INSERT OR IGNORE INTO children VALUES (?, ?)", [(parent, child) for child in children])

    def remove_children(self, parent: str, children: Iterable[str]) -> None:
        """Take contexts out from below a context."""
        self._write("DELETE FROM children WHERE parent = ? AND child = ?", [(parent, child) for child in children])

    def children(self, context: str) -> list[str]:
        """The contexts right below a context."""
        return self._names("SELECT child FROM children WHERE parent = ?", context)

    def parents(self, context: str) -> list[str]:
        """The contexts right above a context."""
        return self._names("SELECT parent FROM children WHERE child = ?", context)

    # Events

    def add_events(self, execution: str, events: Iterable[Any]) -> None:
        """Record that an execution read or wrote artifacts; an event that is there already is replaced.

        Args:
            execution: Its resource name.
            events: aiplatform.v1.Event; execution and time are filled in.
        """
        rows = []
        for event in events:
            stored = v1.Event()
            stored.CopyFrom(event)
            stored.execution = execution
            if not stored.HasField("event_time"):
                stored.event_time.FromMicroseconds(time.time_ns() // 1000)
            is_input = stored.type_ == v1.Event.Type.Value("INPUT")
            rows.append((execution, stored.artifact, int(is_input), stored.SerializeToString()))
        self._write("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)", rows)

    def events_of_executions(self, executions: Sequence[str]) -> list[Any]:
        """The events of executions."""
        return self._events("execution", executions)

    def events_of_artifacts(self, artifacts: Sequence[str]) -> list[Any]:
        """The events that artifacts have part in."""
        return self._events("artifact", artifacts)

    # All of them

    def forget(self, node: str) -> None:
        """Remove every edge of a node that is deleted."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in (
                "DELETE FROM holds WHERE context = ? OR node = ?",
                "DELETE FROM children WHERE parent = ? OR child = ?",
                "DELETE FROM events WHERE execution = ? OR artifact = ?",
            ):
                self._db.execute(statement, (node, node))
            self._db.execute("COMMIT")

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")

    def _names(self, query: str, name: str) -> list[str]:
        with self._lock:
            return [row[0] for row in self._db.execute(query, (name,))]

    def _events(self, column: str, names: Sequence[str]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(names), _MOST_VARIABLES):
            part = names[start : start + _MOST_VARIABLES]
            marks = ", ".join("?" * len(part))
            query = f"SELECT event FROM events WHERE {column} IN ({marks}) ORDER BY rowid"
            with self._lock:
                rows = self._db.execute(query, part).fetchall()
            found += [v1.Event.FromString(row[0]) for row in rows]
        return found
