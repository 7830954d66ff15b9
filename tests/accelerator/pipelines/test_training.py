"""The training pipeline by `mlops run training`: to a champion, to a closed gate, to a failed step, and its row."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pyarrow.csv
import pytest
from google.cloud import aiplatform, aiplatform_v1, bigquery
from tests.accelerator.project import load_orders, make, row
from tests.conftest import REGION, LocalCloud

from accelerator.config import Config
from accelerator.pipelines import compiled
from accelerator.steps import build, register


@pytest.fixture(scope="module")
def config(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The project of this module, with its table in BigQuery."""
    folder = tmp_path_factory.mktemp("pipelines")
    made = make(folder / "project", f"test-{uuid.uuid4().hex[:12]}")
    load_orders(made, folder)
    return made


def mlops(cloud: LocalCloud, config: Config, *arguments: str, code: int = 0) -> str:
    """Runs the command line in the project's folder."""
    environment = {**os.environ, **cloud.environment(config.project), "MLOPS_HOME": str(cloud.root)}
    command = [sys.executable, "-m", "accelerator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=config.directory, timeout=500)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def manual(name: str, framework: str, project: str, folder: Path) -> list[str]:
    """What the manual says to type for a new project, with other names."""
    page = Path(__file__).parents[3] / "docs" / "training-container.md"
    (block,) = re.findall(r"## A new project\n.*?\n```\n(.*?)\n```", page.read_text(), re.DOTALL)
    names = {
        "my-model": name,
        "my_model": name.replace("-", "_"),
        "my-project": project,
        "/tmp/model": f"{folder}/model",
        "--framework xgboost": f"--framework {framework}",
    }
    for old, new in names.items():
        block = block.replace(old, new)
    return block.splitlines()


def shell(cloud: LocalCloud, config: Config, folder: Path, command: str) -> str:
    """What a command line prints."""
    environment = {**os.environ, **cloud.environment(config.project), "MLOPS_HOME": str(cloud.root), "COLUMNS": "200"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, cwd=folder, timeout=500)
    assert done.returncode == 0, command + done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_runs_and_their_rows(cloud: LocalCloud, config: Config) -> None:
    said = json.loads(mlops(cloud, config, "run", "training", "--json"))
    first = row(config, said["name"].rpartition("/")[2])
    assert (first["state"], first["valid"], first["model_version"]) == ("SUCCEEDED", True, "1")
    assert first["metrics"]["auc"] > 0.8
    assert set(first["hyperparameters"]) == {"c"}
    assert first["rows"]["train"] > 100
    assert (first["predictions"], first["error"]) == (400, None)
    assert {"tune", "train", "validate-model", "promote", "predict"} <= set(first["durations"])
    assert first["pipeline_version"] == build.images_of(config).tag

    aiplatform.init(project=config.project, location=REGION, experiment="returns")
    champion = register.with_alias(config, register.CHAMPION)
    assert champion is not None
    client = aiplatform_v1.ModelServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    (evaluation,) = client.list_model_evaluations(parent=champion.resource_name)
    assert evaluation.metrics["auRoc"] == pytest.approx(first["metrics"]["auc"])
    slices = {found.slice_.value for found in client.list_model_evaluation_slices(parent=evaluation.name)}
    assert slices == {"shop=north", "shop=south"}
    warehouse = bigquery.Client(project=config.project)
    (predicted,) = warehouse.query_and_wait(
        "SELECT COUNT(*) AS n, ANY_VALUE(model_version) AS version, ANY_VALUE(prediction) AS prediction, "
        "COUNT(returned) AS labels FROM shop.predictions"
    )
    assert (predicted["n"], predicted["version"]) == (400, "1")
    assert set(json.loads(predicted["prediction"])) == {"classes", "scores"}

    experiment = aiplatform.get_experiment_df("returns")
    assert list(experiment["param.valid"]) == ["true"]
    (endpoint,) = aiplatform.Endpoint.list(filter='display_name="returns"')
    assert [deployed.model_version_id for deployed in endpoint.list_models()] == ["1"]

    # a window without rows: the step that can name it fails, and the row says so
    said = json.loads(mlops(cloud, config, "run", "training", "--json", "-p", "test=2031-01", code=1))
    failed = row(config, said["name"].rpartition("/")[2])
    assert (failed["state"], failed["failed_task"]) == ("FAILED", "training_set")
    assert "There are no rows in the test split" in failed["error"]
    assert failed["data_window"]["test"] == "2031-01"

    said = json.loads(mlops(cloud, config, "run", "batch-prediction", "--json", "-p", "source=shop.orders"))
    batch = row(config, said["name"].rpartition("/")[2])
    assert (batch["state"], batch["predictions"], batch["valid"]) == ("SUCCEEDED", 400, None)

    assert "are gone" in mlops(cloud, config, "undeploy")


TORCH = pytest.mark.skipif(
    os.environ.get("MLOPS_TEST_TORCH") != "1",
    reason="PyTorch is some gigabytes to install: MLOPS_TEST_TORCH=1 runs this",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("framework", ["scikit-learn", "xgboost", pytest.param("pytorch", marks=TORCH)])
def test_a_new_project_runs_at_once(cloud: LocalCloud, config: Config, tmp_path: Path, framework: str) -> None:
    """By the commands of the manual, for XGBoost by all of them; with two trials, but for the default."""
    name = f"my-model-{framework}"
    *load, init, alone, whole, query = manual(name, framework, config.project, tmp_path)
    warehouse = bigquery.Client(project=config.project)
    as_it_stands = framework == "xgboost"
    with_bq = as_it_stands and shutil.which("bq") is not None
    if as_it_stands and not with_bq:
        print("bq is not installed: the manual's commands with it are not run")
    if with_bq:
        orders = warehouse.query_and_wait("SELECT * FROM shop.orders").to_arrow()
        pyarrow.csv.write_csv(orders, tmp_path / "orders.csv")
        for command in load:
            shell(cloud, config, tmp_path, command)
    assert f"model.py ({framework})" in shell(cloud, config, tmp_path, init)
    path = tmp_path / name / "mlops.yaml"
    if framework != "scikit-learn":
        path.write_text(f"{path.read_text()}tuning: {{metric: auc, trials: 2, parallel: 2}}\n")
    if as_it_stands:
        assert "saved the model to" in shell(cloud, config, tmp_path, alone)
    (run,) = set(re.findall(r"pipelineJobs/(\S+)", shell(cloud, config, tmp_path, whole)))
    found = row(config, run)
    assert (found["state"], found["valid"], found["model_version"]) == ("SUCCEEDED", True, "1")
    assert set(found["rows"]) == {"train", "validation", "test"}
    assert found["metrics"]["auc"] > 0.8
    assert ("learning_rate" in (found["hyperparameters"] or ())) == (framework != "scikit-learn")
    if with_bq:
        assert shell(cloud, config, tmp_path, query).count('"scores"') == 5
    rows = warehouse.query_and_wait(f"SELECT prediction FROM shop.{name.replace('-', '_')}_predictions")
    predictions = [json.loads(row["prediction"]) for row in rows]
    assert len(predictions) == 400
    assert all(prediction["classes"] == [False, True] for prediction in predictions)

    (endpoint,) = aiplatform.Endpoint.list(filter=f'display_name="{name}"', project=config.project, location=REGION)
    order = {"price": 49.0, "items": 3, "shop": "west", "ordered": "2026-05-01T00:00:00Z"}
    (answer,) = endpoint.predict([order]).predictions
    assert sum(answer["scores"]) == pytest.approx(1, abs=1e-6)
    assert answer["scores"][1] > 0.5
    mlops(cloud, config, "undeploy", "--config", str(path))


def test_the_compiled_file_is_the_same_whatever_the_target(config: Config, tmp_path: Path) -> None:
    images = build.images_of(config)
    spec = compiled.compiled(config, images, "training")
    assert compiled.compiled(config, images, "training") == spec
    assert "127.0.0.1" not in spec
    for name, switched in (("tune", "tuning=off"), ("deploy", "deployment=off"), ("predict", "batch_prediction=off")):
        assert f"name: {name}\n" in spec
        from accelerator import config as configuration

        without = configuration.load(config.directory, overrides=[switched])
        assert f"name: {name}\n" not in compiled.compiled(without, images, "training")


def test_pipelines_that_there_are_not_are_named(cloud: LocalCloud, config: Config, tmp_path: Path) -> None:
    mlops(cloud, config, "compile", "training", "-o", str(tmp_path / "training.yaml"))
    assert "returns-training" in (tmp_path / "training.yaml").read_text()
    mlops(cloud, config, "compile", "trainings", code=1)
    mlops(cloud, config, "compile", "training", "-c", str(tmp_path), code=1)
