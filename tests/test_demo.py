"""`mlops demo`, as `make demo` runs it, twice: on an empty state folder and on what the first run left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _readme_commands() -> list[str]:
    """What README.md says to try after the demo."""
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    [block] = re.findall(r"```\nsource \.venv/bin/activate\n(.*?)```", text, re.DOTALL)
    return block.strip().splitlines()


@pytest.mark.timeout(900)
def test_the_demo_runs_and_runs_again(tmp_path: Path) -> None:
    environment = {**os.environ, "MLOPS_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    environment.pop("https_proxy", None)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def mlops(*arguments: str) -> str:
        command = [sys.executable, "-m", "accelerator.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        first = mlops("demo")
        assert "flights.flights 336,776" in first
        assert "flights.departures: 327,346 flights" in first
        [area] = re.findall(r"on July, unseen: auc (0\.\d+)", first)
        assert 0.74 < float(area) < 0.78
        assert len(re.findall(r"^\d\d Aug .*%", first, re.MULTILINE)) == 8
        assert "all traffic on version 1" in first
        [job] = re.findall(r"mlops logs (\d+)", first)
        assert "saved the model to gs://" in mlops("logs", job, "--project", "my-project")
        for command in _readme_commands():
            if "gcloud" in command and shutil.which("gcloud") is None:
                print(f"skipped, gcloud is not installed: {command}")
                continue
            done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=100)
            assert done.returncode == 0, command + done.stdout + done.stderr
            assert done.stdout.strip(), command
        assert "all traffic on version 2" in mlops("demo")
    finally:
        mlops("down")
