"""How an endpoint is reached: the four kinds that Vertex AI has, what each allows, and the addresses it answers on.

https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type. Who answers there is routing's business.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from localcloud.errors import FailedPrecondition, Unimplemented
from localcloud.vertex.common import id_of, invalid, location_of, project_of

PEERED_PATH = "/peered/"
"""Below it, on the loopback address, deployed models of peered endpoints answer."""
_NETWORK = re.compile(r"projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[0-9]+|[a-z]([a-z0-9.:-]{0,61}[a-z0-9])?")


class Access(enum.Enum):
    """The kinds of endpoints."""

    SHARED = "shared public endpoint"
    DEDICATED = "dedicated public endpoint"
    PEERED = "private endpoint peered with a network"
    CONNECTED = "private endpoint with Private Service Connect"

    @property
    def limit(self) -> int:
        """Bytes that a request may have."""
        return 1_500_000 if self is Access.SHARED else 10_000_000


def access_of(endpoint: Any) -> Access:
    """The kind of an endpoint."""
    if endpoint.network:
        return Access.PEERED
    if endpoint.private_service_connect_config.enable_private_service_connect:
        return Access.CONNECTED
    return Access.DEDICATED if endpoint.dedicated_endpoint_enabled else Access.SHARED


def timeout_of(endpoint: Any) -> float:
    """Seconds a prediction may take: 60, or up to an hour on an address of its own."""
    if access_of(endpoint) in (Access.SHARED, Access.PEERED):
        return 60.0
    given = endpoint.client_connection_config
    if given.HasField("inference_timeout"):
        return min(3600.0, float(given.inference_timeout.ToTimedelta().total_seconds()))
    return 600.0


def host_of(name: str, access: Access) -> str:
    """The DNS name that is an endpoint's own, without scheme, as the client library expects it; empty without one.

    Args:
        name: The endpoint's name, with the project number.
        access: Its kind.
    """
    endpoint, location, project = id_of(name), location_of(name), project_of(name)
    if access is Access.DEDICATED:
        return f"{endpoint}.{location}-{project}.prediction.vertexai.goog"
    if access is Access.CONNECTED:
        return f"{endpoint}-{location}-{project}.prediction.p.vertexai.goog"
    return ""


def check(given: Any) -> None:
    """Refuse an endpoint that is to be reached in a way that there is not.

    Raises:
        InvalidArgument: Two kinds at once, or a network or a project that does not look like one.
        Unimplemented: What needs Compute Engine, which the local cloud does not have.
    """
    if given.enable_private_service_connect:
        raise Unimplemented(
            "The local cloud does not do the deprecated endpoint.enable_private_service_connect: "
            "set private_service_connect_config.enable_private_service_connect."
        )
    if given.HasField("private_service_connect_config"):
        if given.network:
            raise invalid(
                "endpoint.network",
                "network and private_service_connect_config are mutually exclusive: only one of them can be set.",
            )
        _check_connect(given.private_service_connect_config)
    if given.network and not _NETWORK.fullmatch(given.network):
        raise invalid(
            "endpoint.network",
            f"Must be projects/PROJECT_NUMBER/global/networks/NETWORK, not `{given.network}`.",
        )
    if given.dedicated_endpoint_enabled and (given.network or given.HasField("private_service_connect_config")):
        raise invalid(
            "endpoint.dedicated_endpoint_enabled",
            "A private endpoint (network, private_service_connect_config) has no public dedicated DNS.",
        )


def _check_connect(config: Any) -> None:
    field = "endpoint.private_service_connect_config"
    if not config.enable_private_service_connect:
        raise invalid(f"{field}.enable_private_service_connect", "Required field is not set.")
    if config.psc_automation_configs:
        raise Unimplemented(
            f"The local cloud does not do {field}.psc_automation_configs: there is no Compute Engine here to make "
            "forwarding rules in. The endpoint answers on its DNS name without one."
        )
    for project in config.project_allowlist:
        if not _PROJECT.fullmatch(project):
            raise invalid(f"{field}.project_allowlist", f"`{project}` is no project id or number.")


def check_split(endpoint: Any, split: Mapping[str, int]) -> None:
    """Refuse a traffic split on an endpoint that cannot have one."""
    if split and access_of(endpoint) is Access.PEERED:
        raise invalid(
            "traffic_split",
            f"Traffic split is not supported for Endpoint `{endpoint.name}`: it is peered with a network.",
        )


def check_room(endpoint: Any, taken: bool) -> None:
    """Refuse a second model on a peered endpoint.

    Args:
        endpoint: The endpoint.
        taken: Whether a model is deployed or being deployed.
    """
    if taken and access_of(endpoint) is Access.PEERED:
        raise FailedPrecondition(
            f"Endpoint `{endpoint.name}` is peered with a network, and such a private endpoint supports one "
            "DeployedModel only. Undeploy the one it has first."
        )


def address(endpoint: Any, deployed: Any, port: int) -> None:
    """Fill in where a model of a private endpoint is reached from inside the network.

    The network here is the loopback address: Google's client asks these URIs by a pool that knows of no proxy, so a
    name of Google's would be looked up, and asked, outside of this machine.

    Args:
        endpoint: The endpoint, whose service attachment is filled in as well.
        deployed: The DeployedModel.
        port: The port of the local cloud.
    """
    access, private = access_of(endpoint), deployed.private_endpoints
    if access is Access.PEERED:
        base = f"http://127.0.0.1:{port}{PEERED_PATH}{endpoint.name}/v1/models/{deployed.id}"
        private.predict_http_uri, private.health_http_uri = f"{base}:predict", base
    elif access is Access.CONNECTED:
        private.service_attachment = _attachment(endpoint.name)
        endpoint.private_service_connect_config.service_attachment = private.service_attachment


def _attachment(name: str) -> str:
    """The name of an endpoint's service attachment, in a tenant project as Google's have it."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    region = location_of(name)
    return f"projects/{digest[:17]}-tp/regions/{region}/serviceAttachments/gkedpm-{digest[17:47]}"
