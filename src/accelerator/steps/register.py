"""The Model Registry: a trained artifact as a version of the project's model."""

from __future__ import annotations

from typing import Any

from accelerator.config import Config
from accelerator.steps.train import Trained

PREDICT_ROUTE, HEALTH_ROUTE, PORT = "/predict", "/health", 8080


def register(config: Config, trained: Trained, image: str) -> Any:
    """Upload a trained model: the first version of the project's model, or a further one.

    Args:
        config: The project.
        trained: The training job's outcome.
        image: The team's prediction image.

    Returns:
        The google.cloud.aiplatform.Model of the version.
    """
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region)
    known = aiplatform.Model.list(filter=f'model="{config.model.name}"')
    # a first version may choose the model's id; a further one names the model it belongs to
    belongs: dict[str, Any] = {"parent_model": known[0].resource_name} if known else {"model_id": config.model.name}
    return aiplatform.Model.upload(
        **belongs,
        display_name=config.model.name,
        description=config.model.description or None,
        artifact_uri=trained.artifact_uri,
        serving_container_image_uri=image,
        serving_container_predict_route=PREDICT_ROUTE,
        serving_container_health_route=HEALTH_ROUTE,
        serving_container_ports=[PORT],
        version_description=", ".join(f"{name} {value:.4g}" for name, value in trained.metrics.items()),
        labels={"training_job": trained.job.rpartition("/")[2]},
    )
