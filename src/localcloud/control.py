"""Starting, finding and stopping the local cloud of a state folder from other processes.

The server itself is `localcloud.server`; nothing of it is imported here, so that a command line stays light.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN = 120.0
"""Seconds: a second or so with a cached catalog, some 20 when Google's API surface is read for the first time."""
STOPS_WITHIN = 30.0


class StartFailed(Exception):
    """The server ended before it was ready: the message is what it said."""


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Args:
        pid: Its process.
        port: Its loopback port.
        started: Seconds since the epoch.
    """

    pid: int
    port: int
    started: float

    @property
    def url(self) -> str:
        """Its console."""
        return f"http://127.0.0.1:{self.port}/"


def default_root() -> Path:
    """The state folder of this user: `MLOPS_HOME`, or `~/.mlops`."""
    return Path(os.environ.get("MLOPS_HOME") or Path.home() / ".mlops").expanduser()


def find(root: Path) -> Running | None:
    """The server that works on a state folder, if one does."""
    try:
        state = json.loads((root / "server.json").read_bytes())
    except (OSError, ValueError):
        return None
    running = Running(**state)
    # the file of a killed server is still there; its lock and its process are not
    return running if _locked(root) and _alive(running.pid) else None


def start(
    root: Path, *, port: int = 0, runtime: str = "process", waiting: Callable[[], None] = lambda: None
) -> tuple[Running, bool]:
    """The server of a state folder, started if it is not up.

    Args:
        root: The state folder, made if it is not there.
        port: The loopback port; 0 for that of the run before, or any that is free.
        runtime: What runs containers: `process`, `docker`, `podman`.
        waiting: Called some ten times a second while the server starts.

    Returns:
        The server, and whether it was started by this call.

    Raises:
        StartFailed: It ended instead.
    """
    running = find(root)
    if running is not None:
        return running, False
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    output = root / "server.out"
    command = [sys.executable, "-m", "localcloud", "--root", str(root), "--port", str(port), "--runtime", runtime]
    with output.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd=root
        )
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        running = find(root)
        if running is not None:
            return running, running.pid == process.pid
        if process.poll() is not None:
            raise StartFailed(output.read_text(errors="replace").strip() or f"It ended with code {process.returncode}.")
        waiting()
        time.sleep(0.05)
    process.terminate()
    raise StartFailed(f"It was not ready within {STARTS_WITHIN:.0f} s. Its log is {root / 'server.log'}.")


def stop(root: Path) -> bool:
    """Stops the server of a state folder and everything it started.

    Returns:
        Whether there was one.
    """
    running = find(root)
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    until = time.monotonic() + STOPS_WITHIN
    while _alive(running.pid) and time.monotonic() < until:
        time.sleep(0.02)
    if _alive(running.pid):
        # its containers end with it, however it ends
        os.kill(running.pid, signal.SIGKILL)
        while _alive(running.pid):
            time.sleep(0.02)
    return True


def _alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _locked(root: Path) -> bool:
    """Whether a live server holds the folder: the lock goes with its process, however that ends."""
    try:
        with (root / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
