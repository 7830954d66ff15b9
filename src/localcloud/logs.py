"""The log entries of the local cloud: durable, in bounded memory, found by Cloud Logging's query language.

Holds and finds entries in their JSON form; the API in front of it is `localcloud.logging`.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from localcloud.log_filter import SEVERITIES, Query, parse

COMMIT_INTERVAL = 0.05
"""Seconds after which lines that came meanwhile are committed together."""
QUEUE_LIMIT = 20_000
"""Lines that may wait for the disk; then whoever writes waits too."""
RETENTION_DAYS = 30
"""As Cloud Logging's `_Default` bucket."""
JSON_LINE_LIMIT = 262_144
"""Bytes of one entry (https://cloud.google.com/logging/quotas); a longer line stays text."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
  id INTEGER PRIMARY KEY, log_name TEXT, resource TEXT, labels TEXT, UNIQUE (log_name, resource, labels));
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER, timestamp INTEGER, received INTEGER, severity INTEGER,
  insert_id TEXT, text TEXT, rest TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS entries_insert ON entries (stream, timestamp, insert_id)
  WHERE insert_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_stream ON entries (stream, timestamp);
CREATE INDEX IF NOT EXISTS entries_time ON entries (timestamp);
"""

SEVERITY_NAMES = {number: name for name, number in SEVERITIES.items()}
Row = tuple[int, int, int, int, str | None, str | None, str | None]


@dataclass(frozen=True)
class Page:
    """Entries in order and where to go on: the position of the last, or None at the end."""

    entries: list[dict[str, Any]]
    position: tuple[int, int] | None


class Logs:
    """All log entries, in one SQLite file; thread safe.

    Entries are dicts in the JSON form of LogEntry: `logName`, `resource`, `labels`, `timestamp`, `severity`,
    `textPayload` or `jsonPayload`, `insertId` and the rest.

    Args:
        root: A folder of its own.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.path = root / "logs.sqlite"
        self._idle: list[sqlite3.Connection] = []
        self._streams: dict[tuple[str, str, str], int] = {}
        self._streams_lock = threading.Lock()
        self._queue: queue.Queue[Row | threading.Event] = queue.Queue(QUEUE_LIMIT)
        self._hurry = threading.Event()
        self._arrived = threading.Condition()
        self._committed = 0
        self._failure: Exception | None = None
        self._closed = False
        horizon = time.time_ns() - RETENTION_DAYS * 86_400 * 10**9
        with self._database() as database, database:
            database.executescript(SCHEMA)
            database.execute("DELETE FROM entries WHERE received < ?", (horizon,))
        self._writer = threading.Thread(target=self._write_batches, name="logs", daemon=True)
        self._writer.start()

    def stream(
        self,
        log_name: str,
        resource_type: str,
        resource_labels: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Stream:
        """What lines of one origin are written through."""
        resource = {"type": resource_type, "labels": dict(resource_labels or {})}
        return Stream(self, self._stream_id(log_name, resource, labels or {}))

    def write(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Writes entries; on return they are on disk. An entry whose insertId is there already is dropped."""
        for entry in entries:
            rest = {key: value for key, value in entry.items() if key not in COLUMNS}
            stream = self._stream_id(entry["logName"], entry["resource"], entry.get("labels", {}))
            self._put(
                (
                    stream,
                    parse_time(entry["timestamp"]),
                    time.time_ns(),
                    SEVERITIES.get(entry.get("severity", "DEFAULT"), 0),
                    entry.get("insertId") or None,
                    entry.get("textPayload"),
                    dump(rest) if rest else None,
                )
            )
        self.flush()

    def flush(self) -> None:
        """Waits until all that was written before is on disk.

        Raises:
            OSError: The disk did not take it.
        """
        done = threading.Event()
        self._put(done)
        self._hurry.set()
        done.wait()
        if self._failure is not None:
            raise OSError(f"the log entries could not be kept: {self._failure}") from self._failure

    def read(
        self,
        query: Query | str = "",
        *,
        newest_first: bool = False,
        limit: int = 1000,
        after: tuple[int, int] | None = None,
    ) -> Page:
        """Entries that a query wants, by timestamp and, within one, by arrival.

        Args:
            query: In Cloud Logging's language, or parsed already.
            newest_first: `order_by="timestamp desc"`.
            limit: How many at most.
            after: The `position` of the page before.
        """
        wanted = parse(query) if isinstance(query, str) else query
        found: list[dict[str, Any]] = []
        position = None
        with contextlib.closing(self._scan(wanted, newest_first, after)) as rows:
            for position_, entry in rows:
                if len(found) == limit:
                    return Page(found, position)
                found.append(entry)
                position = position_
        return Page(found, None)

    def follow(self, query: Query | str, since: int, timeout: float) -> tuple[list[dict[str, Any]], int]:
        """Entries that arrived after the entry numbered `since`, waiting for some up to `timeout` seconds.

        Gives the entries in the order of arrival and the number to go on from; begin at `position()`.
        """
        wanted = parse(query) if isinstance(query, str) else query
        with self._arrived:
            self._arrived.wait_for(lambda: self._committed > since or self._closed, timeout)
        streams = self._matching_streams(wanted)
        with self._database() as database:
            rows = database.execute(
                f"SELECT {SELECTED} FROM entries WHERE id > ? ORDER BY id LIMIT 1000", (since,)
            ).fetchall()
        found = []
        for row in rows:
            since = row[0]
            if row[1] in streams:
                entry = assemble(row, streams[row[1]])
                if wanted.matches(entry):
                    found.append(entry)
        return found, since

    def position(self) -> int:
        """The number of the newest entry."""
        with self._database() as database:
            return int(database.execute("SELECT ifnull(max(id), 0) FROM entries").fetchone()[0])

    def log_names(self) -> list[str]:
        """The names of all logs that hold an entry."""
        with self._database() as database:
            rows = database.execute(
                "SELECT DISTINCT log_name FROM streams WHERE EXISTS "
                "(SELECT 1 FROM entries WHERE stream = streams.id) ORDER BY log_name"
            )
            return [row[0] for row in rows]

    def delete(self, log_name: str) -> bool:
        """Deletes the entries of a log; whether there were any."""
        self.flush()
        with self._database() as database, database:
            gone = database.execute(
                "DELETE FROM entries WHERE stream IN (SELECT id FROM streams WHERE log_name = ?)", (log_name,)
            )
        return gone.rowcount > 0

    @property
    def closed(self) -> bool:
        """Whether the server is going down."""
        return self._closed

    def close(self) -> None:
        """Commits what waits and ends the writing thread."""
        if not self._closed:
            self.flush()
            self._closed = True
            self._put(threading.Event())
            self._writer.join()
            while self._idle:
                self._idle.pop().close()
            with self._arrived:
                self._arrived.notify_all()

    def _scan(
        self, query: Query, newest_first: bool, after: tuple[int, int] | None
    ) -> Generator[tuple[tuple[int, int], dict[str, Any]], None, None]:
        """Matching entries in order with their positions."""
        streams = self._matching_streams(query)
        if not streams:
            return
        conditions = [f"stream IN ({','.join(map(str, streams))})"]
        values: list[int] = []
        if query.since is not None:
            conditions.append("timestamp >= ?")
            values.append(query.since)
        if query.until is not None:
            conditions.append("timestamp <= ?")
            values.append(query.until)
        if after is not None:
            conditions.append(f"(timestamp, id) {'<' if newest_first else '>'} (?, ?)")
            values.extend(after)
        direction = "DESC" if newest_first else "ASC"
        with self._database() as database:
            rows = database.execute(
                f"SELECT {SELECTED} FROM entries WHERE {' AND '.join(conditions)} "
                f"ORDER BY timestamp {direction}, id {direction}",
                values,
            )
            with contextlib.closing(rows):
                for row in rows:
                    entry = assemble(row, streams[row[1]])
                    if query.matches(entry):
                        yield (row[2], row[0]), entry

    def _matching_streams(self, query: Query) -> dict[int, dict[str, Any]]:
        """The streams that can hold what a query wants, as the fields their entries share."""
        found = {}
        with self._database() as database:
            rows = database.execute("SELECT * FROM streams").fetchall()
        for number, log_name, resource, labels in rows:
            shared = {"logName": log_name, "resource": orjson.loads(resource)}
            if labels != "{}":
                shared["labels"] = orjson.loads(labels)
            if query.stream_matches(shared):
                found[number] = shared
        return found

    def _stream_id(self, log_name: str, resource: Mapping[str, Any], labels: Mapping[str, str]) -> int:
        """The number of a stream, made at its first use."""
        key = (log_name, dump(resource), dump(labels))
        with self._streams_lock:
            if key not in self._streams:
                with self._database() as database, database:
                    database.execute("INSERT OR IGNORE INTO streams (log_name, resource, labels) VALUES (?, ?, ?)", key)
                    row = database.execute(
                        "SELECT id FROM streams WHERE log_name = ? AND resource = ? AND labels = ?", key
                    ).fetchone()
                self._streams[key] = row[0]
            return self._streams[key]

    def _put(self, item: Row | threading.Event) -> None:
        self._queue.put(item)

    def _write_batches(self) -> None:
        """The writing thread: what has come since the last commit goes into the next."""
        while True:
            first = self._queue.get()
            if not isinstance(first, threading.Event):
                self._hurry.wait(COMMIT_INTERVAL)
            self._hurry.clear()
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while len(batch) < QUEUE_LIMIT:
                    batch.append(self._queue.get_nowait())
            rows = [item for item in batch if not isinstance(item, threading.Event)]
            try:
                if rows:
                    with self._database() as database, database:
                        database.executemany(
                            "INSERT OR IGNORE INTO entries (stream, timestamp, received, severity, insert_id,"
                            " text, rest) VALUES (?, ?, ?, ?, ?, ?, ?)",
                            rows,
                        )
                        last = database.execute("SELECT max(id) FROM entries").fetchone()[0]
                    with self._arrived:
                        self._committed = last
                        self._arrived.notify_all()
                self._failure = None
            except sqlite3.Error as error:
                # A full disk: these lines are lost, the next may do; whoever flushes is told.
                self._failure = error
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()
            if self._closed:
                return

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; as many are kept as were ever used at once."""
        try:
            database = self._idle.pop()
        except IndexError:
            database = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        try:
            yield database
        finally:
            if self._closed:
                database.close()
            else:
                self._idle.append(database)


class Stream:
    """Writes lines of one log, one resource and one set of labels, without waiting for the disk."""

    def __init__(self, logs: Logs, number: int) -> None:
        self._logs = logs
        self._number = number

    def line(self, text: str, severity: str = "DEFAULT") -> None:
        """One line of output. A JSON object becomes jsonPayload, its severity and time the entry's own."""
        now = time.time_ns()
        moment, level, rest = now, SEVERITIES.get(severity, 0), None
        structured = parse_line(text)
        if structured is not None:
            found = structured.pop("severity", None) or structured.pop("level", None)
            level = SEVERITIES.get(str(found).upper(), level)
            if "time" in structured or "timestamp" in structured:
                with contextlib.suppress(Exception):
                    moment = parse_time(structured.get("time") or structured.get("timestamp"))
                    structured.pop("time" if "time" in structured else "timestamp")
            rest = dump({"jsonPayload": structured})
        self._logs._put((self._number, moment, now, level, None, None if structured is not None else text, rest))


COLUMNS = (
    "logName",
    "resource",
    "labels",
    "timestamp",
    "receiveTimestamp",
    "severity",
    "insertId",
    "textPayload",
)
SELECTED = "id, stream, timestamp, received, severity, insert_id, text, rest"


def assemble(row: Sequence[Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """An entry in its JSON form from its row and its stream."""
    number, _, timestamp, received, severity, insert_id, text, rest = row
    entry = dict(shared)
    entry["timestamp"] = format_time(timestamp)
    entry["receiveTimestamp"] = format_time(received)
    entry["severity"] = SEVERITY_NAMES.get(severity, "DEFAULT")
    entry["insertId"] = insert_id or f"l{number:012x}"
    if text is not None:
        entry["textPayload"] = text
    if rest is not None:
        entry.update(orjson.loads(rest))
    return entry


def parse_line(text: str) -> dict[str, Any] | None:
    """The object that a line of structured logging is, or None."""
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")) or len(stripped) > JSON_LINE_LIMIT:
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_time(text: Any) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time."""
    from localcloud.log_filter import nanoseconds

    return nanoseconds(str(text))


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits of a second."""
    whole, fraction = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{fraction:09d}Z"


def dump(value: Any) -> str:
    """JSON with sorted keys: equal values give equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
