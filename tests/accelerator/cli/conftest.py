"""The command line in a process of its own, on one local cloud for the module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]
Mlops = Callable[..., Done]


@pytest.fixture(scope="module")
def mlops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlops]:
    """Runs `mlops …` on a state folder of this module's own."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "MLOPS_HOME": str(home / "state"), "COLUMNS": "200"}
    environment.pop("https_proxy", None)

    def run(
        *arguments: str, code: int = 0, cwd: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "accelerator.cli", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=cwd,
            input=given,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    yield run
    run("down")
