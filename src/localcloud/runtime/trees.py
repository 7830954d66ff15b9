"""Folders of files kept by content: copied by hard links, hashed, put in place by one rename.

Image trees are never written to after they are in place, so that they may share files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path


def link_tree(source: Path, target: Path) -> None:
    """Copies a folder by hard links, or by copies where the file system has none; links stay links."""
    shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy, dirs_exist_ok=True)


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder so that the copy may be written to."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def link_or_copy(source: str, target: str) -> None:
    """One file."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def entries(root: Path, skipped: Callable[[Path], bool] = lambda _: False) -> Iterator[Path]:
    """Everything below a folder in a fixed order, folders before what is in them."""
    for child in sorted(root.iterdir()):
        if skipped(child):
            continue
        yield child
        if child.is_dir() and not child.is_symlink():
            yield from entries(child, skipped)


def built(path: Path) -> bool:
    """Whether a build of the package around it, or Python itself, has left this: it is no source."""
    return path.is_dir() and (path.name in ("__pycache__", "build") or path.name.endswith(".egg-info"))


def digest(path: Path, skipped: Callable[[Path], bool] = lambda _: False) -> str:
    """A hash over names, kinds, executable bits and contents of a file or a folder, without what is skipped in it."""
    hasher = hashlib.sha256()
    for entry in [path] if path.is_file() else entries(path, skipped):
        name = entry.name if entry is path else entry.relative_to(path).as_posix()
        if entry.is_symlink():
            kind, content = "link", os.readlink(entry).encode()
        elif entry.is_dir():
            kind, content = "dir", b""
        else:
            executable = entry.stat().st_mode & stat.S_IXUSR
            kind, content = ("run" if executable else "file"), file_digest(entry)
        hasher.update(f"{len(name)} {name} {kind} {len(content)} ".encode() + content)
    return hasher.hexdigest()


def file_digest(path: Path) -> bytes:
    """The SHA-256 of one file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def remove(path: Path) -> None:
    """Takes a folder away: out of sight at once, then file by file."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)
