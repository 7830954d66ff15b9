"""The training container on tables of BigQuery and folders in Cloud Storage, of the local cloud."""

from __future__ import annotations

import re
import uuid

import pyarrow as pa
import pyarrow.parquet
import pytest

from accelerator.signature import Signature
from accelerator.training.fractions import draws


@pytest.fixture
def in_cloud(project, cloud):
    """The project with its rows in BigQuery, as `trips.rows`, and a bucket; gives the variables of a job there."""
    from google.cloud import bigquery, storage

    name = f"test-{uuid.uuid4().hex[:12]}"
    with bigquery.Client(project=name) as client:
        client.create_dataset("trips")
        options = bigquery.LoadJobConfig(source_format="PARQUET")
        with (project.folder / "rows.parquet").open("rb") as file:
            client.load_table_from_file(file, "trips.rows", job_config=options).result()
        client.query("CREATE VIEW trips.american AS SELECT * FROM trips.rows WHERE carrier != 'UA'").result()
    storage.Client(project=name).create_bucket(f"{name}-mlops")
    del project.settings["data"]["files"]
    project.settings["data"]["table"] = "trips.rows"
    project.settings["project"] = name
    base = f"gs://{name}-mlops/training/1"
    variables = {"AIP_MODEL_DIR": f"{base}/model/", "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/"}
    return {**cloud.environment(name), "PYTHONPATH": project.environment()["PYTHONPATH"], **variables}


def test_a_table_trains_to_a_model_in_a_bucket(project, in_cloud, tmp_path):
    from google.cloud import storage

    run = project.run(**in_cloud)
    assert run.code == 0, run.err
    assert "train: 400 rows, 3 features from BigQuery table" in run.out
    name = project.settings["project"]
    found = {blob.name: blob for blob in storage.Client(project=name).list_blobs(f"{name}-mlops")}
    assert set(found) == {
        f"training/1/model/{file}"
        for file in ("model.joblib", "model.json", "metrics.json", "training.json", "code/model.py")
    }
    found["training/1/model/model.json"].download_to_filename(tmp_path / "model.json")
    assert [(f.name, f.dtype) for f in Signature.read(tmp_path).features] == [
        ("carrier", "category"),
        ("hour", "int64"),
        ("gust", "float64"),
    ]


def test_a_view_and_a_window_of_the_command_line(project, in_cloud):
    run = project.run("--set", "data.table=trips.american", "--set", "data.split.train=2013-06", **in_cloud)
    assert run.code == 0, run.err
    assert "trips.american (2013-06-01T00:00:00Z..2013-07-01T00:00:00Z)" in run.out


def test_fractions_of_a_table_without_a_time_column(project, in_cloud):
    fractions = ("--set", "data.time=null", "--set", "data.split={train: 0.8, validation: 0.2}")
    ignored = ("--set", "data.ignore=[time]")
    first, second = (project.run(*fractions, *ignored, *more, **in_cloud) for more in ((), ("--power=3",)))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    counts = [re.findall(r"(?:train|validation): (\d+) rows, 3 features", run.out) for run in (first, second)]
    # the very rows that the file of these values gives
    rows = pa.parquet.read_table(project.folder / "rows.parquet").combine_chunks().to_batches()[0]
    train = int((draws(rows, ["carrier", "hour", "gust", "late"]) < 0.8).sum())
    assert counts[0] == counts[1] == [str(train), str(600 - train)]


def test_a_managed_dataset_in_bigquery(project, in_cloud):
    uri = f"bq://{project.settings['project']}.trips.rows"
    run = project.run(
        "--set",
        "data.split=null",
        **in_cloud,
        AIP_DATA_FORMAT="bigquery",
        AIP_TRAINING_DATA_URI=uri,
        AIP_VALIDATION_DATA_URI=uri,
    )
    assert run.code == 0, run.err
    assert "train: 600 rows" in run.out


@pytest.mark.parametrize(
    ("setting", "says", "advice"),
    [
        ("data.table=trips.row", "does not have the table", "Did you mean 'rows'?"),
        ("data.table=trip.rows", "does not have the table", "There is no dataset 'trip'. Did you mean 'trips'?"),
        ("data.label=latte", "no column 'latte' in BigQuery table", "Did you mean 'late'?"),
        ("data.time=hour", "'hour' is of type INT", "Name a TIMESTAMP"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest_right_one(project, in_cloud, setting, says, advice):
    run = project.run("--set", setting, **in_cloud)
    assert run.code == 1
    assert says in run.err.splitlines()[0]
    assert advice in run.err
    assert "Traceback" not in run.err


def test_a_bucket_that_is_not_there_is_told_before_training(project, in_cloud):
    run = project.run(**{**in_cloud, "AIP_MODEL_DIR": f"gs://{project.settings['project']}-none/model/"})
    assert run.code == 1
    assert "bucket does not exist" in run.err
    assert "train:" not in run.out
