"""Bad data and bad models through the whole training pipeline: the step that can name it fails, and the row says so.

The runs are submitted together and are looked at one by one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.cloud import aiplatform, bigquery
from tests.accelerator.project import load_orders, make, row
from tests.conftest import REGION, LocalCloud

from accelerator.config import Config

MODEL = """
import os

import numpy as np
from sklearn.linear_model import LogisticRegression

from accelerator.contract import Double

search_space = {"c": Double(0.1, 10, scale="log")}


class Odd(LogisticRegression):
    fault = ""

    def predict_proba(self, X):
        scores = super().predict_proba(X)
        if self.fault == "NaN":
            scores[3:5] = np.nan
        return scores[1:] if self.fault == "length" else scores


def train(train, validation, c=1.0, fault=""):
    trial = os.environ.get("CLOUD_ML_TRIAL_ID")
    if fault == "crash" or (fault == "first trial" and trial == "1"):
        raise RuntimeError(f"trial {trial} gave up")
    model = Odd(C=c).fit(train.features, train.label)
    model.fault = fault
    return model, {"accuracy": float((model.predict(validation.features) == validation.label).mean())}
"""
YAML = """
project: {project}
data: {{table: shop.{table}, label: {label}, time: ordered, ignore: [shop], split: {split}}}
model: {{name: "{name}"}}
training: {{hyperparameters: {{fault: "{fault}"}}}}
tuning: {tuning}
validation: {{thresholds: {{accuracy: 0.7}}, metric: auc, resamples: 60}}
"""
SPLIT = '{train: "..2026-02", validation: "2026-03", test: "2026-04"}'
TUNING = "{metric: accuracy, trials: 2, parallel: 2}"
SOUND = {"table": "orders", "label": "returned", "split": SPLIT, "fault": "", "tuning": "null"}

FAULTS: dict[str, tuple[dict[str, str], str, str]] = {
    "a column is missing": ({"label": "sent_back"}, "training_set", "'sent_back'"),
    "a column is of another type": ({"table": "texts"}, "training_set", "The time column 'ordered' is of type STRING"),
    "the label is constant": ({"table": "constants"}, "training_set", "The label 'returned' is False in every"),
    "a feature is all NULL": ({"table": "empties"}, "training_set", "The feature 'price' is NULL in every"),
    "a split is empty": ({"split": SPLIT.replace("04", "09")}, "training_set", "There are no rows in the test split"),
    "all trials crash": ({"fault": "crash", "tuning": TUNING.replace("2", "1")}, "tune", "gave up"),
    "the model predicts NaN": ({"fault": "NaN"}, "", "NaN or infinity"),
    "predictions are of another length": ({"fault": "length"}, "", "predictions for"),
    "one trial crashes": ({"fault": "first trial", "tuning": TUNING.replace("}", ", max_failed: 2}")}, "", ""),
}
"""What is wrong: how a project differs from a sound one, the task that fails, what the row says of it.

Where no task fails, the gate stays closed, since what cannot be evaluated is not valid; but one crashed trial
is made up for by the others.
"""


@pytest.fixture(scope="module")
def config(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A project with its sound table, and tables that are not."""
    folder = tmp_path_factory.mktemp("faulty")
    made = make(folder / "project", f"test-{uuid.uuid4().hex[:12]}", MODEL)
    load_orders(made, folder)
    client = bigquery.Client(project=made.project)
    for table, replaced in (
        ("texts", "CAST(ordered AS STRING) AS ordered"),
        ("constants", "FALSE AS returned"),
        ("empties", "CAST(NULL AS FLOAT64) AS price"),
    ):
        client.query_and_wait(f"CREATE TABLE shop.{table} AS SELECT * REPLACE ({replaced}) FROM shop.orders")
    return made


@pytest.fixture(scope="module")
def runs(cloud: LocalCloud, config: Config) -> Mapping[str, str]:
    """The run of each faulty project, submitted."""
    environment = {**os.environ, **cloud.environment(config.project), "MLOPS_HOME": str(cloud.root)}
    path: Path = config.directory / "mlops.yaml"
    submitted = {}
    for number, (fault, (changed, _, _)) in enumerate(FAULTS.items()):
        path.write_text(YAML.format(project=config.project, name=f"returns-{number}", **{**SOUND, **changed}))
        command = [sys.executable, "-m", "accelerator.cli", "run", "training", "--no-wait", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=path.parent, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        submitted[fault] = json.loads(done.stdout)["name"]
    return submitted


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_step_that_can_name_it_fails_and_the_row_says_so(
    config: Config, runs: Mapping[str, str], fault: str
) -> None:
    _, task, words = FAULTS[fault]
    job = aiplatform.PipelineJob.get(runs[fault], project=config.project, location=REGION)
    with contextlib.suppress(RuntimeError):  # the row tells
        job.wait()
    found = row(config, runs[fault].rpartition("/")[2])
    said = found["error"] if task else " ".join(found["reasons"] or ())
    assert (found["state"], found["failed_task"]) == (("FAILED", task) if task else ("SUCCEEDED", None)), said
    assert words in said
    assert found["valid"] is (None if task else fault == "one trial crashes")
