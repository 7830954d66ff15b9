"""Listing a bucket: prefixes and delimiters, globs, offsets, versions and pages.

Source: cloud.google.com/storage/docs/json_api/v1/objects/list. Which files there are is left to files.Walk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge

import orjson

from localcloud.storage import errors
from localcloud.storage.database import StoredObject
from localcloud.storage.files import Found, Walk
from localcloud.storage.store import Store

MAX_RESULTS = 1000

_SPECIAL = re.compile(r"[*?\[{\\]")


@dataclass(frozen=True)
class Query:
    """What to list."""

    prefix: str = ""
    delimiter: str = ""
    include_trailing_delimiter: bool = False
    glob: str = ""
    start: str = ""
    """The first name."""
    end: str = ""
    """The first name no more; empty: no end."""
    versions: bool = False
    size: int = MAX_RESULTS
    """How many objects and prefixes a page holds at most."""
    page: str = ""


@dataclass
class Page:
    """A page of a listing."""

    items: list[StoredObject] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_page: str = ""

    @property
    def size(self) -> int:
        """Objects and prefixes on it."""
        return len(self.items) + len(self.prefixes)


@dataclass(frozen=True)
class _Place:
    """Where a page ended: after a version of an object, or after all names that begin with a prefix."""

    name: str = ""
    generation: int = 0
    group: bool = False

    @classmethod
    def read(cls, token: str) -> _Place:
        if not token:
            return cls()
        try:
            name, generation, group = orjson.loads(base64.urlsafe_b64decode(token))
        except (binascii.Error, ValueError):
            raise errors.invalid(f"Invalid page token: '{token}'.", "pageToken") from None
        return cls(str(name), int(generation), bool(group))

    def write(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps([self.name, self.generation, self.group])).decode()


def list_objects(store: Store, bucket: str, query: Query) -> Page:
    """One page of a bucket's objects, in order of their names and generations.

    Raises:
        StorageError: 404 without the bucket; 400 for a page token or glob that cannot be.
    """
    place = last = _Place.read(query.page)
    glob = glob_pattern(query.glob) if query.glob else None
    # Of a name's versions some may be left; without versions the next page begins at the next name.
    after = place.name if place.group or query.versions or not place.name else place.name + "\0"
    walk = Walk(store.folder(bucket).path, _narrow(query), max(query.start, after))
    if place.group:
        walk.skip = place.name
    page = Page()
    for name, found, noncurrent in _entries(store, bucket, walk, query):
        if query.end and name >= query.end:
            break
        group = _group(name, query)
        if glob and not glob.fullmatch(name) and not (group and glob.fullmatch(group)):
            continue
        if group:
            if page.size >= query.size:
                page.next_page = last.write()
                break
            page.prefixes.append(group)
            walk.skip = group
            last = _Place(group, 0, True)
            if not (query.include_trailing_delimiter and name == group):
                continue
        live = store.listed(bucket, found) if found else None
        for version in [*noncurrent, *([live] if live else [])]:
            if query.versions and (version.name, version.generation) <= (place.name, place.generation):
                continue
            if not group and page.size >= query.size:
                page.next_page = last.write()
                return page
            page.items.append(version)
            if not group:
                last = _Place(version.name, version.generation)
    return page


def _narrow(query: Query) -> str:
    """The longest prefix that all wanted names have."""
    fixed = _SPECIAL.split(query.glob, maxsplit=1)[0]
    return fixed if fixed.startswith(query.prefix) and not query.delimiter else query.prefix


def _group(name: str, query: Query) -> str:
    """The common prefix that stands for the name; empty if it stands for itself."""
    if not query.delimiter:
        return ""
    at = name.find(query.delimiter, len(query.prefix))
    return "" if at < 0 else name[: at + len(query.delimiter)]


def _entries(
    store: Store, bucket: str, walk: Walk, query: Query
) -> Iterator[tuple[str, Found | None, list[StoredObject]]]:
    """Names with their file, if they have one, and their noncurrent versions, if those are asked for."""
    if not query.versions:
        for found in walk:
            yield found.name, found, []
        return
    noncurrent = store.database.noncurrent(bucket, walk.start)
    old = (version for version in noncurrent if version.name.startswith(query.prefix))
    name, file, versions = "", None, list[StoredObject]()
    streams: tuple[Iterable[Found | StoredObject], ...] = (walk, old)
    for entry in merge(*streams, key=lambda entry: entry.name):
        if entry.name != name:
            if name and not (walk.skip and name.startswith(walk.skip)):
                yield name, file, versions
            name, file, versions = entry.name, None, []
        if isinstance(entry, Found):
            file = entry
        else:
            versions.append(entry)
    if name and not (walk.skip and name.startswith(walk.skip)):
        yield name, file, versions


def glob_pattern(glob: str) -> re.Pattern[str]:
    """The regular expression of a glob: `*` and `?` stop at `/`, `**` does not; `[a-z]`, `[!a]`, `{a,b}`.

    Raises:
        StorageError: 400 for a bracket or brace that does not close.
    """
    pattern, at, braces = "", 0, 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            if glob.startswith("*", at):
                at += 1
                pattern += ".*"
            else:
                pattern += "[^/]*"
        elif character == "?":
            pattern += "[^/]"
        elif character == "[":
            close = glob.find("]", at + 1)
            if close < 0:
                raise errors.invalid(f"Invalid glob pattern: '{glob}': '[' is not closed.", "matchGlob")
            inside = re.sub(r"([\\\[\]&~|])", r"\\\1", glob[at:close])
            pattern += f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
            at = close + 1
        elif character == "{":
            braces += 1
            pattern += "(?:"
        elif character == "}" and braces:
            braces -= 1
            pattern += ")"
        elif character == "," and braces:
            pattern += "|"
        elif character == "\\" and at < len(glob):
            pattern += re.escape(glob[at])
            at += 1
        else:
            pattern += re.escape(character)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        raise errors.invalid(f"Invalid glob pattern: '{glob}'.", "matchGlob") from None
