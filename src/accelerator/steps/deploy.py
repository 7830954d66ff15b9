"""Endpoints: a model version deployed, all traffic on it, the version before taken off."""

from __future__ import annotations

from typing import Any

from accelerator.config import Config


def deploy(config: Config, model: Any) -> Any:
    """Deploy a model version on the project's endpoint, which is made at the first call.

    The version that served before keeps serving until the new one is healthy, and is undeployed then.

    Args:
        config: The project.
        model: A google.cloud.aiplatform.Model.

    Returns:
        The google.cloud.aiplatform.Endpoint.
    """
    from google.cloud import aiplatform

    endpoint = find(config) or aiplatform.Endpoint.create(
        display_name=config.model.name, labels={"model": config.model.name}
    )
    before = [deployed.id for deployed in endpoint.list_models()]
    least, most = config.deployment.replicas
    endpoint.deploy(
        model,
        deployed_model_display_name=f"{config.model.name}-{model.version_id}",
        machine_type=config.deployment.machine,
        min_replica_count=max(1, least),
        max_replica_count=most,
        traffic_percentage=100,
    )
    for deployed_model in before:
        endpoint.undeploy(deployed_model)
    return endpoint


def find(config: Config) -> Any | None:
    """The project's endpoint; None where there is none yet."""
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region)
    found = aiplatform.Endpoint.list(filter=f'display_name="{config.model.name}"', order_by="create_time")
    return found[0] if found else None
