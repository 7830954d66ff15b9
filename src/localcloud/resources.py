"""The one resource store: protobuf messages by resource name in SQLite, with lists, masks and etags.

Filters are localcloud.filters', pages and order localcloud.pages', update masks localcloud.fields'; what a
resource means, and what may be changed in it, is its service's business.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from localcloud.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from localcloud.fields import apply_mask
from localcloud.filters import Vocabulary, compile_filter
from localcloud.pages import Order, Page, clamp_page_size, decode_token, encode_token

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    parent TEXT NOT NULL,
    collection TEXT NOT NULL,
    message BLOB NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS resources_by_parent ON resources (type, parent, sequence);
CREATE TABLE IF NOT EXISTS counter (value INTEGER NOT NULL) STRICT;
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
"""


class ResourceStore:
    """Resources by name, safe to use from many threads, durable against the end of the process at any time.

    A write is in the operating system's hands when the method returns (WAL, synchronous=NORMAL), so killing
    the server loses nothing; messages that come back are the caller's own copies.

    Args:
        path: The database file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database; the store is not usable afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen together or, where an exception leaves the block, not at all."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._db.execute("COMMIT")
            finally:
                self._depth -= 1

    @staticmethod
    def new_id() -> str:
        """A generated resource id: 19 digits, as Google's are."""
        return str(secrets.randbelow(8 * 10**18) + 10**18)

    def create(self, name: str, message: Any, *, collection: str = "") -> Any:
        """Store a new resource.

        Args:
            name: Its resource name, `projects/1/locations/r/models/5`.
            message: The resource. Its name (where empty), create_time, update_time and etag are filled in.
            collection: The collection id; by default the last but one segment of the name.

        Returns:
            The resource as it was stored.

        Raises:
            AlreadyExists: The name is taken.
        """
        stored = type(message)()
        stored.CopyFrom(message)
        fields = stored.DESCRIPTOR.fields_by_name
        if "name" in fields and not stored.name:
            stored.name = name
        now = time.time_ns()
        _stamp(stored, now, created=True)
        parent, default_collection = _place(name)
        with self.transaction():
            if self._db.execute("SELECT 1 FROM resources WHERE name = ?", (name,)).fetchone():
                raise AlreadyExists(f"Resource `{name}` already exists.")
            (sequence,) = self._db.execute("UPDATE counter SET value = value + 1 RETURNING value").fetchone()
            self._db.execute(
                "INSERT INTO resources VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    name,
                    stored.DESCRIPTOR.full_name,
                    parent,
                    collection or default_collection,
                    stored.SerializeToString(),
                    sequence,
                    now,
                ),
            )
        return stored

    def get(self, name: str, type: Any) -> Any:
        """The resource of this name and message class.

        Raises:
            NotFound: There is none.
        """
        found = self.find(name, type)
        if found is None:
            raise NotFound(f"{type.DESCRIPTOR.name} `{name}` not found.")
        return found

    def find(self, name: str, type: Any) -> Any | None:
        """The resource of this name and message class, or None."""
        with self._lock:
            row = self._db.execute(
                "SELECT message FROM resources WHERE name = ? AND type = ?",
                (name, type.DESCRIPTOR.full_name),
            ).fetchone()
        return None if row is None else type.FromString(row[0])

    def list(
        self,
        parent: str,
        type: Any,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        default_page_size: int = 100,
        max_page_size: int = 1000,
        vocabulary: Vocabulary | None = None,
        collection: str = "",
        descendants: bool = False,
        where: Callable[[Any], bool] | None = None,
    ) -> Page:
        """One page of the resources of a message class below a parent.

        Args:
            parent: `projects/1/locations/r`; `-` stands for any one segment.
            type: The message class.
            filter: An AIP-160 filter, see localcloud.filters.
            order_by: `create_time desc, display_name`; without it the order of creation.
            page_size: Zero for the default; larger than the maximum is taken as the maximum.
            page_token: next_page_token of the page before.
            default_page_size: What the API documents.
            max_page_size: What the API documents.
            vocabulary: The API's further filter fields and functions.
            collection: Only resources of this collection, for a type that lives in several.
            descendants: Also what lies deeper than directly below the parent.
            where: Leaves out what is in the store but not in this list.

        Raises:
            InvalidArgument: A filter, order, page size or token that is not right.
        """
        size = clamp_page_size(page_size, default_page_size, max_page_size)
        order = Order(order_by, type.DESCRIPTOR)
        matches = compile_filter(filter, type.DESCRIPTOR, vocabulary)
        arguments = (type.DESCRIPTOR.full_name, parent, filter, order_by, collection)
        after = decode_token(page_token, arguments, len(order.keys) + 1) if page_token else None
        found = []
        for sequence, message in self._below(parent, type, collection, descendants):
            if matches(message) and (where is None or where(message)):
                found.append((order.place(message, sequence), message))
        if order.keys:
            found.sort(key=lambda item: order.sort_key(item[0]))
        rest = found if after is None else [item for item in found if order.compare(item[0], after) > 0]
        items = [message for _, message in rest[:size]]
        token = encode_token(arguments, rest[size - 1][0]) if len(rest) > size else ""
        return Page(items, token, len(found))

    def all(
        self,
        parent: str,
        type: Any,
        *,
        filter: str = "",
        collection: str = "",
        descendants: bool = False,
    ) -> Sequence[Any]:
        """Every resource that list() would page through, in order of creation."""
        matches = compile_filter(filter, type.DESCRIPTOR)
        return [message for _, message in self._below(parent, type, collection, descendants) if matches(message)]

    def _below(self, parent: str, type: Any, collection: str, descendants: bool) -> Iterator[tuple[int, Any]]:
        query = "SELECT sequence, message FROM resources WHERE type = ?"
        values: list[object] = [type.DESCRIPTOR.full_name]
        wild = "-" in parent.split("/")
        pattern = _glob(parent)
        if descendants:
            query += " AND (parent || '/' GLOB ?)" if parent else ""
            values += [pattern + "/*"] if parent else []
        elif wild:
            # As many slashes as the pattern has: then no * has swallowed one.
            query += " AND parent GLOB ? AND length(parent) - length(replace(parent, '/', '')) = ?"
            values += [pattern, parent.count("/")]
        else:
            query += " AND parent = ?"
            values.append(parent)
        if collection:
            query += " AND collection = ?"
            values.append(collection)
        with self._lock:
            rows = self._db.execute(query + " ORDER BY sequence", values).fetchall()
        for sequence, content in rows:
            yield sequence, type.FromString(content)

    def update(
        self,
        message: Any,
        mask: FieldMask | Iterable[str] | None = None,
        *,
        allowed: Iterable[str] | None = None,
        name: str = "",
    ) -> Any:
        """Change a stored resource by an update mask.

        Args:
            message: The new values; its etag, where set, must be the stored one's.
            mask: Which fields; without one, those that are set in `message`. `*` replaces all.
            allowed: The fields that can be changed at all (nested ones by their path); None means every one.
            name: The resource's name, for messages that do not carry it in `name`.

        Returns:
            The resource as it is now, update_time and etag renewed.

        Raises:
            NotFound: There is no such resource.
            InvalidArgument: The mask names no field, or one that cannot be updated.
            Aborted: The etag is not the stored one's: somebody else changed the resource.
        """
        paths = list(mask.paths) if isinstance(mask, FieldMask) else list(mask or ())
        given_etag = getattr(message, "etag", "")

        def change(stored: Any) -> None:
            _check_etag(stored, given_etag, name or message.name)
            apply_mask(stored, message, paths, allowed)

        return self.modify(name or message.name, type(message), change)

    def modify(self, name: str, type: Any, change: Callable[[Any], None]) -> Any:
        """Read, change and write a resource with no other write in between.

        Args:
            name: The resource's name.
            type: Its message class.
            change: Changes the message it is given; an exception leaves the resource as it was.

        Returns:
            The resource as it is now.

        Raises:
            NotFound: There is no such resource.
        """
        with self.transaction():
            message = self.get(name, type)
            change(message)
            _stamp(message, time.time_ns(), created=False)
            self._db.execute(
                "UPDATE resources SET message = ? WHERE name = ?",
                (message.SerializeToString(), name),
            )
        return message

    def delete(self, name: str, type: Any, *, etag: str = "") -> None:
        """Delete a resource; what lies below it stays.

        Raises:
            NotFound: There is no such resource.
            Aborted: An etag was given and is not the stored one's.
        """
        with self.transaction():
            _check_etag(self.get(name, type), etag, name)
            self._db.execute("DELETE FROM resources WHERE name = ?", (name,))

    def delete_below(self, name: str) -> None:
        """Delete all that lies below a resource, of whatever type; the resource itself stays."""
        with self.transaction():
            self._db.execute("DELETE FROM resources WHERE parent || '/' GLOB ?", (f"{_glob(name)}/*",))


def _place(name: str) -> tuple[str, str]:
    """(parent, collection id) of a resource name."""
    segments = name.rsplit("/", 2)
    if len(segments) < 2 or not all(name.split("/")):
        raise InvalidArgument(f"`{name}` is not a resource name: collection and id alternate, joined by `/`.")
    return (segments[0], segments[1]) if len(segments) == 3 else ("", segments[0])


def _glob(parent: str) -> str:
    """The SQLite GLOB pattern of a parent, in which a segment `-` stands for any."""
    escaped = "".join(f"[{char}]" if char in "*?[" else char for char in parent)
    return "/".join("*" if segment == "-" else segment for segment in escaped.split("/"))


def _check_etag(stored: Any, given: str, name: str) -> None:
    if given and getattr(stored, "etag", given) != given:
        raise Aborted(
            f"The etag of `{name}` is no longer `{given}`: it was changed meanwhile. Read it again and retry."
        )


def _stamp(message: Any, now: int, *, created: bool) -> None:
    """Renew create_time, update_time and etag, where the message type has them."""
    fields = message.DESCRIPTOR.fields_by_name
    for name in ("create_time", "update_time") if created else ("update_time",):
        field = fields.get(name)
        if field is not None and field.message_type is Timestamp.DESCRIPTOR:
            getattr(message, name).FromMicroseconds(now // 1000)
    etag = fields.get("etag")
    if etag is not None and etag.type == etag.TYPE_STRING:
        message.etag = secrets.token_urlsafe(12)
