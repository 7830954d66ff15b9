"""JobService: batch prediction jobs are created, read, listed, cancelled and deleted here.

What a job must look like is localcloud.vertex.batch.checks', how it runs localcloud.vertex.batch.run's.
"""

from __future__ import annotations

import shutil
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import Code
from localcloud.vertex.batch.checks import check
from localcloud.vertex.batch.run import BatchRun, JobFailure, finish
from localcloud.vertex.common import Vertex, copy_fields, invalid, parent_of, v1
from localcloud.vertex.job_kind import JobKind
from localcloud.vertex.serving_container import check_servable
from localcloud.vertex.versions import Versions

_SETTABLE = (
    "display_name",
    "model",
    "unmanaged_container_model",
    "input_config",
    "instance_config",
    "model_parameters",
    "output_config",
    "dedicated_resources",
    "service_account",
    "manual_batch_tuning_parameters",
    "labels",
    "encryption_spec",
    "disable_container_logging",
)


class JobService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#jobservice."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._versions = Versions(vertex)
        self._kind = JobKind[BatchRun](vertex, v1.BatchPredictionJob)

    def start(self) -> None:
        """Mark the jobs of a former process, which ended with it, as what they are."""
        shutil.rmtree(self._vertex.cloud.root / "vertex-batch", ignore_errors=True)
        for job in self._kind.unfinished():
            if self._kind.word(job) == "CANCELLING":
                finish(self._vertex, job.name, "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED.number, "CANCELED"))
                continue
            reason = "The local cloud was restarted while the job was running. Submit the job again."
            finish(self._vertex, job.name, "JOB_STATE_FAILED", JobFailure(Code.ABORTED.number, reason))

    def stop(self) -> None:
        """End all jobs."""
        self._kind.stop()

    def create_batch_prediction_job(self, request: Any) -> Any:
        """Store a job and start it; it is PENDING until its containers are healthy."""
        given = request.batch_prediction_job
        parent = self._vertex.parent(request.parent)
        check(given)
        model = self._model(given, parent)
        check_servable(model)
        job = v1.BatchPredictionJob(state=v1.JobState.Value("JOB_STATE_PENDING"))
        copy_fields(job, given, _SETTABLE)
        if given.model:
            job.model, job.model_version_id = model.name, model.version_id
        job = self._vertex.store.create(f"{parent}/batchPredictionJobs/{self._vertex.store.new_id()}", job)
        self._kind.begin(BatchRun(self._vertex, job, model, self._kind.forget))
        return job

    def get_batch_prediction_job(self, request: Any) -> Any:
        """The job as it is now."""
        return self._kind.get(request)

    def list_batch_prediction_jobs(self, request: Any) -> Any:
        """Jobs of a location, newest first."""
        return self._kind.list(request, v1.ListBatchPredictionJobsResponse, "batch_prediction_jobs")

    def cancel_batch_prediction_job(self, request: Any) -> Empty:
        """Ask a job to end; what it has written stays. One that is over stays as it is."""
        self._kind.cancel(request.name)
        return Empty()

    def delete_batch_prediction_job(self, request: Any) -> Any:
        """Forget a job that is over; its output stays."""
        return self._kind.delete(request.name)

    def _model(self, given: Any, parent: str) -> Any:
        """The model version that is asked for; for an unmanaged one a Model that stands for it."""
        if not given.model:
            unmanaged = given.unmanaged_container_model
            model = v1.Model(name=f"{parent}/models/unmanaged", display_name=given.display_name)
            model.container_spec.CopyFrom(unmanaged.container_spec)
            return model
        if "/models/" not in given.model or given.model.startswith("publishers/") or "/publishers/" in given.model:
            raise invalid(
                "batch_prediction_job.model", f"Must be projects/P/locations/L/models/ID, not `{given.model}`."
            )
        model = self._versions.find(given.model)
        if parent_of(model.name) != parent:
            raise invalid("batch_prediction_job.model", f"Model `{model.name}` is not in `{parent}`.")
        return model
