"""JobService: custom jobs are created, read, listed, cancelled and deleted here.

How a job runs is localcloud.vertex.job_run; what its worker pools mean, localcloud.vertex.worker_pools.
"""

from __future__ import annotations

import threading
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import Code
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    v1,
)
from localcloud.vertex.job_kind import JobKind
from localcloud.vertex.job_run import JobFailure, JobRun, TrialOf, finish
from localcloud.vertex.kfp_startup import StartupImages
from localcloud.vertex.worker_pools import check_job_spec

OVER = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"})
_LOOK_SECONDS = 0.25
"""How often who waits for a job looks whether it is still wanted."""
_SETTABLE = ("display_name", "job_spec", "labels", "encryption_spec")


class JobService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#jobservice."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._startup_images = StartupImages(vertex.cloud.runtime)
        self._kind = JobKind[JobRun](vertex, v1.CustomJob)

    def start(self) -> None:
        """Mark the jobs of a former process, which ended with it, as what they are."""
        for job in self._kind.unfinished():
            if self._kind.word(job) == "CANCELLING":
                finish(self._vertex, job.name, "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED, "CANCELED"))
                continue
            reason = "The local cloud was restarted while the job was running. Submit the job again."
            finish(self._vertex, job.name, "JOB_STATE_FAILED", JobFailure(Code.ABORTED, reason))

    def stop(self) -> None:
        """End all jobs."""
        self._kind.stop()

    def create_custom_job(self, request: Any) -> Any:
        """Store a job and start it; it is PENDING until all its replicas are up."""
        return self.submit(self._vertex.parent(request.parent), request.custom_job)

    def submit(self, parent: str, given: Any, trial: TrialOf | None = None) -> Any:
        """The same for other services of Vertex AI whose work is a custom job.

        Args:
            parent: `projects/1/locations/r`.
            given: The CustomJob.
            trial: What it is in hyperparameter tuning, if it is.

        Raises:
            InvalidArgument: The job could not run.
        """
        check_display_name(given.display_name, "custom_job.display_name")
        check_labels(given.labels, "custom_job.labels")
        check_job_spec(given.job_spec)
        job = v1.CustomJob(state=v1.JobState.Value("JOB_STATE_PENDING"))
        copy_fields(job, given, _SETTABLE)
        name = f"{parent}/customJobs/{self._vertex.store.new_id()}"
        job = self._vertex.store.create(name, job)
        self._kind.begin(JobRun(self._vertex, self._startup_images, job, self._kind.forget, trial))
        return job

    def wait(self, name: str, cancelled: threading.Event) -> Any:
        """Wait until a job is over; it is cancelled when `cancelled` is set meanwhile. Gives the job."""
        run = self._kind.find(name)
        asked = False
        while run is not None and not run.join(_LOOK_SECONDS):
            if cancelled.is_set() and not asked:
                self.cancel_custom_job(v1.CancelCustomJobRequest(name=name))
                asked = True
        return self._vertex.store.get(name, v1.CustomJob)

    def get_custom_job(self, request: Any) -> Any:
        """The job as it is now."""
        return self._kind.get(request)

    def list_custom_jobs(self, request: Any) -> Any:
        """Jobs of a location, newest first."""
        return self._kind.list(request, v1.ListCustomJobsResponse, "custom_jobs")

    def cancel_custom_job(self, request: Any) -> Empty:
        """Ask a job to end; one that is over stays as it is."""
        self._kind.cancel(request.name)
        return Empty()

    def delete_custom_job(self, request: Any) -> Any:
        """Forget a job that is over."""
        return self._kind.delete(request.name)
