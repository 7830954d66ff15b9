"""PipelineService: runs of pipelines are created, read, listed, cancelled and deleted here.

How a run goes on is localcloud.vertex.pipelines.run's; its training pipelines are another class of this name.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import AlreadyExists, CloudError, Code, FailedPrecondition, NotFound, Unimplemented
from localcloud.fields import select
from localcloud.filters import Vocabulary
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    id_of,
    invalid,
    now,
    parent_of,
    project_of,
    v1,
)
from localcloud.vertex.jobs import JobService
from localcloud.vertex.pipelines import records
from localcloud.vertex.pipelines.cache import TaskCache
from localcloud.vertex.pipelines.checks import check_artifact_inputs, check_spec, root_inputs
from localcloud.vertex.pipelines.graph import State, Task, Values
from localcloud.vertex.pipelines.leaf import RunContext
from localcloud.vertex.pipelines.lineage import Lineage
from localcloud.vertex.pipelines.pool import TaskPool, default_size
from localcloud.vertex.pipelines.records import Records
from localcloud.vertex.pipelines.run import PipelineRun
from localcloud.vertex.pipelines.spec import Spec

OVER = frozenset({"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"})
BILLING_LABEL = "vertex-ai-pipelines-run-billing-id"
"""The label of a run and of all that it creates, by which its costs are found; a user's own value gives way."""
_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
_STAMPED = re.compile(r"-\d{12}(\d\d)$")
_SETTABLE = (
    "display_name",
    "pipeline_spec",
    "labels",
    "runtime_config",
    "encryption_spec",
    "service_account",
    "network",
    "reserved_ip_ranges",
    "psc_interface_config",
    "template_uri",
    "template_metadata",
    "schedule_name",
    "preflight_validations",
)
_VOCABULARY = Vocabulary(
    fields={
        "pipeline_name": lambda job: job.pipeline_spec.fields["pipelineInfo"].struct_value.fields["name"].string_value,
        "pipeline_job_user_id": lambda job: id_of(job.name),
    }
)
_RESTARTED = "The local cloud was restarted while the pipeline was running. Submit the pipeline again."
_STATES = {
    State.SUCCEEDED: "PIPELINE_STATE_SUCCEEDED",
    State.FAILED: "PIPELINE_STATE_FAILED",
    State.CANCELLED: "PIPELINE_STATE_CANCELLED",
}


class PipelineService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#pipelineservice.

    Args:
        vertex: The shared facilities.
        jobs: Where the tasks' containers run.
    """

    def __init__(self, vertex: Vertex, jobs: JobService) -> None:
        self._vertex = vertex
        self._jobs = jobs
        self._runs: dict[str, PipelineRun] = {}
        self._pool = TaskPool(default_size())
        self._lock = threading.Lock()

    def start(self) -> None:
        """Mark the runs of a former process, which ended with it, as what they are."""
        for job in self._vertex.store.all("", v1.PipelineJob, descendants=True):
            state = v1.PipelineState.Name(job.state)
            if state in OVER:
                continue
            records.close(self._vertex, job.name, _RESTARTED)
            if state == "PIPELINE_STATE_CANCELLING":
                self._finish(job.name, "PIPELINE_STATE_CANCELLED", Code.CANCELLED, "CANCELED")
            else:
                self._finish(job.name, "PIPELINE_STATE_FAILED", Code.ABORTED, _RESTARTED)

    def stop(self) -> None:
        """Leave the runs to the next process."""
        for run in list(self._runs.values()):
            run.abandon()
        self._pool.close()

    def create_pipeline_job(self, request: Any) -> Any:
        """Check a run, store it and start it."""
        parent = self._vertex.parent(request.parent)
        given = request.pipeline_job
        if request.pipeline_job_id and not _JOB_ID.fullmatch(request.pipeline_job_id):
            raise invalid("pipeline_job_id", f"Must match [a-z][-a-z0-9]{{0,127}}, not `{request.pipeline_job_id}`.")
        if given.template_uri and not given.pipeline_spec.fields:
            raise Unimplemented(
                f"pipeline_job.template_uri: the local cloud has no template registry to read {given.template_uri} "
                "from. Submit the compiled pipeline itself as pipeline_spec; the SDK reads files and gs:// for you."
            )
        if given.display_name:
            check_display_name(given.display_name, "pipeline_job.display_name")
        check_labels(given.labels, "pipeline_job.labels")
        spec = Spec(given.pipeline_spec)
        check_spec(spec)
        config = given.runtime_config
        parameters = root_inputs(spec, config)
        check_artifact_inputs(spec, config)
        root = config.gcs_output_directory or spec.message.default_pipeline_root
        self._check_root(root)
        job = v1.PipelineJob(state=v1.PipelineState.PIPELINE_STATE_RUNNING)
        copy_fields(job, given, _SETTABLE)
        job.runtime_config.gcs_output_directory = root
        job.labels[BILLING_LABEL] = self._vertex.store.new_id()
        job_id = request.pipeline_job_id or f"{_slug(spec.name)}-{self._vertex.store.new_id()}"
        name = f"{parent}/pipelineJobs/{job_id}"
        job.display_name = job.display_name or job_id
        job.start_time.CopyFrom(now())
        lineage = Lineage(self._vertex, v1.PipelineJob(name=name), spec.name)
        artifacts = self._input_artifacts(config, lineage)
        try:
            job = self._vertex.store.create(name, job)
        except AlreadyExists:
            raise AlreadyExists(f"The PipelineJob `{name}` already exists. Give another pipeline_job_id.") from None
        context = RunContext(
            vertex=self._vertex,
            jobs=self._jobs,
            job=job,
            records=Records(self._vertex, name),
            lineage=lineage,
            cache=TaskCache(self._vertex, name, spec.name),
            root=f"{root.rstrip('/')}/{project_of(name)}/{job_id}",
        )
        run = PipelineRun(
            context, spec, Values(parameters, artifacts), self._pool, lambda task: self._ended(name, task)
        )
        with self._lock:
            self._runs[name] = run
        run.start()
        _let_the_second_pass(job_id)
        return job

    def get_pipeline_job(self, request: Any) -> Any:
        """The run as it is now, with its tasks."""
        job = self._vertex.store.get(self._vertex.name(request.name), v1.PipelineJob)
        return self._detailed(job)

    def list_pipeline_jobs(self, request: Any) -> Any:
        """Runs of a location, newest first, without their tasks."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.PipelineJob,
            filter=request.filter,
            order_by=request.order_by or "create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=_VOCABULARY,
        )
        jobs = []
        for job in page:
            if "job_detail.pipeline_run_context" not in request.read_mask.paths:
                job.ClearField("job_detail")
            jobs.append(select(job, request.read_mask.paths))
        return v1.ListPipelineJobsResponse(pipeline_jobs=jobs, next_page_token=page.next_page_token)

    def cancel_pipeline_job(self, request: Any) -> Empty:
        """Ask a run to end; one that is over stays as it is."""
        self._cancel(self._vertex.name(request.name))
        return Empty()

    def batch_cancel_pipeline_jobs(self, request: Any) -> Any:
        """Ask several runs to end; all of them must be there."""
        names = self._named(request)
        for name in names:
            self._cancel(name)
        jobs = [self._vertex.store.get(name, v1.PipelineJob) for name in names]
        return self._vertex.operations.done(
            self._vertex.parent(request.parent),
            v1.BatchCancelPipelineJobsResponse(pipeline_jobs=jobs),
            generic_metadata(v1.BatchCancelPipelineJobsOperationMetadata),
        )

    def delete_pipeline_job(self, request: Any) -> Any:
        """Forget a run that is over; its metadata and files stay."""
        name = self._vertex.name(request.name)
        self._check_over(name)
        self._delete(name)
        return self._vertex.operations.done(parent_of(name), metadata=generic_metadata(v1.DeleteOperationMetadata))

    def batch_delete_pipeline_jobs(self, request: Any) -> Any:
        """Forget several runs, or none of them where one is not over."""
        names = self._named(request)
        for name in names:
            self._check_over(name)
        jobs = [self._vertex.store.get(name, v1.PipelineJob) for name in names]
        with self._vertex.store.transaction():
            for name in names:
                self._delete(name)
        return self._vertex.operations.done(
            self._vertex.parent(request.parent),
            v1.BatchDeletePipelineJobsResponse(pipeline_jobs=jobs),
            generic_metadata(v1.DeleteOperationMetadata),
        )

    # Parts

    def _check_root(self, root: str) -> None:
        field = "pipeline_job.runtime_config.gcs_output_directory"
        if not root.startswith("gs://"):
            raise invalid(field, f"Must be a Cloud Storage URI, gs://BUCKET/FOLDER, not `{root}`.")
        try:
            self._vertex.cloud.objects.path(root.rstrip("/") + "/")
        except NotFound as error:
            raise invalid(field, error.message) from None

    def _input_artifacts(self, config: Any, lineage: Lineage) -> dict[str, list[Any]]:
        found = {}
        for name, given in config.input_artifacts.items():
            full = given.artifact_id if "/" in given.artifact_id else f"{lineage.store}/artifacts/{given.artifact_id}"
            try:
                found[name] = [lineage.get_artifact(full)]
            except CloudError as error:
                raise invalid(f"pipeline_job.runtime_config.input_artifacts.{name}", error.message) from None
        return found

    def _detailed(self, job: Any) -> Any:
        job.job_detail.task_details.extend(records.read(self._vertex, job.name))
        run = self._runs.get(job.name)
        if run is not None and not job.job_detail.HasField("pipeline_run_context"):
            run.describe(job.job_detail)
        return job

    def _named(self, request: Any) -> list[str]:
        names = [self._vertex.name(name) for name in request.names]
        for name in names:
            self._vertex.store.get(name, v1.PipelineJob)
        return names

    def _cancel(self, name: str) -> None:
        def change(job: Any) -> None:
            if v1.PipelineState.Name(job.state) not in OVER:
                job.state = v1.PipelineState.PIPELINE_STATE_CANCELLING

        self._vertex.store.modify(name, v1.PipelineJob, change)
        run = self._runs.get(name)
        if run is not None:
            run.cancel()

    def _check_over(self, name: str) -> None:
        state = v1.PipelineState.Name(self._vertex.store.get(name, v1.PipelineJob).state)
        if state not in OVER:
            raise FailedPrecondition(f"PipelineJob `{name}` is in state {state}: cancel it before deleting it.")

    def _delete(self, name: str) -> None:
        with self._vertex.store.transaction():
            records.delete(self._vertex, name)
            self._vertex.store.delete(name, v1.PipelineJob)

    def _ended(self, name: str, root: Task) -> None:
        """Write a run's end into the store."""
        run = self._runs[name]
        records.close(self._vertex, name, "The pipeline has ended.")
        if root.state is State.CANCELLED:
            self._finish(name, _STATES[root.state], Code.CANCELLED, "CANCELED", run)
        elif root.error is not None:
            project = self._vertex.projects.id(project_of(name))
            message = (
                f"{root.error.message}; Job (project_id = {project}, job_id = {root.id}) is failed due to the above "
                f"error.; Failed to handle the job: {{project_number = {project_of(name)}, job_id = {root.id}}}"
            )
            self._finish(name, _STATES[root.state], root.error.code, message, run)
        else:
            self._finish(name, _STATES[root.state], None, "", run)
        with self._lock:
            del self._runs[name]

    def _finish(self, name: str, state: str, code: Code | None, message: str, run: PipelineRun | None = None) -> None:
        def change(job: Any) -> None:
            job.state = v1.PipelineState.Value(state)
            job.end_time.CopyFrom(now())
            if code is not None:
                job.error.code = code.number
                job.error.message = message
            if run is not None:
                run.describe(job.job_detail)

        self._vertex.store.modify(name, v1.PipelineJob, change)


def _let_the_second_pass(job_id: str) -> None:
    """Answer in the next second where a job is named after this one, as the SDK names them.

    Two runs that are submitted in a loop get different names on Google Cloud, where an answer takes that long.
    """
    found = _STAMPED.search(job_id)
    here = time.time()
    if found is not None and int(found.group(1)) == int(here) % 60:
        time.sleep(1.0 - here % 1.0)


def _slug(name: str) -> str:
    """A pipeline's name as the beginning of a job id."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (slug if slug[:1].isalpha() else f"pipeline-{slug}")[:100]
