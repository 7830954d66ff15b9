"""Folders of files, in Cloud Storage (gs://) or on disk, for what jobs read and leave behind.

What the files mean is known by those who write them; large tables are read by accelerator.training.
"""

from __future__ import annotations

import fnmatch
import mimetypes
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from accelerator.errors import StorageError

_PARALLEL = 8


class Folder(Protocol):
    """A place for files, addressed by name below it (`code/model.py`)."""

    uri: str

    def check(self) -> None:
        """Find out now, not at the end of a long job, that files can be put here."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file, whole or not at all."""

    def upload(self, name: str, path: Path) -> None:
        """Put a file from disk, whole or not at all."""

    def remove(self, name: str) -> None:
        """Take a file away if it is there."""


def folder(uri: str) -> Folder:
    """The folder at a gs:// or file:// uri or a path."""
    return CloudFolder(uri) if uri.startswith("gs://") else LocalFolder(Path(local(uri)))


def local(uri: str) -> str:
    """The path that a file:// uri or a path names."""
    return uri.removeprefix("file://")


class LocalFolder:
    """A folder on disk, or a bucket mounted under /gcs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)

    def check(self) -> None:
        with _local_errors(self.uri):
            self.path.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        with _local_errors(self.uri):
            path = self.path / name
            return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        with _local_errors(self.uri):
            part = self._part(name)
            part.write_bytes(content)
            part.replace(self.path / name)

    def upload(self, name: str, path: Path) -> None:
        with _local_errors(self.uri):
            part = self._part(name)
            shutil.copyfile(path, part)
            part.replace(self.path / name)

    def remove(self, name: str) -> None:
        with _local_errors(self.uri):
            (self.path / name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{path.name}.part")


class CloudFolder:
    """A prefix in a bucket of Cloud Storage."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._bucket, self._prefix = _parts(uri.rstrip("/") + "/")

    def check(self) -> None:
        with cloud_errors(self.uri):
            next(iter(_client().list_blobs(self._bucket, prefix=self._prefix, max_results=1)), None)

    def read(self, name: str) -> bytes | None:
        from google.api_core.exceptions import NotFound

        with cloud_errors(self.uri):
            try:
                content: bytes = self._blob(name).download_as_bytes()
            except NotFound:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        with cloud_errors(self.uri):
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._blob(name).upload_from_string(content, content_type=kind)

    def upload(self, name: str, path: Path) -> None:
        with cloud_errors(self.uri):
            self._blob(name).upload_from_filename(str(path))

    def remove(self, name: str) -> None:
        from google.api_core.exceptions import NotFound

        with cloud_errors(self.uri):
            try:
                self._blob(name).delete()
            except NotFound:
                return

    def _blob(self, name: str) -> Any:
        return _client().bucket(self._bucket).blob(self._prefix + name)


class Files:
    """The files that patterns name (gs:// or local, `*` and `?` allowed); those of buckets are fetched once.

    Args:
        patterns: Uris and paths.
        base: The folder that relative paths are relative to.
        scratch: Where fetched files are kept.
    """

    def __init__(self, patterns: Sequence[str], *, base: Path, scratch: Path) -> None:
        self._found: list[tuple[str, Path, Any]] = []
        for pattern in patterns:
            matches = _list_cloud(pattern) if pattern.startswith("gs://") else _list_local(pattern, base)
            for uri, origin in matches:
                path = scratch / uri.removeprefix("gs://") if uri.startswith("gs://") else Path(uri)
                self._found.append((uri, path, origin))
            if not matches:
                raise StorageError(
                    "There are no data files where the job looks for them",
                    place=pattern,
                    next_step="Check the uri and that the files are there before the job starts.",
                )

    @property
    def uris(self) -> list[str]:
        """What was found, in the order of the patterns and, within one, of the names."""
        return [uri for uri, _, _ in self._found]

    def first(self) -> Path:
        """One file on disk, enough to see the columns."""
        return self._fetch(self._found[0])

    def all(self) -> list[Path]:
        """All files on disk."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(self._fetch, self._found))

    def _fetch(self, found: tuple[str, Path, Any]) -> Path:
        uri, path, blob = found
        if blob is not None and not path.exists():
            with cloud_errors(uri), _local_errors(str(path)):
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f".{path.name}.part")
                blob.download_to_filename(str(part))
                part.replace(path)
        return path


def _list_cloud(pattern: str) -> list[tuple[str, Any]]:
    bucket, name = _parts(pattern)
    prefix = re.split(r"[*?\[]", name)[0]
    with cloud_errors(pattern):
        blobs = _client().list_blobs(bucket, prefix=prefix)
        matching = [blob for blob in blobs if fnmatch.fnmatchcase(blob.name, name)]
    return [(f"gs://{bucket}/{blob.name}", blob) for blob in matching if not blob.name.endswith("/")]


def _list_local(pattern: str, base: Path) -> list[tuple[str, Any]]:
    path = base / local(pattern)
    return [
        (str(found), None)
        for found in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if found.is_file()
    ]


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


_clients: list[Any] = []


def _client() -> Any:
    """One client of Cloud Storage a process: making one finds credentials anew."""
    if not _clients:
        from google.cloud.storage import Client

        _clients.append(Client())
    return _clients[0]


@contextmanager
def cloud_errors(place: str) -> Iterator[None]:
    """Says what Cloud Storage refused, and what to do, in place of its client's exceptions."""
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except NotFound as error:
        raise StorageError(
            f"Cloud Storage does not have it: {error.message}",
            place=place,
            next_step="Check the uri; make the bucket first.",
        ) from error
    except Forbidden as error:
        raise StorageError(
            f"Cloud Storage does not let this job in: {error.message}",
            place=place,
            next_step="Give the job's service account roles/storage.objectAdmin on the bucket.",
        ) from error
    except GoogleAuthError as error:
        raise StorageError(
            f"There are no credentials for Google Cloud: {error}",
            place=place,
            next_step="Run `gcloud auth application-default login`, or run under `mlops exec`.",
        ) from error
    except (GoogleAPICallError, RetryError) as error:
        raise StorageError(f"Cloud Storage failed: {error}", place=place, next_step="Run the job again.") from error


@contextmanager
def _local_errors(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.strerror or error}",
            place=str(error.filename or place),
            next_step="Check that the folder may be written and that the disk is not full.",
        ) from error
