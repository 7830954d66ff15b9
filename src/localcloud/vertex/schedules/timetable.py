"""The timetable: one thread that waits for the next time any schedule names, and starts the run that is due.

It has no memory of its own: next_run_time in the store is the next run to start, so a killed server goes on where it
was. How the run goes is PipelineService's business.
"""

from __future__ import annotations

import logging
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format

from localcloud.errors import AlreadyExists, CloudError
from localcloud.vertex.common import Vertex, id_of, parent_of, v1
from localcloud.vertex.schedules.cron import Cron
from localcloud.vertex.schedules.rules import instant, stamp_of

_log = logging.getLogger(__name__)
CREATE = "google.cloud.aiplatform.v1.PipelineService.CreatePipelineJob"
LIST = "google.cloud.aiplatform.v1.PipelineService.ListPipelineJobs"
_LONGEST_WAIT = 30.0
"""Seconds after which the clock is looked at again: it stands still while the machine sleeps."""
_FIRST_LOOK = 1.0
"""Seconds after the start until the first run may start."""
_AGAIN = 1.0
"""Seconds until what could not be done, such as starting a queued run, is tried again."""
_AT_ONCE = 20
"""Runs of one schedule that are started before the others have their turn."""
_ACTIVE = ("QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")
_TIME = "%Y%m%d%H%M%S"


class Clock:
    """The time of day; tests have one that they set."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)


class Timetable:
    """Starts the runs of all active schedules.

    Args:
        vertex: The shared facilities.
        clock: Tells the time.
    """

    def __init__(self, vertex: Vertex, clock: Clock | None = None) -> None:
        self._vertex = vertex
        self.clock = clock or Clock()
        self._changed = threading.Condition()
        self._news = False
        self._ended = False
        self._again = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Settle what was missed while the server was down, then wait for what comes."""
        self.settle()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Decide what becomes of the times that passed without a server."""
        now = self.clock.now()
        for schedule in self._active():
            self._after_absence(schedule, now)

    def stop(self) -> None:
        """End the thread; schedules stay as they are."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(10)

    def look_again(self) -> None:
        """A schedule was made or changed."""
        with self._changed:
            self._news = True
            self._changed.notify()

    def tick(self) -> None:
        """Start every run that is due now."""
        now = self.clock.now()
        self._again = False
        for schedule in self._active():
            try:
                self._start_due(schedule.name, now)
            except Exception:
                # one schedule's trouble must not keep the others from their time
                _log.exception("%s", schedule.name)
                self._again = True

    def _run(self) -> None:
        with self._changed:
            # runs need the server's port, which it opens when all its services have started
            if self._changed.wait_for(lambda: self._ended, _FIRST_LOOK):
                return
        while True:
            self.tick()
            with self._changed:
                if not self._news and not self._ended:
                    self._changed.wait(self._pause())
                self._news = False
                if self._ended:
                    return

    def _pause(self) -> float:
        if self._again:
            return _AGAIN
        times = [instant(each.next_run_time) for each in self._active() if each.HasField("next_run_time")]
        if not times:
            return _LONGEST_WAIT
        return min(max((min(times) - self.clock.now()).total_seconds(), 0.01), _LONGEST_WAIT)

    def _active(self) -> list[Any]:
        return list(self._vertex.store.all("", v1.Schedule, filter="state=ACTIVE", descendants=True))

    def _after_absence(self, schedule: Any, now: datetime) -> None:
        """Of the times that passed without a server the last is still started; all are, where runs are queued."""
        if not schedule.HasField("next_run_time") or keeps_all(schedule):
            return
        due = instant(schedule.next_run_time)
        until = min(now, instant(schedule.end_time)) if schedule.HasField("end_time") else now
        if due > until:
            return
        last = Cron(schedule.cron).last_until(due, until)

        def change(stored: Any) -> None:
            stored.next_run_time.CopyFrom(stamp_of(last))

        self._vertex.store.modify(schedule.name, v1.Schedule, change)

    def _start_due(self, name: str, now: datetime) -> None:
        for _ in range(_AT_ONCE):
            schedule = self._vertex.store.find(name, v1.Schedule)
            if schedule is None or schedule.state != v1.Schedule.ACTIVE:
                return
            if over(schedule, now):
                self._vertex.store.modify(name, v1.Schedule, complete)
                return
            if not schedule.HasField("next_run_time") or instant(schedule.next_run_time) > now:
                return
            if self._full(schedule):
                if keeps_all(schedule):
                    self._again = True
                    return
                limit = schedule.max_concurrent_active_run_count
                said = f"RESOURCE_EXHAUSTED: skipped, max_concurrent_active_run_count {limit} runs are active."
                started = False
            else:
                said, started = self._start(schedule)
            self._vertex.store.modify(name, v1.Schedule, _Outcome(schedule, said, started))
        self.look_again()

    def _full(self, schedule: Any) -> bool:
        limit = schedule.max_concurrent_active_run_count
        if not limit:
            return False
        states = " OR ".join(f'state="PIPELINE_STATE_{state}"' for state in _ACTIVE)
        request = v1.ListPipelineJobsRequest(
            parent=parent_of(schedule.name),
            filter=f'schedule_name="{schedule.name}" AND ({states})',
            page_size=limit,
        )
        return bool(len(self._vertex.cloud.call(LIST, request).pipeline_jobs) >= limit)

    def _start(self, schedule: Any) -> tuple[str, bool]:
        """Ask for the run; what came of it in words, and whether it was started."""
        request = v1.CreatePipelineJobRequest()
        request.CopyFrom(schedule.create_pipeline_job_request)
        request.pipeline_job.schedule_name = schedule.name
        request.pipeline_job_id = job_id(schedule)
        try:
            self._vertex.cloud.call(CREATE, request)
        except AlreadyExists:
            # the server was killed after it had started this run and before it had written that down
            return "OK", True
        except CloudError as error:
            return f"{error.code.name}: {error.message}", False
        except Exception:
            _log.exception("%s", schedule.name)
            return "INTERNAL: the run could not be created; the local cloud's log says why.", False
        return "OK", True


class _Outcome:
    """Writes into a schedule what came of a time that was due, unless somebody has changed its times meanwhile."""

    def __init__(self, schedule: Any, said: str, started: bool) -> None:
        self._due = instant(schedule.next_run_time)
        self._said = said
        self._started = started

    def __call__(self, stored: Any) -> None:
        stored.started_run_count += self._started
        stored.last_scheduled_run_response.scheduled_run_time.CopyFrom(stamp_of(self._due))
        stored.last_scheduled_run_response.run_response = self._said
        if stored.HasField("next_run_time") and instant(stored.next_run_time) == self._due:
            stored.next_run_time.CopyFrom(stamp_of(Cron(stored.cron).next_after(self._due)))
        if over(stored, self._due):
            complete(stored)


def over(schedule: Any, now: datetime) -> bool:
    """Whether no run is to come: as many were started as were wanted, or the next would come after end_time."""
    if schedule.max_run_count and schedule.started_run_count >= schedule.max_run_count:
        return True
    if not schedule.HasField("end_time"):
        return False
    end = instant(schedule.end_time)
    return bool(end < (instant(schedule.next_run_time) if schedule.HasField("next_run_time") else now))


def complete(schedule: Any) -> None:
    """Make a schedule one that is over."""
    schedule.state = v1.Schedule.COMPLETED
    schedule.ClearField("next_run_time")


def keeps_all(schedule: Any) -> bool:
    """Whether a time that could not be kept is kept later: always with queueing, else what catch_up brings back."""
    if schedule.allow_queueing:
        return True
    caught_up = schedule.catch_up and schedule.HasField("last_resume_time")
    return bool(caught_up and instant(schedule.next_run_time) < instant(schedule.last_resume_time))


def first_run(schedule: Any, now: datetime) -> datetime:
    """The first time from now on, and not before start_time."""
    after = now
    if schedule.HasField("start_time"):
        # a run at start_time itself is one after it
        after = max(now, instant(schedule.start_time) - timedelta(microseconds=1))
    return Cron(schedule.cron).next_after(after)


def job_id(schedule: Any) -> str:
    """The id of the run that is due: the same however often it is asked for, so that no time is started twice."""
    request = schedule.create_pipeline_job_request
    info = json_format.MessageToDict(request.pipeline_job.pipeline_spec).get("pipelineInfo", {})
    named = request.pipeline_job_id or str(info.get("name", ""))
    clean = re.sub(r"[^a-z0-9-]+", "-", named.lower()).strip("-")
    tail = f"-{id_of(schedule.name)}-{instant(schedule.next_run_time).strftime(_TIME)}"
    return (clean if clean[:1].isalpha() else f"pipeline-{clean}".rstrip("-"))[: 127 - len(tail)] + tail


def schedule_time(job: Any) -> Any:
    """The time that a PipelineJob was scheduled for; its create_time where nobody scheduled it."""
    found = re.search(r"-(\d{14})$", job.name)
    if not job.schedule_name or found is None:
        return job.create_time
    return stamp_of(datetime.strptime(found.group(1), _TIME))
