"""Training: the team's training image on a Vertex AI dataset, whose splits the service hands to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerator.config import Config
from accelerator.errors import AcceleratorError
from accelerator.steps.jobs import environment, overrides
from accelerator.steps.training_set import SPLIT_COLUMN, settings
from accelerator.storage import folder


class TrainingError(AcceleratorError):
    """The training job did not succeed."""


@dataclass(frozen=True)
class Trained:
    """A finished training job.

    Args:
        job: The TrainingPipeline's resource name.
        artifact_uri: The folder of the model, `gs://…/model`.
        metrics: As the training code reported them.
    """

    job: str
    artifact_uri: str
    metrics: dict[str, float]


def train(
    config: Config,
    image: str,
    dataset: Any,
    name: str,
    hyperparameters: Mapping[str, Any],
) -> Trained:
    """Run the training job and wait for its end.

    Args:
        config: The project.
        image: The team's training image; the project's folder is its working directory.
        dataset: The google.cloud.aiplatform.TabularDataset of a training set.
        name: The job's display name; the model goes to a folder of that name.
        hyperparameters: Those to train with; all others are the code's or mlops.yaml's.

    Raises:
        TrainingError: It failed; the message holds the job's own.
    """
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region, staging_bucket=f"gs://{config.bucket_name}")
    output = f"gs://{config.bucket_name}/training/{name}"
    job = aiplatform.CustomContainerTrainingJob(
        display_name=name, container_uri=image, labels={"model": config.model.name}
    )
    table = dataset.gca_resource.metadata["inputConfig"]["bigquerySource"]["uri"].removeprefix("bq://")
    arguments: list[Any] = overrides(settings(table)) + [f"--{key}={value}" for key, value in hyperparameters.items()]
    try:
        job.run(
            dataset=dataset,
            predefined_split_column_name=SPLIT_COLUMN,
            bigquery_destination=f"bq://{config.project}",
            base_output_dir=output,
            args=arguments,
            environment_variables=environment(config),
            machine_type=config.training.machine,
            replica_count=1,
        )
    except RuntimeError as error:
        resource = job.resource_name
        raise TrainingError(
            f"The training job failed\n{_indented(str(error))}",
            place=resource,
            next_step=f"`mlops logs {resource.rpartition('/')[2]}` shows all it wrote",
        ) from error
    artifact_uri = f"{output}/model"
    written = folder(artifact_uri).read("metrics.json")
    if written is None:
        raise TrainingError(
            "The training job ended well and left no model",
            place=artifact_uri,
            next_step="a script saves to AIP_MODEL_DIR; the generic container does by itself",
        )
    return Trained(job.resource_name, artifact_uri, json.loads(written))


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())
