"""A team's project in a folder, and the container's entrypoint run on it as a process of its own."""

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

SOURCES = Path(__file__).parents[3] / "src"
INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")

MODEL = '''
class Mean:
    """The share of the label by carrier, in plain Python so that tests start fast."""

    def __init__(self, shares, default):
        self.shares, self.default, self.classes_ = shares, default, [False, True]

    def predict(self, features):
        return [self.shares.get(carrier, self.default) > 0.5 for carrier in features["carrier"]]


def train(train, validation, smoothing=1.0, power: int = 2):
    groups = train.label.groupby(train.features["carrier"].astype(str))
    shares = ((groups.sum() + smoothing) / (groups.count() + 2 * smoothing)).to_dict()
    model = Mean(shares, float(train.label.mean()))
    right = [a == b for a, b in zip(model.predict(validation.features), validation.label)]
    return model, {"accuracy": sum(right) / len(right), "power": power}
'''


@dataclass
class Run:
    """How a run of the container ended."""

    code: int
    out: str
    err: str

    @property
    def metrics(self) -> dict[str, float]:
        """The metric lines of the log."""
        lines = [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]
        return {line["metric"]: line["value"] for line in lines}


@dataclass
class Project:
    """A project folder: mlops.yaml, model.py and rows.parquet, to be spoiled by a test."""

    folder: Path
    launcher: subprocess.Popen[str]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def model_dir(self) -> Path:
        return self.folder.parent / "model"

    def code(self, text: str, name: str = "model.py") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def rows(self, **columns: Any) -> None:
        """Writes the rows anew, with some columns replaced or (None) left out."""
        table = {**flights(), **columns}
        kept = {name: values for name, values in table.items() if values is not None}
        pa.parquet.write_table(pa.table(kept), self.folder / "rows.parquet")

    def command(self, *arguments: str) -> list[str]:
        (self.folder / "mlops.yaml").write_text(yaml.safe_dump(self.settings, sort_keys=False))
        return [sys.executable, "-m", "accelerator.training", *arguments]

    def environment(self, **variables: str | None) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        given = {
            **inherited,
            "PYTHONPATH": str(SOURCES),
            "AIP_MODEL_DIR": str(self.model_dir) + "/",
            # The main thread alone: two processes at a time are enough for the machine.
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        return {name: value for name, value in given.items() if value is not None}

    def run(self, *arguments: str, **variables: str | None) -> Run:
        """Runs the container to its end."""
        out, err = self.folder.parent / "stdout", self.folder.parent / "stderr"
        request = {
            "argv": self.command(*arguments)[3:],
            "cwd": str(self.folder),
            "env": self.environment(**variables),
            "out": str(out),
            "err": str(err),
        }
        self.launcher.stdin.write(json.dumps(request) + "\n")
        self.launcher.stdin.flush()
        code = int(self.launcher.stdout.readline())
        return Run(code, out.read_text(), err.read_text())


@pytest.fixture(scope="session")
def launcher() -> Iterator[subprocess.Popen[str]]:
    """What starts the containers: see launcher.py."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("launcher.py"))],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


def flights(rows: int = 600) -> dict[str, Any]:
    """Rows of three months: the carrier decides most of the label."""
    random = np.random.default_rng(0)
    carrier = random.choice(["AA", "B6", "UA"], rows)
    return {
        "time": pa.array(
            np.datetime64("2013-05-01", "us") + np.arange(rows) * np.timedelta64(92 * 24 * 60 // rows, "m")
        ).cast(pa.timestamp("us", tz="UTC")),
        "carrier": pa.array(carrier),
        "hour": pa.array(random.integers(5, 24, rows)),
        "gust": pa.array(random.normal(20, 5, rows), mask=random.random(rows) < 0.5),
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
                "split": {"train": "..2013-06", "validation": "2013-07"},
            },
            "model": {"name": "late"},
        },
    )
    made.code(MODEL)
    made.rows()
    return made
