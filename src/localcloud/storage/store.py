"""The store: objects as files and rows that agree, whatever happens to the process or to the files.

HTTP, JSON and listing are left to others; so is which file an object is (files.py).

How they agree. A row names its file by size, mtime and inode. Content arrives in a file of its own; its row
is committed with that file's identity, then the file is moved to the object's place: an answer is sent
after both, and after a crash between them recovery.py finishes the move. A file that no row describes came
from outside and gets a new generation when it is next looked at; a row without a file is forgotten.
"""

from __future__ import annotations

import contextlib
import math
import mimetypes
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from localcloud.storage import errors
from localcloud.storage.content import Content, hash_file
from localcloud.storage.database import Bucket, Database, Session, StoredObject
from localcloud.storage.files import Folder, Found, Walk, bucket_problem, name_problem
from localcloud.storage.preconditions import Preconditions

NO_CONDITIONS = Preconditions()

Listener = Callable[[str, StoredObject, dict[str, str]], None]
"""Called within the transaction of a change: (event type, object, further attributes)."""


class Store:
    """Buckets and objects below a state folder.

    Args:
        root: The state folder: content in `root/buckets`, the rest in `root/storage`.
    """

    def __init__(self, root: Path) -> None:
        self.buckets = root / "buckets"
        self.incoming = root / "storage" / "incoming"
        self.archive = root / "storage" / "archive"
        for folder in (self.buckets, self.incoming, self.archive):
            folder.mkdir(parents=True, exist_ok=True)
        self.database = Database(root / "storage" / "storage.db")
        self.listener: Listener = lambda event, version, attributes: None

    # Buckets

    def find_bucket(self, name: str) -> Bucket | None:
        """A bucket, be it only a folder that somebody has made."""
        if bucket_problem(name):
            return None
        with self.database.lock:
            bucket = self.database.bucket(name)
            path = self.buckets / name
            if bucket and not os.path.isdir(path):
                path.mkdir(exist_ok=True)
            elif not bucket and os.path.isdir(path) and not os.path.islink(path):
                now = self.database.now()
                bucket = Bucket(name, "", 1, now, now, {})
                self.database.save_bucket(bucket)
            return bucket

    def bucket(self, name: str) -> Bucket:
        """A bucket; 404 if there is none."""
        bucket = self.find_bucket(name)
        if not bucket:
            raise errors.no_bucket()
        return bucket

    def list_buckets(self) -> list[Bucket]:
        """All buckets by name, those that are only folders included."""
        with os.scandir(self.buckets) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in names:
            self.find_bucket(name)
        return self.database.buckets()

    def create_bucket(self, name: str, project: str, properties: dict[str, Any]) -> Bucket:
        """Make a bucket; 409 if there is one of this name."""
        with self.database.transaction():
            if self.find_bucket(name):
                raise errors.conflict(
                    "Your previous request to create the named bucket succeeded and you already own it.",
                    "BucketAlreadyOwnedByYou",
                )
            now = self.database.now()
            bucket = Bucket(name, project, 1, now, now, properties)
            self.database.save_bucket(bucket)
            (self.buckets / name).mkdir()
        return bucket

    def change_bucket(
        self, name: str, conditions: Preconditions, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Bucket:
        """Replace a bucket's properties by what `change` makes of them."""
        with self.database.transaction():
            bucket = self.bucket(name)
            conditions.check(bucket)
            changed = replace(
                bucket,
                metageneration=bucket.metageneration + 1,
                updated=self.database.now(),
                properties=change(dict(bucket.properties)),
            )
            self.database.save_bucket(changed)
        return changed

    def delete_bucket(self, name: str, conditions: Preconditions = NO_CONDITIONS) -> None:
        """Delete an empty bucket; 409 if it holds an object or a noncurrent version."""
        with self.database.transaction():
            bucket = self.bucket(name)
            conditions.check(bucket)
            path = self.buckets / name
            if next(iter(Walk(os.fspath(path))), None) or self.database.has_noncurrent(name):
                raise errors.conflict("The bucket you tried to delete is not empty.", "BucketNotEmpty")
            for session in self.database.sessions():
                if session.bucket == name:
                    self.drop_session(session)
            self.database.forget_bucket(name)
            shutil.rmtree(path, ignore_errors=True)  # empty folders and what cannot be an object
            shutil.rmtree(self.archive / name, ignore_errors=True)

    def folder(self, bucket: str) -> Folder:
        """The bucket's folder; 404 if there is no such bucket."""
        self.bucket(bucket)
        return Folder(self.buckets / bucket)

    # Looking at objects

    def live(self, bucket: str, name: str) -> StoredObject | None:
        """The live version as it lies on the disk now; None if there is none."""
        problem = name_problem(name)
        if problem:
            raise errors.invalid(problem, "name")
        with self.database.lock:
            return self._settle(bucket, name, self.folder(bucket).find(name))

    def listed(self, bucket: str, found: Found) -> StoredObject | None:
        """The live version of a file that a walk has found; None if it is gone since."""
        with self.database.lock:
            version = self.database.live(bucket, found.name)
            if version and version.file == identity_of(found.stat):
                return version
            # The walk may have seen the file before a write that came later: look again.
            return self.live(bucket, found.name)

    def _settle(self, bucket: str, name: str, found: Found | None) -> StoredObject | None:
        """Make the row agree with the file that was found, and give the live version."""
        version = self.database.live(bucket, name)
        if version and found and version.file == identity_of(found.stat):
            return version
        if not version and not found:
            return None
        with self.database.transaction():
            if version:
                self._vanished(version)
            if not found:
                return None
            now = self.database.now()
            properties = {"contentType": mimetypes.guess_type(name)[0] or "application/octet-stream"}
            size, mtime, inode = identity_of(found.stat)
            fresh = StoredObject(bucket, name, now, 1, size, mtime, inode, "", "", now, now, 0, properties)
            self.database.save(fresh)
            attributes = {"overwroteGeneration": str(version.generation)} if version else {}
            self.listener("OBJECT_FINALIZE", fresh, attributes)
            return fresh

    def _vanished(self, version: StoredObject) -> None:
        """The file of the live version is gone: it is noncurrent if it was being archived, else deleted."""
        if os.path.exists(self._archived(version)):
            self.database.save(replace(version, deleted=self.database.now()))
            self.listener("OBJECT_ARCHIVE", version, {})
        else:
            self.database.forget(version)
            self.listener("OBJECT_DELETE", version, {})

    def get(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NO_CONDITIONS,
        reading: bool = True,
    ) -> StoredObject:
        """A version, the live one unless a generation is named.

        Raises:
            StorageError: 404 without such a version; 412 or 304 by the preconditions.
        """
        with self.database.lock:
            version = self.live(bucket, name)
            if generation is not None and (not version or version.generation != generation):
                version = self.database.version(bucket, name, generation)
            if not version:
                raise errors.no_object(bucket, name)
            conditions.check(version, reading)
            return version

    def open(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NO_CONDITIONS,
    ) -> tuple[StoredObject, int]:
        """A version and a file descriptor of its content, which stays as it is whatever is written later."""
        with self.database.lock:
            version = self.get(bucket, name, generation, conditions)
            try:
                return version, os.open(self._path(version), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise errors.no_object(bucket, name) from None

    def hashed(self, version: StoredObject) -> StoredObject:
        """The same version with its hashes, which are computed once for a file from outside."""
        if version.crc32c:
            return version
        try:
            descriptor = os.open(self._path(version), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return version
        try:
            hashes = hash_file(descriptor)
            unchanged = identity_of(os.fstat(descriptor)) == version.file
        finally:
            os.close(descriptor)
        with self.database.transaction():
            current = self.database.version(version.bucket, version.name, version.generation)
            if not unchanged or not current:
                return version
            version = replace(current, md5=hashes.md5, crc32c=hashes.crc32c)
            self.database.save(version)
            return version

    def _archived(self, version: StoredObject) -> str:
        return os.path.join(self.archive, version.bucket, str(version.generation))

    def _path(self, version: StoredObject) -> str:
        if version.deleted:
            return self._archived(version)
        return Folder(self.buckets / version.bucket).where_object(version.name)

    # Changing objects

    def put(
        self,
        bucket: str,
        name: str,
        content: Content,
        properties: dict[str, Any],
        conditions: Preconditions = NO_CONDITIONS,
        note: Callable[[StoredObject], None] = lambda version: None,
    ) -> StoredObject:
        """Make finished content the live version of an object.

        Args:
            bucket: The bucket's name.
            name: The object's name.
            content: The content; its file is moved away.
            properties: What the client set.
            conditions: What must hold of the version that is replaced.
            note: Called within the transaction, for what else must be remembered with it.

        Raises:
            StorageError: 404 without the bucket, 412 by the preconditions, 403 under a hold.
        """
        with self.database.lock:
            old = self.check_write(bucket, name, conditions)
            place = self.bucket(bucket)
            if place.properties.get("defaultEventBasedHold"):
                properties = {"eventBasedHold": True, **properties}
            folder = Folder(self.buckets / bucket)
            path = folder.prepare(name)
            if old and place.versioned:
                self._keep_file(old)
            size, mtime, inode = identity_of(os.stat(content.path))
            with self.database.transaction():
                now = self.database.now()
                new = StoredObject(
                    bucket,
                    name,
                    now,
                    1,
                    size,
                    mtime,
                    inode,
                    content.md5,
                    content.crc32c,
                    now,
                    now,
                    0,
                    properties,
                )
                if old:
                    self._replaced(old, new, place.versioned)
                self.database.save(new)
                note(new)
                self.listener("OBJECT_FINALIZE", new, {"overwroteGeneration": str(old.generation)} if old else {})
            try:
                folder.put(content.path, name, path)
            except Exception:
                with self.database.transaction():
                    self.database.forget(new)
                    if old:
                        self.database.save(old)
                raise
            return new

    def check_write(self, bucket: str, name: str, conditions: Preconditions) -> StoredObject | None:
        """What a write would replace, after checking that it is allowed."""
        with self.database.lock:
            old = self.live(bucket, name)
            conditions.check(old)
            if old:
                _check_holds(old)
            return old

    def _replaced(self, old: StoredObject, new: StoredObject, keep: bool) -> None:
        attributes = {"overwrittenByGeneration": str(new.generation)}
        if keep:
            self.database.save(replace(old, deleted=new.generation))
            self.listener("OBJECT_ARCHIVE", old, attributes)
        else:
            self.database.forget(old)
            self.listener("OBJECT_DELETE", old, attributes)

    def _keep_file(self, version: StoredObject) -> None:
        path = self._archived(version)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(self._path(version), path)

    def delete(
        self, bucket: str, name: str, generation: int | None = None, conditions: Preconditions = NO_CONDITIONS
    ) -> None:
        """Delete the live version (kept as noncurrent in a versioned bucket) or, for good, a named one."""
        with self.database.lock:
            version = self.get(bucket, name, generation, conditions, reading=False)
            _check_holds(version)
            if version.deleted:
                self.database.forget(version)
                self.listener("OBJECT_DELETE", version, {})
                Path(self._archived(version)).unlink(missing_ok=True)
                return
            keep = generation is None and self.bucket(bucket).versioned
            if keep:
                self._keep_file(version)
            Folder(self.buckets / bucket).remove(name)
            with self.database.transaction():
                if keep:
                    self.database.save(replace(version, deleted=self.database.now()))
                    self.listener("OBJECT_ARCHIVE", version, {})
                else:
                    self.database.forget(version)
                    self.listener("OBJECT_DELETE", version, {})

    def change(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        conditions: Preconditions,
        change: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> StoredObject:
        """Replace an object's properties by what `change` makes of them."""
        with self.database.transaction():
            version = self.get(bucket, name, generation, conditions, reading=False)
            changed = replace(
                version,
                metageneration=version.metageneration + 1,
                updated=self.database.now(),
                properties=change(dict(version.properties)),
            )
            self.database.save(changed)
            self.listener("OBJECT_METADATA_UPDATE", changed, {})
        return changed

    # Everything

    def scan(self, bucket: str, before: float = math.inf) -> Iterator[StoredObject]:
        """All live versions, after which the rows agree with the whole folder.

        Args:
            bucket: The bucket's name.
            before: Files that were written later (seconds since 1970) are left for another time.
        """
        seen = set()
        for found in Walk(self.folder(bucket).path):
            seen.add(found.name)
            if found.stat.st_mtime < before:
                version = self.listed(bucket, found)
                if version:
                    yield version
        for name in self.database.names(bucket):
            if name not in seen:
                self.live(bucket, name)

    def drop_session(self, session: Session) -> None:
        """Forget an upload and what has arrived of it."""
        self.database.forget_session(session.id)
        shutil.rmtree(self.incoming / f"{session.id}.parts", ignore_errors=True)
        (self.incoming / session.id).unlink(missing_ok=True)


def identity_of(status: os.stat_result) -> tuple[int, int, int]:
    """What StoredObject.file is compared with: (size, mtime, inode)."""
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _check_holds(version: StoredObject) -> None:
    for kind, word in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if version.properties.get(kind):
            raise errors.forbidden(
                f"Object '{version.bucket}/{version.name}' is under active {word} hold and cannot be "
                "deleted, overwritten or archived until hold is removed."
            )
