"""One training pipeline as it runs: the data written out, the custom job, the model uploaded, the end.

The API in front is localcloud.vertex.training_pipelines.service; splits are localcloud.vertex.datasets'.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format

from localcloud.errors import CloudError, Code
from localcloud.vertex.bigquery import BigQuery
from localcloud.vertex.common import Vertex, id_of, now, parent_of, project_of, v1
from localcloud.vertex.datasets.materialize import Materializer
from localcloud.vertex.datasets.splits import Split
from localcloud.vertex.jobs import JobService
from localcloud.vertex.models import ModelService

_log = logging.getLogger(__name__)


class PipelineFailure(Exception):
    """How a training pipeline ended if not well: what becomes its `error`."""

    def __init__(self, state: str, code: Code, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.code = code
        self.message = message


class TrainingRun:
    """Runs a stored TrainingPipeline in a thread of its own.

    Args:
        vertex: The shared facilities.
        jobs: What runs the custom job.
        models: Where the model goes.
        pipeline: As it was stored, PENDING.
        spec: The CustomJobSpec of its inputs.
        ended: Called with the pipeline's name when all is over.
    """

    def __init__(
        self,
        vertex: Vertex,
        jobs: JobService,
        models: ModelService,
        pipeline: Any,
        spec: Any,
        ended: Callable[[str], None],
    ) -> None:
        self.name: str = pipeline.name
        self._vertex = vertex
        self._jobs = jobs
        self._models = models
        self._pipeline = pipeline
        self._spec = spec
        self._ended = ended
        self._cancelled = threading.Event()
        self._is_server_down = False
        self._thread = threading.Thread(target=self._run, name=f"training-{id_of(pipeline.name)}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the pipeline to end as CANCELLED."""
        self._cancelled.set()

    def shut_down(self) -> None:
        """Ask the pipeline to end because the server does."""
        self._is_server_down = True
        self._cancelled.set()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    # The run

    def _run(self) -> None:
        failure: PipelineFailure | None = None
        model = None
        try:
            model = self._train()
        except PipelineFailure as found:
            failure = found
        except CloudError as error:
            failure = PipelineFailure("PIPELINE_STATE_FAILED", error.code, error.message)
        except Exception as error:
            _log.exception("training pipeline %s failed", self.name)
            message = f"Internal error occurred for the current attempt: {type(error).__name__}."
            failure = PipelineFailure("PIPELINE_STATE_FAILED", Code.INTERNAL, message)
        finish(self._vertex, self.name, failure, model)
        self._ended(self.name)

    def _train(self) -> Any:
        """Do all of it; gives the model version that was uploaded, None where none is asked for."""
        self._set_running()
        environment = self._write_data()
        self._check_cancelled()
        spec = v1.CustomJobSpec()
        spec.CopyFrom(self._spec)
        for pool in spec.worker_pool_specs:
            if pool.WhichOneof("task") is not None:
                task = getattr(pool, pool.WhichOneof("task"))
                task.env.extend(v1.EnvVar(name=name, value=value) for name, value in environment.items())
        job = self._jobs.submit(
            parent_of(self.name),
            v1.CustomJob(
                display_name=f"{self._pipeline.display_name[:110]}-custom-job",
                job_spec=spec,
                labels=dict(self._pipeline.labels),
            ),
        )
        self._tell_job(job.name)
        job = self._jobs.wait(job.name, self._cancelled)
        state = v1.JobState.Name(job.state)
        if state == "JOB_STATE_CANCELLED":
            self._check_cancelled()
            raise PipelineFailure("PIPELINE_STATE_CANCELLED", Code.CANCELLED, "CANCELED")
        if state != "JOB_STATE_SUCCEEDED":
            self._check_cancelled()
            message = f"Training failed with:\n{job.error.message}"
            raise PipelineFailure("PIPELINE_STATE_FAILED", Code.of_number(job.error.code), message)
        return self._upload() if self._pipeline.HasField("model_to_upload") else None

    def _write_data(self) -> Mapping[str, str]:
        """The splits as the job will read them, and the variables that say where."""
        config = self._pipeline.input_data_config
        if not config.dataset_id:
            return {}
        dataset = self._vertex.store.get(f"{parent_of(self.name)}/datasets/{config.dataset_id}", v1.Dataset)
        split = Split.of(config)
        bigquery = BigQuery(self._vertex.cloud, self._vertex.projects.id(project_of(self.name)))
        try:
            materializer = Materializer(self._vertex, dataset, bigquery)
            if config.WhichOneof("destination") == "bigquery_destination":
                made = materializer.to_tables(split, config.bigquery_destination.output_uri)
            else:
                made = materializer.to_files(split, config.gcs_destination.output_uri_prefix)
        finally:
            bigquery.close()
        return made.environment()

    def _upload(self) -> Any:
        """The model of the job: what it left in AIP_MODEL_DIR, unless the model itself names its artifact."""
        given = v1.Model()
        given.CopyFrom(self._pipeline.model_to_upload)
        base = self._spec.base_output_directory.output_uri_prefix.rstrip("/")
        if not given.artifact_uri and base:
            given.artifact_uri = f"{base}/model"
        request = v1.UploadModelRequest(
            parent=parent_of(self.name),
            model=given,
            model_id=self._pipeline.model_id,
            parent_model=self._pipeline.parent_model,
        )
        return self._models.upload_trained(request, self.name)

    def _check_cancelled(self) -> None:
        if not self._cancelled.is_set():
            return
        if self._is_server_down:
            raise PipelineFailure(
                "PIPELINE_STATE_FAILED",
                Code.ABORTED,
                "The local cloud was stopped while the training pipeline was running. Submit it again.",
            )
        raise PipelineFailure("PIPELINE_STATE_CANCELLED", Code.CANCELLED, "CANCELED")

    def _set_running(self) -> None:
        def change(stored: Any) -> None:
            if stored.state == v1.PipelineState.PIPELINE_STATE_PENDING:
                stored.state = v1.PipelineState.PIPELINE_STATE_RUNNING
            stored.start_time.CopyFrom(now())

        self._vertex.store.modify(self.name, v1.TrainingPipeline, change)

    def _tell_job(self, job: str) -> None:
        def change(stored: Any) -> None:
            json_format.ParseDict({"backingCustomJob": job}, stored.training_task_metadata)

        self._vertex.store.modify(self.name, v1.TrainingPipeline, change)


def finish(vertex: Vertex, name: str, failure: PipelineFailure | None, model: Any = None) -> None:
    """Write a training pipeline's end into the store."""

    def change(stored: Any) -> None:
        state = "PIPELINE_STATE_SUCCEEDED" if failure is None else failure.state
        stored.state = v1.PipelineState.Value(state)
        stored.end_time.CopyFrom(now())
        if failure is not None:
            stored.error.code, stored.error.message = failure.code.number, failure.message
        if model is not None:
            stored.model_to_upload.name = model.name
            stored.model_to_upload.version_id = model.version_id

    vertex.store.modify(name, v1.TrainingPipeline, change)
