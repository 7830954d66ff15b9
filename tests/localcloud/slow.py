"""A package whose build goes on until it is told to end, so that tests can look at what is half done."""

from __future__ import annotations

import functools
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

# Notes each build that begins, and takes until it is told to go on.
BACKEND = """
import os, time, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open(f"{place}/began", "a") as file:
        file.write(f"{os.getpid()}\\n")
    while not os.path.exists(f"{place}/go"):
        time.sleep(0.02)
    name = "slow-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("slow.py", "print('whole')")
        wheel.writestr("slow-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1\\n")
        wheel.writestr("slow-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.dist-info/RECORD", "")
    return name
"""


class _Quiet(SimpleHTTPRequestHandler):
    """A folder's files; its listings are what package indexes answer."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Slow:
    """A package that takes long to install."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "slow"
        self.package.mkdir()
        (self.package / "pyproject.toml").write_text(
            '[project]\nname = "slow"\nversion = "1"\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        # the content makes the environment: no test finds that of another
        (self.package / "backend.py").write_text(f"place = {str(folder)!r}\n{BACKEND}")

    def builders(self, count: int = 1) -> list[int]:
        """The processes that build it, as soon as there were so many."""
        until = time.monotonic() + 60
        while not (began := self.folder / "began").exists() or len(began.read_text().splitlines()) < count:
            assert time.monotonic() < until, "no build began"
            time.sleep(0.02)
        return [int(line) for line in began.read_text().splitlines()]

    def archived(self) -> Path:
        """The package as a source archive."""
        path = self.folder / "simple" / "slow" / "slow-1.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz") as archive:
            archive.add(self.package, arcname="slow-1")
        return path

    @contextmanager
    def index(self) -> Iterator[str]:
        """The URL of a package index that has it."""
        self.archived()
        handler = functools.partial(_Quiet, directory=str(self.folder))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/simple"
            finally:
                server.shutdown()

    def go(self) -> None:
        """Let all builds end."""
        (self.folder / "go").touch()


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs, a moment later at most."""
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=3)
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
