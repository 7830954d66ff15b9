"""Job resources, durably in SQLite: what is kept of every job from its insertion on.

Running jobs is the business of `runner.py`; what a job does that of the modules beside it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from localcloud.bigquery.failures import Duplicate, Missing

Resource = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL, location TEXT NOT NULL, id TEXT NOT NULL,
    parent TEXT NOT NULL, state TEXT NOT NULL, created INTEGER NOT NULL,
    request TEXT, resource BLOB NOT NULL,
    UNIQUE (project, location, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS by_request ON jobs (project, request) WHERE request IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_time ON jobs (project, created DESC, sequence DESC);
CREATE INDEX IF NOT EXISTS by_parent ON jobs (project, parent);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
"""


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job: ids are unique within a project and location."""

    project: str
    location: str
    id: str

    @classmethod
    def of(cls, resource: Resource) -> JobRef:
        """From a job resource."""
        reference = resource["jobReference"]
        return cls(reference["projectId"], reference["location"], reference["jobId"])

    @property
    def resource(self) -> dict[str, str]:
        """The JobReference of the REST API."""
        return {"projectId": self.project, "jobId": self.id, "location": self.location}

    def __str__(self) -> str:
        return f"{self.project}:{self.location}.{self.id}"


@dataclass(frozen=True)
class JobFilter:
    """What `jobs.list` selects by.

    Args:
        states: pending, running, done; empty for all.
        parent: The job whose children are wanted; empty for jobs that are nobody's children.
        created_from: Milliseconds since 1970, inclusive; 0 for no limit.
        created_until: Milliseconds since 1970, inclusive; 0 for no limit.
    """

    states: Sequence[str] = ()
    parent: str = ""
    created_from: int = 0
    created_until: int = 0


class JobStore:
    """The job resources. Thread safe.

    Args:
        path: The SQLite file, created when missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    def insert(self, resource: Resource, *, request: str | None = None) -> None:
        """Keeps a new job.

        Args:
            resource: The whole resource, `jobReference` with its location included.
            request: The requestId of jobs.query, by which a repeated request finds its job.

        Raises:
            Duplicate: A job of that id is there already.
        """
        ref = JobRef.of(resource)
        statistics = resource["statistics"]
        row = (
            *(ref.project, ref.location, ref.id, statistics.get("parentJobId", "")),
            *(resource["status"]["state"], int(statistics["creationTime"]), request, orjson.dumps(resource)),
        )
        with self._cursor() as connection:
            try:
                connection.execute(
                    "INSERT INTO jobs (project, location, id, parent, state, created, request, resource)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            except sqlite3.IntegrityError:
                raise Duplicate(f"Already Exists: Job {ref}") from None

    def save(self, resource: Resource) -> None:
        """Keeps the job as it is now; a job deleted meanwhile stays deleted."""
        ref = JobRef.of(resource)
        with self._cursor() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, resource = ? WHERE project = ? AND location = ? AND id = ?",
                (resource["status"]["state"], orjson.dumps(resource), ref.project, ref.location, ref.id),
            )

    def get(self, project: str, job: str, location: str = "") -> Resource:
        """A job; without a location the job of that id wherever it ran.

        Raises:
            Missing: There is none.
        """
        with self._cursor() as connection:
            row = connection.execute(
                "SELECT resource FROM jobs WHERE project = ? AND id = ? AND (? = '' OR location = ? COLLATE NOCASE)"
                " ORDER BY sequence DESC",
                (project, job, location, location),
            ).fetchone()
        if row is None:
            raise Missing(f"Not found: Job {project}:{location + '.' if location else ''}{job}")
        return _loaded(row)

    def of_request(self, project: str, request: str) -> Resource | None:
        """The job that a jobs.query with this requestId made."""
        with self._cursor() as connection:
            row = connection.execute(
                "SELECT resource FROM jobs WHERE project = ? AND request = ?", (project, request)
            ).fetchone()
        return None if row is None else _loaded(row)

    def page(self, project: str, chosen: JobFilter, *, limit: int, before: int = 0) -> tuple[list[Resource], int]:
        """Jobs of a project, the newest first.

        Args:
            project: The project.
            chosen: Which of them.
            limit: How many at most.
            before: Where the page before ended, as returned with it; 0 for the first page.

        Returns:
            The jobs and where this page ended; 0 after the last.
        """
        conditions = ["project = ?", "parent = ?"]
        values: list[Any] = [project, chosen.parent]
        bounds = (("created >= ?", chosen.created_from), ("created <= ?", chosen.created_until))
        for condition, bound in (*bounds, ("sequence < ?", before)):
            if bound:
                conditions.append(condition)
                values.append(bound)
        if chosen.states:
            conditions.append(f"state IN ({', '.join('?' * len(chosen.states))})")
            values.extend(state.upper() for state in chosen.states)
        with self._cursor() as connection:
            rows = connection.execute(
                f"SELECT resource, sequence FROM jobs WHERE {' AND '.join(conditions)} ORDER BY sequence DESC LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        more = len(rows) > limit
        return [_loaded(row) for row in rows[:limit]], rows[limit - 1][1] if more else 0

    def all(self, project: str) -> list[Resource]:
        """Every job of a project, children included, the newest first (INFORMATION_SCHEMA.JOBS)."""
        with self._cursor() as connection:
            rows = connection.execute(
                "SELECT resource FROM jobs WHERE project = ? ORDER BY sequence DESC", (project,)
            ).fetchall()
        return [_loaded(row) for row in rows]

    def projects(self) -> list[str]:
        """The projects that have jobs."""
        with self._cursor() as connection:
            return [row[0] for row in connection.execute("SELECT DISTINCT project FROM jobs ORDER BY 1")]

    def delete(self, ref: JobRef) -> None:
        """Forgets a job and its children."""
        with self._cursor() as connection:
            connection.execute(
                "DELETE FROM jobs WHERE project = ? AND location = ? AND (id = ? OR parent = ?)",
                (ref.project, ref.location, ref.id, ref.id),
            )

    def unfinished(self) -> list[Resource]:
        """The jobs that are not DONE: after a start, those that an earlier process was killed in."""
        with self._cursor() as connection:
            rows = connection.execute("SELECT resource FROM jobs WHERE state <> 'DONE'").fetchall()
        return [_loaded(row) for row in rows]


def now_ms() -> int:
    """Milliseconds since 1970, the unit of job statistics."""
    return time.time_ns() // 1_000_000


def _loaded(row: Sequence[Any]) -> Resource:
    resource: Resource = orjson.loads(row[0])
    return resource
