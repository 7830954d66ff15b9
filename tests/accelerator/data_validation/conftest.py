"""TFDV's own environment, where there is one, and a project in a folder that is validated in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

ROOT = Path(__file__).parents[3]
SWITCH = "MLOPS_TEST_TFDV"
INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")


@pytest.fixture(scope="session")
def tfdv_python() -> Path:
    """The interpreter of the image's environment: the one of an earlier run, or made by uv from the lock."""
    wanted = [] if os.environ.get(SWITCH) == "1" else ["--if-there"]
    command = [sys.executable, str(ROOT / "scripts" / "environment.py"), "data-validation", *wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and wanted:
        pytest.skip(f"TensorFlow Data Validation is not installed (1.6 GB): {SWITCH}=1 installs it into .environments")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def launcher(tfdv_python: Path) -> Iterator[subprocess.Popen[str]]:
    """What starts validations: see launcher.py."""
    with subprocess.Popen(
        [str(tfdv_python), str(Path(__file__).with_name("launcher.py"))],
        env={**{name: os.environ[name] for name in INHERITED if name in os.environ}, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@dataclass
class Run:
    """How a validation ended."""

    code: int
    out: str
    err: str


@dataclass
class Project:
    """A project folder: mlops.yaml and rows.parquet, to be spoiled by a test."""

    folder: Path
    launcher: subprocess.Popen[str]
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        (self.folder / "mlops.yaml").write_text(yaml.safe_dump(self.settings, sort_keys=False))

    @property
    def schema(self) -> Path:
        return self.folder / "schema.pbtxt"

    def rows(self, **columns: Any) -> None:
        """Writes the rows anew, with some columns replaced or (None) left out."""
        kept = {name: values for name, values in {**flights(), **columns}.items() if values is not None}
        pa.parquet.write_table(pa.table(kept), self.folder / "rows.parquet")

    def run(self, *arguments: str) -> Run:
        """Runs the container to its end, in the project's folder."""
        self.write()
        out, err = self.folder.parent / "stdout", self.folder.parent / "stderr"
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        request = {
            "argv": list(arguments),
            "cwd": str(self.folder),
            "env": {**inherited, **self.variables},
            "out": str(out),
            "err": str(err),
        }
        self.launcher.stdin.write(json.dumps(request) + "\n")
        self.launcher.stdin.flush()
        code = int(self.launcher.stdout.readline())
        return Run(code, out.read_text(), err.read_text())


def flights(rows: int = 900) -> dict[str, Any]:
    """Rows of three months, a month a split: everything of every kind, nothing wrong."""
    random = np.random.default_rng(0)
    carrier = random.choice(["AA", "B6", "UA"], rows)
    return {
        "time": pa.array(
            np.datetime64("2013-05-01", "us") + np.arange(rows) * np.timedelta64(92 * 24 * 60 // rows, "m")
        ).cast(pa.timestamp("us", tz="UTC")),
        "carrier": pa.array(carrier),
        "hour": pa.array(random.integers(5, 24, rows)),
        "gust": pa.array(random.normal(20, 5, rows), mask=random.random(rows) < 0.5),
        "seats": pa.array(random.integers(50, 300, rows), pa.int32()),
        "weekend": pa.array(random.random(rows) < 0.3),
        "late": pa.array((carrier == "AA") ^ (random.random(rows) < 0.1)),
    }


@pytest.fixture
def project(tmp_path: Path, launcher: subprocess.Popen[str]) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    made = Project(
        folder,
        launcher,
        {
            "project": "my-project",
            "data": {
                "files": ["rows.parquet"],
                "label": "late",
                "time": "time",
                "split": {"train": "2013-05", "validation": "2013-06"},
            },
            "model": {"name": "late"},
            "data_validation": {"serving": {"window": "2013-07"}},
        },
    )
    made.rows()
    return made
