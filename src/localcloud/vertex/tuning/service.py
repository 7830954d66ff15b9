"""JobService: hyperparameter tuning jobs are created, read, listed, cancelled and deleted here.

How a job runs is localcloud.vertex.tuning.run; what its study_spec means, localcloud.vertex.vizier.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import Code
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    invalid,
    v1,
)
from localcloud.vertex.job_kind import JobKind
from localcloud.vertex.job_run import JobFailure, finish
from localcloud.vertex.jobs import JobService as CustomJobs
from localcloud.vertex.tuning.run import TuningRun, end_trials, reports_folder
from localcloud.vertex.vizier.studies import Search, read_search
from localcloud.vertex.worker_pools import check_job_spec

_FIELD = "hyperparameter_tuning_job"
_SETTABLE = (
    "display_name",
    "study_spec",
    "max_trial_count",
    "parallel_trial_count",
    "max_failed_trial_count",
    "trial_job_spec",
    "labels",
    "encryption_spec",
)


class JobService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#jobservice, the tuning jobs.

    Args:
        vertex: The shared facilities.
        jobs: What runs the trials' custom jobs.
    """

    def __init__(self, vertex: Vertex, jobs: CustomJobs) -> None:
        self._vertex = vertex
        self._jobs = jobs
        self._kind = JobKind[TuningRun](vertex, v1.HyperparameterTuningJob)

    def start(self) -> None:
        """Mark the jobs of a former process, which ended with it, as what they are."""
        shutil.rmtree(reports_folder(self._vertex), ignore_errors=True)
        for job in self._kind.unfinished():
            if self._kind.word(job) == "CANCELLING":
                end, error = "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED, "CANCELED")
                why = "The tuning job was cancelled."
            else:
                why = "The local cloud was restarted while the job was running. Submit the job again."
                end, error = "JOB_STATE_FAILED", JobFailure(Code.ABORTED, why)
            self._vertex.store.modify(job.name, v1.HyperparameterTuningJob, partial(end_trials, reason=why))
            finish(self._vertex, job.name, end, error, v1.HyperparameterTuningJob)

    def stop(self) -> None:
        """End all jobs."""
        self._kind.stop()

    def create_hyperparameter_tuning_job(self, request: Any) -> Any:
        """Store a job and start it."""
        given = request.hyperparameter_tuning_job
        parent = self._vertex.parent(request.parent)
        search = _check(given)
        job = v1.HyperparameterTuningJob(state=v1.JobState.Value("JOB_STATE_PENDING"))
        copy_fields(job, given, _SETTABLE)
        name = f"{parent}/hyperparameterTuningJobs/{self._vertex.store.new_id()}"
        job = self._vertex.store.create(name, job)
        self._kind.begin(TuningRun(self._vertex, self._jobs, job, search, self._kind.forget))
        return job

    def get_hyperparameter_tuning_job(self, request: Any) -> Any:
        """The job and its trials as they are now."""
        return self._kind.get(request)

    def list_hyperparameter_tuning_jobs(self, request: Any) -> Any:
        """Jobs of a location, newest first."""
        return self._kind.list(request, v1.ListHyperparameterTuningJobsResponse, "hyperparameter_tuning_jobs")

    def cancel_hyperparameter_tuning_job(self, request: Any) -> Empty:
        """Ask a job to end, and its trials with it; one that is over stays as it is."""
        self._kind.cancel(request.name)
        return Empty()

    def delete_hyperparameter_tuning_job(self, request: Any) -> Any:
        """Forget a job that is over; the custom jobs of its trials stay."""
        return self._kind.delete(request.name)


def _check(job: Any) -> Search:
    """Refuse a job that could not run.

    Raises:
        InvalidArgument: Naming the field.
    """
    check_display_name(job.display_name, f"{_FIELD}.display_name")
    check_labels(job.labels, f"{_FIELD}.labels")
    check_job_spec(job.trial_job_spec, f"{_FIELD}.trial_job_spec")
    for name in ("max_trial_count", "parallel_trial_count"):
        if getattr(job, name) < 1:
            raise invalid(f"{_FIELD}.{name}", f"Must be at least 1, not {getattr(job, name)}.")
    if not 0 <= job.max_failed_trial_count <= job.max_trial_count:
        raise invalid(
            f"{_FIELD}.max_failed_trial_count",
            f"Must be from 0 to max_trial_count ({job.max_trial_count}), not {job.max_failed_trial_count}.",
        )
    if job.study_spec.observation_noise:
        raise invalid(f"{_FIELD}.study_spec.observation_noise", "Only VizierService supports it: leave it out.")
    return read_search(job.study_spec, f"{_FIELD}.study_spec")
