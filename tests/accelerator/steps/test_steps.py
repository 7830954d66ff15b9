"""The steps on the local cloud: a small project from its table to predictions, and each fault where the user looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.conftest import LocalCloud

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.steps import build, data, deploy, register, train
from accelerator.steps.build import BuildError, Images
from accelerator.steps.train import Trained, TrainingError

MODEL = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(train, validation, boom=0):
    if boom:
        raise RuntimeError("the trainer gave up")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(train.features, train.label)
    return model, {"accuracy": float(model.score(validation.features, validation.label))}
"""
YAML = """
project: {project}
data:
  table: shop.orders
  label: returned
  time: ordered
  split: {{train: "..2026-03", validation: "2026-04"}}
model: {{name: returns}}
deployment: {{machine: n1-standard-2, replicas: [1, 1]}}
"""


def make_project(folder: Path, project: str, model: str = MODEL, requirements: str = "") -> Config:
    """A team's project in a folder."""
    folder.mkdir()
    (folder / "mlops.yaml").write_text(YAML.format(project=project))
    (folder / "model.py").write_text(model)
    (folder / "requirements.txt").write_text(requirements)
    return configuration.load(folder)


@pytest.fixture(scope="module")
def config(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The project of this module, with its table in BigQuery."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    folder = tmp_path_factory.mktemp("steps")
    rows = pd.DataFrame({"price": [float(n % 50) for n in range(400)], "items": [n % 7 for n in range(400)]})
    rows["returned"] = rows["price"] > 25
    rows["ordered"] = pd.date_range("2026-01-01", periods=400, freq="7h", tz="UTC")
    rows.to_parquet(folder / "orders.parquet")
    made = make_project(folder / "project", project)
    assert data.load(made, {"shop.orders": folder / "orders.parquet"}) == {"shop.orders": 400}
    return made


@pytest.fixture(scope="module")
def images(config: Config) -> Images:
    """Its images, built once."""
    return build.build(config)


@pytest.fixture(scope="module")
def trained(config: Config, images: Images) -> Trained:
    """A finished training job."""
    return train.train(config, images.training)


@pytest.fixture(scope="module")
def endpoint(config: Config, images: Images, trained: Trained) -> Iterator[Any]:
    """The endpoint with the model on it."""
    made = deploy.deploy(config, register.register(config, trained, images.prediction))
    yield made
    made.delete(force=True)


def test_the_same_source_gives_the_same_images(config: Config, images: Images) -> None:
    again = build.build(config)
    assert (again.training, again.prediction) == (images.training, images.prediction)


def test_training_reports_its_metrics(trained: Trained) -> None:
    assert trained.metrics["accuracy"] > 0.9


def test_predictions_come_from_the_container(endpoint: Any) -> None:
    answer = endpoint.predict(instances=[{"price": 1.0, "items": 2}, {"price": 49.0, "items": 2}])
    late = [prediction["scores"][1] for prediction in answer.predictions]
    assert late[0] < 0.5 < late[1]
    assert answer.model_version_id == "1"


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({"price": 1.0}, "items"),
        ({"price": "cheap", "items": 2}, "price"),
        ({"price": 1.0, "items": 2, "color": "red"}, "color"),
    ],
)
def test_a_bad_instance_is_named(endpoint: Any, instance: dict[str, Any], words: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=words) as raised:
        endpoint.predict(instances=[{"price": 1.0, "items": 2}, instance])
    assert "1" in raised.value.message


def test_a_further_version_takes_the_traffic(config: Config, images: Images, trained: Trained, endpoint: Any) -> None:
    model = register.register(config, trained, images.prediction)
    assert model.version_id == "2"
    assert deploy.deploy(config, model).resource_name == endpoint.resource_name
    [serving] = endpoint.list_models()
    assert serving.model_version_id == "2"
    assert endpoint.predict(instances=[{"price": 1.0, "items": 2}]).model_version_id == "2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "data.table=shop.ordrs"], ["shop.ordrs"]),
        (["--set", "data.label=returnd"], ["returnd", "returned"]),
        (["--boom", "1"], ["the trainer gave up", "model.py, line 9"]),
        (["--bom", "1"], ["bom", "boom"]),
    ],
)
def test_training_faults_are_said_where_the_user_looks(
    config: Config, images: Images, arguments: list[str], words: list[str]
) -> None:
    with pytest.raises(TrainingError) as raised:
        train.train(config, images.training, arguments)
    job = str(raised.value.place).rpartition("/")[2]
    assert "workerpool0-0 exited with a non-zero status of 1" in raised.value.headline
    environment = {**os.environ, "GOOGLE_CLOUD_PROJECT": config.project}
    script = (
        "import sys; from google.cloud import logging; c = logging.Client()\n"
        "for e in c.list_entries(filter_=f'resource.labels.job_id=\"{sys.argv[1]}\"'): print(e.payload)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, job], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    for word in words:
        assert word in done.stdout


def test_code_that_does_not_import_fails_before_data_is_read(config: Config, tmp_path: Path) -> None:
    broken = make_project(tmp_path / "broken", config.project, "import nonexistent_module\n" + MODEL)
    with pytest.raises(TrainingError, match="nonexistent_module"):
        train.train(broken, build.build(broken).training, ["--set", "data.table=shop.not_there"])


def test_a_requirement_that_does_not_exist_fails_the_build(config: Config, tmp_path: Path) -> None:
    broken = make_project(tmp_path / "p", config.project, requirements="no-such-package-anywhere-1234==1.0\n")
    with pytest.raises(BuildError, match="no-such-package-anywhere-1234") as raised:
        build.build(broken)
    assert "requirements.txt" in raised.value.next_step


def test_a_missing_artifact_is_refused_at_upload(config: Config, images: Images, trained: Trained) -> None:
    nowhere = replace(trained, artifact_uri=f"gs://{config.bucket_name}/nothing/here")
    with pytest.raises(exceptions.GoogleAPICallError, match="nothing/here"):
        register.register(config, nowhere, images.prediction)


def test_an_artifact_without_a_model_fails_to_deploy_with_its_last_words(
    config: Config, images: Images, trained: Trained
) -> None:
    from google.cloud import aiplatform
    from google.cloud.storage import Client

    Client(project=config.project).bucket(config.bucket_name).blob("empty/readme.txt").upload_from_string("no model")
    model = register.register(
        config, replace(trained, artifact_uri=f"gs://{config.bucket_name}/empty"), images.prediction
    )
    endpoint = aiplatform.Endpoint.create(display_name="empty")
    words = "(?s)Model server exited unexpectedly.*The model file model.joblib"
    try:
        with pytest.raises(exceptions.FailedPrecondition, match=words):
            endpoint.deploy(model, machine_type="n1-standard-2")
        assert endpoint.list_models() == []
    finally:
        endpoint.delete(force=True)


def test_sql_that_is_wrong_names_its_file(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "features.sql"
    path.write_text("SELECT prize FROM shop.orders")
    with pytest.raises(data.DataError, match=r"Unrecognized name: prize") as raised:
        data.run_sql(config, path)
    assert raised.value.place == str(path)


def test_the_table_is_replaced_whole(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for count in (3, 2):
        pd.DataFrame({"n": range(count)}).to_parquet(path)
        assert data.load(config, {"shop.small": path}) == {"shop.small": count}
    rows = bigquery.Client(project=config.project).list_rows("shop.small")
    assert json.loads(json.dumps([row["n"] for row in rows])) == [0, 1]
