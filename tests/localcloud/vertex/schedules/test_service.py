"""Schedules as users make them: through Google's SDK and clients, with runs that really come."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api_core.exceptions import BadRequest, FailedPrecondition, NotFound
from google.api_core.operation import Operation
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1
from kfp import dsl
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.pipelines.conftest import compiled
from tests.localcloud.vertex.test_restart import PARENT, Rest


@dsl.component(base_image="python:3.11")
def greet(name: str, due: str) -> str:
    return f"{name} {due}"


@dsl.pipeline(name="greeting")
def greeting(name: str = "you"):  # type: ignore[no-untyped-def]
    greet(name=name, due="{{$.pipeline_job_schedule_time_utc}}")


NEVER_SOON = "0 0 29 2 *"


@pytest.fixture
def job(sdk: str, tmp_path: Path) -> aiplatform.PipelineJob:
    """A pipeline that is not submitted."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(compiled(greeting)))
    return aiplatform.PipelineJob(
        display_name="greeting",
        template_path=str(path),
        pipeline_root=f"gs://{sdk}/root",
        parameter_values={"name": "schedule"},
        labels={"team": "a"},
    )


def eventually(look: Callable[[], Any]) -> Any:
    """What a look gives as soon as it gives something; cron's next minute is the most that is waited for."""
    until = time.monotonic() + 150
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("it never came")


def test_runs_come_by_the_clock(job: aiplatform.PipelineJob) -> None:
    schedule = job.create_schedule(display_name="each minute", cron="TZ=Europe/Berlin * * * * *", max_run_count=1)
    broken = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name="broken")
    broken._gca_resource.create_pipeline_job_request.pipeline_job.runtime_config.parameter_values["nome"] = "x"
    broken.create(cron="* * * * *", end_time="2100-01-01T00:00:00Z")
    assert schedule.state.name == broken.state.name == "ACTIVE"
    due = schedule.gca_resource.next_run_time
    (run,) = eventually(lambda: schedule.list_jobs(enable_simple_view=False))
    assert run.gca_resource.labels["team"] == "a"
    run = aiplatform.PipelineJob.get(run.resource_name)
    run.wait()
    assert run.gca_resource.schedule_name == schedule.resource_name
    (detail,) = [each for each in run.task_details if each.task_name == "greet"]
    assert detail.execution.metadata["output:Output"] == f"schedule {due.strftime('%Y-%m-%dT%H:%M:%SZ')}"

    def completed() -> Any:
        # a run can be over before its schedule has counted it
        found = aiplatform.PipelineJobSchedule.get(schedule.resource_name)
        return found.state.name == "COMPLETED" and found

    found = eventually(completed)
    assert found.gca_resource.started_run_count == 1
    assert found.gca_resource.last_scheduled_run_response.scheduled_run_time == due
    assert found.gca_resource.last_scheduled_run_response.run_response == "OK"

    def told() -> str:
        found = aiplatform.PipelineJobSchedule.get(broken.resource_name)
        return str(found.gca_resource.last_scheduled_run_response.run_response)

    said = eventually(told)
    assert said.startswith("INVALID_ARGUMENT: ")
    assert "nome" in said
    assert broken.list_jobs(enable_simple_view=False) == []


def test_the_sdk_pauses_resumes_updates_lists_and_deletes(job: aiplatform.PipelineJob) -> None:
    schedule = job.create_schedule(
        display_name="leap", cron=NEVER_SOON, max_run_count=5, allow_queueing=True, max_concurrent_run_count=2
    )
    other = job.create_schedule(display_name="other", cron=NEVER_SOON)
    schedule.pause()
    assert aiplatform.PipelineJobSchedule.get(schedule.resource_name).state.name == "PAUSED"
    assert [each.name for each in aiplatform.PipelineJobSchedule.list(filter='state="PAUSED"')] == [schedule.name]
    with pytest.raises(FailedPrecondition, match="is in state PAUSED"):
        schedule.api_client.pause_schedule(name=schedule.resource_name)
    schedule.resume()
    assert aiplatform.PipelineJobSchedule.get(schedule.resource_name).state.name == "ACTIVE"
    schedule.pause()
    # the SDK's own resume() has a catch_up that it does not send
    schedule.api_client.resume_schedule(request={"name": schedule.resource_name, "catch_up": True})
    schedule.update(display_name="new year", cron="CRON_TZ=America/New_York 0 0 1 1 *", max_run_count=7)
    found = aiplatform.PipelineJobSchedule.get(schedule.resource_name)
    assert found.gca_resource.display_name == "new year"
    assert (found.max_run_count, found.max_concurrent_run_count, found.allow_queueing) == (7, 2, True)
    assert (found.gca_resource.next_run_time.month, found.gca_resource.next_run_time.hour) == (1, 5)
    assert found.gca_resource.catch_up
    assert found.gca_resource.last_pause_time <= found.gca_resource.last_resume_time
    assert [each.display_name for each in aiplatform.PipelineJobSchedule.list()] == ["other", "new year"]
    assert [each.name for each in aiplatform.PipelineJobSchedule.list(filter='display_name="other"')] == [other.name]
    schedule.delete()
    with pytest.raises(NotFound):
        aiplatform.PipelineJobSchedule.get(schedule.resource_name)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
@pytest.mark.parametrize("package", [aiplatform_v1, aiplatform_v1beta1])
def test_both_versions_by_both_transports(
    job: aiplatform.PipelineJob, project: str, package: Any, transport: str
) -> None:
    options = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}
    client = package.ScheduleServiceClient(transport=transport, client_options=options)
    parent = f"projects/{project}/locations/{REGION}"
    given = package.Schedule(
        display_name="leap",
        cron=NEVER_SOON,
        max_concurrent_run_count=1,
        create_pipeline_job_request={"parent": parent, "pipeline_job": {"display_name": "run"}},
    )
    made = client.create_schedule(parent=parent, schedule=given)
    assert made.state.name == "ACTIVE"
    assert client.get_schedule(name=made.name) == made
    assert list(client.list_schedules(request={"parent": parent, "filter": "create_pipeline_job_request:*"})) == [made]
    client.pause_schedule(name=made.name)
    client.resume_schedule(name=made.name, catch_up=False)
    made.display_name = "other"
    assert client.update_schedule(schedule=made, update_mask={"paths": ["display_name"]}).display_name == "other"
    with pytest.raises(BadRequest, match="it has 3 fields and needs five"):
        client.create_schedule(parent=parent, schedule=package.Schedule(given, cron="* * *"))
    deleted: Operation = client.delete_schedule(name=made.name)
    deleted.result(timeout=30)
    assert list(client.list_schedules(parent=parent)) == []


def test_a_killed_server_keeps_its_schedules(own_cloud: LocalCloud) -> None:
    rest = Rest(own_cloud)
    schedule = {
        "displayName": "leap",
        "cron": NEVER_SOON,
        "maxConcurrentRunCount": "1",
        "createPipelineJobRequest": {"parent": PARENT.removeprefix("v1/"), "pipelineJob": {}},
    }
    made = rest("POST", f"{PARENT}/schedules", schedule)
    rest("POST", f"v1/{made['name']}:pause", {})
    before = rest("GET", f"v1/{made['name']}")
    rest.close()
    own_cloud.kill()
    own_cloud.start()
    rest = Rest(own_cloud)
    assert before["state"] == "PAUSED"
    assert rest("GET", f"v1/{made['name']}") == before
    rest("POST", f"v1/{made['name']}:resume", {})
    after = rest("GET", f"v1/{made['name']}")
    assert (after["state"], after["nextRunTime"]) == ("ACTIVE", made["nextRunTime"])
    rest.close()
