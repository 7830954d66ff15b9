"""Cloud Storage as files, for the other services: the file of a gs:// URI, reading, writing, listing, copying.

Metadata, generations, hashes and the API are left to localcloud.storage, whose names of files are used.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from localcloud import errors
from localcloud.storage.files import Folder, Walk, bucket_problem, name_problem, plain_path


def split_uri(uri: str) -> tuple[str, str]:
    """`gs://BUCKET/NAME` as (bucket, name); the name is empty for the bucket itself.

    Raises:
        InvalidArgument: It is not such a URI, or the bucket's name cannot be one.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.partition("/")
    if scheme != "gs" or not bucket:
        raise errors.InvalidArgument(f"Invalid Cloud Storage URI: '{uri}'. It must look like gs://BUCKET/NAME.")
    problem = bucket_problem(bucket)
    if problem:
        raise errors.InvalidArgument(problem)
    return bucket, name


class Objects:
    """Cloud Storage for the other services: gs:// URIs as files.

    What is written here is an object of the bucket at once, as any file is that appears in its folder.

    Args:
        root: The state folder; buckets are the folders in `root / "buckets"`.
    """

    def __init__(self, root: Path) -> None:
        self.buckets = root / "buckets"
        self._incoming = root / "storage" / "incoming"

    def folder(self, bucket: str) -> Folder:
        """The folder of a bucket.

        Raises:
            NotFound: There is no such bucket.
        """
        path = self.buckets / bucket
        if bucket_problem(bucket) or path.is_symlink() or not path.is_dir():
            raise errors.NotFound(f"The bucket gs://{bucket} does not exist. Create it first.")
        return Folder(path)

    def path(self, uri: str) -> Path:
        """Where an object lies, or would; for a bucket or a prefix that ends in `/`, the folder.

        Raises:
            InvalidArgument: It is no URI of an object or folder.
            NotFound: There is no such bucket.
        """
        bucket, name = split_uri(uri)
        folder = self.folder(bucket)
        if not name:
            return Path(folder.path)
        _check(uri, name)
        return Path(folder.where(name))

    def exists(self, uri: str) -> bool:
        """Whether the object exists, or for a bucket's URI the bucket."""
        bucket, name = split_uri(uri)
        try:
            folder = self.folder(bucket)
        except errors.NotFound:
            return False
        return not name or (not name_problem(name) and folder.find(name) is not None)

    def read_bytes(self, uri: str) -> bytes:
        """The object's content.

        Raises:
            NotFound: There is no such object or bucket.
        """
        bucket, name = split_uri(uri)
        found = self.folder(bucket).find(name) if not name_problem(name) else None
        if not found:
            raise errors.NotFound(f"No such object: {uri}")
        return Path(found.path).read_bytes()

    def write_bytes(self, uri: str, data: bytes) -> None:
        """Create or replace the object in one step: a reader sees the old content or the new.

        Raises:
            InvalidArgument: The URI names no object.
            NotFound: There is no such bucket.
        """
        bucket, name = split_uri(uri)
        _check(uri, name)
        folder = self.folder(bucket)
        self._incoming.mkdir(parents=True, exist_ok=True)
        temporary = self._incoming / f"write-{secrets.token_hex(8)}"
        try:
            temporary.write_bytes(data)
            folder.put(os.fspath(temporary), name)
        finally:
            temporary.unlink(missing_ok=True)

    def list(self, uri: str) -> list[str]:
        """The URIs of the objects whose names begin as this one does, in order."""
        bucket, prefix = split_uri(uri)
        return [f"gs://{bucket}/{found.name}" for found in Walk(self.folder(bucket).path, prefix)]

    def copy_tree(self, source: str | Path, target: str | Path) -> int:
        """Copy all files below one folder to another; each is a gs:// prefix or a local folder.

        Returns:
            How many files were copied.

        Raises:
            InvalidArgument: An object's name cannot be a local path (it has `..` in it, say).
        """
        count = 0
        for relative, path in self._tree(source):
            if isinstance(target, Path):
                if plain_path(relative) is None:
                    raise errors.InvalidArgument(f"The object '{relative}' in {source} cannot be a local file.")
                destination = target / relative
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, destination)
            else:
                bucket, prefix = split_uri(target)
                name = (prefix.rstrip("/") + "/" if prefix else "") + relative
                self._put_file(path, bucket, name)
            count += 1
        return count

    def _put_file(self, path: str, bucket: str, name: str) -> None:
        _check(f"gs://{bucket}/{name}", name)
        folder = self.folder(bucket)
        self._incoming.mkdir(parents=True, exist_ok=True)
        temporary = self._incoming / f"write-{secrets.token_hex(8)}"
        try:
            shutil.copyfile(path, temporary)
            folder.put(os.fspath(temporary), name)
        finally:
            temporary.unlink(missing_ok=True)

    def _tree(self, source: str | Path) -> Iterator[tuple[str, str]]:
        if isinstance(source, Path):
            for found in Walk(os.fspath(source)):
                yield found.name, found.path
            return
        bucket, prefix = split_uri(source)
        prefix = prefix.rstrip("/") + "/" if prefix else ""
        for found in Walk(self.folder(bucket).path, prefix):
            if not found.name.endswith("/"):  # a placeholder of a folder has no content to copy
                yield found.name[len(prefix) :], found.path


def _check(uri: str, name: str) -> None:
    problem = name_problem(name)
    if problem:
        raise errors.InvalidArgument(f"{uri}: {problem}")
