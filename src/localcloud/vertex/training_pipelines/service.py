"""PipelineService: training pipelines of custom jobs are created, read, listed, cancelled and deleted here.

How one runs is localcloud.vertex.training_pipelines.run's; runs of pipelines are another class of this name.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty

from localcloud.errors import Code, NotFound, Unimplemented
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    invalid,
    v1,
)
from localcloud.vertex.datasets.splits import Split, refuse_unsupported
from localcloud.vertex.job_kind import JobKind
from localcloud.vertex.jobs import JobService
from localcloud.vertex.models import ModelService
from localcloud.vertex.training_pipelines.run import PipelineFailure, TrainingRun, finish
from localcloud.vertex.worker_pools import check_job_spec

CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
_FIELD = "training_pipeline"
_SETTABLE = (
    "display_name",
    "input_data_config",
    "training_task_definition",
    "training_task_inputs",
    "model_to_upload",
    "model_id",
    "parent_model",
    "labels",
    "encryption_spec",
)
_RESTARTED = "The local cloud was restarted while the training pipeline was running. Submit it again."


class PipelineService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#pipelineservice.

    Args:
        vertex: The shared facilities.
        jobs: What runs custom jobs.
        models: Where models are uploaded.
    """

    def __init__(self, vertex: Vertex, jobs: JobService, models: ModelService) -> None:
        self._vertex = vertex
        self._jobs = jobs
        self._models = models
        self._kind = JobKind[TrainingRun](vertex, v1.TrainingPipeline, v1.PipelineState)

    def start(self) -> None:
        """Mark the training pipelines of a former process, which ended with it, as what they are."""
        for pipeline in self._kind.unfinished():
            if self._kind.word(pipeline) == "CANCELLING":
                failure = PipelineFailure("PIPELINE_STATE_CANCELLED", Code.CANCELLED, "CANCELED")
            else:
                failure = PipelineFailure("PIPELINE_STATE_FAILED", Code.ABORTED, _RESTARTED)
            finish(self._vertex, pipeline.name, failure)

    def stop(self) -> None:
        """End all of them."""
        self._kind.stop()

    def create_training_pipeline(self, request: Any) -> Any:
        """Store a training pipeline and start it."""
        given = request.training_pipeline
        parent = self._vertex.parent(request.parent)
        check_display_name(given.display_name, f"{_FIELD}.display_name")
        check_labels(given.labels, f"{_FIELD}.labels")
        spec = _job_spec(given)
        self._check_data(given, parent)
        self._check_model(given, parent)
        pipeline = v1.TrainingPipeline(state=v1.PipelineState.PIPELINE_STATE_PENDING)
        copy_fields(pipeline, given, _SETTABLE)
        name = f"{parent}/trainingPipelines/{self._vertex.store.new_id()}"
        pipeline = self._vertex.store.create(name, pipeline)
        self._kind.begin(TrainingRun(self._vertex, self._jobs, self._models, pipeline, spec, self._kind.forget))
        return pipeline

    def get_training_pipeline(self, request: Any) -> Any:
        """The training pipeline as it is now."""
        return self._kind.get(request)

    def list_training_pipelines(self, request: Any) -> Any:
        """Training pipelines of a location, newest first."""
        return self._kind.list(request, v1.ListTrainingPipelinesResponse, "training_pipelines")

    def cancel_training_pipeline(self, request: Any) -> Empty:
        """Ask a training pipeline to end, and its job with it; one that is over stays as it is."""
        self._kind.cancel(request.name)
        return Empty()

    def delete_training_pipeline(self, request: Any) -> Any:
        """Forget a training pipeline that is over; its job, data and model stay."""
        return self._kind.delete(request.name)

    # Checks

    def _check_data(self, given: Any, parent: str) -> None:
        config = given.input_data_config
        if not config.dataset_id:
            return
        field = f"{_FIELD}.input_data_config"
        refuse_unsupported(config)
        Split.of(config)
        if self._vertex.store.find(f"{parent}/datasets/{config.dataset_id}", v1.Dataset) is None:
            raise NotFound(f"The Dataset `{parent}/datasets/{config.dataset_id}` does not exist.")
        match config.WhichOneof("destination"):
            case "gcs_destination":
                uri = config.gcs_destination.output_uri_prefix
                if not uri.startswith("gs://"):
                    raise invalid(f"{field}.gcs_destination.output_uri_prefix", f"Must be gs://…, not `{uri}`.")
            case "bigquery_destination":
                uri = config.bigquery_destination.output_uri
                if not uri.startswith("bq://"):
                    raise invalid(f"{field}.bigquery_destination.output_uri", f"Must be bq://project, not `{uri}`.")
            case _:
                raise invalid(field, "A gcs_destination or a bigquery_destination is required for custom training.")

    def _check_model(self, given: Any, parent: str) -> None:
        if not given.HasField("model_to_upload"):
            return
        field = f"{_FIELD}.model_to_upload"
        check_display_name(given.model_to_upload.display_name, f"{field}.display_name")
        check_labels(given.model_to_upload.labels, f"{field}.labels")
        if not given.model_to_upload.container_spec.image_uri:
            raise invalid(f"{field}.container_spec.image_uri", "Required field is not set.")
        self._models.check_place(parent, given.parent_model, given.model_id)


def _job_spec(given: Any) -> Any:
    """The CustomJobSpec in `training_task_inputs`.

    Raises:
        InvalidArgument: There is none that could run.
        Unimplemented: It is a task of another kind.
    """
    if given.training_task_definition != CUSTOM_TASK:
        raise Unimplemented(
            f"{_FIELD}.training_task_definition: the local cloud runs custom training ({CUSTOM_TASK}), not "
            f"`{given.training_task_definition}`."
        )
    field = f"{_FIELD}.training_task_inputs"
    spec = v1.CustomJobSpec()
    try:
        json_format.ParseDict(_without_nulls(json_format.MessageToDict(given.training_task_inputs)), spec)
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise invalid(field, f"They are no CustomJobSpec: {error}") from None
    check_job_spec(spec, field)
    return spec


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
