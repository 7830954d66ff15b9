"""One batch prediction job as it runs: its serving containers, its worker process, its states, its end.

Which rows are sent and what becomes of them is the worker's (localcloud.vertex.batch.worker); the API in front is
localcloud.vertex.batch.service.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from localcloud.errors import Code
from localcloud.runtime import ContainerSpec, LogTarget
from localcloud.vertex.batch.checks import destination, plan, replica_count
from localcloud.vertex.batch.plan import Plan
from localcloud.vertex.batch.worker_process import WorkerProcess
from localcloud.vertex.common import Vertex, id_of, location_of, logs_link, now, parent_of, project_of, v1
from localcloud.vertex.replica import Replica
from localcloud.vertex.serving_container import Serving

_log = logging.getLogger(__name__)

STOP_GRACE = 10.0
CANCEL_GRACE = 30.0
"""Seconds that the worker has to write out what it has when the job is cancelled."""
FUTILE_RESTARTS = 5
"""Restarts of every container, with no row done meanwhile, after which the job has failed."""


class JobFailure(Exception):
    """How a job failed: what becomes its `error`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class BatchServing(Serving):
    """A model as a batch prediction job serves it: as an endpoint would, with the job's log.

    Args:
        artifact_uri: The artifact of an unmanaged model; empty for one of the Model Registry.
    """

    artifact_uri: str = ""

    @property
    def storage_uri(self) -> str:
        """The registry's frozen copy; for an unmanaged model what it names itself."""
        return self.artifact_uri or super().storage_uri

    def container(self, vertex: Vertex, name: str, port: int) -> ContainerSpec:
        """The container of a replica, whose output is the job's."""
        spec = super().container(vertex, name, port)
        if spec.log is None:
            return spec
        project, job = vertex.projects.id(project_of(self.endpoint)), id_of(self.endpoint)
        log = LogTarget(
            log_name=spec.log.log_name,
            resource_type="ml_job",
            resource_labels={"job_id": job, "project_id": project, "task_name": name},
        )
        return replace(spec, log=log)


class BatchRun:
    """Runs a stored BatchPredictionJob in a thread of its own.

    Args:
        vertex: The shared facilities.
        job: The job as it was stored, PENDING.
        model: The Model version; for an unmanaged model one that is made of it.
        ended: Called with the job's name when all is over.
    """

    def __init__(self, vertex: Vertex, job: Any, model: Any, ended: Callable[[str], None]) -> None:
        self.name: str = job.name
        self._vertex = vertex
        self._job = job
        self._ended = ended
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        deployed = v1.DeployedModel(id=id_of(job.name), disable_container_logging=job.disable_container_logging)
        deployed.dedicated_resources.machine_spec.CopyFrom(job.dedicated_resources.machine_spec)
        endpoint = f"{parent_of(job.name)}/endpoints/{id_of(job.name)}"
        self._serving = BatchServing(endpoint, deployed, model, job.unmanaged_container_model.artifact_uri)
        self._replicas = [
            Replica(vertex, self._serving, f"replica-{number}", lambda: self._events.put({"replicas": True}))
            for number in range(replica_count(job))
        ]
        self._worker: WorkerProcess | None = None
        self._total: int | None = None
        self._done = 0
        self._thread = threading.Thread(target=self._run, name=f"batch-{id_of(job.name)}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to end as CANCELLED."""
        self._events.put({"cancel": True})

    def shut_down(self) -> None:
        """Ask the job to end because the server does."""
        self._events.put({"shutdown": True})

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    # The run

    def _run(self) -> None:
        state, error = "JOB_STATE_SUCCEEDED", None
        try:
            self._supervise()
        except JobFailure as failure:
            state, error = "JOB_STATE_FAILED", failure
        except _Cancelled:
            state, error = "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED.number, "CANCELED")
        except Exception as unexpected:
            _log.exception("batch prediction job %s failed", self.name)
            message = f"Internal error occurred for the current attempt: {type(unexpected).__name__}."
            state, error = "JOB_STATE_FAILED", JobFailure(Code.INTERNAL.number, message)
        if self._worker is not None:
            self._worker.kill()
        # All that the job is for is written: nobody should wait for its containers to drain.
        finish(self._vertex, self.name, state, error)
        self._stop_replicas()
        self._ended(self.name)

    def _supervise(self) -> None:
        for replica in self._replicas:
            replica.start()
        self._worker = WorkerProcess(self._vertex.cloud, self._plan(), self._events.put)
        self._until_ready()
        self._set_running()
        self._send_ports()
        since = [replica.restarts for replica in self._replicas]
        done = 0
        while True:
            event = self._next()
            if "replicas" in event:
                self._send_ports()
                if self._done > done:
                    since, done = [replica.restarts for replica in self._replicas], self._done
                tried = min(one.restarts - before for one, before in zip(self._replicas, since, strict=True))
                if tried >= FUTILE_RESTARTS and not any(replica.ready for replica in self._replicas):
                    raise self._never_ready()
            elif "end" in event:
                self._conclude(event)
                return

    def _next(self) -> dict[str, Any]:
        """The next event; what every event means is done already.

        Raises:
            JobFailure: The worker cannot go on, or the server ends.
            _Cancelled: The job was cancelled; the worker has ended.
        """
        assert self._worker is not None
        event = self._events.get()
        if "cancel" in event:
            self._worker.cancel()
            self._drain()
            raise _Cancelled
        if "shutdown" in event:
            message = "The local cloud was stopped while the job was running. Submit the job again."
            raise JobFailure(Code.ABORTED.number, message)
        if "problem" in event:
            raise JobFailure(event["problem"]["code"], event["problem"]["message"])
        if "gone" in event:
            message = f"The worker process of the job ended unexpectedly. Last lines of its log:\n{event['gone']}"
            raise JobFailure(Code.INTERNAL.number, message)
        if "total" in event:
            self._total = event["total"]
        if "table" in event:
            self._change(lambda job: setattr(job.output_info, "bigquery_output_table", event["table"]))
        if "successful" in event:
            self._store_progress(event)
        return event

    def _drain(self) -> None:
        """Let a worker that was told to stop write out what it has."""
        until = time.monotonic() + CANCEL_GRACE
        while time.monotonic() < until:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if "successful" in event:
                self._store_progress(event)
            if {"end", "problem", "gone"} & event.keys():
                return

    def _until_ready(self) -> None:
        while not all(replica.ready for replica in self._replicas):
            self._next()
            if any(replica.problem for replica in self._replicas):
                raise self._never_ready()

    def _never_ready(self) -> JobFailure:
        problem = next(replica.problem for replica in self._replicas if replica.problem)
        lead = "" if problem.startswith("Model server") else "Model server never became ready. "
        job = id_of(self.name)
        conditions = ('resource.type="ml_job"', f'resource.labels.job_id="{job}"')
        link = logs_link(project_of(self.name), f"ml_job/job_id/{job}", conditions)
        return JobFailure(
            Code.FAILED_PRECONDITION.number,
            f"{lead}{problem}\nPlease validate that your model file or container configuration are valid. Model server "
            f"logs can be found at {link} (in the local cloud: `mlops logs {job}`).",
        )

    def _conclude(self, event: dict[str, Any]) -> None:
        """The worker has gone through all rows, or given up."""
        failures = event["failures"]

        def note(job: Any) -> None:
            for failure in failures:
                job.partial_failures.add(code=failure["code"], message=failure["message"])

        self._change(note)
        successful, failed = event["successful"], event["failed"]
        first = failures[0]["message"] if failures else ""
        if event["hopeless"]:
            raise JobFailure(
                Code.FAILED_PRECONDITION.number,
                f"{failed} of the first {successful + failed} instances failed, so the others were not tried. "
                f"First failure: {first}",
            )
        if not successful and failed:
            message = f"All {failed} instances failed. First failure: {first}"
            raise JobFailure(failures[0]["code"], message)
        if not successful:
            where = (
                ", ".join(self._job.input_config.gcs_source.uris) or self._job.input_config.bigquery_source.input_uri
            )
            raise JobFailure(Code.INVALID_ARGUMENT.number, f"input_config: there are no instances in {where}.")

    # The job as it is stored

    def _plan(self) -> Plan:
        cloud = self._vertex.cloud
        scratch = cloud.root / "vertex-batch" / id_of(self.name)
        return plan(
            self._job,
            self._serving.model.display_name,
            predict_route=self._serving.predict_route,
            project=self._vertex.projects.id(project_of(self.name)),
            location="EU" if location_of(self.name).startswith("europe-") else "US",
            root=str(cloud.root),
            scratch=str(scratch),
        )

    def _set_running(self) -> None:
        where, _ = destination(self._job, self._serving.model.display_name)

        def change(job: Any) -> None:
            if job.state == v1.JobState.Value("JOB_STATE_PENDING"):
                job.state = v1.JobState.Value("JOB_STATE_RUNNING")
            job.start_time.CopyFrom(now())
            if job.output_config.predictions_format == "bigquery":
                job.output_info.bigquery_output_dataset = "bq://" + ".".join(where.split(".")[:2])
            else:
                job.output_info.gcs_output_directory = where

        self._change(change)

    def _store_progress(self, event: dict[str, Any]) -> None:
        successful, failed = event["successful"], event["failed"]
        if "end" not in event and successful + failed == self._done:
            return
        self._done = successful + failed
        over = "end" in event and not event["hopeless"]
        total = self._total if self._total is not None else (self._done if over else None)

        def change(job: Any) -> None:
            job.completion_stats.successful_count = successful
            job.completion_stats.failed_count = failed
            job.completion_stats.incomplete_count = -1 if total is None else max(0, total - successful - failed)

        self._change(change)

    def _change(self, change: Callable[[Any], None]) -> None:
        self._vertex.store.modify(self.name, v1.BatchPredictionJob, change)

    # Containers

    def _send_ports(self) -> None:
        assert self._worker is not None
        self._worker.ports([replica.port for replica in self._replicas if replica.ready])

    def _stop_replicas(self) -> None:
        threads = [threading.Thread(target=one.stop, args=(STOP_GRACE,), daemon=True) for one in self._replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(STOP_GRACE + 15)


class _Cancelled(Exception):
    """Somebody cancelled the job."""


def finish(vertex: Vertex, name: str, state: str, error: JobFailure | None) -> None:
    """Write a job's end into the store."""

    def change(stored: Any) -> None:
        stored.state = v1.JobState.Value(state)
        stored.end_time.CopyFrom(now())
        if error is not None:
            stored.error.code = error.code
            stored.error.message = error.message

    vertex.store.modify(name, v1.BatchPredictionJob, change)
