"""Hyperparameter tuning jobs by Google's SDK: trials run, report, crash, are stopped and cancelled as on Vertex AI."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound
from google.cloud import aiplatform, aiplatform_v1, storage
from google.cloud.aiplatform import hyperparameter_tuning as hpt
from tests.conftest import REGION, LocalCloud

IMAGE = "python:3.11"
OVER = ("SUCCEEDED", "FAILED", "CANCELLED")
TASK = """
import argparse, os, sys
import hypertune

parser = argparse.ArgumentParser()
parser.add_argument("--fixed", type=int)
parser.add_argument("--kind")
parser.add_argument("--depth", type=int)
parser.add_argument("--shift", type=float)
given = parser.parse_args()
assert given.fixed == 7 and given.shift == -0.5, sys.argv
if given.kind == "boom":
    raise RuntimeError("this kind cannot be trained")
assert (given.depth is None) == (given.kind == "line")
print("trial", os.environ["CLOUD_ML_TRIAL_ID"], "saves to", os.environ["AIP_MODEL_DIR"])
report = hypertune.HyperTune().report_hyperparameter_tuning_metric
for step, value in enumerate((0.1, 0.2 * (given.depth or 1), 0.05), 1):
    report("auc", value, step)
    report("ignored", 1.0, step)
"""
# what cloudml-hypertune writes, for containers that need nothing else of it
REPORT = """
import json, os, sys, time

given = dict(flag.lstrip("-").split("=", 1) for flag in sys.argv[1:])

def report(step=0, **metrics):
    with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "a") as file:
        for name, value in metrics.items():
            entry = {"timestamp": time.time(), "trial": "1", name: str(value), "global_step": str(step)}
            file.write(json.dumps(entry) + "\\n")
"""
Client = aiplatform_v1.JobServiceClient


@pytest.fixture
def client(sdk: str) -> Client:
    return Client(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


@pytest.fixture
def create(client: Client, project: str) -> Callable[..., Any]:
    """Submits a job that tries x = 1, 2 … one after the other."""

    def submit(code: str, points: int = 4, **fields: Any) -> Any:
        study = {
            "metrics": [{"metric_id": "auc", "goal": "MAXIMIZE"}],
            "parameters": [
                {"parameter_id": "x", "integer_value_spec": {"min_value": 1, "max_value": points}},
            ],
            "algorithm": "GRID_SEARCH",
            **fields.pop("study_spec", {}),
        }
        pool = {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": {"image_uri": IMAGE, "command": ["python3", "-c", REPORT + code]},
        }
        job = {
            "display_name": "tune",
            "study_spec": study,
            "trial_job_spec": {"worker_pool_specs": [pool]},
            "max_trial_count": points,
            "parallel_trial_count": 1,
            **fields,
        }
        return client.create_hyperparameter_tuning_job(
            parent=f"projects/{project}/locations/{REGION}", hyperparameter_tuning_job=job
        )

    return submit


def until(client: Client, name: str, reached: Callable[[Any], bool]) -> Any:
    """The job once it is so."""
    give_up = time.monotonic() + 120
    while not reached(job := client.get_hyperparameter_tuning_job(name=name)):
        assert time.monotonic() < give_up, job
        time.sleep(0.05)
    return job


def ended(client: Client, name: str) -> Any:
    return until(client, name, lambda job: job.state.name.removeprefix("JOB_STATE_") in OVER)


def states(job: Any) -> list[str]:
    return [trial.state.name for trial in job.trials]


def package(folder: Path) -> Path:
    """A source distribution that needs the real cloudml-hypertune."""
    root = folder / "tuner-0.1"
    (root / "tuner").mkdir(parents=True)
    (root / "setup.py").write_text(
        "from setuptools import setup\n"
        "setup(name='tuner', version='0.1', packages=['tuner'], install_requires=['cloudml-hypertune==0.1.0.dev6'])"
    )
    (root / "tuner" / "__init__.py").write_text("")
    (root / "tuner" / "task.py").write_text(TASK)
    archive = folder / "tuner-0.1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, arcname="tuner-0.1")
    return archive


def test_the_sdk_tunes_with_cloudml_hypertune_and_a_crashed_trial_is_infeasible(
    sdk: str, project: str, client: Client, cloud: LocalCloud, tmp_path: Path
) -> None:
    storage.Client(project=project).bucket(sdk).blob("tuner-0.1.tar.gz").upload_from_filename(package(tmp_path))
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "python_package_spec": {
            "executor_image_uri": IMAGE,
            "package_uris": [f"gs://{sdk}/tuner-0.1.tar.gz"],
            "python_module": "tuner.task",
            "args": ["--fixed", "7"],
        },
    }
    depth = hpt.IntegerParameterSpec(min=2, max=3, scale="linear", parent_values=["tree"])
    job = aiplatform.HyperparameterTuningJob(
        display_name="tune",
        custom_job=aiplatform.CustomJob(
            display_name="base", worker_pool_specs=[pool], base_output_dir=f"gs://{sdk}/out"
        ),
        metric_spec={"auc": "maximize"},
        parameter_spec={
            "kind": hpt.CategoricalParameterSpec(
                values=["tree", "boom", "line"], conditional_parameter_spec={"depth": depth}
            ),
            "shift": hpt.DiscreteParameterSpec(values=[-0.5], scale="linear"),
        },
        search_algorithm="grid",
        measurement_selection="best",
        max_trial_count=9,
        parallel_trial_count=2,
        max_failed_trial_count=2,
        labels={"team": "delays"},
    )
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert [trial.id for trial in job.trials] == ["1", "2", "3", "4"], "the grid has no more points"
    assert states(job.gca_resource) == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE", "SUCCEEDED"]
    finals = [(t.final_measurement.step_count, t.final_measurement.metrics[0].value) for t in job.trials if t.id != "3"]
    assert finals == [(2, 0.4), (2, pytest.approx(0.6)), (2, 0.2)]
    assert [len(trial.measurements) for trial in job.trials] == [3, 3, 0, 3]
    crashed = job.trials[2]
    assert "this kind cannot be trained" in crashed.infeasible_reason
    assert {p.parameter_id: p.value for p in crashed.parameters} == {"kind": "boom", "shift": -0.5}
    for trial in job.trials:
        assert trial.end_time >= trial.start_time
        custom = client.get_custom_job(name=trial.custom_job)
        assert custom.state.name == ("JOB_STATE_FAILED" if trial.id == "3" else "JOB_STATE_SUCCEEDED")
        assert custom.job_spec.base_output_directory.output_uri_prefix == f"gs://{sdk}/out/{trial.id}"
        assert custom.labels["team"] == "delays"
    found = aiplatform.HyperparameterTuningJob.list(filter="labels.team=delays")
    assert [each.resource_name for each in found] == [job.resource_name]
    shown = subprocess.run(
        [sys.executable, "-m", "accelerator.cli", "logs", job.name, "--project", project],
        env={**os.environ, "MLOPS_HOME": str(cloud.root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    for trial_id in ("1", "2", "4"):
        assert (
            f"trial {trial_id} workerpool0-0 trial {trial_id} saves to gs://{sdk}/out/{trial_id}/model/" in shown.stdout
        )
    assert "trial 3 workerpool0-0" in shown.stdout
    job.delete()
    with pytest.raises(NotFound, match="HyperparameterTuningJob"):
        client.get_hyperparameter_tuning_job(name=job.resource_name)


def test_a_first_trial_that_crashes_ends_the_job(create: Callable[..., Any], client: Client) -> None:
    job = ended(client, create("raise RuntimeError('no luck')").name)
    assert job.state.name == "JOB_STATE_FAILED"
    assert "The first trial failed" in job.error.message
    assert "no luck" in job.error.message
    assert states(job) == ["INFEASIBLE"]
    assert job.end_time >= job.start_time >= job.create_time


def test_a_job_fails_at_the_failure_that_is_one_too_many(create: Callable[..., Any], client: Client) -> None:
    job = ended(client, create("report(accuracy=0.5, auc=float('nan'))", max_failed_trial_count=2).name)
    assert job.state.name == "JOB_STATE_FAILED"
    assert "2 trials failed, and max_failed_trial_count is 2" in job.error.message
    assert states(job) == ["INFEASIBLE", "INFEASIBLE"]
    assert "reported nan for the metric `auc`" in job.trials[0].infeasible_reason


def test_a_trial_that_falls_behind_is_stopped_early(create: Callable[..., Any], client: Client) -> None:
    code = "x = int(given['x'])\nreport(1, auc=0.9 if x < 4 else 0.1)\nif x == 4: time.sleep(600)"
    job = ended(client, create(code, study_spec={"median_automated_stopping_spec": {}}).name)
    assert job.state.name == "JOB_STATE_SUCCEEDED", job.error
    assert states(job) == ["SUCCEEDED"] * 4
    last = job.trials[3]
    assert last.final_measurement.metrics[0].value == 0.1
    assert client.get_custom_job(name=last.custom_job).state.name == "JOB_STATE_CANCELLED"


def test_cancel_ends_the_trials_too(create: Callable[..., Any], client: Client) -> None:
    job = create("report(1, auc=0.5)\ntime.sleep(600)", parallel_trial_count=2)
    until(client, job.name, lambda now: len(now.trials) == 2 and all(trial.measurements for trial in now.trials))
    with pytest.raises(FailedPrecondition, match="cancel it before"):
        client.delete_hyperparameter_tuning_job(name=job.name)
    client.cancel_hyperparameter_tuning_job(name=job.name)
    job = ended(client, job.name)
    assert (job.state.name, job.error.code) == ("JOB_STATE_CANCELLED", 1)
    assert states(job) == ["INFEASIBLE", "INFEASIBLE"]
    for trial in job.trials:
        assert "cancelled" in trial.infeasible_reason
        assert client.get_custom_job(name=trial.custom_job).state.name == "JOB_STATE_CANCELLED"
    client.cancel_hyperparameter_tuning_job(name=job.name)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"display_name": ""}, "display_name"),
        ({"max_trial_count": -1}, "max_trial_count"),
        ({"parallel_trial_count": -2}, "parallel_trial_count"),
        ({"max_failed_trial_count": 5}, "max_failed_trial_count.*max_trial_count \\(4\\)"),
        ({"study_spec": {"observation_noise": "LOW"}}, "observation_noise"),
        ({"study_spec": {"metrics": [{"metric_id": "a b"}]}}, r"study_spec\.metrics\[0\]\.metric_id"),
        ({"trial_job_spec": {"worker_pool_specs": [{}]}}, r"trial_job_spec\.worker_pool_specs"),
    ],
)
def test_wrong_requests_name_the_field(create: Callable[..., Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        create("", **fields)
