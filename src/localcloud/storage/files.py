"""Which file below a bucket's folder is which object: names to paths, paths to names, in order.

Metadata, generations and hashes are left to the store; gs:// URIs to localcloud.objects.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from urllib.parse import quote, unquote

from localcloud import errors
from localcloud.storage.moving import move

MAX_NAME_BYTES = 1024
"""The longest object name, in bytes of UTF-8 (cloud.google.com/storage/docs/objects#naming)."""

ESCAPED = ".escaped"
"""The folder of a bucket that keeps objects whose names cannot be plain paths."""

_PIECE = 200
_MAX_PART_BYTES = 255
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ATTEMPTS = 16


def bucket_problem(name: str) -> str | None:
    """Why this is no bucket name; None for a good one."""
    parts = name.split(".")
    if not _BUCKET.fullmatch(name) or any(not 1 <= len(part) <= 63 for part in parts):
        return (
            f"Invalid bucket name: '{name}'. Use 3 to 63 lowercase letters, digits, '-', '_' and '.', "
            "with a letter or digit at both ends."
        )
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", name):
        return f"Invalid bucket name: '{name}'. A bucket name cannot be an IP address."
    return None


def name_problem(name: str) -> str | None:
    """Why this is no object name; None for a good one."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "Invalid object name: it is not valid Unicode."
    if not 1 <= size <= MAX_NAME_BYTES:
        return f"Invalid object name: it has {size} bytes of UTF-8; 1 to {MAX_NAME_BYTES} are allowed."
    if name in (".", "..") or "\r" in name or "\n" in name:
        return f"Invalid object name: {name!r}. Names cannot be '.' or '..' or contain line breaks."
    return None


def plain_path(name: str) -> str | None:
    """The relative path that is the object's name itself; None where no file can be called so."""
    parts = name.split("/")
    if parts[0] == ESCAPED or "\0" in name:
        return None
    if any(part in ("", ".", "..") or len(part.encode()) > _MAX_PART_BYTES for part in parts):
        return None
    return name


def escaped_path(name: str) -> str:
    """The relative path below ESCAPED: percent-encoded, cut into folders that end in `+`."""
    text = quote(name, safe=" !#$&'(),-.:;=@[]^_{}~")
    if text[0] == ".":  # `.` and `..` are no names of files
        text = "%2E" + text[1:]
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    pieces = [("%2E" + piece[1:] if piece[0] == "." else piece) for piece in pieces]
    return "/".join([piece + "+" for piece in pieces[:-1]] + pieces[-1:])


def escaped_name(path: str) -> str | None:
    """The object whose `escaped_path` this is; None for a file that is no object's."""
    parts = path.split("/")
    if any(not part.endswith("+") for part in parts[:-1]):
        return None
    try:
        name = unquote("".join([part[:-1] for part in parts[:-1]] + parts[-1:]), errors="strict")
    except UnicodeDecodeError:
        return None
    return name if not name_problem(name) and escaped_path(name) == path else None


@dataclass(frozen=True)
class Found:
    """An object's file: its name, where it lies and its stat."""

    name: str
    path: str
    stat: os.stat_result


class Walk:
    """The objects of a folder in order of their names (UTF-8 bytes), as they lie on the disk now.

    Args:
        folder: The bucket's folder.
        prefix: Only names that begin so.
        start: Only names from this one on.
    """

    def __init__(self, folder: str, prefix: str = "", start: str = "") -> None:
        self.skip: str | None = None
        """Set while iterating: names that begin so are left out from here on."""
        self.start = start
        self._folder = folder
        self._prefix = prefix

    def __iter__(self) -> Iterator[Found]:
        last = None
        for found in merge(self._plain(), self._escaped(), key=lambda found: found.name):
            # The plain file wins where an object has both: it came later.
            if found.name != last and not (self.skip and found.name.startswith(self.skip)):
                yield found
            last = found.name

    def _wanted(self, name: str) -> bool:
        return name.startswith(self._prefix) and name >= self.start and not name_problem(name)

    def _plain(self) -> Iterator[Found]:
        stack = [self._children("", self._folder)]
        while stack:
            if not stack[-1]:
                stack.pop()
                continue
            key, entry = stack[-1].pop()
            if self.skip and key.startswith(self.skip):
                continue
            if key.endswith("/"):
                stack.append(self._children(key, entry.path))
                continue
            try:
                yield Found(key, entry.path, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue

    def _children(self, parent: str, path: str) -> list[tuple[str, os.DirEntry[str]]]:
        children = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    key = parent + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        key += "/"
                        within = key.startswith(self._prefix) or self._prefix.startswith(key)
                        before = key < self.start and not self.start.startswith(key)
                        if within and not before and key != ESCAPED + "/":
                            children.append((key, entry))
                    elif self._wanted(key) and entry.is_file(follow_symlinks=False):
                        children.append((key, entry))
        except (FileNotFoundError, NotADirectoryError):
            return []
        children.sort(key=lambda child: child[0], reverse=True)
        return children

    def _escaped(self) -> Iterator[Found]:
        top = os.path.join(self._folder, ESCAPED)
        if not os.path.isdir(top) or os.path.islink(top):
            return iter(())
        found = []
        for parent, _, files in os.walk(top):
            for file in files:
                path = os.path.join(parent, file)
                name = escaped_name(os.path.relpath(path, top))
                status = _regular(path)
                if name is not None and status and self._wanted(name):
                    found.append(Found(name, path, status))
        return iter(sorted(found, key=lambda each: each.name))


def _regular(path: str) -> os.stat_result | None:
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # a name that this file system cannot hold
        return None
    return status if stat.S_ISREG(status.st_mode) else None


class Folder:
    """A bucket's folder. An object lies at its own name; where that cannot be, below `.escaped`.

    A name cannot be a path when a part of it is empty, `.`, `..` or too long, or when it is taken: `a` and
    `a/b` may both be objects, and the second to come is escaped. Symbolic links are neither objects nor
    followed, so nothing outside the folder is reached.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = os.fspath(path)

    def find(self, name: str) -> Found | None:
        """The object's file, or None."""
        plain = plain_path(name)
        if plain is not None:
            path = os.path.join(self.path, plain)
            status = _regular(path)
            if status and not self._linked(plain):
                return Found(name, path, status)
        if not os.path.isdir(os.path.join(self.path, ESCAPED)):
            return None
        path = self._escaped(name)
        status = _regular(path)
        return Found(name, path, status) if status else None

    def where(self, name: str) -> str:
        """Where the object lies, or would; the plain folder for a name that ends in `/`."""
        found = None if name.endswith("/") else self.find(name)
        if found:
            return found.path
        plain = plain_path(name.removesuffix("/"))
        if plain is not None and not self._linked(plain + "/"):
            return os.path.join(self.path, plain)
        return self._escaped(name)

    def where_object(self, name: str) -> str:
        """Where the object lies; where it would lie if there is none."""
        found = self.find(name)
        return found.path if found else self._escaped(name)

    def prepare(self, name: str) -> str:
        """The path at which to put the object, its folder made."""
        for _ in range(_ATTEMPTS):
            plain = plain_path(name)
            path = self._escaped(name)
            if plain is not None and not self._blocked(plain):
                path = os.path.join(self.path, plain)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if name.endswith("/") and plain_path(name[:-1]) and not self._linked(name):
                    with contextlib.suppress(OSError):  # a file has the name: jobs see that instead
                        os.makedirs(os.path.join(self.path, name[:-1]), exist_ok=True)
            except (FileExistsError, NotADirectoryError, FileNotFoundError):
                continue  # another writer or a job got in between: look again
            return path
        raise errors.Aborted(f"gs://{os.path.basename(self.path)}/{name}: the folder keeps changing. Try again.")

    def put(self, source: str, name: str, prepared: str = "") -> None:
        """Move a finished file to the object's place in one step, replacing what was there.

        Args:
            source: The file.
            name: The object's name.
            prepared: What `prepare` gave, where it has just been called.
        """
        path = prepared
        for _ in range(_ATTEMPTS):
            path = path or self.prepare(name)
            try:
                move(source, path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                if not os.path.lexists(source):
                    raise
                path = ""
                continue
            if os.path.isdir(os.path.join(self.path, ESCAPED)):
                escaped = self._escaped(name)
                if path != escaped:
                    self._unlink(escaped)
            return
        raise errors.Aborted(f"gs://{os.path.basename(self.path)}/{name}: the folder keeps changing. Try again.")

    def remove(self, name: str) -> None:
        """Delete the object's file, and the folders that it leaves empty."""
        found = self.find(name)
        while found:
            self._unlink(found.path)
            found = self.find(name)
        if name.endswith("/") and plain_path(name[:-1]) and not self._linked(name):
            self._prune(os.path.join(self.path, name[:-1]))

    def _escaped(self, name: str) -> str:
        return os.path.join(self.path, ESCAPED, escaped_path(name))

    def _unlink(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
        self._prune(os.path.dirname(path))

    def _prune(self, path: str) -> None:
        while len(path) > len(self.path):
            placeholder = os.path.relpath(path, self.path) + "/"
            if _regular(self._escaped(placeholder)):
                return
            try:
                os.rmdir(path)
            except OSError:  # not empty, or gone already
                return
            path = os.path.dirname(path)

    def _linked(self, plain: str) -> bool:
        """Whether a folder on the way to the file is a symbolic link."""
        path = self.path
        for part in plain.split("/")[:-1]:
            path = os.path.join(path, part)
            if os.path.islink(path):
                return True
        return False

    def _blocked(self, plain: str) -> bool:
        """Whether something other than folders is on the way, or a folder with content in the place."""
        path = self.path
        for part in plain.split("/")[:-1]:
            path = os.path.join(path, part)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return False
            if not stat.S_ISDIR(mode):
                return True
        try:
            os.rmdir(os.path.join(self.path, plain))
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return False  # a file or a link: replaced
        except OSError:
            return True
        return False
