"""Tabular datasets and training pipelines by Google's SDK: splits, variables, the model at the end, faults."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, MethodNotImplemented, NotFound
from google.cloud import aiplatform, aiplatform_v1, bigquery, storage
from tests.conftest import REGION

IMAGE = "python:3.11"
CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
TRAINER = """
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/"))
folder.mkdir(parents=True, exist_ok=True)
given = {name: value for name, value in os.environ.items() if name.startswith("AIP_") or name == "EXTRA"}
(folder / "model.json").write_text(json.dumps({**given, "argv": sys.argv[1:]}))
"""
ROWS = 1000
USES = ("training", "validation", "test", "unknown", None)


@pytest.fixture
def table(sdk: str, project: str) -> str:
    """A thousand rows: `n` counts, `use` names splits, `at` is an hour each, `kind` has two frequent values."""
    rows = pd.DataFrame(
        {
            "n": range(ROWS),
            "use": [USES[n % 5] for n in range(ROWS)],
            "at": pd.date_range("2026-01-01", periods=ROWS, freq="h", tz="UTC"),
            "kind": ["rare" if n < 2 else "many" if n % 10 else "few" for n in range(ROWS)],
        }
    )
    client = bigquery.Client(project=project)
    client.create_dataset("shop")
    file = io.BytesIO()
    rows.to_parquet(file)
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    client.load_table_from_file(file, f"{project}.shop.orders", rewind=True, job_config=config).result()
    return f"{project}.shop.orders"


@pytest.fixture
def dataset(table: str) -> Any:
    return aiplatform.TabularDataset.create(display_name="orders", bq_source=f"bq://{table}")


@pytest.fixture
def bucket(project: str) -> str:
    storage.Client(project=project).create_bucket(f"{project}-data")
    return f"gs://{project}-data"


@pytest.fixture
def train(bucket: str) -> Callable[..., dict[str, Any]]:
    """Runs a container training job; gives what its container was told."""

    def run(dataset: Any = None, args: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
        job = aiplatform.CustomContainerTrainingJob(
            display_name="train", container_uri=IMAGE, command=["python3", "-c", TRAINER], staging_bucket=bucket
        )
        output = f"{bucket}/out-{time.time_ns()}"
        job.run(dataset=dataset, base_output_dir=output, args=list(args), sync=True, **options)
        name = output.removeprefix(f"{bucket}/")
        content = storage.Client().bucket(bucket.removeprefix("gs://")).blob(f"{name}/model/model.json")
        return dict(json.loads(content.download_as_bytes()))

    return run


def counts(told: dict[str, Any], project: str) -> dict[str, set[int]]:
    """The `n` of each split's table."""
    client = bigquery.Client(project=project)
    found = {}
    for split in ("TRAINING", "VALIDATION", "TEST"):
        name = told[f"AIP_{split}_DATA_URI"].removeprefix("bq://")
        assert name.endswith(f".{split.lower()}")
        found[split.lower()] = {row["n"] for row in client.query_and_wait(f"SELECT n FROM `{name}`")}
    return found


def test_a_dataset_lives(dataset: Any, table: str, project: str) -> None:
    assert sorted(dataset.column_names) == ["at", "kind", "n", "use"]
    assert dataset.gca_resource.metadata["inputConfig"]["bigquerySource"]["uri"] == f"bq://{table}"
    again = aiplatform.TabularDataset(dataset.resource_name)
    again.update(display_name="renamed", labels={"team": "a"})
    (listed,) = aiplatform.TabularDataset.list(filter='display_name="renamed"')
    assert (listed.resource_name, listed.labels["team"]) == (dataset.resource_name, "a")
    artifact = aiplatform.Artifact(listed.gca_resource.metadata_artifact)
    assert (artifact.schema_title, artifact.metadata["resourceName"]) == ("google.VertexDataset", dataset.resource_name)
    dataset.delete()
    with pytest.raises(NotFound):
        aiplatform.TabularDataset(dataset.resource_name)
    assert bigquery.Client(project=project).get_table(table).num_rows == ROWS


@pytest.mark.filterwarnings("ignore:Loading DataFrames via google-cloud-bigquery:PendingDeprecationWarning")
def test_a_data_frame_becomes_a_dataset(sdk: str, project: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    bigquery.Client(project=project).create_dataset("made")
    made = aiplatform.TabularDataset.create_from_dataframe(frame, f"bq://{project}.made.frame", display_name="frame")
    assert sorted(made.column_names) == ["a", "b"]


def test_predefined_splits_in_bigquery(dataset: Any, train: Any, project: str) -> None:
    told = train(
        dataset,
        bigquery_destination=f"bq://{project}",
        predefined_split_column_name="use",
        args=("--depth=3",),
        environment_variables={"EXTRA": "given"},
    )
    assert (told["AIP_DATA_FORMAT"], told["EXTRA"], told["argv"]) == ("bigquery", "given", ["--depth=3"])
    assert f"bq://{project}.dataset_{dataset.name}_" in told["AIP_TRAINING_DATA_URI"]
    found = counts(told, project)
    for remainder, split in enumerate(("training", "validation", "test")):
        assert found[split] == set(range(remainder, ROWS, 5))
    name = told["AIP_TRAINING_DATA_URI"].removeprefix("bq://").rpartition(".")[0]
    tables = [table.table_id for table in bigquery.Client(project=project).list_tables(name)]
    assert sorted(tables) == ["test", "training", "validation"]


def test_fractions_divide_all_rows_the_same_way_each_time(dataset: Any, train: Any, project: str) -> None:
    options = {"training_fraction_split": 0.6, "validation_fraction_split": 0.3, "test_fraction_split": 0.1}
    first, second = (
        counts(train(dataset, bigquery_destination=f"bq://{project}", **options), project) for _ in range(2)
    )
    assert first == second
    assert sorted(n for split in first.values() for n in split) == list(range(ROWS))
    for split, share in zip(("training", "validation", "test"), (0.6, 0.3, 0.1), strict=True):
        assert abs(len(first[split]) / ROWS - share) < 0.05


def test_time_splits_train_on_the_earliest(dataset: Any, train: Any, project: str) -> None:
    told = train(
        dataset,
        bigquery_destination=f"bq://{project}",
        timestamp_split_column_name="at",
        training_fraction_split=0.7,
        validation_fraction_split=0.2,
        test_fraction_split=0.1,
    )
    found = counts(told, project)
    assert found == {
        "training": set(range(700)),
        "validation": set(range(700, 900)),
        "test": set(range(900, ROWS)),
    }


def test_stratified_splits_keep_the_shares(dataset: Any, project: str, bucket: str) -> None:
    config = {
        "dataset_id": dataset.name,
        "stratified_split": {
            "training_fraction": 0.5,
            "validation_fraction": 0.25,
            "test_fraction": 0.25,
            "key": "kind",
        },
        "bigquery_destination": {"output_uri": f"bq://{project}"},
    }
    job = f"{bucket}/stratified"
    pipeline = run(project, input_data_config=config, job=job)
    assert pipeline.state.name == "PIPELINE_STATE_SUCCEEDED", pipeline.error
    content = storage.Client().bucket(bucket.removeprefix("gs://")).blob("stratified/model/model.json")
    found = counts(json.loads(content.download_as_bytes()), project)
    few = {split: sum(n % 10 == 0 and n >= 2 for n in rows) for split, rows in found.items()}
    assert few == {"training": 50, "validation": 25, "test": 24} or sum(few.values()) == 99
    assert abs(few["training"] - 50) <= 1
    assert sum(map(len, found.values())) == ROWS


def client() -> aiplatform_v1.PipelineServiceClient:
    return aiplatform_v1.PipelineServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


def run(project: str, *, job: str, command: list[str] | None = None, wait: bool = True, **fields: Any) -> Any:
    """A training pipeline by the generated client; waits for its end."""
    pool = {
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": {"imageUri": IMAGE, "command": command or ["python3", "-c", TRAINER]},
    }
    given = {
        "display_name": "by hand",
        "training_task_definition": CUSTOM,
        "training_task_inputs": {"workerPoolSpecs": [pool], "baseOutputDirectory": {"outputUriPrefix": job}},
        **fields,
    }
    made = client().create_training_pipeline(parent=f"projects/{project}/locations/{REGION}", training_pipeline=given)
    while wait and made.state.name not in (
        "PIPELINE_STATE_SUCCEEDED",
        "PIPELINE_STATE_FAILED",
        "PIPELINE_STATE_CANCELLED",
    ):
        time.sleep(0.1)
        made = client().get_training_pipeline(name=made.name)
    return made


def test_files_are_split_into_files(sdk: str, train: Any, bucket: str, project: str) -> None:
    folder = storage.Client(project=project).bucket(bucket.removeprefix("gs://"))
    for part in range(2):
        lines = [f'{part * 50 + n:03d},"a, ""b""",' for n in range(50)]
        folder.blob(f"in/part-{part}.csv").upload_from_string("code,text,nothing\n" + "\n".join(lines) + "\n")
    dataset = aiplatform.TabularDataset.create(display_name="files", gcs_source=[f"{bucket}/in/part-*.csv"])
    told = train(dataset, training_fraction_split=0.5, validation_fraction_split=0.3, test_fraction_split=0.2)
    assert told["AIP_DATA_FORMAT"] == "csv"
    found: list[str] = []
    for split in ("TRAINING", "VALIDATION", "TEST"):
        uri = told[f"AIP_{split}_DATA_URI"]
        assert uri.endswith(f"/{split.lower()}-*.csv")
        prefix = uri.removeprefix(f"{bucket}/").removesuffix("*.csv")
        (blob,) = folder.list_blobs(prefix=prefix)
        header, *lines = blob.download_as_text().splitlines()
        assert header == "code,text,nothing"
        found += lines
    # numbers keep their zeros, quotes their content
    assert sorted(found) == [f'{n:03d},"a, ""b""",' for n in range(100)]


def test_the_model_is_uploaded_at_the_end(dataset: Any, project: str, bucket: str) -> None:
    job = aiplatform.CustomContainerTrainingJob(
        display_name="with a model",
        container_uri=IMAGE,
        command=["python3", "-c", TRAINER],
        staging_bucket=bucket,
        model_serving_container_image_uri=IMAGE,
    )
    options: dict[str, Any] = {
        "base_output_dir": f"{bucket}/model",
        "model_display_name": "trained",
        "dataset": dataset,
        "bigquery_destination": f"bq://{project}",
        "predefined_split_column_name": "use",
    }
    model = job.run(**options, model_id="trained", model_version_aliases=["first"], model_labels={"team": "a"})
    assert model.resource_name.endswith("/models/trained")
    assert (model.version_id, model.labels["team"]) == ("1", "a")
    assert model.gca_resource.training_pipeline == job.resource_name
    assert aiplatform.Model("trained@first").version_id == "1"
    task = job.gca_resource.training_task_metadata
    assert aiplatform.CustomJob.get(task["backingCustomJob"]).state.name == "JOB_STATE_SUCCEEDED"
    again = aiplatform.CustomContainerTrainingJob(
        display_name="again",
        container_uri=IMAGE,
        command=["python3", "-c", TRAINER],
        staging_bucket=bucket,
        model_serving_container_image_uri=IMAGE,
    )
    second = again.run(**options, parent_model=model.resource_name, is_default_version=False)
    assert second.version_id == "2"
    assert aiplatform.Model("trained").version_id == "1"
    (listed,) = aiplatform.CustomContainerTrainingJob.list(filter='display_name="again"')
    assert listed.resource_name == again.resource_name
    again.delete()
    with pytest.raises(NotFound):
        client().get_training_pipeline(name=again.resource_name)


def test_a_script_is_packaged_and_run(sdk: str, bucket: str, tmp_path: Path) -> None:
    script = tmp_path / "task.py"
    script.write_text(TRAINER)
    job = aiplatform.CustomTrainingJob(
        display_name="script", script_path=str(script), container_uri=IMAGE, staging_bucket=bucket
    )
    job.run(args=["--lr=0.1"], base_output_dir=f"{bucket}/script")
    blob = storage.Client().bucket(bucket.removeprefix("gs://")).blob("script/model/model.json")
    told = json.loads(blob.download_as_bytes())
    assert told["argv"] == ["--lr=0.1"]
    assert "AIP_DATA_FORMAT" not in told


def test_a_failed_job_fails_its_pipeline(sdk: str, project: str, bucket: str) -> None:
    failed = run(project, job=f"{bucket}/x", command=["python3", "-c", "raise SystemExit('no luck')"])
    assert failed.state.name == "PIPELINE_STATE_FAILED"
    assert "Training failed with:" in failed.error.message
    assert "no luck" in failed.error.message
    nothing = run(
        project,
        job=f"{bucket}/y",
        command=["python3", "-c", "pass"],
        model_to_upload={"display_name": "m", "container_spec": {"image_uri": IMAGE}},
    )
    assert nothing.state.name == "PIPELINE_STATE_FAILED"
    assert "There are no files under" in nothing.error.message


def test_a_cancelled_pipeline_ends_its_job(sdk: str, project: str, bucket: str) -> None:
    made = run(project, job=f"{bucket}/z", command=["python3", "-c", "import time; time.sleep(600)"], wait=False)
    while not made.training_task_metadata:
        time.sleep(0.1)
        made = client().get_training_pipeline(name=made.name)
    with pytest.raises(GoogleAPICallError, match="cancel it before deleting it"):
        client().delete_training_pipeline(name=made.name)
    client().cancel_training_pipeline(name=made.name)
    while made.state.name != "PIPELINE_STATE_CANCELLED":
        time.sleep(0.1)
        made = client().get_training_pipeline(name=made.name)
    job = aiplatform.CustomJob.get(made.training_task_metadata["backingCustomJob"])
    assert job.state.name == "JOB_STATE_CANCELLED"


def test_faults_are_named(dataset: Any, project: str, bucket: str) -> None:
    destination = {"bigquery_destination": {"output_uri": f"bq://{project}"}}
    data = {"dataset_id": dataset.name, **destination}

    def fails(words: str, **config: Any) -> None:
        ended = run(project, job=f"{bucket}/f", input_data_config={**data, **config})
        assert ended.state.name == "PIPELINE_STATE_FAILED"
        assert words in ended.error.message

    fails("no column `usage`; it has n, use", predefined_split={"key": "usage"})
    fails("in any split", predefined_split={"key": "kind"})
    names = [found.dataset_id for found in bigquery.Client(project=project).list_datasets()]
    assert names == ["shop"]
    with pytest.raises(NotFound, match="datasets/12345"):
        run(project, job=bucket, input_data_config={**destination, "dataset_id": "12345"})
    with pytest.raises(InvalidArgument, match="sum to 1.5"):
        run(
            project,
            job=bucket,
            input_data_config={**data, "fraction_split": {"training_fraction": 1, "test_fraction": 0.5}},
        )
    with pytest.raises(InvalidArgument, match="gcs_destination or a bigquery_destination"):
        run(project, job=bucket, input_data_config={"dataset_id": dataset.name})
    with pytest.raises(MethodNotImplemented, match="automl"):
        run(project, job=bucket, training_task_definition="gs://x/automl_tables_1.0.0.yaml")
    with pytest.raises(InvalidArgument, match="worker_pool_specs"):
        run(project, job=bucket, training_task_inputs={"workerPoolSpecs": []})
    with pytest.raises(InvalidArgument, match="no CustomJobSpec"):
        run(project, job=bucket, training_task_inputs={"workerPools": []})
    bigquery.Client(project=project).delete_table("shop.orders")
    fails("orders")


def test_datasets_that_could_not_be_read_are_refused(sdk: str) -> None:
    with pytest.raises(InvalidArgument, match="bq://project.dataset.table"):
        aiplatform.TabularDataset.create(display_name="d", bq_source="bq://nowhere")
    with pytest.raises(MethodNotImplemented, match="image_1.0.0"):
        aiplatform.ImageDataset.create(display_name="d")


def test_export_writes_files(dataset: Any, bucket: str) -> None:
    files = dataset.export_data(f"{bucket}/exported")
    (file,) = [name for name in files if "/training-" in name]
    lines = storage.Blob.from_uri(file, client=storage.Client()).download_as_text().splitlines()
    assert lines[0] == "n,use,at,kind"
    assert len(lines) == ROWS + 1
