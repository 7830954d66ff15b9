"""Jobs: inserted, run in threads, waited for, cancelled, and accounted for after a restart.

What each kind of job does stands in `query.py`, `load.py`, `extract.py` and `copy.py`.
"""

from __future__ import annotations

import copy
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from localcloud.bigquery.engine import Cancellation
from localcloud.bigquery.failures import Invalid, Stopped
from localcloud.bigquery.problems import error_proto

from .store import JobFilter, JobRef, JobStore, Resource, now_ms

KINDS = ("query", "load", "extract", "copy")
DEFAULT_LOCATION = "US"
_THREADS = 8
_ID = re.compile(r"[A-Za-z0-9_\-]{1,1024}")
_KILLED = (
    "The local cloud was stopped while this job ran; it left its destination as it was, or complete. "
    "Look at the destination, then run the job again."
)


@dataclass
class Job:
    """A job while it runs.

    Args:
        resource: Its resource, which what runs it fills in.
        upload: The file that came with a load job; removed when the job ends.
    """

    resource: Resource
    upload: Path | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def ref(self) -> JobRef:
        """Its name."""
        return JobRef.of(self.resource)

    @property
    def kind(self) -> str:
        """query, load, extract or copy."""
        return str(self.resource["configuration"]["jobType"]).lower()

    @property
    def configuration(self) -> dict[str, Any]:
        """The part of the configuration that is about its kind; what is written there is shown to clients."""
        configuration: dict[str, Any] = self.resource["configuration"][self.kind]
        return configuration

    @property
    def dry_run(self) -> bool:
        """Only check."""
        return bool(self.resource["configuration"].get("dryRun"))

    @property
    def statistics(self) -> dict[str, Any]:
        """JobStatistics."""
        statistics: dict[str, Any] = self.resource["statistics"]
        return statistics

    @property
    def errors(self) -> list[dict[str, str]]:
        """What clients see in `status.errors`; warnings of a job that succeeded as well."""
        errors: list[dict[str, str]] = self.resource["status"].setdefault("errors", [])
        return errors


Work = Callable[[Job], None]
"""Does what a job is for: fills in its statistics, or raises the error that it failed with."""


class Jobs:
    """All jobs. Thread safe.

    Args:
        store: Where they are kept.
        work: What does each kind of job.
    """

    def __init__(self, store: JobStore, work: Mapping[str, Work]) -> None:
        self.store = store
        self._work = work
        self._running: dict[JobRef, Job] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bigquery-job")

    def recover(self) -> None:
        """Ends the jobs that an earlier process was killed in."""
        for resource in self.store.unfinished():
            _finish(resource, {"reason": "stopped", "message": _KILLED})
            self.store.save(resource)

    def close(self) -> None:
        """Cancels what runs and waits for it."""
        with self._lock:
            running = list(self._running.values())
        for job in running:
            job.cancellation.cancel()
        self._threads.shutdown(cancel_futures=True)

    def insert(
        self, project: str, resource: Mapping[str, Any], *, upload: Path | None = None, request: str | None = None
    ) -> Job:
        """Accepts a job and starts it; a dry run is done when this returns and is not kept.

        Raises:
            Invalid: The configuration names no kind of job, or several; a bad job id.
            Duplicate: A job of that id is there already.
        """
        job = Job(_new_resource(project, resource), upload)
        if job.dry_run:
            self._dry_run(job)
            return job
        with self._lock:
            self.store.insert(job.resource, request=request)
            self._running[job.ref] = job
        self._threads.submit(self._run, job)
        return job

    def _dry_run(self, job: Job) -> None:
        try:
            self._work[job.kind](job)
        finally:
            job.finished.set()
            if job.upload is not None:
                job.upload.unlink(missing_ok=True)
        job.resource["status"] = {"state": "DONE"}
        job.statistics.pop("startTime", None)

    def _run(self, job: Job) -> None:
        problem: dict[str, str] | None = None
        timeout = int(job.resource["configuration"].get("jobTimeoutMs") or 0)
        timer = threading.Timer(timeout / 1000, job.cancellation.cancel) if timeout else None
        try:
            job.cancellation.check()
            job.statistics["startTime"] = str(now_ms())
            job.resource["status"]["state"] = "RUNNING"
            self.store.save(job.resource)
            if timer is not None:
                timer.daemon = True
                timer.start()
            self._work[job.kind](job)
        except Stopped as stopped:
            problem = error_proto(stopped)
            if timer is not None and not timer.is_alive():
                problem = {"reason": "stopped", "message": f"Job timed out after {timeout / 1000:g} seconds"}
        except BaseException as error:
            problem = error_proto(error)
        finally:
            if timer is not None:
                timer.cancel()
            if job.upload is not None:
                job.upload.unlink(missing_ok=True)
        _finish(job.resource, problem)
        self.store.save(job.resource)
        with self._lock:
            self._running.pop(job.ref, None)
        job.finished.set()

    def add_children(self, parent: Job, children: list[Resource]) -> None:
        """Keeps the statements of a script, which have run already, as jobs of their own."""
        for child in children:
            child["statistics"]["parentJobId"] = parent.ref.id
            self.store.insert(child)

    def get(self, project: str, job: str, location: str = "") -> Resource:
        """The job as it is now; Missing where there is none."""
        resource = self.store.get(project, job, location)
        with self._lock:
            live = self._running.get(JobRef.of(resource))
        # orjson holds the GIL while it walks the resource that the job's thread is writing.
        return orjson.loads(orjson.dumps(live.resource)) if live is not None else resource

    def wait(self, resource: Resource, seconds: float) -> Resource:
        """The job when it is DONE, or as it is when the time is over."""
        with self._lock:
            live = self._running.get(JobRef.of(resource))
        if live is not None:
            live.finished.wait(seconds)
        elif resource["status"]["state"] == "DONE":
            return resource
        ref = JobRef.of(resource)
        return self.get(ref.project, ref.id, ref.location)

    def cancel(self, project: str, job: str, location: str = "") -> Resource:
        """Asks the job to stop; a job that is DONE stays as it is."""
        resource = self.get(project, job, location)
        with self._lock:
            live = self._running.get(JobRef.of(resource))
        if live is not None:
            live.cancellation.cancel()
        return self.wait(resource, 1.0)

    def delete(self, project: str, job: str, location: str = "") -> None:
        """Forgets a job that is DONE.

        Raises:
            Invalid: It still runs.
        """
        resource = self.get(project, job, location)
        if resource["status"]["state"] != "DONE":
            raise Invalid(f"Job {JobRef.of(resource)} is still running: cancel it before deleting it")
        self.store.delete(JobRef.of(resource))

    def page(self, project: str, chosen: JobFilter, *, limit: int, before: int = 0) -> tuple[list[Resource], int]:
        """Jobs of a project, the newest first; see JobStore.page."""
        return self.store.page(project, chosen, limit=limit, before=before)


def _new_resource(project: str, given: Mapping[str, Any]) -> Resource:
    configuration = copy.deepcopy(dict(given.get("configuration") or {}))
    kinds = [kind for kind in KINDS if configuration.get(kind) is not None]
    if len(kinds) != 1:
        raise Invalid("Required parameter is missing: configuration needs exactly one of query, load, extract and copy")
    configuration["jobType"] = kinds[0].upper()
    reference = given.get("jobReference") or {}
    job_id = reference.get("jobId") or f"job_{secrets.token_urlsafe(21).replace('-', '_')}"
    if not _ID.fullmatch(job_id):
        raise Invalid(
            f"Invalid job ID {job_id!r}: it may have letters, digits, dashes and underscores, at most 1024 of them"
        )
    if reference.get("projectId") and reference["projectId"] != project:
        raise Invalid(f"Value {reference['projectId']!r} in jobReference does not agree with project {project!r}")
    ref = JobRef(project, reference.get("location") or DEFAULT_LOCATION, job_id)
    return job_resource(ref, configuration)


def job_resource(ref: JobRef, configuration: dict[str, Any]) -> Resource:
    """A new job that has not started."""
    return {
        "kind": "bigquery#job",
        "etag": secrets.token_urlsafe(12),
        "id": str(ref),
        "configuration": configuration,
        "jobReference": ref.resource,
        "statistics": {"creationTime": str(now_ms())},
        "status": {"state": "PENDING"},
    }


def _finish(resource: Resource, problem: dict[str, str] | None) -> None:
    """DONE, with the problem as errorResult where there is one."""
    statistics, status = resource["statistics"], resource["status"]
    ended = now_ms()
    statistics.setdefault("startTime", str(ended))
    statistics["endTime"] = str(ended)
    if statistics.get("finalExecutionDurationMs") is None:
        statistics["finalExecutionDurationMs"] = str(ended - int(statistics["startTime"]))
    status["state"] = "DONE"
    if problem is not None:
        status["errorResult"] = problem
        status.setdefault("errors", [])
        if problem not in status["errors"]:
            status["errors"].insert(0, problem)
    if not status.get("errors", True):
        del status["errors"]
    resource["etag"] = f"{ended:x}{secrets.token_hex(4)}"
