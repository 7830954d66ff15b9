"""JobService: hyperparameter tuning jobs are created, read, listed, cancelled and deleted here.

How a job runs is localcloud.vertex.tuning.run; what its study_spec means, localcloud.vertex.vizier.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import Code, FailedPrecondition
from localcloud.fields import select
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    invalid,
    parent_of,
    v1,
)
from localcloud.vertex.job_run import JobFailure, finish
from localcloud.vertex.jobs import OVER
from localcloud.vertex.jobs import JobService as CustomJobs
from localcloud.vertex.running import Running
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
        self._runs = Running[TuningRun]()

    def start(self) -> None:
        """Mark the jobs of a former process, which ended with it, as what they are."""
        shutil.rmtree(reports_folder(self._vertex), ignore_errors=True)
        for job in self._vertex.store.all("", v1.HyperparameterTuningJob, descendants=True):
            state = v1.JobState.Name(job.state)
            if state in OVER:
                continue
            if state == "JOB_STATE_CANCELLING":
                end, error = "JOB_STATE_CANCELLED", JobFailure(Code.CANCELLED, "CANCELED")
                why = "The tuning job was cancelled."
            else:
                why = "The local cloud was restarted while the job was running. Submit the job again."
                end, error = "JOB_STATE_FAILED", JobFailure(Code.ABORTED, why)
            self._vertex.store.modify(job.name, v1.HyperparameterTuningJob, partial(end_trials, reason=why))
            finish(self._vertex, job.name, end, error, v1.HyperparameterTuningJob)

    def stop(self) -> None:
        """End all jobs."""
        self._runs.stop()

    def create_hyperparameter_tuning_job(self, request: Any) -> Any:
        """Store a job and start it."""
        given = request.hyperparameter_tuning_job
        parent = self._vertex.parent(request.parent)
        search = _check(given)
        job = v1.HyperparameterTuningJob(state=v1.JobState.Value("JOB_STATE_PENDING"))
        copy_fields(job, given, _SETTABLE)
        name = f"{parent}/hyperparameterTuningJobs/{self._vertex.store.new_id()}"
        job = self._vertex.store.create(name, job)
        self._runs.begin(TuningRun(self._vertex, self._jobs, job, search, self._runs.forget))
        return job

    def get_hyperparameter_tuning_job(self, request: Any) -> Any:
        """The job and its trials as they are now."""
        name = self._vertex.name(request.name)
        self._runs.await_end(name)
        return self._vertex.store.get(name, v1.HyperparameterTuningJob)

    def list_hyperparameter_tuning_jobs(self, request: Any) -> Any:
        """Jobs of a location, newest first."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.HyperparameterTuningJob,
            filter=request.filter,
            order_by="create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListHyperparameterTuningJobsResponse(
            hyperparameter_tuning_jobs=[select(job, request.read_mask.paths) for job in page],
            next_page_token=page.next_page_token,
        )

    def cancel_hyperparameter_tuning_job(self, request: Any) -> Empty:
        """Ask a job to end, and its trials with it; one that is over stays as it is."""
        name = self._vertex.name(request.name)

        def change(job: Any) -> None:
            if v1.JobState.Name(job.state) not in OVER:
                job.state = v1.JobState.Value("JOB_STATE_CANCELLING")

        self._vertex.store.modify(name, v1.HyperparameterTuningJob, change)
        self._runs.cancel(name)
        return Empty()

    def delete_hyperparameter_tuning_job(self, request: Any) -> Any:
        """Forget a job that is over; the custom jobs of its trials stay."""
        name = self._vertex.name(request.name)
        job = self._vertex.store.get(name, v1.HyperparameterTuningJob)
        state = v1.JobState.Name(job.state)
        if state not in OVER:
            raise FailedPrecondition(
                f"HyperparameterTuningJob `{name}` is in state {state}: cancel it before deleting it."
            )
        self._vertex.store.delete(name, v1.HyperparameterTuningJob)
        return self._vertex.operations.done(parent_of(name), metadata=generic_metadata(v1.DeleteOperationMetadata))


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
