"""`mlops demo`, as `make demo` runs it, on an empty state folder, and then a worse model on what that left."""

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


@pytest.mark.timeout(1500)
def test_the_demo_runs_and_a_worse_model_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "MLOPS_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    environment.pop("https_proxy", None)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def mlops(*arguments: str) -> str:
        command = [sys.executable, "-m", "accelerator.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=800)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        first = mlops("demo")
        assert "flights.flights 336,776" in first
        assert "on 28,810 flights of August: open" in first
        [area] = re.findall(r"^challenger +(0\.\d+)", first, re.MULTILINE)
        [linear] = re.findall(r"^logistic regression +(0\.\d+)", first, re.MULTILINE)
        assert 0.70 < float(area) < 0.75
        assert float(linear) < float(area)
        assert len(re.findall(r"^\d\d Aug .*%", first, re.MULTILINE)) == 8
        [job] = re.findall(r"mlops logs (\S+)", first)
        assert "saved the model to gs://" in mlops("logs", job, "--project", "my-project")
        for command in _readme_commands():
            missing = [tool for tool in ("gcloud", "bq") if f"-- {tool} " in command and shutil.which(tool) is None]
            if missing:
                print(f"skipped, {missing[0]} is not installed: {command}")
                continue
            done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=100)
            assert done.returncode == 0, command + done.stdout + done.stderr
            assert done.stdout.strip(), command
        worse = mlops("demo", "--worse")
        assert "on 28,810 flights of August: closed" in worse
        assert "not shown to be better than the champion" in worse
    finally:
        mlops("down")
