"""The points of time series, by series and step, and the blobs of some; which series there are is not known here."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from localcloud.vertex.common import v1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS points (
    series TEXT NOT NULL, step INTEGER NOT NULL, wall_time INTEGER NOT NULL, point BLOB NOT NULL,
    PRIMARY KEY (series, step, wall_time)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (series TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series, id))
    STRICT;
"""


class Points:
    """The points of all series, safe to use from many threads and durable against the end of the process.

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

    def add(self, series: dict[str, list[Any]], blobs: Iterable[tuple[str, str, bytes]]) -> None:
        """Keep points, all of them or none; a point of the same step and time is replaced.

        Args:
            series: TimeSeriesDataPoint messages by the name of their series.
            blobs: (series, blob id, content).
        """
        rows = [
            (name, point.step, point.wall_time.ToNanoseconds(), point.SerializeToString())
            for name, points in series.items()
            for point in points
        ]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", rows)
            self._db.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", list(blobs))
            self._db.execute("COMMIT")

    def read(self, series: str) -> list[Any]:
        """The points of a series by step, then time."""
        query = "SELECT point FROM points WHERE series = ? ORDER BY step, wall_time"
        with self._lock:
            rows = self._db.execute(query, (series,)).fetchall()
        return [v1.TimeSeriesDataPoint.FromString(row[0]) for row in rows]

    def blobs(self, series: str, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(id, content) of the blobs of a series that are there; all of them where no ids are given."""
        wanted = list(ids)
        with self._lock:
            rows = self._db.execute("SELECT id, data FROM blobs WHERE series = ? ORDER BY id", (series,)).fetchall()
        return ((id, data) for id, data in rows if not wanted or id in wanted)

    def size(self, prefix: str) -> int:
        """The bytes that the series below a name take."""
        total = 0
        with self._lock:
            for table, column in (("points", "point"), ("blobs", "data")):
                query = f"SELECT COALESCE(SUM(LENGTH({column})), 0) FROM {table} WHERE series >= ? AND series < ?"
                total += self._db.execute(query, (f"{prefix}/", f"{prefix}0")).fetchone()[0]
        return total

    def forget(self, series: str) -> None:
        """Remove a series' points and blobs."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM points WHERE series = ?", (series,))
            self._db.execute("DELETE FROM blobs WHERE series = ?", (series,))
            self._db.execute("COMMIT")
