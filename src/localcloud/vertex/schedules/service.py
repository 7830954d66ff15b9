"""ScheduleService: schedules are created, read, listed, changed, paused, resumed and deleted here.

When their runs start is localcloud.vertex.schedules.timetable.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import FailedPrecondition
from localcloud.fields import apply_mask
from localcloud.vertex.common import Vertex, copy_fields, generic_metadata, invalid, parent_of, v1
from localcloud.vertex.schedules.cron import Cron
from localcloud.vertex.schedules.rules import SETTABLE, check_request_kind, check_schedule, instant, stamp_of
from localcloud.vertex.schedules.timetable import Timetable, complete, first_run, over


class ScheduleService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#scheduleservice."""

    def __init__(self, vertex: Vertex, timetable: Timetable | None = None) -> None:
        self._vertex = vertex
        self._timetable = timetable or Timetable(vertex)

    def start(self) -> None:
        """Start what is due, and wait for what comes."""
        self._timetable.start()

    def stop(self) -> None:
        """Start no more runs."""
        self._timetable.stop()

    def create_schedule(self, request: Any) -> Any:
        """Store a schedule; it is ACTIVE at once."""
        parent = self._vertex.parent(request.parent)
        check_request_kind(request.schedule)
        now = self._timetable.clock.now()
        check_schedule(self._vertex, request.schedule, parent, now)
        schedule = v1.Schedule(state=v1.Schedule.ACTIVE)
        copy_fields(schedule, request.schedule, SETTABLE)
        if not schedule.HasField("start_time"):
            schedule.start_time.CopyFrom(stamp_of(now))
        schedule.create_pipeline_job_request.parent = parent
        schedule.next_run_time.CopyFrom(stamp_of(first_run(schedule, now)))
        if over(schedule, now):
            complete(schedule)
        schedule = self._vertex.store.create(f"{parent}/schedules/{self._vertex.store.new_id()}", schedule)
        self._timetable.look_again()
        return schedule

    def get_schedule(self, request: Any) -> Any:
        """The schedule as it is now."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.Schedule)

    def list_schedules(self, request: Any) -> Any:
        """Schedules of a location, newest first unless another order is asked for."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.Schedule,
            filter=request.filter,
            order_by=request.order_by or "create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListSchedulesResponse(schedules=page.items, next_page_token=page.next_page_token)

    def update_schedule(self, request: Any) -> Any:
        """Change a schedule: runs that were to come before now are skipped, the next comes by the new times."""
        given = request.schedule
        paths = [path for path in request.update_mask.paths if path.partition(".")[0] in (*SETTABLE, "*")]
        if not request.update_mask.paths:
            raise invalid("update_mask", "Required field is not set.")
        unknown = [path for path in request.update_mask.paths if not _is_field(path)]
        if unknown:
            raise invalid("update_mask", f"`{unknown[0]}` is not a field of a Schedule.")
        if any(path.endswith("_job_request") and path not in SETTABLE for path in request.update_mask.paths):
            raise invalid("update_mask", "The type of a schedule's request cannot be changed.")
        if "*" in paths:
            paths = list(SETTABLE)
        name = self._vertex.name(given.name)
        now = self._timetable.clock.now()

        def change(stored: Any) -> None:
            _require(stored, "updated", v1.Schedule.ACTIVE, v1.Schedule.PAUSED)
            before = v1.Schedule()
            before.CopyFrom(stored)
            if "create_pipeline_job_request" in paths:
                check_request_kind(given)
            if paths:
                apply_mask(stored, given, paths, SETTABLE)
            for field in SETTABLE:
                if _is_set(before, field) and not _is_set(stored, field) and field != "allow_queueing":
                    raise invalid(f"schedule.{field}", "A field that is set cannot be unset by an update.")
            check_schedule(self._vertex, stored, parent_of(name), now)
            stored.create_pipeline_job_request.parent = parent_of(name)
            stored.next_run_time.CopyFrom(stamp_of(first_run(stored, now)))
            if over(stored, now):
                complete(stored)

        schedule = self._vertex.store.modify(name, v1.Schedule, change)
        self._timetable.look_again()
        return schedule

    def pause_schedule(self, request: Any) -> Empty:
        """Start no runs until it is resumed; those under way go on."""
        now = self._timetable.clock.now()

        def change(stored: Any) -> None:
            _require(stored, "paused", v1.Schedule.ACTIVE)
            stored.state = v1.Schedule.PAUSED
            stored.last_pause_time.CopyFrom(stamp_of(now))

        self._vertex.store.modify(self._vertex.name(request.name), v1.Schedule, change)
        return Empty()

    def resume_schedule(self, request: Any) -> Empty:
        """Go on from the next time after now or, with catch_up, from the first that was missed."""
        now = self._timetable.clock.now()

        def change(stored: Any) -> None:
            _require(stored, "resumed", v1.Schedule.PAUSED)
            stored.state = v1.Schedule.ACTIVE
            stored.last_resume_time.CopyFrom(stamp_of(now))
            stored.catch_up = request.catch_up
            if not request.catch_up and instant(stored.next_run_time) <= now:
                stored.next_run_time.CopyFrom(stamp_of(Cron(stored.cron).next_after(now)))
            if over(stored, now):
                complete(stored)

        self._vertex.store.modify(self._vertex.name(request.name), v1.Schedule, change)
        self._timetable.look_again()
        return Empty()

    def delete_schedule(self, request: Any) -> Any:
        """Forget a schedule; the runs it has started stay."""
        name = self._vertex.name(request.name)
        self._vertex.store.delete(name, v1.Schedule)
        return self._vertex.operations.done(parent_of(name), metadata=generic_metadata(v1.DeleteOperationMetadata))


def _require(schedule: Any, what: str, *states: int) -> None:
    if schedule.state not in states:
        names = " or ".join(v1.Schedule.State.Name(state) for state in states)
        raise FailedPrecondition(
            f"Schedule `{schedule.name}` is in state {v1.Schedule.State.Name(schedule.state)}: only one that is "
            f"{names} can be {what}."
        )


def _is_field(path: str) -> bool:
    return path == "*" or path.partition(".")[0] in v1.Schedule.DESCRIPTOR.fields_by_name


def _is_set(schedule: Any, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in schedule.ListFields())
