"""The folders of one build: source unpacked into /workspace, volumes, scripts, the log's text.

Which step sees what is `run`'s business.
"""

from __future__ import annotations

import shutil
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

from localcloud.errors import CloudError, FailedPrecondition, InvalidArgument, NotFound
from localcloud.logs import Stream
from localcloud.objects import Objects

UPLOAD_INTERVAL = 1.0
"""Seconds between two versions of the log object, which clients read while the build runs."""


class Workspace:
    """The folders of a build, removed at its end.

    Args:
        root: A folder that is not there yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "workspace"
        self.home = root / "home"
        self.scripts = root / "scripts"
        for folder in (self.source, self.home, self.scripts):
            folder.mkdir(parents=True)

    def fetch(self, source: Any, objects: Objects) -> str:
        """Unpacks a StorageSource; gives its URI.

        Raises:
            FailedPrecondition: There is no such archive, or it is none.
        """
        bucket, name = source.bucket, source.object_
        uri = f"gs://{bucket}/{name}"
        try:
            path = objects.path(uri)
            if not objects.exists(uri):
                raise NotFound(f"No such object: {uri}")
            if zipfile.is_zipfile(path):
                unzip(path, self.source)
            else:
                with tarfile.open(path) as archive:
                    archive.extractall(self.source, filter="data")
        except NotFound as error:
            raise FailedPrecondition(f"the source could not be fetched: {error.message}") from None
        except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise FailedPrecondition(
                f"the source {uri} could not be unpacked: {error}; it must be a .tar.gz or .zip archive"
            ) from None
        return uri

    def folder(self, step_folder: str) -> Path:
        """Where a step runs: its `dir` below /workspace, made if it is not there.

        Raises:
            InvalidArgument: It leads out of the workspace.
        """
        relative = step_folder.removeprefix("/workspace").lstrip("/")
        folder = (self.source / relative).resolve()
        if not folder.is_relative_to(self.source.resolve()):
            raise InvalidArgument(f"dir: {step_folder!r} lies outside /workspace")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def volume(self, name: str) -> Path:
        """The folder of a named volume."""
        folder = self.root / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def script(self, number: int, text: str) -> list[str]:
        """Puts a step's script into a file; gives the command that runs it."""
        name = f"step-{number}"
        path = self.scripts / name
        path.write_text(text)
        path.chmod(0o755)
        inner = f"/builder/scripts/{name}"
        return [inner] if text.startswith("#!") else ["/bin/sh", inner]

    def remove(self) -> None:
        """Takes everything away."""
        shutil.rmtree(self.root, ignore_errors=True)


class BuildLog:
    """The log of a build: to Cloud Logging line by line, and to an object of its logs bucket.

    Args:
        stream: Where the lines go.
        objects: For the log object.
        uri: `gs://BUCKET/log-ID.txt`, or empty.
    """

    def __init__(self, stream: Stream, objects: Objects, uri: str) -> None:
        self.stream = stream
        self.objects = objects
        self.uri = uri
        self.lines: list[str] = []
        self.uploaded = 0.0

    def say(self, line: str, severity: str = "INFO") -> None:
        """One line."""
        self.stream.line(line, severity)
        if self.uri:
            self.lines.append(line)
            if time.monotonic() > self.uploaded + UPLOAD_INTERVAL:
                self.upload()

    def upload(self) -> None:
        """Puts the log as it is now into the bucket."""
        if not self.uri:
            return
        try:
            self.objects.write_bytes(self.uri, "".join(f"{line}\n" for line in self.lines).encode())
        except CloudError as error:
            self.stream.line(f"the log cannot be kept in {self.uri}: {error.message}", "WARNING")
            self.uri = ""
        self.uploaded = time.monotonic()


def unzip(path: Path, target: Path) -> None:
    """Unpacks a zip archive; names that lead out of the folder are an error."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not (target / name).resolve().is_relative_to(target.resolve()):
                raise zipfile.BadZipFile(f"{name!r} leads out of the archive's folder")
        archive.extractall(target)
