"""What a schedule may say: the checks of what a client sends, each error naming the field.

What follows from a schedule is localcloud.vertex.schedules.timetable.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from localcloud.errors import Unimplemented
from localcloud.vertex.common import Vertex, check_display_name, check_labels, invalid
from localcloud.vertex.schedules.cron import Cron, CronError

SETTABLE = (
    "display_name",
    "cron",
    "start_time",
    "end_time",
    "max_run_count",
    "max_concurrent_run_count",
    "max_concurrent_active_run_count",
    "allow_queueing",
    "create_pipeline_job_request",
)
"""What clients say; all else in a schedule is output only."""
_MODEL_MONITORING = 15
"""The field of v1beta1's create_model_monitoring_job_request, which v1 does not have."""


def cron_of(schedule: Any) -> Cron:
    """The cron line of a schedule.

    Raises:
        InvalidArgument: It means nothing.
    """
    try:
        return Cron(schedule.cron)
    except CronError as error:
        raise invalid("schedule.cron", f"`{schedule.cron}` is not a cron schedule: {error}.") from None


def check_request_kind(schedule: Any) -> None:
    """Refuse what is not a pipeline.

    Raises:
        Unimplemented: Notebooks and model monitoring jobs are not scheduled here.
        InvalidArgument: No request is set.
    """
    kind = schedule.WhichOneof("request")
    if any(field.field_number == _MODEL_MONITORING for field in UnknownFieldSet(schedule)):
        kind = "create_model_monitoring_job_request"
    if kind is None:
        raise invalid("schedule.request", "Required field is not set: give create_pipeline_job_request.")
    if kind != "create_pipeline_job_request":
        raise Unimplemented(
            f"schedule.{kind} is not implemented by the local cloud: only create_pipeline_job_request is."
        )


def check_schedule(vertex: Vertex, schedule: Any, parent: str, now: datetime) -> None:
    """Refuse a schedule that Vertex AI would not take.

    Args:
        vertex: The shared facilities.
        schedule: As the client sent it.
        parent: The location it is to be in, with the project's number.
        now: The time.

    Raises:
        InvalidArgument: A field is missing or wrong.
    """
    check_display_name(schedule.display_name, "schedule.display_name")
    if schedule.WhichOneof("time_specification") is None or not schedule.cron:
        raise invalid("schedule.cron", "Required field is not set.")
    cron_of(schedule)
    if schedule.max_concurrent_run_count < 1:
        raise invalid(
            "schedule.max_concurrent_run_count", f"Must be at least 1, it is {schedule.max_concurrent_run_count}."
        )
    for field in ("max_run_count", "max_concurrent_active_run_count"):
        if getattr(schedule, field) < 0:
            raise invalid(f"schedule.{field}", f"Must be positive, it is {getattr(schedule, field)}.")
    if schedule.HasField("end_time"):
        end = instant(schedule.end_time)
        if end <= now:
            raise invalid("schedule.end_time", f"Must be in the future, it is {end.isoformat()}.")
        if schedule.HasField("start_time") and end <= instant(schedule.start_time):
            raise invalid("schedule.end_time", "Must be later than start_time.")
    request = schedule.create_pipeline_job_request
    field = "schedule.create_pipeline_job_request"
    if vertex.parent(request.parent) != parent:
        raise invalid(f"{field}.parent", f"Must be the schedule's own location `{parent}`, not `{request.parent}`.")
    check_labels(request.pipeline_job.labels, f"{field}.pipeline_job.labels")


def instant(stamp: Any) -> datetime:
    """A Timestamp as a time in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]


def stamp_of(moment: datetime) -> Timestamp:
    """A time in UTC as a Timestamp."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
