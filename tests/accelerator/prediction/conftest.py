"""A small model, artifacts of it, and the prediction container started as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from tests.accelerator.prediction.container import PATIENCE, Container, save, table

from accelerator.signature import Signature


@pytest.fixture(scope="session")
def model() -> HistGradientBoostingClassifier:
    """A classifier of `table`."""
    frame = table()
    label = frame["wind"] + frame["hour"] / 4 > 13
    return HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(frame, label)


@pytest.fixture(scope="session")
def artifact(model: HistGradientBoostingClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier as the training container saves it."""
    return save(tmp_path_factory.mktemp("artifact"), model)


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regressor on two numbers that may not be null: twice the one plus the other."""
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 5.0], "y": [1.0, 0.0, 3.0, 2.0]})
    folder = tmp_path_factory.mktemp("regression")
    joblib.dump(LinearRegression().fit(frame, 2 * frame["x"] + frame["y"]), folder / "model.joblib")
    Signature.of(frame, "z").write(folder)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Container]]:
    """Start containers: `start(folder, WEB_CONCURRENCY="2")`. They are gone after the module's tests."""
    started: list[Container] = []

    def start(folder: Path, **environment: str) -> Container:
        output = tmp_path_factory.mktemp("container") / "output"
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIP_", "MLOPS_"))},
            "AIP_HTTP_HOST": "127.0.0.1",
            "AIP_HTTP_PORT": "0",
            "AIP_STORAGE_URI": str(folder),
            "WEB_CONCURRENCY": "1",
            "MLOPS_DRAIN_SECONDS": "0",
            **environment,
        }
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "accelerator.prediction"],
                env=variables,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        started.append(Container(process, output))
        return started[-1]

    yield start
    for container in started:
        if container.process.poll() is None:
            container.process.terminate()
            try:
                container.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(container.process.pid, signal.SIGKILL)
                container.process.wait()
