"""The components of a project's pipelines: what each takes and gives, and the image it runs in.

What a component does is accelerator.pipelines.tasks'. A component's values are those of its executor input, so that
its container is called the same way whatever it takes.
"""

# mypy: disable-error-code="no-untyped-def, valid-type, type-arg, untyped-decorator, import-untyped"
# No postponed annotations: KFP reads a component's types off its signature.
import json
from dataclasses import asdict, dataclass
from typing import Any

from google_cloud_pipeline_components.types.artifact_types import VertexDataset, VertexModel
from kfp import dsl

from accelerator.steps.images import Images

# Vertex AI Pipelines' own, which KFP has no names for
PROJECT, REGION = "{{$.pipeline_google_cloud_project_id}}", "{{$.pipeline_google_cloud_location}}"
RUN = dsl.PIPELINE_JOB_NAME_PLACEHOLDER


@dataclass(frozen=True)
class Components:
    """A component for each step; the attributes are KFP components, to be called inside of a pipeline."""

    preprocess: Any
    training_set: Any
    validate_data: Any
    dataset: Any
    tune: Any
    train: Any
    validate_model: Any
    register: Any
    deploy: Any
    promote: Any
    predict: Any
    record: Any


def components(images: Images) -> Components:
    """The components of a project.

    Args:
        images: What it is built into; a step that needs no image of its own runs in the training image.
    """

    def container(step: str, image: str = images.training) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["python", "-m", "accelerator.pipelines", step],
            args=[
                "--executor_input",
                "{{$}}",
                "--project",
                PROJECT,
                "--region",
                REGION,
                "--run",
                RUN,
                "--images",
                json.dumps(asdict(images)),
            ],
        )

    @dsl.container_component
    def preprocess(counts: dsl.OutputPath(dict), rejected: dsl.Output[dsl.Metrics]):
        return container("preprocess", images.preprocessing or images.training)

    @dsl.container_component
    def training_set(
        train: str,
        validation: str,
        test: str,
        table: dsl.OutputPath(str),
        rows: dsl.OutputPath(dict),
        training_set: dsl.Output[dsl.Dataset],
    ):
        return container("training_set")

    @dsl.container_component
    def validate_data(table: str, report: dsl.Output[dsl.HTML], statistics: dsl.Output[dsl.Artifact]):
        return container("validate_data", images.data_validation or images.training)

    @dsl.container_component
    def dataset(
        table: str,
        dataset: dsl.OutputPath(str),
        vertex_dataset: dsl.Output[VertexDataset],
    ):
        return container("dataset")

    @dsl.container_component
    def tune(
        table: str,
        hyperparameters: dsl.OutputPath(dict),
        best_trial: dsl.Output[dsl.Metrics],
    ):
        return container("tune")

    @dsl.container_component
    def train(
        dataset: str,
        hyperparameters: dict,
        artifact_uri: dsl.OutputPath(str),
        job: dsl.OutputPath(str),
        model: dsl.Output[dsl.Model],
        training_metrics: dsl.Output[dsl.Metrics],
    ):
        return container("train")

    @dsl.container_component
    def validate_model(
        table: str,
        artifact_uri: str,
        hyperparameters: dict,
        valid: dsl.OutputPath(bool),
        reasons: dsl.OutputPath(list),
        metrics: dsl.OutputPath(dict),
        verdict: dsl.Output[dsl.Artifact],
        report: dsl.Output[dsl.Markdown],
        evaluation: dsl.Output[dsl.Metrics],
        classification: dsl.Output[dsl.ClassificationMetrics],
    ):
        return container("validate_model")

    @dsl.container_component
    def register(
        artifact_uri: str,
        job: str,
        metrics: dict,
        verdict: dsl.Input[dsl.Artifact],
        version: dsl.OutputPath(str),
        vertex_model: dsl.Output[VertexModel],
    ):
        return container("register")

    @dsl.container_component
    def deploy(
        version: str,
        endpoint: dsl.OutputPath(str),
        deployed_model: dsl.OutputPath(str),
        share: dsl.OutputPath(int),
        former: dsl.OutputPath(str),
    ):
        return container("deploy")

    @dsl.container_component
    def promote(
        version: str,
        endpoint: str,
        deployed_model: str,
        share: int,
        former: str,
        table: str,
        canary: dsl.Output[dsl.Metrics],
    ):
        return container("promote")

    @dsl.container_component
    def predict(
        version: str,
        source: str,
        predictions: dsl.OutputPath(int),
        table: dsl.Output[dsl.Dataset],
    ):
        return container("predict")

    @dsl.container_component
    def record(
        status: dsl.PipelineTaskFinalStatus,
        job: str,
        row: dsl.OutputPath(dict),
    ):
        return container("record")

    return Components(
        preprocess=preprocess,
        training_set=training_set,
        validate_data=validate_data,
        dataset=dataset,
        tune=tune,
        train=train,
        validate_model=validate_model,
        register=register,
        deploy=deploy,
        promote=promote,
        predict=predict,
        record=record,
    )
