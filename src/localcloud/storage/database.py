"""What Cloud Storage remembers beside the files, in SQLite: buckets, versions, uploads, notifications.

What may be written when is left to the store; this file is tables and rows.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, metageneration INTEGER NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, inode INTEGER NOT NULL,
    md5 TEXT NOT NULL, crc32c TEXT NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER NOT NULL, properties TEXT NOT NULL,
    PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, bucket TEXT NOT NULL, name TEXT NOT NULL,
    created INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notifications (
    bucket TEXT NOT NULL, id INTEGER NOT NULL, config TEXT NOT NULL, PRIMARY KEY (bucket, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), last INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""

_OBJECT = (
    "bucket, name, generation, metageneration, size, mtime, inode, md5, crc32c, created, updated, deleted, properties"
)


@dataclass(frozen=True)
class StoredObject:
    """A version of an object. Times are microseconds since 1970."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    size: int
    mtime: int
    """Of the file, in nanoseconds: with size and inode, how a change from outside is noticed."""
    inode: int
    md5: str
    """Base64, as the API shows it; empty for a composed object and where nobody has asked yet."""
    crc32c: str
    """Base64; empty where nobody has asked yet."""
    created: int
    updated: int
    deleted: int = 0
    """When it stopped being the live version; 0 for the live one."""
    properties: dict[str, Any] = field(default_factory=dict)
    """What a client may set, under the names of the JSON API: contentType, metadata …"""

    @property
    def file(self) -> tuple[int, int, int]:
        """What identifies the file's content: (size, mtime, inode)."""
        return (self.size, self.mtime, self.inode)


@dataclass(frozen=True)
class Bucket:
    """A bucket. Times are microseconds since 1970."""

    name: str
    project: str
    metageneration: int
    created: int
    updated: int
    properties: dict[str, Any]
    """What a client may set, under the names of the JSON API, and its IAM policy as `policy`."""
    generation: int = 0

    @property
    def versioned(self) -> bool:
        """Whether replaced and deleted objects are kept as noncurrent versions."""
        return bool((self.properties.get("versioning") or {}).get("enabled"))


@dataclass(frozen=True)
class Session:
    """An upload or rewrite under way; what has arrived lies in a file of its own."""

    id: str
    kind: str
    bucket: str
    name: str
    created: int
    state: dict[str, Any]


class Database:
    """One connection, used under one lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16000", "temp_store=MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._last = int(self._connection.execute("SELECT last FROM clock").fetchone()[0])

    def close(self) -> None:
        """Close the connection; nothing is lost if this never happens."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a transaction within a transaction is part of it."""
        with self.lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._connection.execute("UPDATE clock SET last = ?", (self._last,))
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def now(self) -> int:
        """The time in microseconds, later than any it has given: what generations are made of."""
        with self.lock:
            self._last = max(time.time_ns() // 1000, self._last + 1)
            return self._last

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self.lock:
            return self._connection.execute(sql, values).fetchall()

    def _run(self, sql: str, *values: Any) -> None:
        with self.transaction():
            self._connection.execute(sql, values)

    # Objects

    def live(self, bucket: str, name: str) -> StoredObject | None:
        """The version that was live when last looked at."""
        rows = self._rows(f"SELECT {_OBJECT} FROM objects WHERE bucket=? AND name=? AND deleted=0", bucket, name)
        return _object(rows[0]) if rows else None

    def live_by_inode(self, inode: int) -> list[StoredObject]:
        """The live versions that were written as this file."""
        return [_object(row) for row in self._rows(f"SELECT {_OBJECT} FROM objects WHERE inode=? AND deleted=0", inode)]

    def version(self, bucket: str, name: str, generation: int) -> StoredObject | None:
        """One version, live or not."""
        sql = f"SELECT {_OBJECT} FROM objects WHERE bucket=? AND name=? AND generation=?"
        rows = self._rows(sql, bucket, name, generation)
        return _object(rows[0]) if rows else None

    def noncurrent(self, bucket: str, start: str = "") -> Iterator[StoredObject]:
        """The versions that are not live, by name and generation."""
        where = "bucket=? AND name>=? AND deleted>0 ORDER BY name, generation"
        sql = f"SELECT {_OBJECT} FROM objects WHERE {where}"
        return map(_object, self._rows(sql, bucket, start))

    def names(self, bucket: str) -> list[str]:
        """The names of all objects that were live when last looked at."""
        return [row[0] for row in self._rows("SELECT name FROM objects WHERE bucket=? AND deleted=0", bucket)]

    def has_noncurrent(self, bucket: str) -> bool:
        """Whether noncurrent versions are kept."""
        return bool(self._rows("SELECT 1 FROM objects WHERE bucket=? AND deleted>0 LIMIT 1", bucket))

    def save(self, version: StoredObject) -> None:
        """Insert or replace a version."""
        values = (*(getattr(version, name) for name in _COLUMNS), orjson.dumps(version.properties).decode())
        marks = ",".join("?" * len(values))
        self._run(f"INSERT OR REPLACE INTO objects ({_OBJECT}) VALUES ({marks})", *values)

    def forget(self, version: StoredObject) -> None:
        """Delete a version."""
        self._run(
            "DELETE FROM objects WHERE bucket=? AND name=? AND generation=?",
            version.bucket,
            version.name,
            version.generation,
        )

    # Buckets

    def bucket(self, name: str) -> Bucket | None:
        """A bucket's row."""
        rows = self._rows("SELECT * FROM buckets WHERE name=?", name)
        return _bucket(rows[0]) if rows else None

    def buckets(self) -> list[Bucket]:
        """All buckets by name."""
        return [_bucket(row) for row in self._rows("SELECT * FROM buckets ORDER BY name")]

    def save_bucket(self, bucket: Bucket) -> None:
        """Insert or replace a bucket."""
        self._run(
            "INSERT OR REPLACE INTO buckets VALUES (?,?,?,?,?,?)",
            bucket.name,
            bucket.project,
            bucket.metageneration,
            bucket.created,
            bucket.updated,
            orjson.dumps(bucket.properties).decode(),
        )

    def forget_bucket(self, name: str) -> None:
        """Delete a bucket and everything that is known of it."""
        with self.transaction():
            self._run("DELETE FROM buckets WHERE name=?", name)
            for table in ("objects", "sessions", "notifications"):
                self._run(f"DELETE FROM {table} WHERE bucket=?", name)

    # Uploads and rewrites under way

    def session(self, session_id: str, kind: str) -> Session | None:
        """A session of this kind."""
        rows = self._rows("SELECT * FROM sessions WHERE id=? AND kind=?", session_id, kind)
        return _session(rows[0]) if rows else None

    def sessions(self) -> list[Session]:
        """All sessions."""
        return [_session(row) for row in self._rows("SELECT * FROM sessions ORDER BY id")]

    def save_session(self, session: Session) -> None:
        """Insert or replace a session."""
        state = orjson.dumps(session.state).decode()
        values = (session.id, session.kind, session.bucket, session.name, session.created, state)
        self._run("INSERT OR REPLACE INTO sessions VALUES (?,?,?,?,?,?)", *values)

    def forget_session(self, session_id: str) -> None:
        """Delete a session."""
        self._run("DELETE FROM sessions WHERE id=?", session_id)

    # Notifications

    def notifications(self) -> list[tuple[str, int, dict[str, Any]]]:
        """All configurations as (bucket, id, resource)."""
        rows = self._rows("SELECT bucket, id, config FROM notifications ORDER BY bucket, id")
        return [(row[0], row[1], orjson.loads(row[2])) for row in rows]

    def save_notification(self, bucket: str, number: int, config: dict[str, Any]) -> None:
        """Insert a configuration."""
        self._run("INSERT INTO notifications VALUES (?,?,?)", bucket, number, orjson.dumps(config).decode())

    def forget_notification(self, bucket: str, number: int) -> None:
        """Delete a configuration."""
        self._run("DELETE FROM notifications WHERE bucket=? AND id=?", bucket, number)

    def post(self, topic: str, message: dict[str, Any]) -> None:
        """Put a message into the outbox, within the transaction of the change that it tells of."""
        self._run("INSERT INTO outbox (topic, message) VALUES (?,?)", topic, orjson.dumps(message).decode())

    def outbox(self, limit: int) -> list[tuple[int, str, dict[str, Any]]]:
        """The oldest messages as (id, topic, message)."""
        rows = self._rows("SELECT id, topic, message FROM outbox ORDER BY id LIMIT ?", limit)
        return [(row[0], row[1], orjson.loads(row[2])) for row in rows]

    def posted(self, numbers: list[int]) -> None:
        """Delete messages that have been published."""
        with self.transaction():
            for number in numbers:
                self._run("DELETE FROM outbox WHERE id=?", number)


_COLUMNS = [name.strip() for name in _OBJECT.split(",")][:-1]


def _object(row: Any) -> StoredObject:
    return StoredObject(*(*row[:12], orjson.loads(row[12])))


def _bucket(row: Any) -> Bucket:
    return Bucket(*(*row[:5], orjson.loads(row[5])))


def _session(row: Any) -> Session:
    return Session(*(*row[:5], orjson.loads(row[5])))
