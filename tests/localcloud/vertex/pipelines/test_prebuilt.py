"""Google's prebuilt components, run unmodified: what they create, what they hand on, and how they end."""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import pytest
from google.cloud import aiplatform, bigquery, storage
from tests.conftest import REGION
from tests.localcloud.vertex.pipelines.conftest import Run, outputs, states, task

from localcloud.errors import Code

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Google's components take KFP's default image
    from tests.localcloud.vertex.pipelines import prebuilt as p

HOST = f"https://{REGION}-aiplatform.googleapis.com/v1/"


def resources(job: aiplatform.PipelineJob, name: str) -> list[tuple[str, str]]:
    """(type, URI) of what a task's gcp_resources names."""
    found = json.loads(outputs(job, name)["gcp_resources"])["resources"]
    return [(each["resourceType"], each["resourceUri"]) for each in found]


def artifact(job: aiplatform.PipelineJob, name: str, output: str) -> Any:
    (found,) = task(job, name).outputs[output].artifacts
    return found


def test_from_a_training_function_to_a_batch_prediction(run: Run, project: str) -> None:
    bigquery.Client(project=project, location=REGION).create_dataset("flights")
    bucket = storage.Client(project=project).bucket(run.bucket)
    bucket.blob("in/instances.jsonl").upload_from_string('{"x": 1}\n{"x": 2}\n')
    parameters = {
        "instances": f"gs://{run.bucket}/in/*.jsonl",
        "predictions": f"gs://{run.bucket}/out",
        "dataset": "flights",
    }
    job = run(p.prebuilt, parameters, labels={"team": "delays"})
    assert set(states(job).values()) == {"SUCCEEDED"}

    billing = job.labels["vertex-ai-pipelines-run-billing-id"]
    labels = {"team": "delays", "vertex-ai-pipelines-run-billing-id": billing}
    ((kind, uri),) = resources(job, "train")
    custom_job = aiplatform.CustomJob.get(uri.removeprefix(HOST))
    assert (kind, uri[: len(HOST)], custom_job.state.name) == ("CustomJob", HOST, "JOB_STATE_SUCCEEDED")
    assert (custom_job.display_name, dict(custom_job.labels)) == ("train", labels)
    folder = outputs(job, "train")["folder"]
    written = json.loads(bucket.blob(f"{folder.removeprefix(f'gs://{run.bucket}/')}/model.json").download_as_text())
    assert written["text"] == "hello"
    assert (written["task"]["type"], written["task"]["index"]) == ("workerpool0", 0)

    model = artifact(job, "model-upload", "model")
    name = model.metadata["resourceName"]
    assert (model.schema_title, model.uri) == ("google.VertexModel", HOST + name)
    registered = aiplatform.Model(name)
    assert registered.gca_resource.artifact_uri == artifact(job, "importer", "artifact").uri == folder
    assert dict(registered.labels) == labels
    assert artifact(job, "model-get", "model").metadata["resourceName"] == name
    assert resources(job, "model-upload")[0][0] == "VertexLro"

    (evaluation,) = registered.list_model_evaluations()
    assert evaluation.metrics == {"auPrc": 0.5}
    assert evaluation.gca_resource.metadata["pipeline_job_resource_name"] == job.resource_name
    assert outputs(job, "model-evaluation-import")["evaluation_resource_name"] == evaluation.resource_name
    kinds = [kind for kind, _ in resources(job, "model-evaluation-import")]
    assert kinds == ["ModelEvaluation", "ModelEvaluationSlice"]

    predicted = artifact(job, "model-batch-predict", "batchpredictionjob")
    batch = aiplatform.BatchPredictionJob(predicted.metadata["resourceName"])
    assert f"{batch.gca_resource.model}@{batch.gca_resource.model_version_id}" == name
    lines = [json.loads(line) for blob in batch.iter_outputs() for line in blob.download_as_text().splitlines()]
    assert [line["prediction"] for line in lines] == [{"x": 1}, {"x": 2}]
    directory = artifact(job, "model-batch-predict", "gcs_output_directory").uri
    assert directory == batch.output_info.gcs_output_directory == predicted.metadata["gcsOutputDirectory"]

    table = artifact(job, "bigquery-query-job", "destination_table")
    assert (table.schema_title, table.metadata["projectId"]) == ("google.BQTable", project)
    (row,) = bigquery.Client(project=project, location=REGION).list_rows(f"{project}.flights.answers")
    assert row["answer"] == 42
    ((kind, uri),) = resources(job, "hyperparameter-tuning-job")
    trials = aiplatform.HyperparameterTuningJob.get(uri.removeprefix(HOST)).trials
    assert [trial.final_measurement.metrics[0].value for trial in trials] == [0.5, 0.5]
    assert artifact(job, "endpoint-create", "endpoint").schema_title == "google.VertexEndpoint"
    assert aiplatform.Endpoint.list() == []


def test_datasets_and_models_that_are_exported_and_deleted(run: Run, project: str) -> None:
    bucket = storage.Client(project=project).bucket(run.bucket)
    bucket.blob("rows.csv").upload_from_string("delay,late\n1,0\n40,1\n")
    bucket.blob("model/model.joblib").upload_from_string(b"weights")
    job = run(p.kept, {"rows": f"gs://{run.bucket}/rows.csv", "folder": f"gs://{run.bucket}/model"})
    assert set(states(job).values()) == {"SUCCEEDED"}
    assert artifact(job, "tabular-dataset-create", "dataset").schema_title == "google.VertexDataset"
    (dataset,) = aiplatform.TabularDataset.list()
    assert sorted(dataset.column_names) == ["delay", "late"]
    exported = [blob.name for blob in bucket.list_blobs(prefix="model/") if not blob.name.endswith("/")]
    assert any(name.endswith(".csv") for name in exported)
    assert sum(name.endswith("model.joblib") for name in exported) == 2
    assert aiplatform.Model.list() == []
    for name in ("model-upload", "model-export", "model-delete"):
        ((kind, uri),) = resources(job, name)
        assert (kind, uri[: len(HOST)]) == ("VertexLro", HOST)
        assert "/operations/" in uri


def test_what_ends_early_and_what_cannot_be_done(run: Run, project: str) -> None:
    bigquery.Client(project=project, location=REGION).create_dataset("flights")
    uri = "https://dataflow.googleapis.com/v1b3/projects/p/locations/l/jobs/j"
    dataflow = {"resourceType": "DataflowJob", "resourceUri": uri}
    parameters = {
        "file": f"gs://{run.bucket}/beam.py",
        "folder": f"gs://{run.bucket}/tmp",
        "resources": json.dumps({"resources": [dataflow]}),
    }
    cancelled, failing = run.submit(p.sleeping), run.submit(p.refused, parameters)
    kinds = (aiplatform.CustomJob, aiplatform.HyperparameterTuningJob)
    while not all(started := [[job for job in kind.list() if job.display_name == "sleeping"] for kind in kinds]):
        time.sleep(0.2)
    while any(job.state.name != "JOB_STATE_RUNNING" for (job,) in started):
        time.sleep(0.2)
    # Google's launchers pass a cancellation on from when they look after the job, which is after they have made it.
    time.sleep(5)
    cancelled.cancel()
    cancelled.wait()
    assert set(states(cancelled).values()) == {"CANCELLED"}
    while any(job.state.name != "JOB_STATE_CANCELLED" for (job,) in started):
        time.sleep(0.2)
    ((custom_job,), _) = started
    detail = task(cancelled, "custom-training-job").executor_detail.custom_job_detail
    assert detail.job == custom_job.resource_name
    assert custom_job.gca_resource.job_spec.worker_pool_specs[0].machine_spec.accelerator_count == 1

    with pytest.raises(RuntimeError, match="failed tasks"):
        failing.wait()
    errors = {detail.task_name: detail.error.message for detail in failing.task_details}
    assert "the local cloud has no Dataflow service" in errors["dataflow-python"]
    assert task(failing, "dataflow-python").error.code == Code.UNIMPLEMENTED.number
    for name, host in (
        ("dataflow-flex-template", "dataflow.googleapis.com"),
        ("dataproc-create-pyspark-batch", "dataproc.googleapis.com"),
    ):
        assert f"UNIMPLEMENTED, Message: The local cloud has no API on {host}" in errors[name]
    assert "the local cloud has tabular Datasets" in errors["image-dataset-create"]
    assert "the local cloud sends no e-mail" in errors["vertex-pipelines-notification-email"]
    assert "dataflow.googleapis.com" in errors["wait-gcp-resources"]
    assert 'has no field named "containerSpecs"' in errors["custom-training-job"]
    assert "Failed to create custom job for the task" in errors["custom-training-job"]
    assert "CREATE MODEL" in errors["bigquery-create-model-job"]
