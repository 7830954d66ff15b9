"""One custom job as it runs: its replicas' containers, restarts, the time limit, cancellation, the end.

States and error texts are those of https://cloud.google.com/vertex-ai/docs/training/understanding-training-service
and of observed jobs; the API in front is localcloud.vertex.jobs.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from localcloud.errors import CloudError, Code
from localcloud.runtime import Container, ContainerSpec, LogTarget, StartFailed, Stopped, stoppable
from localcloud.vertex.common import (
    Vertex,
    failure_lines,
    id_of,
    logs_link,
    machine_memory,
    now,
    project_environment,
    project_of,
    v1,
)
from localcloud.vertex.kfp_startup import StartupImages
from localcloud.vertex.worker_pools import Cluster, Replica, job_environment, replicas

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 7 * 24 * 3600.0
"""Seconds a job may run (https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec#Scheduling)."""
STOP_GRACE = 30.0
TRANSIENT_EXITS = frozenset({6, 134, 11, 139})
"""Exit codes (an abort, a segmentation fault) after which the whole job is tried again."""
KILLED = frozenset({137, 143})
"""Exit codes of a replica that was taken away from outside: it is started again."""
METRIC_FILE = PurePosixPath("/var/hypertune/output.metrics")
"""Where a trial's container reports its metrics."""
WORKER_RESTARTS = 5
JOB_RESTARTS = 3


class JobFailure(Exception):
    """How a job failed: what becomes its `error`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class TrialOf:
    """Which trial of a hyperparameter tuning job a custom job is.

    Args:
        id: The trial's id, `1`.
        reports: The folder for what its replicas report, a folder a replica.
    """

    id: str
    reports: Path

    def metric_file(self, replica: Replica) -> Path:
        """Where this replica's cloudml-hypertune writes to."""
        return self.reports / replica.name / METRIC_FILE.name


class JobRun:
    """Runs a stored CustomJob in a thread of its own.

    Args:
        vertex: The shared facilities.
        startup_images: What KFP's components install before they run.
        job: The job as it was stored, PENDING.
        ended: Called with the job's name when all is over.
        trial: What it is in hyperparameter tuning, if it is.
    """

    def __init__(
        self,
        vertex: Vertex,
        startup_images: StartupImages,
        job: Any,
        ended: Callable[[str], None],
        trial: TrialOf | None = None,
    ) -> None:
        self.name: str = job.name
        self._vertex = vertex
        self._startup_images = startup_images
        self._job = job
        self._ended = ended
        self._events: queue.Queue[tuple[Replica, Container] | str] = queue.Queue()
        self._unwanted = threading.Event()  # for environments that are being built
        self._containers: dict[str, Container] = {}
        self._trial = trial
        self._environment = job_environment(job)
        if trial is not None:
            self._environment |= {"CLOUD_ML_TRIAL_ID": trial.id, "CLOUD_ML_HP_METRIC_FILE": str(METRIC_FILE)}
        self._members = replicas(job.job_spec)
        self._cluster = Cluster(job.job_spec, self._members, trial.id if trial is not None else "")
        self._worker_restarts = 0
        self._job_restarts = 0
        self._thread = threading.Thread(target=self._run, name=f"job-{id_of(job.name)}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to end as CANCELLED."""
        self._events.put("cancel")
        self._unwanted.set()

    def shut_down(self) -> None:
        """Ask the job to end because the server does."""
        self._events.put("shutdown")
        self._unwanted.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; gives whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The run

    def _run(self) -> None:
        try:
            state, error = self._outcome()
        except Exception as unexpected:
            _log.exception("job %s failed", self.name)
            state = "JOB_STATE_FAILED"
            error = JobFailure(
                Code.INTERNAL, f"Internal error occurred for the current attempt: {type(unexpected).__name__}."
            )
            self._stop_all(STOP_GRACE)
        finish(self._vertex, self.name, state, error)
        self._ended(self.name)

    def _outcome(self) -> tuple[str, JobFailure | None]:
        try:
            return self._supervise(), None
        except JobFailure as failure:
            self._stop_all(STOP_GRACE)
            return "JOB_STATE_FAILED", failure
        except _Cancelled:
            self._stop_all(STOP_GRACE)
            return "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED, "CANCELED")
        except _ShutDown:
            self._stop_all(5.0)
            return "JOB_STATE_FAILED", JobFailure(
                Code.ABORTED, "The local cloud was stopped while the job was running. Submit the job again."
            )

    def _supervise(self) -> str:
        self._start_all()
        self._set_running()
        deadline = time.monotonic() + (self._timeout() or DEFAULT_TIMEOUT)
        while True:
            try:
                event = self._events.get(timeout=max(0.0, min(deadline - time.monotonic(), 3600.0)))
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                raise JobFailure(
                    Code.DEADLINE_EXCEEDED,
                    f"The job ran longer than its scheduling.timeout of {self._timeout():g} seconds and was stopped.",
                ) from None
            if isinstance(event, str):
                raise _Cancelled if event == "cancel" else _ShutDown
            replica, container = event
            if self._containers.get(replica.name) is not container:
                continue  # one that was replaced
            if container.wait() == 0:
                if replica.primary:
                    self._stop_all(STOP_GRACE)
                    return "JOB_STATE_SUCCEEDED"
                continue
            self._after_failure(replica, container)

    def _timeout(self) -> float:
        seconds: float = self._job.job_spec.scheduling.timeout.ToTimedelta().total_seconds()
        return seconds

    def _after_failure(self, replica: Replica, container: Container) -> None:
        """Start again what may be started again; else the job has failed."""
        code = container.wait()
        scheduling = self._job.job_spec.scheduling
        retried = not scheduling.disable_retries
        taken_away = code in KILLED and not container.out_of_memory
        whole_job = scheduling.restart_job_on_worker_restart or self._worker_restarts >= WORKER_RESTARTS
        if taken_away and retried and not whole_job:
            self._worker_restarts += 1
            self._pause(self._worker_restarts)
            self._start(replica)
        elif retried and (taken_away or code in TRANSIENT_EXITS) and self._job_restarts < JOB_RESTARTS:
            self._job_restarts += 1
            self._stop_all(STOP_GRACE)
            self._pause(self._job_restarts)
            self._start_all()
        else:
            raise self._failure(replica, code, container)

    def _pause(self, attempt: int) -> None:
        """Wait before a restart, each time longer, and not longer than until somebody cancels."""
        with suppress(queue.Empty):
            event = self._events.get(timeout=min(2.0 ** (attempt - 1) * 0.5, 10.0))
            self._events.put(event)

    def _start_all(self) -> None:
        for replica in self._members:
            self._start(replica)

    def _start(self, replica: Replica) -> None:
        try:
            with stoppable(self._unwanted):
                container = self._vertex.cloud.runtime.start(self._container_spec(replica))
        except Stopped:
            raise self._end_asked() from None
        except StartFailed as error:
            raise JobFailure(
                Code.INVALID_ARGUMENT,
                f"The replica {replica.name} exited with a non-zero status of 128. Termination reason: StartError. "
                f"Termination log message: {error.message} {self._where_logs_are()}",
            ) from None
        except CloudError as error:
            raise JobFailure(error.code, f"The replica {replica.name} could not be started: {error.message}") from None
        self._containers[replica.name] = container

        def watch() -> None:
            container.wait()
            self._events.put((replica, container))

        threading.Thread(target=watch, name=f"watch-{replica.name}", daemon=True).start()

    def _end_asked(self) -> Exception:
        """Which end was asked for first, where one was."""
        while not isinstance(event := self._events.get(), str):
            pass  # a replica that ended meanwhile
        return _Cancelled() if event == "cancel" else _ShutDown()

    def _container_spec(self, replica: Replica) -> ContainerSpec:
        pool = replica.spec
        image: Any
        command: list[str] | None
        args: list[str] | None
        if pool.WhichOneof("task") == "container_spec":
            task = pool.container_spec
            image, command, args = task.image_uri, list(task.command) or None, list(task.args) or None
            if command is not None:
                image, words = self._startup_images.prepare(task.image_uri, [*command, *(args or ())], self._say)
                command, args = list(words), []
        else:
            task = pool.python_package_spec
            packages = [self._package(uri) for uri in task.package_uris]
            images = self._vertex.cloud.runtime.images
            image = images.with_packages(task.executor_image_uri, packages) if packages else task.executor_image_uri
            command, args = ["python3", "-m", task.python_module], list(task.args)
        project = self._vertex.projects.id(project_of(self.name))
        environment = project_environment(project) | self._environment | self._cluster.environment(replica)
        environment |= {entry.name: entry.value for entry in task.env}
        return ContainerSpec(
            name=replica.name,
            image=image,
            command=command,
            args=args,
            env=environment,
            memory_bytes=machine_memory(pool.machine_spec.machine_type, "machine_type"),
            log=self._log_target(replica.name),
            mounts=self._mounts(replica),
        )

    def _mounts(self, replica: Replica) -> dict[str, Path]:
        if self._trial is None:
            return {}
        folder = self._trial.metric_file(replica).parent
        folder.mkdir(parents=True, exist_ok=True)
        return {str(METRIC_FILE.parent): folder}

    def _log_target(self, task_name: str) -> LogTarget:
        project = self._vertex.projects.id(project_of(self.name))
        return LogTarget(
            log_name=f"projects/{project}/logs/{task_name}",
            resource_type="ml_job",
            resource_labels={"job_id": id_of(self.name), "project_id": project, "task_name": task_name},
            labels={
                "ml.googleapis.com/job_id/log_area": "root",
                "ml.googleapis.com/trial_id": self._trial.id if self._trial is not None else "",
            },
        )

    def _say(self, line: str) -> None:
        """Say something in the job's log that none of its replicas does, as the training service does."""
        target = self._log_target("service")
        stream = self._vertex.cloud.logs.stream(
            target.log_name, target.resource_type, target.resource_labels, target.labels
        )
        stream.line(line, "INFO")

    def _package(self, uri: str) -> Any:
        if not self._vertex.cloud.objects.exists(uri):
            raise JobFailure(Code.NOT_FOUND, f"python_package_spec.package_uris: there is no object {uri}.")
        return self._vertex.cloud.objects.path(uri)

    def _stop_all(self, grace: float) -> None:
        """End every replica, all at once."""
        containers, self._containers = list(self._containers.values()), {}
        threads = [threading.Thread(target=container.stop, args=(grace,), daemon=True) for container in containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(grace + 10)

    def _failure(self, replica: Replica, code: int, container: Container) -> JobFailure:
        if container.out_of_memory:
            text = f"The replica {replica.name} ran out of memory and exited with a non-zero status of {code}."
        else:
            text = (
                f"The replica {replica.name} exited with a non-zero status of {code}. Termination reason: Error. \n"
                f"{failure_lines(container.tail())}\n"
            )
        return JobFailure(Code.INVALID_ARGUMENT, f"{text} {self._where_logs_are()}")

    def _where_logs_are(self) -> str:
        job = id_of(self.name)
        conditions = ('resource.type="ml_job"', f'resource.labels.job_id="{job}"')
        link = logs_link(project_of(self.name), f"ml_job/job_id/{job}", conditions)
        return (
            f"To find out more about why your job exited please check the logs: {link} "
            f"(in the local cloud: `mlops logs {job}`)"
        )

    def _set_running(self) -> None:
        def change(stored: Any) -> None:
            if stored.state == v1.JobState.Value("JOB_STATE_PENDING"):
                stored.state = v1.JobState.Value("JOB_STATE_RUNNING")
            stored.start_time.CopyFrom(now())

        self._vertex.store.modify(self.name, v1.CustomJob, change)


class _Cancelled(Exception):
    """Somebody cancelled the job."""


class _ShutDown(Exception):
    """The server ends."""


def finish(vertex: Vertex, name: str, state: str, error: JobFailure | None, kind: Any = v1.CustomJob) -> None:
    """Write a job's end into the store; other kinds of jobs that look the same end the same way."""

    def change(stored: Any) -> None:
        stored.state = v1.JobState.Value(state)
        stored.end_time.CopyFrom(now())
        if error is not None:
            stored.error.code = error.code.number
            stored.error.message = error.message

    vertex.store.modify(name, kind, change)
