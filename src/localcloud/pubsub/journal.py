"""What lies on disk: messages, and for each subscription and snapshot the ones it has not acknowledged.

Statements only; `database` runs them in transactions, `broker` decides what to write. Rows that come in bulk are
handed over as one JSON or blob argument: a single statement instead of one for each row keeps the database thread
from contending for the interpreter with the event loop.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS consumers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    topic INTEGER NOT NULL,
    active INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS consumers_by_topic ON consumers (topic);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_topic ON messages (topic, id);
CREATE TABLE IF NOT EXISTS backlog (
    consumer INTEGER NOT NULL,
    acked INTEGER NOT NULL,
    message INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, acked, message)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (last INTEGER NOT NULL) STRICT;
INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock);
"""
# A consumer is a subscription or a snapshot. message ids are microseconds since 1970 or more: retention compares ids.

_UNWANTED = """NOT EXISTS (
    SELECT 1 FROM consumers CROSS JOIN backlog ON backlog.consumer = consumers.id
    WHERE consumers.topic = messages.topic AND backlog.acked IN (0, 1) AND backlog.message = messages.id
)"""

_VACUUM_PAGES = 20_000
"""Unused pages of the file that are given back to the disk at a time."""

_LOAD = """
SELECT messages.id, attempts, body FROM (
    SELECT message, attempts, sum(size) OVER (ORDER BY message) - size AS before
    FROM (
        SELECT message, attempts FROM backlog
        WHERE consumer = ? AND acked = 0 AND message > ? ORDER BY message LIMIT ?
    ) JOIN messages ON messages.id = message
) JOIN messages ON messages.id = message WHERE before < ? ORDER BY messages.id
"""


@dataclass(frozen=True)
class Consumer:
    """A subscription or snapshot as the journal knows it."""

    id: int
    name: str
    topic: int
    active: int
    """When it was last used, in microseconds since 1970."""


def publish(
    db: sqlite3.Connection, topic: int, messages: Sequence[tuple[int, bytes]], wanted: dict[int, list[int]]
) -> None:
    """Store messages, and for each consumer (by id) the ids of those it is to have."""
    places, offset = [], 1
    for id, body in messages:
        places.append((id, offset, len(body)))
        offset += len(body)
    db.execute(
        "INSERT INTO messages SELECT value ->> 0, ?, value ->> 2, CAST(substr(?, value ->> 1, value ->> 2) AS BLOB) "
        "FROM json_each(?)",
        (topic, b"".join(body for _, body in messages), json.dumps(places)),
    )
    for consumer, ids in wanted.items():
        db.execute(
            "INSERT INTO backlog (consumer, acked, message) SELECT ?, 0, value FROM json_each(?)",
            (consumer, json.dumps(ids)),
        )
    db.execute("UPDATE clock SET last = ?", (messages[-1][0],))


def settle(db: sqlite3.Connection, consumer: int, ids: Iterable[int], *, retain: bool) -> None:
    """Acknowledge messages; `retain` keeps them for seek, else what nobody wants any more is deleted."""
    listed = json.dumps(list(ids))
    if retain:
        db.execute(
            "INSERT OR IGNORE INTO backlog (consumer, acked, message) SELECT consumer, 1, message FROM backlog "
            "WHERE consumer = ? AND acked = 0 AND message IN (SELECT value FROM json_each(?))",
            (consumer, listed),
        )
    db.execute(
        "DELETE FROM backlog WHERE consumer = ? AND acked = 0 AND message IN (SELECT value FROM json_each(?))",
        (consumer, listed),
    )


def drop_unwanted(db: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete those of these messages that no consumer has any more."""
    db.execute(
        f"DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?)) AND {_UNWANTED}",
        (json.dumps(list(ids)),),
    )


def count_attempts(db: sqlite3.Connection, consumer: int, attempts: Iterable[tuple[int, int]]) -> None:
    """Keep how often messages were delivered: (id, attempts)."""
    db.executemany(
        "UPDATE backlog SET attempts = ? WHERE consumer = ? AND acked = 0 AND message = ?",
        [(count, consumer, id) for id, count in attempts],
    )


def load(
    db: sqlite3.Connection, consumer: int, after: int, messages: int, size: int
) -> tuple[list[tuple[int, int, bytes]], bool]:
    """Read on in a backlog.

    Returns:
        (id, attempts, content) in order of ids above `after`, at most `messages` and, but for the last, less than
        `size` bytes; and whether that was all.
    """
    rows = db.execute(_LOAD, (consumer, after, messages, size)).fetchall()
    if len(rows) == messages:
        return rows, False
    last = rows[-1][0] if rows else after
    more = db.execute(
        "SELECT 1 FROM backlog WHERE consumer = ? AND acked = 0 AND message > ? LIMIT 1", (consumer, last)
    ).fetchone()
    return rows, more is None


def bodies(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, bytes]:
    """The content of messages, as far as they are still there."""
    query = "SELECT id, body FROM messages WHERE id IN (SELECT value FROM json_each(?))"
    return dict(db.execute(query, (json.dumps(list(ids)),)).fetchall())


def add_topic(db: sqlite3.Connection, name: str) -> int:
    """A new topic's number."""
    return int(db.execute("INSERT INTO topics (name) VALUES (?) RETURNING id", (name,)).fetchone()[0])


def remove_topic(db: sqlite3.Connection, topic: int) -> None:
    """Forget a topic; its messages stay as long as a consumer has them."""
    db.execute("DELETE FROM topics WHERE id = ?", (topic,))
    db.execute(f"DELETE FROM messages WHERE topic = ? AND {_UNWANTED}", (topic,))


def add_consumer(db: sqlite3.Connection, name: str, topic: int, now: int) -> int:
    """A new consumer's number; its backlog is empty."""
    query = "INSERT INTO consumers (name, topic, active) VALUES (?, ?, ?) RETURNING id"
    return int(db.execute(query, (name, topic, now)).fetchone()[0])


def copy_backlog(db: sqlite3.Connection, source: int, target: int) -> None:
    """Give a consumer what another has not acknowledged, beside what it has."""
    db.execute(
        "INSERT OR IGNORE INTO backlog (consumer, acked, message) "
        "SELECT ?, 0, message FROM backlog WHERE consumer = ? AND acked = 0",
        (target, source),
    )


def clear(db: sqlite3.Connection, consumer: int) -> None:
    """Empty a consumer's backlog."""
    db.execute("DELETE FROM backlog WHERE consumer = ?", (consumer,))


def remove_consumer(db: sqlite3.Connection, consumer: int, *, sweep: bool) -> None:
    """Forget a consumer and its backlog; `sweep` deletes the messages that were its alone."""
    clear(db, consumer)
    (topic,) = db.execute("DELETE FROM consumers WHERE id = ? RETURNING topic", (consumer,)).fetchone()
    if sweep:
        db.execute(f"DELETE FROM messages WHERE topic = ? AND {_UNWANTED}", (topic,))


def oldest(db: sqlite3.Connection, consumer: int) -> int | None:
    """The id of the oldest message that is not acknowledged."""
    query = "SELECT min(message) FROM backlog WHERE consumer = ? AND acked = 0"
    found: int | None = db.execute(query, (consumer,)).fetchone()[0]
    return found


def seek_time(
    db: sqlite3.Connection,
    consumer: Consumer,
    time: int,
    *,
    retain: bool,
    topic_since: int | None,
    wanted: Callable[[bytes], bool],
) -> None:
    """Acknowledge what was published before `time` (in microseconds), take back what came since.

    Args:
        db: The database.
        consumer: The subscription.
        time: In microseconds since 1970.
        retain: Keep what is acknowledged for a later seek.
        topic_since: Where the topic keeps messages: since when, in microseconds.
        wanted: The subscription's filter on a message's content.
    """
    key = consumer.id
    if retain:
        db.execute(
            "INSERT OR IGNORE INTO backlog (consumer, acked, message) "
            "SELECT consumer, 1, message FROM backlog WHERE consumer = ? AND acked = 0 AND message < ?",
            (key, time),
        )
    db.execute("DELETE FROM backlog WHERE consumer = ? AND acked = 0 AND message < ?", (key, time))
    db.execute(
        "INSERT OR IGNORE INTO backlog (consumer, acked, message) "
        "SELECT consumer, 0, message FROM backlog WHERE consumer = ? AND acked = 1 AND message >= ?",
        (key, time),
    )
    db.execute("DELETE FROM backlog WHERE consumer = ? AND acked = 1 AND message >= ?", (key, time))
    if topic_since is not None:
        _take_back(db, key, _kept(db, consumer.topic, max(time, topic_since)), wanted)


def _kept(db: sqlite3.Connection, topic: int, since: int) -> sqlite3.Cursor:
    return db.execute("SELECT id, body FROM messages WHERE topic = ? AND id >= ?", (topic, since))


def _take_back(
    db: sqlite3.Connection, consumer: int, rows: Iterable[tuple[int, bytes]], wanted: Callable[[bytes], bool]
) -> None:
    ids = [id for id, body in rows if wanted(body)]
    db.execute(
        "INSERT OR IGNORE INTO backlog (consumer, acked, message) SELECT ?, 0, value FROM json_each(?)",
        (consumer, json.dumps(ids)),
    )
    db.execute(
        "DELETE FROM backlog WHERE consumer = ? AND acked = 1 AND message IN (SELECT value FROM json_each(?))",
        (consumer, json.dumps(ids)),
    )


def seek_snapshot(
    db: sqlite3.Connection,
    consumer: Consumer,
    snapshot: int,
    *,
    retain: bool,
    wanted: Callable[[bytes], bool],
) -> None:
    """Give a subscription the backlog that a snapshot has (as far as its own filter lets it pass)."""
    if retain:
        db.execute(
            "INSERT OR IGNORE INTO backlog (consumer, acked, message) "
            "SELECT consumer, 1, message FROM backlog WHERE consumer = ? AND acked = 0",
            (consumer.id,),
        )
    db.execute("DELETE FROM backlog WHERE consumer = ? AND acked = 0", (consumer.id,))
    rows = db.execute(
        "SELECT id, body FROM backlog JOIN messages ON messages.id = message WHERE consumer = ? AND acked = 0",
        (snapshot,),
    )
    _take_back(db, consumer.id, rows, wanted)


def expire(
    db: sqlite3.Connection, consumers: Iterable[tuple[int, int]], topics: Iterable[tuple[int, int, bool]]
) -> None:
    """Delete what is past its retention, and give unused space back to the disk.

    Args:
        db: The database.
        consumers: (number, id below which its messages are past it).
        topics: (number, id below which the topic keeps none, whether it keeps messages by itself at all).
    """
    expired = 0
    for consumer, before in consumers:
        expired += db.execute(
            "DELETE FROM backlog WHERE consumer = ? AND acked IN (0, 1) AND message < ?", (consumer, before)
        ).rowcount
    for topic, before, keeps in topics:
        # Elsewhere messages go with their last acknowledgement: nothing to look for unless some expired just now.
        if keeps or expired:
            db.execute(f"DELETE FROM messages WHERE topic = ? AND id < ? AND {_UNWANTED}", (topic, before))
    db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()


def touch(db: sqlite3.Connection, consumers: Iterable[int], now: int) -> None:
    """Note that consumers were used."""
    db.execute(
        "UPDATE consumers SET active = ? WHERE id IN (SELECT value FROM json_each(?))",
        (now, json.dumps(list(consumers))),
    )


def everything(db: sqlite3.Connection) -> tuple[dict[str, int], list[Consumer], int]:
    """Topics by name, consumers, and the last message id ever given: what is read at the start."""
    topics: dict[str, int] = dict(db.execute("SELECT name, id FROM topics").fetchall())
    rows: list[Any] = db.execute("SELECT id, name, topic, active FROM consumers").fetchall()
    (last,) = db.execute("SELECT last FROM clock").fetchone()
    return topics, [Consumer(*row) for row in rows], last
