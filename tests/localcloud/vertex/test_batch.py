"""Batch prediction through Google's SDK: real containers answer for files and tables, and outputs are read back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1, bigquery, storage
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.conftest import IMAGE, SERVER
from tests.localcloud.vertex.test_restart import Rest

Upload = Callable[..., aiplatform.Model]
CLIENT_OPTIONS = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}

MODEL = """
import http.server, json, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"{}")
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        instances, parameters = request["instances"], request.get("parameters") or {}
        if "bad" in instances:
            return self.answer(400, b"instances must not be bad")
        if "die" in instances:
            os._exit(3)
        time.sleep(parameters.get("seconds", 0))
        predictions = instances
        if parameters.get("what") == "size":
            predictions = [len(instances)] * len(instances)
        if parameters.get("what") == "pid":
            predictions = [os.getpid()] * len(instances)
        if parameters.get("what") == "short":
            predictions = predictions[1:]
        if parameters.get("what") == "nan":
            predictions = [float("nan") if one == 1 else one for one in instances]
        self.answer(200, json.dumps({"predictions": predictions}).encode())

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""


@cache
def jobs() -> aiplatform_v1.JobServiceClient:
    """The client of all tests: making one costs more than what it is asked."""
    return aiplatform_v1.JobServiceClient(client_options=CLIENT_OPTIONS)


def put(bucket: str, name: str, lines: list[Any]) -> str:
    """A JSON Lines object."""
    text = "\n".join(one if isinstance(one, str) and one.startswith("raw:") else json.dumps(one) for one in lines)
    storage.Client().bucket(bucket).blob(name).upload_from_string(text.replace("raw:", ""))
    return f"gs://{bucket}/{name}"


@pytest.fixture
def predict(upload: Upload, sdk: str) -> Callable[..., aiplatform.BatchPredictionJob]:
    """Runs a job of the model above on lines, with the output in the bucket."""
    model = upload(serving_container_command=["python3", "-c", MODEL], display_name="echo model")

    def run(lines: list[Any] | None = None, **more: Any) -> aiplatform.BatchPredictionJob:
        given: dict[str, Any] = {"job_display_name": "job", "machine_type": "n1-standard-2", "sync": False}
        if lines is not None:
            given["gcs_source"] = put(sdk, "in.jsonl", lines)
        if "bigquery_destination_prefix" not in more:
            given["gcs_destination_prefix"] = f"gs://{sdk}/out"
        job = model.batch_predict(**{**given, **more})
        job.wait_for_resource_creation()
        return job

    def run_with_instance_config(*lines: Any, instance_config: Any, **more: Any) -> aiplatform.BatchPredictionJob:
        """The SDK knows no InstanceConfig: the job that it makes is made again, with one."""
        first = run(*lines, **more)
        first.cancel()
        made = over(first)
        job = {
            field: getattr(made, field)
            for field in ("display_name", "model", "input_config", "output_config", "dedicated_resources")
        }
        again = jobs().create_batch_prediction_job(
            parent=made.name.rpartition("/batchPredictionJobs/")[0],
            batch_prediction_job={**job, "instance_config": instance_config},
        )
        return aiplatform.BatchPredictionJob(again.name)

    return lambda *given, **more: (run_with_instance_config if "instance_config" in more else run)(*given, **more)


def over(job: aiplatform.BatchPredictionJob) -> aiplatform_v1.BatchPredictionJob:
    """The job when it has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = jobs().get_batch_prediction_job(name=job.resource_name)
        if found.state.name in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"):
            return found
        time.sleep(0.05)
    raise TimeoutError(found)


def outputs(job: Any) -> dict[str, list[Any]]:
    """The output's files by their names, each a list of its lines."""
    bucket, _, prefix = job.output_info.gcs_output_directory.removeprefix("gs://").partition("/")
    blobs = storage.Client().list_blobs(bucket, prefix=prefix)
    return {
        blob.name.rpartition("/")[2]: [json.loads(line) for line in blob.download_as_text().splitlines()]
        for blob in blobs
    }


RESULTS, ERRORS = "prediction.results-00000-of-00001", "prediction.errors_stats-00000-of-00001"


def test_json_lines_as_the_sdk_does_it(predict: Any, sdk: str) -> None:
    lines = [[1, 2.5], {"carrier": "UA", "delay": None}, "text", None, True]
    created = predict(lines, model_parameters={"what": "echo"}, labels={"team": "a"})
    created._block_until_complete()
    blobs = list(created.iter_outputs())
    assert {blob.name.rpartition("/")[2] for blob in blobs} == {RESULTS, ERRORS}
    done = over(created)
    directory = done.output_info.gcs_output_directory
    stamp = done.create_time.strftime("%Y_%m_%dT%H_%M_%S_") + f"{done.create_time.microsecond // 1000:03}Z"
    assert directory == f"gs://{sdk}/out/prediction-echo model-{stamp}"
    assert outputs(done) == {RESULTS: [{"instance": one, "prediction": one} for one in lines], ERRORS: []}
    assert (done.completion_stats.successful_count, done.completion_stats.failed_count) == (5, 0)
    assert done.completion_stats.incomplete_count == 0
    assert done.create_time <= done.start_time <= done.end_time
    assert done.model_version_id == "1"
    assert not done.partial_failures
    assert created.completion_stats.successful_count == 5


def test_rows_at_fault_are_alone_in_the_errors(predict: Any) -> None:
    lines: list[Any] = [*range(100), "bad", *range(100), "raw:{no json", "bad"]
    done = over(predict(lines))
    assert done.state.name == "JOB_STATE_SUCCEEDED"
    written = outputs(done)
    assert [one["prediction"] for one in written[RESULTS]] == [*range(100), *range(100)]
    bad = {"instance": "bad", "error": {"code": 3, "message": "instances must not be bad"}}
    assert written[ERRORS][:2] == [bad, bad]
    assert written[ERRORS][2]["instance"] == "{no json"
    assert "line 202" in written[ERRORS][2]["error"]["message"]
    stats = done.completion_stats
    assert (stats.successful_count, stats.failed_count, stats.incomplete_count) == (200, 3, 0)
    assert done.partial_failures[0].message == "instances must not be bad (2 instances)"


def test_batch_size_and_replicas(predict: Any) -> None:
    sizes = outputs(over(predict(list(range(130)), model_parameters={"what": "size"})))[RESULTS]
    assert [one["prediction"] for one in sizes] == [64] * 128 + [2] * 2
    more = {"what": "pid", "seconds": 0.1}
    done = over(predict(list(range(100)), batch_size=5, starting_replica_count=2, model_parameters=more))
    assert len({one["prediction"] for one in outputs(done)[RESULTS]}) == 2


def test_predictions_that_are_none(predict: Any) -> None:
    done = over(predict([1, 2, 3], model_parameters={"what": "nan"}))
    assert [one["prediction"] for one in outputs(done)[RESULTS]] == [2, 3]
    assert "not a finite number" in outputs(done)[ERRORS][0]["error"]["message"]
    failed = over(predict([1, 2, 3], model_parameters={"what": "short"}))
    assert failed.state.name == "JOB_STATE_FAILED"
    assert "gave 2 predictions for 3 instances" in failed.error.message
    empty = over(predict([]))
    assert empty.state.name == "JOB_STATE_FAILED"
    assert "there are no instances in gs://" in empty.error.message


def test_a_container_that_dies_comes_back(predict: Any) -> None:
    done = over(predict([*range(10), "die", *range(30)], batch_size=1))
    assert done.state.name == "JOB_STATE_SUCCEEDED"
    assert [one["prediction"] for one in outputs(done)[RESULTS]] == [*range(10), *range(30)]
    assert "went away" in outputs(done)[ERRORS][0]["error"]["message"]


def test_when_most_rows_fail_the_rest_are_not_tried(predict: Any) -> None:
    done = over(predict(["bad"] * 10_000, batch_size=1000))
    assert done.state.name == "JOB_STATE_FAILED"
    assert "so the others were not tried. First failure: instances must not be bad" in done.error.message
    assert 1000 <= done.completion_stats.failed_count < 3000


def test_a_container_that_never_gets_healthy(upload: Upload, sdk: str) -> None:
    broken = upload(serving_container_command=["python3", "-c", "import no_such_module"])
    job = broken.batch_predict(
        "job",
        gcs_source=put(sdk, "in", [1]),
        gcs_destination_prefix=f"gs://{sdk}",
        machine_type="n1-standard-2",
        sync=False,
    )
    job.wait_for_resource_creation()
    done = over(job)
    assert done.state.name == "JOB_STATE_FAILED"
    assert "No module named 'no_such_module'" in done.error.message
    assert "mlops logs" in done.error.message


def test_cancel_keeps_what_was_written(predict: Any) -> None:
    job = predict(list(range(60_000)), batch_size=1000, model_parameters={"seconds": 0.5})
    while jobs().get_batch_prediction_job(name=job.resource_name).completion_stats.successful_count == 0:
        time.sleep(0.05)
    with pytest.raises(exceptions.FailedPrecondition, match="cancel it before"):
        jobs().delete_batch_prediction_job(name=job.resource_name)
    job.cancel()
    done = over(job)
    assert done.state.name == "JOB_STATE_CANCELLED"
    assert done.error.code == 1
    rows = [one["prediction"] for one in outputs(done)[RESULTS]]
    assert len(rows) == done.completion_stats.successful_count
    assert rows == sorted(rows)
    assert 0 < len(rows) < 60_000
    jobs().delete_batch_prediction_job(name=job.resource_name).result()
    with pytest.raises(exceptions.NotFound):
        jobs().get_batch_prediction_job(name=job.resource_name)


def test_instance_config_for_json_lines(predict: Any) -> None:
    lines = [{"id": f"r{n}", "a": n, "b": "x", "c": [n]} for n in range(3)]
    keyed = {"key_field": "id", "included_fields": ["c", "a"], "instance_type": "array"}
    written = outputs(over(predict([*lines, {"id": "late", "a": 1}], instance_config=(keyed))))
    assert written[RESULTS] == [{"key": f"r{n}", "prediction": [[n], n]} for n in range(3)]
    assert "the included field `c` is missing" in written[ERRORS][0]["error"]["message"]
    excluded = outputs(over(predict(lines, instance_config=({"excluded_fields": ["b", "c"]}))))
    one = {"id": "r1", "a": 1}
    assert excluded[RESULTS][1] == {"instance": one, "prediction": one, "b": "x", "c": [1]}


def test_csv_in_and_out(predict: Any, sdk: str) -> None:
    bucket = storage.Client().bucket(sdk)
    bucket.blob("csv/1.csv").upload_from_string('id,name,"size"\n"a","x, ""y""",1\n"b",,2.5\n"c",oops,3\n')
    bucket.blob("csv/2.csv").upload_from_string('id,name,size\n"d","z",-1e3\n')
    bucket.blob("csv/readme.txt").upload_from_string("not csv")
    source = {"gcs_source": f"gs://{sdk}/csv/*.csv", "instances_format": "csv"}
    done = over(predict(**source))
    assert outputs(done)[RESULTS] == [
        {"instance": row, "prediction": row} for row in (["a", 'x, "y"', 1], ["b", None, 2.5], ["d", "z", -1000])
    ]
    assert "1.csv, line 4: cell 2 is `oops`" in outputs(done)[ERRORS][0]["error"]["message"]
    job = predict(**source, predictions_format="csv", instance_config=({"key_field": "id"}))
    done = over(job)
    blob = next(one for one in job.iter_outputs() if one.name.endswith("prediction.results-00000-of-00001.csv"))
    assert blob.download_as_text().splitlines()[:2] == ["key,prediction", 'a,"[""x, \\""y\\"""",1.0]"']


@pytest.fixture
def table(project: str) -> str:
    """A table with a row of every type."""
    client = bigquery.Client(project=project)
    client.create_dataset("shop")
    client.query_and_wait("""
        CREATE TABLE shop.orders AS SELECT
          n AS id, n / 2 AS half, IF(n = 1, NULL, FORMAT('s%d', n)) AS name, n > 1 AS big,
          TIMESTAMP '2019-01-01 23:59:59.5+00' AS at, DATE '2018-12-31' AS day, DATETIME '2018-12-31 10:00:00' AS local,
          NUMERIC '1.25' AS price, STRUCT(n AS x, ['a'] AS tags) AS more, b'ab' AS raw
        FROM UNNEST([1, 2, 3]) AS n
    """)
    return f"bq://{project}.shop.orders"


def test_bigquery_to_bigquery(predict: Any, table: str, project: str) -> None:
    more = {"bigquery_source": table, "instances_format": "bigquery", "predictions_format": "bigquery"}
    job = predict(**more, bigquery_destination_prefix=f"bq://{project}.shop")
    done = over(job)
    assert done.state.name == "JOB_STATE_SUCCEEDED", done.error
    assert done.output_info.bigquery_output_dataset == f"bq://{project}.shop"
    assert done.output_info.bigquery_output_table.startswith("predictions_20")
    rows = sorted(job.iter_outputs(), key=lambda row: row["id"])
    sent = [json.loads(row["prediction"]) for row in rows]
    assert sent[0] == [
        1, 0.5, None, False, "2019-01-01 23:59:59.500000+00:00", "2018-12-31", "2018-12-31T10:00:00", 1.25,
        {"x": 1, "tags": ["a"]}, "YWI=",
    ]  # fmt: skip
    assert sent[2][:4] == [3, 1.5, "s3", True]
    client = bigquery.Client(project=project)
    source = client.query_and_wait("SELECT * FROM shop.orders ORDER BY id")
    assert [{**dict(row), "prediction": None} for row in source] == [{**dict(row), "prediction": None} for row in rows]
    errors = client.get_table(f"shop.{done.output_info.bigquery_output_table.replace('predictions', 'errors')}")
    assert errors.num_rows == 0
    assert [field.name for field in errors.schema][-1] == "errors"

    keyed = predict(
        **more,
        bigquery_destination_prefix=f"bq://{project}",
        instance_config=({"key_field": "id", "included_fields": ["name"], "instance_type": "object"}),
    )
    dataset = over(keyed).output_info.bigquery_output_dataset
    assert dataset.startswith(f"bq://{project}.prediction_echo_model_20")
    assert sorted((row["key"], row["prediction"]) for row in keyed.iter_outputs()) == [
        (1, '{"name":null}'),
        (2, '{"name":"s2"}'),
        (3, '{"name":"s3"}'),
    ]


def test_a_view_to_files_and_files_to_a_table(predict: Any, table: str, project: str) -> None:
    client = bigquery.Client(project=project)
    client.query_and_wait("CREATE VIEW shop.view AS SELECT id, name FROM shop.orders WHERE id > 1")
    job = predict(
        bigquery_source=f"bq://{project}.shop.view", instances_format="bigquery",
        instance_config=({"excluded_fields": ["id"], "instance_type": "object"}),
    )  # fmt: skip
    written = outputs(over(job))[RESULTS]
    assert {"instance": {"name": "s2"}, "prediction": {"name": "s2"}, "id": 2} in written
    back = predict(["x", "bad"], predictions_format="bigquery", bigquery_destination_prefix=f"bq://{project}.shop")
    done = over(back)
    assert [dict(row) for row in back.iter_outputs()] == [{"instance": '"x"', "prediction": "x"}]
    name = done.output_info.bigquery_output_table.replace("predictions", "errors")
    assert [dict(row) for row in client.list_rows(f"shop.{name}")] == [
        {"instance": '"bad"', "errors": {"code": 3, "message": "instances must not be bad"}}
    ]


def test_what_is_missing_is_named(predict: Any, table: str, project: str, sdk: str) -> None:
    def failure(**more: Any) -> str:
        done = over(predict(**more))
        assert done.state.name == "JOB_STATE_FAILED"
        return done.error.message

    assert "no object matches gs://" in failure(gcs_source=f"gs://{sdk}/nothing*")
    assert "bucket gs://no-such" in failure(lines=[1], gcs_destination_prefix="gs://no-such/x")
    big = {"instances_format": "bigquery", "bigquery_source": table}
    assert "has no column `nmae`; it has id, half" in failure(**big, instance_config=({"included_fields": ["nmae"]}))
    big["bigquery_source"] = f"bq://{project}.shop.no_such"
    assert "input_config.bigquery_source.input_uri" in failure(**big)


@pytest.mark.parametrize(
    ("change", "kind", "problem"),
    [
        ({"display_name": ""}, exceptions.InvalidArgument, "display_name"),
        ({"model": ""}, exceptions.InvalidArgument, "Exactly one of model and unmanaged_container_model"),
        ({"model": "publishers/google/models/gemini"}, exceptions.InvalidArgument, "Must be projects/P/locations"),
        ({"input_config": {"instances_format": "tf-record"}}, exceptions.MethodNotImplemented, "does not read"),
        ({"input_config": {"instances_format": "xml"}}, exceptions.InvalidArgument, "instances_format; Message"),
        ({"input_config": {"instances_format": "csv"}}, exceptions.InvalidArgument, "gcs_source.uris"),
        ({"output_config": {"predictions_format": "bigquery"}}, exceptions.InvalidArgument, "output_uri"),
        ({"dedicated_resources": {}}, exceptions.InvalidArgument, "machine_spec"),
        ({"instance_config": {"instance_type": "row"}}, exceptions.InvalidArgument, "instance_type"),
        (
            {"instance_config": {"included_fields": ["a"], "excluded_fields": ["b"]}},
            exceptions.InvalidArgument,
            "included_fields",
        ),
        ({"generate_explanation": True}, exceptions.MethodNotImplemented, "generate_explanation"),
    ],
)
def test_jobs_that_are_refused(upload: Upload, project: str, change: Any, kind: Any, problem: str) -> None:
    given = {
        "display_name": "job",
        "model": upload().resource_name,
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": ["gs://bucket/in"]}},
        "output_config": {"predictions_format": "jsonl", "gcs_destination": {"output_uri_prefix": "gs://bucket"}},
        "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}},
    }
    parent = f"projects/{project}/locations/{REGION}"
    with pytest.raises(kind, match=problem):
        jobs().create_batch_prediction_job(parent=parent, batch_prediction_job={**given, **change})


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_model_that_is_not_registered(sdk: str, project: str, transport: str) -> None:
    client = aiplatform_v1.JobServiceClient(client_options=CLIENT_OPTIONS, transport=transport)
    storage.Client(project=project).bucket(sdk).blob("model/model.joblib").upload_from_string(b"the model")
    container = {"image_uri": IMAGE, "command": ["python3", "-c", SERVER], "predict_route": "/p", "health_route": "/h"}
    parent = f"projects/{project}/locations/{REGION}"
    job = client.create_batch_prediction_job(
        parent=parent,
        batch_prediction_job={
            "display_name": f"by {transport}",
            "unmanaged_container_model": {"artifact_uri": f"gs://{sdk}/model", "container_spec": container},
            "input_config": {
                "instances_format": "jsonl",
                "gcs_source": {"uris": [put(sdk, "in", ["environment"])]},
            },
            "output_config": {"predictions_format": "jsonl", "gcs_destination": {"output_uri_prefix": f"gs://{sdk}"}},
            "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}},
        },
    )
    assert job.state.name == "JOB_STATE_PENDING"
    while job.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        time.sleep(0.05)
        job = client.get_batch_prediction_job(name=job.name)
    assert job.state.name == "JOB_STATE_SUCCEEDED", job.error
    told = outputs(job)[RESULTS][0]["prediction"]
    assert told["AIP_STORAGE_URI"] == f"gs://{sdk}/model"
    assert told["AIP_MACHINE_TYPE"] == "n1-standard-2"
    listed = client.list_batch_prediction_jobs(
        request={"parent": parent, "filter": f'display_name="by {transport}" AND state="JOB_STATE_SUCCEEDED"'}
    )
    assert [one.name for one in listed] == [job.name]


def test_a_killed_server_says_that_the_job_has_ended(own_cloud: LocalCloud) -> None:
    rest = Rest(own_cloud)
    parent = f"v1/projects/p/locations/{REGION}"
    bucket = own_cloud.root / "buckets" / "some-bucket"
    bucket.mkdir(parents=True)
    (bucket / "in").write_text("1\n")
    container = {"imageUri": IMAGE, "command": ["python3", "-c", MODEL]}
    job = rest(
        "POST",
        f"{parent}/batchPredictionJobs",
        {
            "displayName": "j",
            "unmanagedContainerModel": {"containerSpec": container},
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://some-bucket/in"]}},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": "gs://some-bucket"},
            },
            "modelParameters": {"seconds": 600},
            "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}},
        },
    )
    while (found := rest("GET", f"v1/{job['name']}"))["state"] != "JOB_STATE_RUNNING":
        assert found["state"] == "JOB_STATE_PENDING", found
        time.sleep(0.05)
    rest.close()
    own_cloud.kill()
    own_cloud.start()
    rest = Rest(own_cloud)
    found = rest("GET", f"v1/{job['name']}")
    assert found["state"] == "JOB_STATE_FAILED"
    assert "restarted while the job was running" in found["error"]["message"]
    assert not (own_cloud.root / "vertex-batch").exists()
    rest.close()
