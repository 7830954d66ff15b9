"""The project's endpoint, of the kind that mlops.yaml names: found, made, and asked in the way of its kind.

https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type. Versions and traffic are
accelerator.steps.deploy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accelerator.config import Config
from accelerator.config.sections import Deployment
from accelerator.errors import AcceleratorError


class Unanswered(AcceleratorError):
    """A request that the endpoint refused, or that did not reach it."""


class OtherKindError(AcceleratorError):
    """The project's endpoint is not of the kind that mlops.yaml names: a kind is for an endpoint's life."""


def find(config: Config) -> Any | None:
    """The project's endpoint, a google.cloud.aiplatform.Endpoint or PrivateEndpoint; None where there is none yet."""
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region)
    named: dict[str, Any] = {"filter": f'display_name="{config.model.name}"', "order_by": "create_time"}
    found = [*aiplatform.Endpoint.list(**named), *aiplatform.PrivateEndpoint.list(**named)]
    return min(found, key=lambda endpoint: endpoint.create_time, default=None)


def get(name: str) -> Any:
    """An endpoint by its resource name, public or private."""
    from google.cloud import aiplatform

    public = aiplatform.Endpoint(name)
    private = public.network or public.private_service_connect_config
    return aiplatform.PrivateEndpoint(name) if private else public


def find_or_create(config: Config, deployment: Deployment) -> Any:
    """The project's endpoint, made where there is none yet.

    Raises:
        OtherKindError: There is one of another kind.
    """
    from google.cloud import aiplatform, aiplatform_v1

    wanted = _wanted(deployment)
    found = find(config)
    if found is not None:
        if _kind(found) != wanted:
            raise OtherKindError(
                f"The endpoint of {config.model.name} is {_kind(found)}, and mlops.yaml asks for one that is {wanted}",
                place=found.resource_name,
                next_step="`mlops undeploy` takes it away, and the next run makes the other; its address is a new one",
            )
        return found
    common: dict[str, Any] = {"display_name": config.model.name, "labels": {"model": config.model.name}}
    if deployment.network is not None:
        return aiplatform.PrivateEndpoint.create(**common, network=deployment.network)
    if deployment.project_allowlist:
        connect = aiplatform_v1.PrivateServiceConnectConfig(
            enable_private_service_connect=True, project_allowlist=deployment.project_allowlist
        )
        return aiplatform.PrivateEndpoint.create(**common, private_service_connect_config=connect)
    return aiplatform.Endpoint.create(**common, dedicated_endpoint_enabled=deployment.endpoint == "dedicated")


def has_room_for_one(endpoint: Any) -> bool:
    """Whether only one model can be deployed, and all traffic is its: so it is where a network is peered."""
    return bool(endpoint.network)


def ask(endpoint: Any, instances: Sequence[Mapping[str, Any]]) -> Any:
    """Predictions, by the address of the endpoint's kind.

    A private endpoint answers inside its network alone. With Private Service Connect it is asked on its DNS name,
    for which the network needs the record that
    https://cloud.google.com/vertex-ai/docs/predictions/private-service-connect describes.

    Args:
        endpoint: What `find` or `get` gave.
        instances: The instances.

    Returns:
        The google.cloud.aiplatform Prediction.

    Raises:
        Unanswered: With what the endpoint said, or why it was not reached.
    """
    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError

    given: dict[str, Any] = {"instances": [dict(instance) for instance in instances]}
    if endpoint.private_service_connect_config:
        given["endpoint_override"] = connect_dns(endpoint)
    try:
        return endpoint.predict(**given)
    except GoogleAPICallError as error:
        raise Unanswered(error.message, place=endpoint.resource_name) from error
    except (ValueError, RuntimeError, TransportError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        # the client library's own, by the status of an answer over HTTP, and those of the ways it takes there
        raise Unanswered(str(error), place=endpoint.resource_name) from error


def connect_dns(endpoint: Any) -> str:
    """The DNS name of an endpoint with Private Service Connect."""
    _, project, _, region, _, name = endpoint.gca_resource.name.split("/")
    return f"{name}-{region}-{project}.prediction.p.vertexai.goog"


def _kind(endpoint: Any) -> str:
    if endpoint.network:
        return f"private, peered with {endpoint.network}"
    if endpoint.private_service_connect_config:
        return "private, with Private Service Connect"
    return "dedicated" if endpoint.dedicated_endpoint_enabled else "shared"


def _wanted(deployment: Deployment) -> str:
    if deployment.network is not None:
        return f"private, peered with {deployment.network}"
    return "private, with Private Service Connect" if deployment.endpoint == "private" else deployment.endpoint
