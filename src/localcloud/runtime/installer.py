"""Runs uv: with the user's settings, its words as they come, and never longer than somebody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import uv

from localcloud.runtime.stopping import check, on_stop

Log = Callable[[str], None]
GUARD = Path(__file__).parent / "guard.py"


def run_uv(arguments: list[str], folder: Path, files: Path | None, log: Log = lambda _: None) -> tuple[int, list[str]]:
    """One run of uv.

    Args:
        arguments: What follows `uv`.
        folder: Where it runs.
        files: A folder whose path is left out of its words.
        log: Told them as they come.

    Returns:
        Its exit code and its words.

    Raises:
        Stopped: Nobody wants it any longer; uv and all that it started are gone.
    """
    command = [uv.find_uv_bin(), *arguments, "--no-python-downloads", "--no-progress", "--color=never"]
    check()
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *command],
        cwd=folder,
        env=installer_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    said: list[str] = []
    over = threading.Event()
    on_stop(guard.stdin.close, over)
    try:
        for line in guard.stdout:
            told = line.rstrip()
            if told.startswith("Using Python"):
                continue  # names a folder of this machine, which is no help
            if files is not None:
                told = told.replace(str(files), "")
            said.append(told)
            log(told)
        code = guard.wait()
    finally:
        over.set()
        guard.stdin.close()
        guard.wait()
        guard.stdout.close()
    check()
    return code, said


def installer_environment() -> dict[str, str]:
    """The user's variables, for registries, proxies and trust; pip's index settings serve uv too."""
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    for pip, own in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if env.get(pip):
            env.setdefault(own, env[pip])
    env.setdefault("UV_HTTP_RETRIES", "6")
    return env
