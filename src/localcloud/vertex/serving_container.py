"""What a prediction container is started with: routes, AIP_* variables, command and arguments.

As https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements says; replicas share this
machine's ports, so AIP_HTTP_PORT is a free one. Keeping the container alive is localcloud.vertex.replica's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localcloud.errors import Unimplemented
from localcloud.runtime import ContainerSpec, LogTarget
from localcloud.vertex import artifacts
from localcloud.vertex.common import (
    Vertex,
    expand,
    id_of,
    location_of,
    machine_memory,
    project_environment,
    project_of,
)

DEFAULT_STARTUP = 1800.0
"""Seconds that a container has to become healthy, unless the model's deployment_timeout says otherwise."""


@dataclass(frozen=True)
class Serving:
    """A model version as it is deployed to an endpoint.

    Args:
        endpoint: The endpoint's name, with the project number.
        deployed: The DeployedModel.
        model: The Model version.
    """

    endpoint: str
    deployed: Any
    model: Any

    @property
    def health_route(self) -> str:
        """The path that answers 200 when the container is healthy."""
        return self.model.container_spec.health_route or self._default_route

    @property
    def predict_route(self) -> str:
        """The path that predictions are posted to."""
        return self.model.container_spec.predict_route or f"{self._default_route}:predict"

    @property
    def _default_route(self) -> str:
        return f"/v1/endpoints/{id_of(self.endpoint)}/deployedModels/{self.deployed.id}"

    @property
    def startup_seconds(self) -> float:
        """How long the container has to become healthy."""
        spec = self.model.container_spec
        if spec.HasField("deployment_timeout"):
            seconds: float = spec.deployment_timeout.ToTimedelta().total_seconds()
            return seconds
        return DEFAULT_STARTUP

    @property
    def storage_uri(self) -> str:
        """Where the container finds the model's artifact; empty for a model without one."""
        return artifacts.frozen_uri(self.model)

    @property
    def machine_type(self) -> str:
        """The machine type asked for; empty where none was."""
        return str(self.deployed.dedicated_resources.machine_spec.machine_type)

    @property
    def replicas(self) -> int:
        """How many replicas run: the minimum of the deployment."""
        kind = self.deployed.WhichOneof("prediction_resources")
        return max(1, getattr(self.deployed, kind).min_replica_count) if kind else 1

    def environment(self, port: int) -> dict[str, str]:
        """The variables of a replica, which listens on `port`."""
        endpoint, deployed = id_of(self.endpoint), self.deployed.id
        variables = {
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": self.health_route,
            "AIP_PREDICT_ROUTE": self.predict_route,
            "AIP_STORAGE_URI": self.storage_uri,
            "AIP_ENDPOINT_ID": endpoint,
            "AIP_DEPLOYED_MODEL_ID": deployed,
            "AIP_MODEL_NAME": endpoint,
            "AIP_VERSION_NAME": deployed,
            "AIP_MODE": "PREDICTION",
            "AIP_MODE_VERSION": "1.0.0",
            "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
            "AIP_PROJECT_NUMBER": project_of(self.endpoint),
        }
        if self.machine_type:
            variables["AIP_MACHINE_TYPE"] = self.machine_type
        for entry in self.model.container_spec.env:
            variables[entry.name] = expand(entry.value, variables)
        return variables

    def container(self, vertex: Vertex, name: str, port: int) -> ContainerSpec:
        """The container of a replica.

        Args:
            vertex: The shared facilities.
            name: The replica's name.
            port: A free port of the loopback address.
        """
        spec = self.model.container_spec
        project = vertex.projects.id(project_of(self.endpoint))
        environment = project_environment(project) | self.environment(port)
        log = LogTarget(
            log_name=f"projects/{project}/logs/aiplatform.googleapis.com%2Fprediction_container",
            resource_type="aiplatform.googleapis.com/Endpoint",
            resource_labels={
                "endpoint_id": id_of(self.endpoint),
                "location": location_of(self.endpoint),
                "resource_container": f"projects/{project_of(self.endpoint)}",
            },
            labels={"deployed_model_id": self.deployed.id, "replica_id": name},
        )
        return ContainerSpec(
            name=name,
            image=spec.image_uri,
            command=[expand(part, environment) for part in spec.command] or None,
            args=[expand(part, environment) for part in spec.args] or None,
            env=environment,
            memory_bytes=machine_memory(self.machine_type, "machine_type"),
            log=None if self.deployed.disable_container_logging else log,
        )


def check_servable(model: Any) -> None:
    """Refuse a container spec that asks for what replicas here do not do.

    Raises:
        Unimplemented: Naming the field.
    """
    for name in ("startup_probe", "health_probe", "liveness_probe", "grpc_ports", "invoke_route_prefix"):
        if getattr(model.container_spec, name) and (
            not hasattr(getattr(model.container_spec, name), "DESCRIPTOR") or model.container_spec.HasField(name)
        ):
            raise Unimplemented(
                f"The local cloud does not do `container_spec.{name}` of Model `{model.name}`: its replicas are "
                "asked over HTTP on the health route and the predict route."
            )
