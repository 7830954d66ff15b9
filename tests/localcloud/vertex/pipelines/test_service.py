"""The API of pipeline runs: what is refused, listing, cancelling, deleting, and the end of the server in mid-run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1
from kfp import dsl
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.pipelines import components as c
from tests.localcloud.vertex.pipelines.conftest import Run, compiled, states, task


@dsl.pipeline(name="doubling")
def doubling(number: int, text: str = "x"):
    first = c.double(number=number)
    c.double(number=first.output)


@dsl.pipeline(name="sleeping")
def sleeping(seconds: float = 60.0):
    c.say(text=f"{c.sleep(seconds=seconds).output}")


def submit(project: str, bucket: str, spec: dict, config: dict | None = None, **fields: object) -> object:
    """CreatePipelineJob by the generated client, which checks nothing itself."""
    client = aiplatform_v1.PipelineServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    job = {
        "pipeline_spec": spec,
        "runtime_config": {"gcs_output_directory": f"gs://{bucket}/root", "parameter_values": {"number": 1}}
        | (config or {}),
    }
    return client.create_pipeline_job(
        parent=f"projects/{project}/locations/{REGION}", pipeline_job=job, pipeline_job_id="", **fields
    )


def broken(change: Callable[[dict], None]) -> dict:
    """The specification of `doubling`, changed."""
    spec = compiled(doubling)
    change(spec)
    return spec


def cycle(spec: dict) -> None:
    spec["root"]["dag"]["tasks"]["double"]["dependentTasks"] = ["double-2"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda spec: spec.clear(), "pipeline_job.pipeline_spec; Message: Required field is not set"),
        (lambda spec: spec.update(surprise=1), 'has no field named "surprise"'),
        (lambda spec: spec["components"].pop("comp-double"), "root.dag.tasks.double.componentRef.name"),
        (lambda spec: spec["deploymentSpec"]["executors"].pop("exec-double"), "comp-double.executorLabel"),
        (cycle, "The tasks `double`, `double-2` wait for each other in a cycle."),
        (lambda spec: spec["root"].pop("dag"), "The root must be a DAG"),
        (lambda spec: spec["pipelineInfo"].clear(), "pipelineInfo.name"),
        (
            lambda spec: spec["root"]["dag"]["tasks"]["double"]["inputs"]["parameters"].clear(),
            "root.dag.tasks.double.inputs.parameters; Message: The input parameter `number` is missing.",
        ),
    ],
)
def test_a_specification_that_does_not_fit_together(sdk: str, project: str, change: Callable, named: str) -> None:
    with pytest.raises(exceptions.InvalidArgument) as refused:
        submit(project, sdk, broken(change))
    assert named in refused.value.message
    assert aiplatform.PipelineJob.list() == []


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"parameter_values": {"numbr": 1}}, "has no parameter `numbr`. Did you mean `number`?"),
        ({"parameter_values": {}}, "needs a value for its parameter `number`"),
        ({"parameter_values": {"number": "three"}}, "Parameter `number` of the pipeline `doubling` must be an integer"),
        ({"parameter_values": {"number": 1.5}}, "must be an integer"),
        ({"gcs_output_directory": "/tmp/x"}, "Must be a Cloud Storage URI"),
        ({"gcs_output_directory": "gs://no-such-bucket-here/x"}, "does not exist"),
        ({"input_artifacts": {"data": {"artifact_id": "1"}}}, "has no input artifact `data`"),
    ],
)
def test_inputs_that_the_pipeline_does_not_have(sdk: str, project: str, config: dict, named: str) -> None:
    with pytest.raises(exceptions.InvalidArgument) as refused:
        submit(project, sdk, compiled(doubling), config)
    assert named in refused.value.message


def test_templates_of_a_registry_are_refused(sdk: str, project: str) -> None:
    client = aiplatform_v1.PipelineServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    job = {"template_uri": "https://us-kfp.pkg.dev/p/r/t/v1", "runtime_config": {"gcs_output_directory": f"gs://{sdk}"}}
    with pytest.raises(exceptions.MethodNotImplemented, match="no template registry"):
        client.create_pipeline_job(parent=f"projects/{project}/locations/{REGION}", pipeline_job=job)


def test_a_template_from_cloud_storage(run: Run, sdk: str) -> None:
    from google.cloud import storage

    storage.Client().bucket(sdk).blob("p.yaml").upload_from_string(yaml.safe_dump(compiled(doubling)))
    job = aiplatform.PipelineJob(
        display_name="d",
        template_path=f"gs://{sdk}/p.yaml",
        pipeline_root=f"gs://{sdk}",
        parameter_values={"number": 1},
    )
    job.run()
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"


def test_lists_and_filters(run: Run) -> None:
    first = run(doubling, {"number": 1}, labels={"team": "a"})
    second = run(doubling, {"number": 2})
    assert [job.name for job in aiplatform.PipelineJob.list()] == [second.name, first.name]
    for text, found in (
        ('labels.team="a"', [first.name]),
        ('pipeline_name="doubling" AND state="PIPELINE_STATE_SUCCEEDED"', [second.name, first.name]),
        (f'pipeline_job_user_id="{first.name}"', [first.name]),
        ('pipeline_name="other"', []),
    ):
        assert [job.name for job in aiplatform.PipelineJob.list(filter=text)] == found, text
    client = aiplatform_v1.PipelineServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    page = client.list_pipeline_jobs(parent=first.resource_name.rpartition("/pipelineJobs/")[0])
    assert all(not job.job_detail.task_details for job in page)


def test_a_run_is_cancelled_and_deleted(run: Run) -> None:
    job = run.submit(sleeping)
    while states(job).get("sleep") != "RUNNING" or not task(job, "sleep").executor_detail.container_detail.main_job:
        time.sleep(0.05)
    with pytest.raises(exceptions.FailedPrecondition, match="cancel it before deleting it"):
        job.delete()
    job.cancel()
    while not job.done():
        time.sleep(0.05)
    assert job.state.name == "PIPELINE_STATE_CANCELLED"
    assert states(job)["sleep"] == "CANCELLED"
    assert states(job)["say"] == "CANCELLED"
    main = aiplatform.CustomJob.get(task(job, "sleep").executor_detail.container_detail.main_job)
    assert main.state.name == "JOB_STATE_CANCELLED"
    job.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.PipelineJob.get(job.resource_name)


def test_several_are_deleted_or_none(run: Run, project: str) -> None:
    jobs = [run(doubling, {"number": number}) for number in (1, 2)]
    names = [job.resource_name for job in jobs]
    jobs[0].batch_delete(project=project, location=REGION, names=names)
    assert aiplatform.PipelineJob.list() == []


def test_a_task_without_its_output_names_it(run: Run) -> None:
    @dsl.container_component
    def silent(said: dsl.OutputPath(int)):
        return dsl.ContainerSpec(image=c.IMAGE, command=["true"], args=[said])

    @dsl.container_component
    def wrong(said: dsl.OutputPath(int)):
        return dsl.ContainerSpec(image=c.IMAGE, command=["sh", "-c", 'echo many > "$0"', said])

    @dsl.container_component
    def unreadable(said: dsl.OutputPath(str)):
        return dsl.ContainerSpec(
            image=c.IMAGE,
            command=["sh", "-c", 'echo "{" > "$(dirname "$0")/executor_output.json"', said],
        )

    @dsl.container_component
    def lost():
        return dsl.ContainerSpec(image="us-docker.pkg.dev/p/r/lost:1", command=["true"])

    @dsl.pipeline(name="silent")
    def pipeline():
        silent()
        wrong()
        unreadable()
        lost()

    with pytest.raises(RuntimeError, match=r"failed tasks are: \["):
        run(pipeline)
    errors = {detail.task_name: detail.error.message for detail in run.last.task_details}
    assert errors["silent"] == "Task `silent`: it has not written its output parameter `said` (NUMBER_INTEGER)."
    assert "its output parameter `said` must be an integer (NUMBER_INTEGER), not" in errors["wrong"]
    assert "its executor_output.json is not JSON" in errors["unreadable"]
    assert "us-docker.pkg.dev/p/r/lost:1 is not in the local registry" in errors["lost"]


def test_a_run_as_part_of_an_experiment(run: Run, sdk: str) -> None:
    @dsl.pipeline(name="training")
    def pipeline(text: str):
        c.train(data=c.write(text=text).outputs["data"])

    job = run(pipeline, {"text": "abc"})
    frame = aiplatform.get_pipeline_df("training")
    assert list(frame["run_name"]) == [job.name]
    assert list(frame["param.input:text"]) == ["abc"]
    context = job.gca_resource.job_detail.pipeline_run_context
    assert context.schema_title == "system.PipelineRun"
    lineage = aiplatform.metadata.context.Context(context.name).query_lineage_subgraph()
    assert {artifact.schema_title for artifact in lineage.artifacts} == {
        "system.Dataset",
        "system.Model",
        "system.Metrics",
    }
    (metrics,) = aiplatform.Artifact.list(filter=f'in_context("{context.name}") AND schema_title="system.Metrics"')
    assert metrics.metadata == {"accuracy": 0.75}
    written = {event.type_.name for event in lineage.events if event.artifact.endswith(metrics.name)}
    assert written == {"OUTPUT"}


SUBMIT = """
import sys, time
from google.cloud import aiplatform, storage
bucket = "restart-bucket"
storage.Client().create_bucket(bucket, location="us-central1")
aiplatform.init(location="us-central1", staging_bucket=f"gs://{bucket}")
job = aiplatform.PipelineJob(display_name="d", template_path=sys.argv[1], pipeline_root=f"gs://{bucket}")
job.submit()
while not any(d.task_name == "sleep" and d.state.name == "RUNNING" for d in job.task_details):
    time.sleep(0.05)
print(job.resource_name)
"""
LOOK = """
import sys
from google.cloud import aiplatform
aiplatform.init(location="us-central1")
job = aiplatform.PipelineJob.get(sys.argv[1])
print(job.state.name, job.gca_resource.error.message)
for detail in job.task_details:
    print(detail.task_name, detail.state.name, detail.error.message)
"""


def test_a_killed_server_leaves_no_run_running(own_cloud: LocalCloud, tmp_path) -> None:
    def program(text: str, argument: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", text, argument],
            env=own_cloud.environment("restarted"),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout.splitlines()

    path = tmp_path / "p.json"
    path.write_text(json.dumps(compiled(sleeping)))
    (*_, name) = program(SUBMIT, str(path))
    own_cloud.kill()
    own_cloud.start()
    first, *tasks = program(LOOK, name)
    assert first.startswith("PIPELINE_STATE_FAILED The local cloud was restarted while the pipeline was running.")
    assert tasks[0].split()[1] == "FAILED"
    assert sorted(line.split()[:2] for line in tasks[1:]) == [["say", "NOT_TRIGGERED"], ["sleep", "FAILED"]]


def test_runs_submitted_in_a_loop_have_names_of_their_own(sdk: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(compiled(doubling)))
    names = set()
    for number in range(3):
        job = aiplatform.PipelineJob(
            "loop", str(path), pipeline_root=f"gs://{sdk}/root", parameter_values={"number": number}
        )
        job.submit()
        names.add(job.name)
        job.cancel()
    assert len(names) == 3
