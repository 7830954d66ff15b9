"""What is done before the first request: finish, or clear away, what a killed process left half done.

How a write can be cut short is explained in store.py.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from localcloud.storage.store import Store, identity_of

SESSION_DAYS = 7
"""How long an upload that is not finished is kept, as on Google Cloud."""


def recover(store: Store) -> None:
    """Make files and rows agree again."""
    waiting = _sessions(store)
    for path in list(store.incoming.iterdir()):
        if path.name in waiting:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not _finish(store, path):
            path.unlink()
    for bucket in store.list_buckets():
        _recover_archive(store, bucket.name)


def _sessions(store: Store) -> set[str]:
    """The names of what uploads and rewrites have under way; those that are too old are dropped."""
    oldest = store.database.now() - SESSION_DAYS * 86_400_000_000
    names: set[str] = set()
    for session in store.database.sessions():
        if session.created < oldest:
            store.drop_session(session)
        elif "generation" not in session.state:
            names |= {session.id, f"{session.id}.parts"}
    return names


def _finish(store: Store, path: Path) -> bool:
    """Move a file whose row has been committed to its place; whether it is such a file."""
    identity = identity_of(path.lstat())
    for version in store.database.live_by_inode(identity[2]):
        if version.file == identity and store.find_bucket(version.bucket):
            store.folder(version.bucket).put(os.fspath(path), version.name)
            return True
    return False


def _recover_archive(store: Store, bucket: str) -> None:
    """Let a deletion that was cut short be one, and clear away files that no version has."""
    folder = store.archive / bucket
    files = list(folder.iterdir()) if folder.is_dir() else []
    if {path.name for path in files} - _kept(store, bucket):
        for name in store.database.names(bucket):
            store.live(bucket, name)
        kept = _kept(store, bucket)
        for path in files:
            if path.name not in kept:
                path.unlink()


def _kept(store: Store, bucket: str) -> set[str]:
    return {str(version.generation) for version in store.database.noncurrent(bucket)}
