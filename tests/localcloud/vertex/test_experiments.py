"""Vertex AI Experiments and TensorBoard through the SDK, as data scientists use them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1
from google.cloud.aiplatform.metadata.metadata import _experiment_tracker
from tests.conftest import REGION

ENDPOINT = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}


@pytest.fixture
def experiment(sdk: str, project: str) -> Iterator[str]:
    """An experiment set up by aiplatform.init, as notebooks begin."""
    aiplatform.init(project=project, location=REGION, staging_bucket=f"gs://{sdk}", experiment="late-flights")
    yield "late-flights"
    _experiment_tracker.reset()
    aiplatform.init(project=project, experiment_tensorboard=False)


def test_runs_with_parameters_and_metrics(experiment: str) -> None:
    for number in range(2):
        with aiplatform.start_run(f"run-{number}"):
            aiplatform.log_params({"rate": 0.1 * (number + 1), "kind": "trees"})
            aiplatform.log_metrics({"auc": 0.7 + number / 10})
            for step in range(1, 4):
                aiplatform.log_time_series_metrics({"loss": 1.0 / step}, step=step)
            aiplatform.log_classification_metrics(
                labels=["on time", "late"], matrix=[[8, 2], [1, 9]], display_name="confusion"
            )
    frame = aiplatform.get_experiment_df().set_index("run_name").sort_index()
    assert list(frame["param.kind"]) == ["trees", "trees"]
    assert list(frame["metric.auc"]) == pytest.approx([0.7, 0.8])
    assert list(frame["time_series_metric.loss"]) == pytest.approx([1 / 3, 1 / 3])
    assert set(frame["state"]) == {"COMPLETE"}
    run = aiplatform.ExperimentRun("run-1", experiment)
    series = run.get_time_series_data_frame()
    assert list(series["step"]) == [1, 2, 3]
    assert list(series["loss"]) == pytest.approx([1.0, 1 / 2, 1 / 3])
    (confusion,) = run.get_classification_metrics()
    assert confusion["matrix"] == [[8.0, 2.0], [1.0, 9.0]]
    assert [found.name for found in aiplatform.ExperimentRun.list(experiment=experiment)] == ["run-0", "run-1"]
    assert [found.name for found in aiplatform.Experiment.list()] == [experiment]


def test_a_run_goes_on_and_is_deleted(experiment: str) -> None:
    with aiplatform.start_run("first"):
        aiplatform.log_params({"a": 1})
    with aiplatform.start_run("first", resume=True):
        aiplatform.log_metrics({"m": 2})
        aiplatform.log_time_series_metrics({"loss": 1.0})
    run = aiplatform.ExperimentRun("first", experiment)
    assert (run.get_params(), run.get_metrics()) == ({"a": 1}, {"m": 2})
    run.update_state(aiplatform.gapic.Execution.State.FAILED)
    assert aiplatform.get_experiment_df()["state"].tolist() == ["FAILED"]
    run.delete(delete_backing_tensorboard_run=True)
    with pytest.raises(exceptions.NotFound):
        aiplatform.ExperimentRun("first", experiment)
    aiplatform.Experiment(experiment).delete()
    assert aiplatform.Experiment.list() == []


def test_a_run_reads_and_writes_artifacts(experiment: str, sdk: str) -> None:
    from sklearn.linear_model import LogisticRegression

    with aiplatform.start_run("with-model") as run:
        model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        aiplatform.log_model(model, artifact_id="my-model", uri=f"gs://{sdk}/models/one")
        data = aiplatform.Artifact.create(schema_title="system.Dataset", display_name="data")
        with aiplatform.start_execution(schema_title="system.ContainerExecution", display_name="train") as execution:
            execution.assign_input_artifacts([data])
        assert data.resource_name in [a.resource_name for a in run.get_artifacts()]
        assert [e.name for e in run.get_executions()] == [execution.name]
    (found,) = aiplatform.ExperimentRun("with-model", experiment).get_experiment_models()
    assert found.framework_name == "sklearn"
    assert found.load_model().predict([[5.0]]).tolist() == [1]


def test_a_job_is_told_the_run_it_belongs_to(experiment: str, sdk: str, project: str) -> None:
    with aiplatform.start_run("by-job"):
        aiplatform.log_params({"a": 1})
    script = (
        "import os; assert os.environ['AIP_EXPERIMENT_NAME'] == 'late-flights';"
        "assert os.environ['AIP_EXPERIMENT_RUN_NAME'] == 'by-job'"
    )
    pools = [
        {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": {"image_uri": "python:3.11", "command": ["python3", "-c", script]},
        }
    ]
    job = aiplatform.CustomJob(display_name="job", worker_pool_specs=pools)
    job.submit(experiment=experiment, experiment_run="by-job")
    job._block_until_complete()
    assert job.gca_resource.job_spec.experiment_run.endswith("/contexts/late-flights-by-job")


def test_tensorboards(sdk: str, project: str) -> None:
    board = aiplatform.Tensorboard.create(display_name="board", labels={"a": "b"})
    other = aiplatform.Tensorboard.create(display_name="other", is_default=True)
    third = aiplatform.Tensorboard.create(display_name="third", is_default=True)
    assert [b.name for b in aiplatform.Tensorboard.list(filter="is_default=true")] == [third.name]
    board.update(display_name="renamed")
    assert aiplatform.Tensorboard(board.name).display_name == "renamed"
    experiment = aiplatform.TensorboardExperiment.create("e-1", tensorboard_name=board.name)
    run = aiplatform.TensorboardRun.create("r-1", tensorboard_experiment_name=experiment.resource_name)
    series = aiplatform.TensorboardTimeSeries.create("loss", tensorboard_run_name=run.resource_name)
    run.write_tensorboard_scalar_data({"loss": 3.5}, step=7)
    client = aiplatform_v1.TensorboardServiceClient(client_options=ENDPOINT)
    stored = client.get_tensorboard_time_series(name=series.resource_name)
    assert stored.metadata.max_step == 7
    points = list(client.export_tensorboard_time_series_data(tensorboard_time_series=series.resource_name))
    assert [(point.step, point.scalar.value) for point in points] == [(7, 3.5)]
    with pytest.raises(exceptions.Conflict):
        aiplatform.TensorboardTimeSeries.create("loss", tensorboard_run_name=run.resource_name)
    blobs = client.create_tensorboard_time_series(
        parent=run.resource_name, tensorboard_time_series={"display_name": "graph", "value_type": "BLOB_SEQUENCE"}
    )
    point = {"step": 1, "blobs": {"values": [{"data": b"a graph"}]}}
    data = {
        "tensorboard_time_series_id": blobs.name.rsplit("/", 1)[1],
        "value_type": "BLOB_SEQUENCE",
        "values": [point],
    }
    client.write_tensorboard_run_data(tensorboard_run=run.resource_name, time_series_data=[data])
    read = client.read_tensorboard_blob_data(time_series=blobs.name)
    assert [blob.data for response in read for blob in response.blobs] == [b"a graph"]
    with pytest.raises(exceptions.InvalidArgument, match="takes values of the kind `scalar`"):
        wrong = {**data, "tensorboard_time_series_id": series.name}
        client.write_tensorboard_run_data(tensorboard_run=run.resource_name, time_series_data=[wrong])
    board.delete()
    with pytest.raises(exceptions.NotFound):
        client.get_tensorboard_time_series(name=series.resource_name)
    assert {b.name for b in aiplatform.Tensorboard.list()} == {other.name, third.name}


def test_long_series_are_thinned_and_paged(sdk: str) -> None:
    board = aiplatform.Tensorboard.create(display_name="board")
    experiment = aiplatform.TensorboardExperiment.create("e-1", tensorboard_name=board.name)
    run = aiplatform.TensorboardRun.create("r-1", tensorboard_experiment_name=experiment.resource_name)
    series = aiplatform.TensorboardTimeSeries.create("loss", tensorboard_run_name=run.resource_name)
    client = aiplatform_v1.TensorboardServiceClient(client_options=ENDPOINT)
    values = [{"step": step, "wall_time": {"seconds": step}, "scalar": {"value": step}} for step in range(2500)]
    data = {"tensorboard_time_series_id": series.name, "value_type": "SCALAR", "values": values}
    client.write_tensorboard_run_data(tensorboard_run=run.resource_name, time_series_data=[data])
    request = {"tensorboard_time_series": series.resource_name}
    read = client.read_tensorboard_time_series_data(request=request).time_series_data.values
    assert (len(read), read[0].step, read[-1].step) == (1000, 0, 2499)
    few = client.read_tensorboard_time_series_data(request={**request, "max_data_points": 3, "filter": "step>=100"})
    assert [point.step for point in few.time_series_data.values] == [100, 1300, 2499]
    pages = list(client.export_tensorboard_time_series_data(request={**request, "page_size": 999}).pages)
    assert [len(page.time_series_data_points) for page in pages] == [999, 999, 502]
