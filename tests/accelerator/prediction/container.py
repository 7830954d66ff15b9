"""What the tests of the prediction container share: data, artifacts, and a container that runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd

from accelerator.signature import Signature

PATIENCE = 60.0


def table(rows: int = 400) -> pd.DataFrame:
    """Features of every kind that the example's flights have."""
    draw = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "carrier": pd.Categorical(draw.choice(["AA", "B6", "UA"], rows)),
            "hour": draw.integers(0, 24, rows),
            "distance": np.where(draw.random(rows) < 0.1, np.nan, draw.gamma(3, 300, rows)),
            "wind": draw.normal(10, 4, rows),
            "weekend": draw.random(rows) < 0.3,
        }
    )


def instances(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A data frame as a client sends it."""
    return json.loads(frame.to_json(orient="records"))


def save(folder: Path, model: Any, code: str = "") -> Path:
    """Write an artifact of a classifier of `table`, with code if it is given."""
    joblib.dump(model, folder / "model.joblib")
    if code:
        (folder / "code").mkdir()
        (folder / "code" / "model.py").write_text(code)
    path = "code/model.py" if code else ""
    Signature.of(table(), "late", classes=model.classes_, code=path).write(folder)
    return folder


@dataclass
class Container:
    """The container's processes.

    Args:
        process: The supervisor.
        output: The file that stdout and stderr go to.
    """

    process: subprocess.Popen[bytes]
    output: Path

    def log(self) -> list[dict[str, Any]]:
        """The entries logged so far; every line must be one."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    @property
    def url(self) -> str:
        """Where it listens, which it logs first."""
        wait_for(lambda: self.output.read_text().count("\n") > 0 or self.process.poll() is not None)
        return f"http://127.0.0.1:{self.log()[0]['port']}"

    def wait_ready(self) -> None:
        """Wait until health is 200."""
        url = f"{self.url}/health"
        wait_for(lambda: self.process.poll() is not None or httpx.get(url, timeout=PATIENCE).status_code == 200)
        assert self.process.poll() is None, self.output.read_text()

    def wait_loaded(self, workers: int) -> None:
        """Wait until this many workers have been up."""
        wait_for(lambda: sum("loaded the model" in entry["message"] for entry in self.log()) >= workers)

    def predict(self, **body: Any) -> httpx.Response:
        """Ask for predictions."""
        return httpx.post(f"{self.url}/predict", json=body, timeout=PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that will be, without a busy loop."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
