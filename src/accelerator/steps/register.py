"""The Model Registry: a trained artifact as a version of the project's model, and the alias of the one that serves."""

from __future__ import annotations

from typing import Any

from accelerator.config import Config
from accelerator.steps.train import Trained

PREDICT_ROUTE, HEALTH_ROUTE, PORT = "/predict", "/health", 8080
CHAMPION = "champion"
"""The alias of the version that passed the gate and serves."""
BEFORE = "former-champion"
"""The alias of the version that served before: what a rollback goes back to."""


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

    known = find(config)
    # a first version may choose the model's id; a further one names the model it belongs to
    belongs: dict[str, Any] = {"parent_model": known.resource_name} if known else {"model_id": config.model.name}
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


def find(config: Config) -> Any | None:
    """The project's model; None where none is registered yet."""
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region)
    found = aiplatform.Model.list(filter=f'model="{config.model.name}"')
    return found[0] if found else None


def with_alias(config: Config, alias: str) -> Any | None:
    """The version of the project's model that has an alias; None where there is none."""
    from google.api_core.exceptions import NotFound
    from google.cloud import aiplatform

    model = find(config)
    if model is None:
        return None
    try:
        return aiplatform.Model(f"{model.resource_name}@{alias}")
    except NotFound:
        return None


def crown(config: Config, version: str) -> None:
    """Make a version the champion, and remember which was.

    Both aliases name one version each; a version that is the champion already stays it.
    """
    model = find(config)
    if model is None:
        raise ValueError(f"{config.model.name} is not registered")
    registry = model.versioning_registry
    before = with_alias(config, CHAMPION)
    if before is not None and before.version_id == version:
        return
    if before is not None:
        registry.add_version_aliases([BEFORE], version=before.version_id)
    registry.add_version_aliases([CHAMPION], version=version)
