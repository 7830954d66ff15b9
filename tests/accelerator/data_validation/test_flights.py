"""The flights of 2013 in BigQuery against the example's curated schema, by TFDV itself on the local cloud."""

# No postponed annotations: KFP reads a pipeline's types off its signature.
import json
import shutil
import uuid
from pathlib import Path

import pytest
import yaml
from google.cloud import aiplatform, bigquery, storage
from kfp import compiler, dsl
from tests.accelerator.data_validation.conftest import Project
from tests.conftest import REGION

from accelerator import config as configuration
from accelerator.pipelines.components import components
from accelerator.steps import build, data, training_set
from accelerator.steps.images import Images

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "flights"
UNKNOWN_CARRIER = "IF(scheduled_departure >= '2013-07-30' AND carrier = 'UA', 'ZZ', carrier) AS carrier"
SECTION = {
    "serving": {"table": "flights.departures", "window": "2013-09.."},
    "severity": {"wind_speed": "warning"},
    "skew": 0.2,
    "drift": {"threshold": 0.3},
}


@pytest.fixture(scope="module")
def flights(cloud, launcher, tmp_path_factory) -> Project:
    """The example with data validation switched on, its table in BigQuery and its bucket there."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    folder = tmp_path_factory.mktemp("flights") / "project"
    folder.mkdir()
    for file in ("schema.pbtxt", "features.sql", "model.py", "requirements.txt"):
        shutil.copy(EXAMPLE / file, folder)
    settings = {**yaml.safe_load((EXAMPLE / "mlops.yaml").read_text()), "project": name, "data_validation": SECTION}
    settings["model"] = {"name": "flights"}
    made = Project(folder, launcher, settings, cloud.environment(name))
    made.write()
    config = configuration.load(folder, environment={})
    # the raw weather where preprocessing would leave the clean one: there is something to find
    tables = {"flown": "flights", "observed": "weather", "planes": "planes"}
    data.load(config, {f"flights.{table}": EXAMPLE / "data" / f"{raw}.parquet" for table, raw in tables.items()})
    assert data.run_sql(config, EXAMPLE / "features.sql") == 327_346
    storage.Client(project=name).create_bucket(config.bucket_name)
    return made


def spoiled(project: Project, replaced: str) -> str:
    """A table like the example's with a column replaced by SQL."""
    table = f"flights.spoiled_{uuid.uuid4().hex[:8]}"
    client = bigquery.Client(project=project.settings["project"])
    client.query_and_wait(f"CREATE TABLE {table} AS SELECT * REPLACE ({replaced}) FROM flights.departures")
    return table


def test_the_example_fits_but_for_one_wind(flights):
    folder = f"gs://{flights.settings['project']}-mlops/statistics/1"
    run = flights.run("--statistics_dir", folder, "--report", f"{folder}/report.html")
    assert run.code == 0, run.err
    assert "warning: wind_speed (train): Unexpectedly high value: 1048.36>231" in run.out
    assert "drift from train to validation: wind_speed 0.64 > 0.3, temp 0.63" in run.out
    bucket = storage.Client().bucket(f"{flights.settings['project']}-mlops")
    summary = json.loads(bucket.blob("statistics/1/validation.json").download_as_bytes())
    assert (summary["valid"], summary["curated_schema"]) == (True, True)
    assert summary["rows"] == {"train": 160_590, "validation": 28_280, "test": 28_810, "serving": 109_666}
    assert {warning.partition(" ")[0] for warning in summary["warnings"] if "drift" not in warning} == {"wind_speed"}
    report = bucket.get_blob("statistics/1/report.html")
    assert report.content_type == "text/html"
    assert "1048.36&gt;231" in report.download_as_text()
    # the training rows of the run before are these: nothing has drifted from them
    again = flights.run("--previous_statistics", folder)
    assert again.code == 0
    assert "earlier train" not in again.out


def test_without_that_wind_nothing_is_left_to_say(flights):
    table = spoiled(flights, "IF(wind_speed > 231, NULL, wind_speed) AS wind_speed")
    run = flights.run("--set", f"data.table={table}", "--set", "data_validation.severity={}")
    assert run.code == 0, run.err
    assert [line for line in run.out.splitlines() if line.startswith("warning") and " from train to " not in line] == []


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (
            UNKNOWN_CARRIER,
            [
                "validation",
                "test",
                "serving",
                "carrier (validation): Examples contain values missing from the schema: ZZ",
            ],
        ),
        (
            "IF(scheduled_departure >= '2013-08-01', humid / 100 + 100, humid) AS humid",
            ["humid (test): Unexpectedly high value", "humid (serving): "],
        ),
        ("CAST(distance AS STRING) AS distance", ["distance (train): ", "got STRING"]),
    ],
    ids=["carrier", "unit", "type"],
)
def test_what_is_wrong_stops_the_run(flights, replaced, words):
    table = spoiled(flights, replaced)
    run = flights.run("--set", f"data.table={table}", "--set", f"data_validation.serving.table={table}")
    assert run.code == 1
    for word in ["The data do not fit their schema: ", *words, table]:
        assert word in run.err


def test_the_curated_schema_is_of_the_columns_that_are_inferred(flights):
    run = flights.run("infer", "--output", "inferred.pbtxt")
    assert run.code == 0, run.err
    names = [
        [line for line in (flights.folder / file).read_text().splitlines() if line.startswith('  name: "')]
        for file in ("inferred.pbtxt", "schema.pbtxt")
    ]
    assert sorted(set(names[0])) == sorted(set(names[1]) | {'  name: "dest"'})


def test_a_table_of_requests_is_the_serving_data(flights):
    client = bigquery.Client(project=flights.settings["project"])
    client.query_and_wait(
        "CREATE OR REPLACE TABLE flights.requests AS SELECT * EXCEPT (late, seats) FROM flights.departures "
        "WHERE scheduled_departure >= '2013-12-01'"
    )
    run = flights.run("--set", "data_validation.serving={table: flights.requests}")
    assert run.code == 1
    assert "seats (serving): Column is completely missing" in run.err
    assert "late (serving)" not in run.err
    run = flights.run("--set", "data_validation.serving={table: flights.request}")
    assert run.code == 1
    assert "Did you mean 'requests'?" in run.err


@pytest.fixture(scope="module")
def images(flights) -> Images:
    """The project's images, that of data validation among them."""
    built = build.build(configuration.load(flights.folder, environment={}))
    assert "/flights-data-validation:" in built.data_validation
    return built


def test_the_container_in_a_custom_job(flights, images):
    project = flights.settings["project"]
    folder = f"gs://{project}-mlops/statistics/job"
    table = spoiled(flights, UNKNOWN_CARRIER)
    arguments = ["--set", f"data.table={table}", "--statistics_dir", folder, "--report", f"{folder}/report.html"]
    aiplatform.init(project=project, location=REGION, staging_bucket=f"gs://{project}-mlops")
    container = {"image_uri": images.data_validation, "args": arguments}
    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container}
    job = aiplatform.CustomJob(display_name="data validation", worker_pool_specs=[pool])
    with pytest.raises(RuntimeError, match="missing from the schema: ZZ"):
        job.run()
    written = {blob.name.partition("job/")[2] for blob in storage.Client().list_blobs(f"{project}-mlops")}
    assert {"report.html", "validation.json", "Split-train/FeatureStats.pb"} <= written


def test_the_step_of_the_training_pipeline(flights, images):
    project = flights.settings["project"]
    config = configuration.load(flights.folder, environment={})
    made = training_set.make(config, "training_set_of_a_test")
    steps = components(images)

    @dsl.pipeline(name="data-validation", pipeline_root=f"gs://{project}-mlops/pipelines")
    def validated(table: str):
        steps.validate_data(table=table)

    specification = flights.folder.parent / "pipeline.yaml"
    compiler.Compiler().compile(validated, str(specification))
    aiplatform.init(project=project, location=REGION, staging_bucket=f"gs://{project}-mlops")
    job = aiplatform.PipelineJob("data validation", str(specification), parameter_values={"table": made.table})
    job.run()
    (task,) = [task for task in job.task_details if task.task_name == "validate-data"]
    (report,) = task.outputs["report"].artifacts
    assert report.schema_title == "system.HTML"
    bucket, _, name = report.uri.removeprefix("gs://").partition("/")
    assert "The data fit their schema." in storage.Client().bucket(bucket).blob(name).download_as_text()
    bucket, _, name = task.outputs["statistics"].artifacts[0].uri.removeprefix("gs://").partition("/")
    summary = json.loads(storage.Client().bucket(bucket).blob(f"{name}/validation.json").download_as_bytes())
    assert summary["rows"] == {**made.rows, "serving": 109_666}
    assert any(warning.startswith("wind_speed (train): Unexpectedly high") for warning in summary["warnings"])
