"""When runs start: against a clock that the test sets and a PipelineService that keeps what it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from localcloud.filters import compile_filter
from localcloud.operations import Operations
from localcloud.projects import number_of
from localcloud.resources import ResourceStore
from localcloud.vertex.common import Vertex, v1
from localcloud.vertex.schedules.rules import instant
from localcloud.vertex.schedules.service import ScheduleService
from localcloud.vertex.schedules.timetable import CREATE, LIST, Timetable, job_id, schedule_time

PARENT = f"projects/{number_of('p')}/locations/us-central1"
START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


class Pipelines:
    """Keeps the runs that it is asked for, by name."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.refusal: Exception | None = None

    def call(self, method: str, request: Any) -> Any:
        if method == LIST:
            matches = compile_filter(request.filter, v1.PipelineJob.DESCRIPTOR)
            found = [job for job in self.jobs.values() if matches(job)]
            return v1.ListPipelineJobsResponse(pipeline_jobs=found[: request.page_size])
        assert method == CREATE
        if self.refusal is not None:
            raise self.refusal
        job = v1.PipelineJob()
        job.CopyFrom(request.pipeline_job)
        job.name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        job.state = v1.PipelineState.PIPELINE_STATE_RUNNING
        if job.name in self.jobs:
            raise AlreadyExists(f"The PipelineJob `{job.name}` already exists.")
        self.jobs[job.name] = job
        return job

    def end_all(self) -> None:
        for job in self.jobs.values():
            job.state = v1.PipelineState.PIPELINE_STATE_SUCCEEDED

    @property
    def times(self) -> list[str]:
        """When its runs were due, as `12:01`."""
        return [f"{instant(schedule_time(job)):%H:%M}" for job in self.jobs.values()]


class World:
    """ScheduleService in a process that can end and start again."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.pipelines = SetClock(), Pipelines()
        self._path = folder / "resources.db"
        self.open()

    def open(self) -> None:
        self.store = ResourceStore(self._path)
        cloud: Any = SimpleNamespace(store=self.store, operations=Operations(self.store), call=self.pipelines.call)
        self.timetable = Timetable(Vertex(cloud), self.clock)
        self.service = ScheduleService(Vertex(cloud), self.timetable)

    def restart(self, until: datetime) -> None:
        """The process is gone until a time at which another one starts."""
        self.store.close()
        self.clock.time = until
        self.open()
        self.timetable.settle()
        self.timetable.tick()

    def create(self, **fields: Any) -> str:
        given = {"display_name": "s", "cron": "* * * * *", "max_concurrent_run_count": 1, **fields}
        schedule = v1.Schedule(**given)
        schedule.create_pipeline_job_request.parent = "projects/p/locations/us-central1"
        schedule.create_pipeline_job_request.pipeline_job.pipeline_spec.update({"pipelineInfo": {"name": "My_pipe"}})
        return str(self.service.create_schedule(v1.CreateScheduleRequest(parent=PARENT, schedule=schedule)).name)

    def get(self, name: str) -> Any:
        return self.service.get_schedule(v1.GetScheduleRequest(name=name))

    def state(self, name: str) -> str:
        return str(v1.Schedule.State.Name(self.get(name).state))

    def pause(self, name: str) -> None:
        self.service.pause_schedule(v1.PauseScheduleRequest(name=name))

    def resume(self, name: str, catch_up: bool = False) -> None:
        self.service.resume_schedule(v1.ResumeScheduleRequest(name=name, catch_up=catch_up))

    def update(self, name: str, mask: list[str], **fields: Any) -> Any:
        request = v1.UpdateScheduleRequest(schedule=v1.Schedule(name=name, **fields))
        request.update_mask.paths.extend(mask)
        return self.service.update_schedule(request)

    def pass_minutes(self, minutes: int) -> None:
        """Time goes by, and the timetable wakes each half minute."""
        for _ in range(2 * minutes):
            self.clock.time += timedelta(seconds=30)
            self.timetable.tick()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def at(**after: float) -> datetime:
    return START + timedelta(**after)


def test_a_run_starts_at_each_time_of_the_cron_line(world: World) -> None:
    name = world.create(cron="*/2 * * * *")
    assert instant(world.get(name).next_run_time) == datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
    assert instant(world.get(name).start_time) == START
    assert not world.get(name).HasField("last_scheduled_run_response")
    world.pass_minutes(5)
    assert world.pipelines.times == ["12:02", "12:04"]
    after = world.get(name)
    assert (after.started_run_count, world.state(name)) == (2, "ACTIVE")
    assert instant(after.next_run_time) == datetime(2026, 3, 1, 12, 6, tzinfo=UTC)
    assert instant(after.last_scheduled_run_response.scheduled_run_time) == datetime(2026, 3, 1, 12, 4, tzinfo=UTC)
    assert after.last_scheduled_run_response.run_response == "OK"
    for job in world.pipelines.jobs.values():
        assert job.schedule_name == name
        assert job.name.startswith(f"{PARENT}/pipelineJobs/my-pipe-{name.rsplit('/', 1)[1]}-202603011")


def test_it_is_completed_after_max_run_count_runs(world: World) -> None:
    name = world.create(max_run_count=2)
    world.pass_minutes(5)
    assert world.pipelines.times == ["12:01", "12:02"]
    assert world.state(name) == "COMPLETED"
    assert not world.get(name).HasField("next_run_time")
    for refused in (world.pause, world.resume, lambda name: world.update(name, ["cron"], cron="* * * * *")):
        with pytest.raises(FailedPrecondition, match="is in state COMPLETED"):
            refused(name)


def test_runs_come_from_start_time_to_end_time_inclusive(world: World) -> None:
    start, end = datetime(2026, 3, 1, 12, 3, tzinfo=UTC), datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    name = world.create(start_time=start, end_time=end)
    world.pass_minutes(9)
    assert world.pipelines.times == ["12:03", "12:04", "12:05"]
    assert world.state(name) == "COMPLETED"


def test_a_run_that_is_refused_is_told_and_not_counted(world: World) -> None:
    name = world.create(max_run_count=1)
    world.pipelines.refusal = InvalidArgument("pipeline_spec is no pipeline")
    world.pass_minutes(1)
    assert world.get(name).last_scheduled_run_response.run_response == "INVALID_ARGUMENT: pipeline_spec is no pipeline"
    assert (world.get(name).started_run_count, world.state(name)) == (0, "ACTIVE")
    world.pipelines.refusal = None
    world.pass_minutes(1)
    assert (world.pipelines.times, world.state(name)) == (["12:02"], "COMPLETED")


def test_one_schedules_trouble_does_not_keep_the_others(world: World) -> None:
    first, second = world.create(), world.create()
    world.pipelines.refusal = RuntimeError("at fault")
    world.pass_minutes(1)
    for name in (first, second):
        assert world.get(name).last_scheduled_run_response.run_response.startswith("INTERNAL: ")
    world.pipelines.refusal = None
    world.pass_minutes(1)
    assert world.pipelines.times == ["12:02", "12:02"]


def test_a_paused_schedule_starts_nothing_and_resumed_goes_on_from_now(world: World) -> None:
    name = world.create()
    world.pass_minutes(1)
    world.pause(name)
    assert (world.state(name), instant(world.get(name).last_pause_time)) == ("PAUSED", at(minutes=1))
    with pytest.raises(FailedPrecondition, match="is in state PAUSED"):
        world.pause(name)
    world.pass_minutes(3)
    assert world.pipelines.times == ["12:01"]
    world.resume(name)
    assert (world.state(name), instant(world.get(name).last_resume_time)) == ("ACTIVE", at(minutes=4))
    assert not world.get(name).catch_up
    world.pass_minutes(2)
    assert world.pipelines.times == ["12:01", "12:05", "12:06"]
    with pytest.raises(FailedPrecondition, match="is in state ACTIVE"):
        world.resume(name)


def test_catch_up_starts_all_that_were_missed(world: World) -> None:
    name = world.create()
    world.pause(name)
    world.pass_minutes(30)
    world.resume(name, catch_up=True)
    assert world.get(name).catch_up
    world.timetable.tick()
    world.pass_minutes(1)
    assert world.pipelines.times == [f"12:{minute:02}" for minute in range(1, 32)]


def test_where_too_many_are_active_a_run_is_skipped(world: World) -> None:
    name = world.create(max_concurrent_active_run_count=1)
    world.pass_minutes(2)
    assert world.pipelines.times == ["12:01"]
    assert "skipped" in world.get(name).last_scheduled_run_response.run_response
    world.pipelines.end_all()
    world.pass_minutes(1)
    assert world.pipelines.times == ["12:01", "12:03"]
    assert world.get(name).started_run_count == 2


def test_or_queued_where_that_is_allowed(world: World) -> None:
    name = world.create(max_concurrent_active_run_count=1, allow_queueing=True)
    world.pass_minutes(3)
    assert world.pipelines.times == ["12:01"]
    assert instant(world.get(name).next_run_time) == datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
    world.pipelines.end_all()
    world.timetable.tick()
    assert world.pipelines.times == ["12:01", "12:02"]


def test_another_schedules_runs_do_not_count_for_the_limit(world: World) -> None:
    for _ in range(2):
        world.create(max_concurrent_active_run_count=1)
    world.pass_minutes(1)
    assert world.pipelines.times == ["12:01", "12:01"]


def test_after_a_restart_the_last_missed_run_is_started_and_then_those_to_come(world: World) -> None:
    name = world.create()
    world.pass_minutes(1)
    world.restart(at(hours=3))
    assert world.pipelines.times == ["12:01", "15:00"]
    world.pass_minutes(1)
    assert world.pipelines.times == ["12:01", "15:00", "15:01"]
    assert world.get(name).started_run_count == 3


def test_with_queueing_a_restart_starts_all_that_were_missed(world: World) -> None:
    world.create(allow_queueing=True)
    world.restart(at(minutes=4))
    assert world.pipelines.times == ["12:01", "12:02", "12:03", "12:04"]


def test_a_run_started_before_a_crash_is_not_started_twice(world: World) -> None:
    name = world.create()
    before = world.get(name)
    world.pass_minutes(1)
    # the crash came after the run was made and before the schedule was written
    world.store.modify(name, v1.Schedule, lambda stored: stored.CopyFrom(before))
    world.restart(at(minutes=1))
    assert world.pipelines.times == ["12:01"]
    assert world.get(name).started_run_count == 1


def test_a_schedule_whose_end_passed_while_the_server_was_down_is_completed(world: World) -> None:
    name = world.create(end_time=at(minutes=2))
    world.restart(at(hours=1))
    assert (world.pipelines.times, world.state(name)) == (["12:02"], "COMPLETED")


def test_an_update_changes_when_the_next_run_comes(world: World) -> None:
    name = world.create(max_run_count=9, cron="0 13 * * *")
    changed = world.update(name, ["cron", "display_name"], cron="TZ=Asia/Tokyo 5 21 * * *", display_name="other")
    assert instant(changed.next_run_time) == datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    assert (changed.display_name, changed.max_run_count) == ("other", 9)
    world.pass_minutes(5)
    assert world.pipelines.times == ["12:05"]
    world.update(name, ["max_run_count"], max_run_count=1)
    assert world.state(name) == "COMPLETED"


@pytest.mark.parametrize(
    ("mask", "fields", "said"),
    [
        ([], {"display_name": "x"}, "Field: update_mask; Message: Required"),
        (["crom"], {}, "`crom` is not a field of a Schedule"),
        (["max_run_count"], {}, "schedule.max_run_count; Message: A field that is set cannot be unset"),
        (["cron"], {"cron": "never"}, "`never` is not a cron schedule"),
        (["create_notebook_execution_job_request"], {}, "type of a schedule's request cannot be changed"),
    ],
)
def test_updates_that_are_refused(world: World, mask: list[str], fields: dict[str, Any], said: str) -> None:
    name = world.create(max_run_count=3)
    before = world.get(name)
    with pytest.raises(InvalidArgument, match=said):
        world.update(name, mask, **fields)
    assert world.get(name) == before


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"display_name": ""}, "schedule.display_name; Message: Required"),
        ({"cron": ""}, "schedule.cron; Message: Required"),
        ({"cron": "TZ=Mars/Olympus 0 0 * * *"}, "`Mars/Olympus` is no time zone"),
        ({"max_concurrent_run_count": 0}, "schedule.max_concurrent_run_count; Message: Must be at least 1"),
        ({"max_run_count": -1}, "schedule.max_run_count; Message: Must be positive"),
        ({"end_time": START - timedelta(1)}, "schedule.end_time; Message: Must be in the future"),
        ({"start_time": at(days=2), "end_time": at(days=1)}, "Must be later than start_time"),
    ],
)
def test_schedules_that_are_refused(world: World, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        world.create(**fields)


def test_only_pipelines_are_scheduled(world: World) -> None:
    schedule = v1.Schedule(display_name="s", cron="* * * * *", max_concurrent_run_count=1)
    request = v1.CreateScheduleRequest(parent=PARENT, schedule=schedule)
    with pytest.raises(InvalidArgument, match=r"schedule\.request"):
        world.service.create_schedule(request)
    request.schedule.create_notebook_execution_job_request.parent = PARENT
    with pytest.raises(Unimplemented, match="create_notebook_execution_job_request is not implemented"):
        world.service.create_schedule(request)
    request.schedule.create_pipeline_job_request.parent = "projects/p/locations/europe-west1"
    with pytest.raises(InvalidArgument, match="Must be the schedule's own location"):
        world.service.create_schedule(request)


def test_a_deleted_schedule_starts_nothing_more(world: World) -> None:
    name = world.create()
    world.pass_minutes(1)
    assert world.service.delete_schedule(v1.DeleteScheduleRequest(name=name)).done
    world.pass_minutes(3)
    assert world.pipelines.times == ["12:01"]
    with pytest.raises(NotFound):
        world.get(name)


@settings(deadline=None)
@given(named=st.text(max_size=200), asked=st.text(max_size=200))
def test_ids_of_runs_are_ones_that_vertex_takes(named: str, asked: str) -> None:
    schedule = v1.Schedule(name=f"{PARENT}/schedules/1234567890123456789")
    schedule.next_run_time.FromDatetime(START)
    schedule.create_pipeline_job_request.pipeline_job_id = asked
    schedule.create_pipeline_job_request.pipeline_job.pipeline_spec.update({"pipelineInfo": {"name": named}})
    found = job_id(schedule)
    assert len(found) <= 127
    assert found[0].isascii()
    assert found[0].islower()
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    job = v1.PipelineJob(name=f"{PARENT}/pipelineJobs/{found}", schedule_name=schedule.name)
    assert instant(schedule_time(job)) == START


def test_the_thread_starts_what_is_due_and_ends(world: World) -> None:
    name = world.create()
    world.clock.time = at(minutes=1)
    world.service.start()
    try:
        for _ in range(1000):
            if world.get(name).started_run_count:
                break
            time.sleep(0.02)
    finally:
        world.service.stop()
    assert world.pipelines.times == ["12:01"]
