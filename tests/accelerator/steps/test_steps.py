"""The steps on the local cloud: a small project from its table to predictions, and each fault where the user looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.accelerator.project import MODEL, make

from accelerator.config import Config
from accelerator.steps import build, data, deploy, register, train
from accelerator.steps.build import BuildError
from accelerator.steps.deploy import DeploymentError
from accelerator.steps.images import Images
from accelerator.steps.train import Trained, TrainingError


@pytest.fixture(scope="module")
def endpoint(config: Config, images: Images, trained: Trained) -> Iterator[Any]:
    """The endpoint with the first version on it."""
    from google.cloud import aiplatform

    model = register.register(config, trained, images.prediction)
    canary = deploy.start_canary(config, model)
    assert canary.share == 100
    deploy.promote(config, canary, model.version_id)
    made = aiplatform.Endpoint(canary.endpoint)
    yield made
    assert deploy.undeploy(config) == made.resource_name
    assert deploy.undeploy(config) == ""


def test_the_same_source_gives_the_same_images(config: Config, images: Images) -> None:
    assert build.build(config) == images
    assert build.images_of(config) == images


def test_training_reports_its_metrics(trained: Trained) -> None:
    assert trained.metrics["accuracy"] > 0.7


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


def test_a_canary_is_checked_promoted_and_rolled_back(
    config: Config, images: Images, trained: Trained, endpoint: Any
) -> None:
    model = register.register(config, trained, images.prediction)
    canary = deploy.start_canary(config, model)
    assert (canary.endpoint, canary.share) == (endpoint.resource_name, 50)
    assert sorted(endpoint.traffic_split.values()) == [50, 50]
    with pytest.raises(DeploymentError, match="requests failed with 50 % of the traffic"):
        deploy.check(config, canary, [{"price": "cheap", "items": 1}])
    checked = deploy.check(config, canary, [{"price": 3.0, "items": 1}, {"price": 30.0, "items": 2}])
    assert (checked.answered >= 5, checked.failed) == (True, 0)
    deploy.withdraw(config, canary)
    (serving,) = endpoint.list_models()
    assert (serving.model_version_id, endpoint.traffic_split) == ("1", {serving.id: 100})

    again = deploy.start_canary(config, model)
    deploy.promote(config, again, model.version_id)
    (serving,) = endpoint.list_models()
    assert serving.model_version_id == "2"
    champion = register.with_alias(config, register.CHAMPION)
    assert champion is not None
    assert champion.version_id == "2"

    assert deploy.rollback(config) == ("2", "1")
    (serving,) = endpoint.list_models()
    assert serving.model_version_id == "1"
    assert endpoint.predict(instances=[{"price": 1.0, "items": 2}]).model_version_id == "1"
    # and forward again: the version rolled back from is the one before now
    assert deploy.rollback(config) == ("1", "2")


def test_there_must_be_something_to_roll_back_to(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="has no endpoint"):
        deploy.rollback(make(tmp_path / "p", f"{config.project}-2"))


@pytest.mark.parametrize(
    ("hyperparameters", "words"),
    [({"boom": 1}, ["the trainer gave up", "model.py, line 13"]), ({"bom": 1}, ["bom", "boom"])],
)
def test_training_faults_are_said_where_the_user_looks(
    config: Config, images: Images, orders: Any, hyperparameters: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(TrainingError) as raised:
        train.train(config, images.training, orders, "faulty", hyperparameters)
    assert "workerpool0-0 exited with a non-zero status of 1" in raised.value.headline
    for word in words:
        assert word in raised.value.headline


def test_code_that_does_not_import_is_named(config: Config, orders: Any, tmp_path: Path) -> None:
    broken = make(tmp_path / "broken", config.project, "import nonexistent_module\n" + MODEL)
    with pytest.raises(TrainingError, match="nonexistent_module"):
        train.train(broken, build.build(broken).training, orders, "broken", {})


def test_a_requirement_that_does_not_exist_fails_the_build(config: Config, tmp_path: Path) -> None:
    broken = make(tmp_path / "p", config.project, requirements="no-such-package-anywhere-1234==1.0\n")
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
