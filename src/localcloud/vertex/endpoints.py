"""EndpointService: endpoints are created and changed here, models deployed to and undeployed from them.

Replicas are localcloud.vertex.deployment's, routes localcloud.vertex.routing's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localcloud.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from localcloud.fields import apply_mask, select
from localcloud.filters import Vocabulary
from localcloud.operations import OperationHandle
from localcloud.vertex.access import Access, access_of, address, check, check_room, check_split, host_of
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    id_of,
    invalid,
    machine_memory,
    now,
    parent_of,
    v1,
)
from localcloud.vertex.deployment import Deployment
from localcloud.vertex.routing import Fleet
from localcloud.vertex.serving_container import Serving, check_servable
from localcloud.vertex.versions import Versions

_GIVEN = (
    "display_name",
    "description",
    "labels",
    "encryption_spec",
    "dedicated_endpoint_enabled",
    "client_connection_config",
    "network",
    "private_service_connect_config",
)
_UPDATABLE = ("display_name", "description", "labels", "traffic_split", "client_connection_config")
_MUTABLE = (
    "dedicated_resources.min_replica_count",
    "dedicated_resources.max_replica_count",
    "dedicated_resources.required_replica_count",
    "dedicated_resources.autoscaling_metric_specs",
    "automatic_resources.min_replica_count",
    "automatic_resources.max_replica_count",
)
_ENDPOINT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,9}")
_DEPLOYED_ID = re.compile(r"[0-9]{1,10}")
_FILTERS = Vocabulary(fields={"endpoint": lambda endpoint: id_of(endpoint.name)})


class EndpointService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#endpointservice."""

    def __init__(self, vertex: Vertex, fleet: Fleet) -> None:
        self._vertex = vertex
        self._fleet = fleet
        self._versions = Versions(vertex)

    # Endpoints

    def create_endpoint(self, request: Any) -> Any:
        """Create an endpoint without models."""
        given = request.endpoint
        check_display_name(given.display_name, "endpoint.display_name")
        check_labels(given.labels, "endpoint.labels")
        check(given)
        _refuse_what_is_not_done(given)
        if request.endpoint_id and not _ENDPOINT_ID.fullmatch(request.endpoint_id):
            raise invalid(
                "endpoint_id",
                "Up to 63 characters of `[a-z0-9-]`, the first a letter and the last no hyphen; or up to 10 digits "
                "without a leading zero.",
            )
        parent = self._vertex.parent(request.parent)
        name = f"{parent}/endpoints/{request.endpoint_id or self._vertex.store.new_id()}"
        endpoint = v1.Endpoint()
        copy_fields(endpoint, given, _GIVEN)
        if endpoint.HasField("private_service_connect_config"):
            endpoint.private_service_connect_config.ClearField("service_attachment")
        if access_of(endpoint) is Access.DEDICATED:
            endpoint.dedicated_endpoint_dns = host_of(name, Access.DEDICATED)
        endpoint = self._vertex.store.create(name, endpoint)
        self._fleet.refresh(endpoint.name)
        metadata = generic_metadata(v1.CreateEndpointOperationMetadata)
        return self._vertex.operations.done(name, endpoint, metadata)

    def get_endpoint(self, request: Any) -> Any:
        """The endpoint with its deployed models and traffic split."""
        return self._get(request.name)

    def list_endpoints(self, request: Any) -> Any:
        """The endpoints of a location, newest first."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.Endpoint,
            filter=request.filter,
            order_by=request.order_by or "create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=_FILTERS,
        )
        endpoints = [select(endpoint, request.read_mask.paths) for endpoint in page]
        return v1.ListEndpointsResponse(endpoints=endpoints, next_page_token=page.next_page_token)

    def update_endpoint(self, request: Any) -> Any:
        """Change names, labels or the traffic split."""
        request.endpoint.name = self._vertex.name(request.endpoint.name)
        _refuse_what_is_not_done(request.endpoint)
        check_labels(request.endpoint.labels, "endpoint.labels")
        with self._vertex.store.transaction():
            endpoint = self._vertex.store.update(request.endpoint, request.update_mask, allowed=_UPDATABLE)
            check_display_name(endpoint.display_name, "endpoint.display_name")
            _check_traffic(endpoint, endpoint.traffic_split)
        self._fleet.refresh(endpoint.name)
        return endpoint

    def update_endpoint_long_running(self, request: Any) -> Any:
        """Change how clients connect to the endpoint."""
        self._get(request.endpoint.name)
        request.endpoint.name = self._vertex.name(request.endpoint.name)
        endpoint = self._vertex.store.update(request.endpoint, ["client_connection_config"])
        self._fleet.refresh(endpoint.name)
        metadata = generic_metadata(v1.UpdateEndpointOperationMetadata)
        return self._vertex.operations.done(endpoint.name, endpoint, metadata)

    def delete_endpoint(self, request: Any) -> Any:
        """Delete an endpoint to which nothing is deployed."""
        endpoint = self._get(request.name)
        if endpoint.deployed_models or self._fleet.being_deployed(endpoint.name):
            raise FailedPrecondition(
                f"Endpoint `{endpoint.name}` has deployed or being-deployed DeployedModel(s): "
                f"{', '.join(deployed.id for deployed in endpoint.deployed_models) or 'one is being deployed'}. "
                "Undeploy them before deleting the Endpoint."
            )
        self._vertex.store.delete(endpoint.name, v1.Endpoint)
        self._fleet.refresh(endpoint.name)
        metadata = generic_metadata(v1.DeleteOperationMetadata)
        return self._vertex.operations.done(endpoint.name, metadata=metadata)

    # Deployed models

    def deploy_model(self, request: Any) -> Any:
        """Start a model's replicas, and give it traffic once they are healthy."""
        endpoint = self._get(request.endpoint)
        check_room(endpoint, self._fleet.being_deployed(endpoint.name))
        deployed = v1.DeployedModel()
        deployed.CopyFrom(request.deployed_model)
        model = self._versions.find(deployed.model)
        if parent_of(model.name) != parent_of(endpoint.name):
            raise InvalidArgument(
                f"The Model `{model.name}` and the Endpoint `{endpoint.name}` must be in the same location."
            )
        check_servable(model)
        self._complete(deployed, model, endpoint)
        split = dict(request.traffic_split)
        _check_traffic(endpoint, split, coming=deployed.id)
        deployment = Deployment(self._vertex, Serving(endpoint.name, deployed, model))
        self._fleet.add(deployment)
        metadata = generic_metadata(v1.DeployModelOperationMetadata)

        def work(handle: OperationHandle) -> Any:
            try:
                deployment.scale(deployment.serving.replicas)
                deployment.wait_until_ready(handle)
                deployed.create_time.CopyFrom(now())
                self._take_up(endpoint.name, deployed, split)
            except BaseException:
                self._fleet.remove(endpoint.name, deployed.id)
                deployment.stop(0.0)
                raise
            return v1.DeployModelResponse(deployed_model=deployed)

        try:
            return self._vertex.operations.start(endpoint.name, work, metadata)
        except BaseException:
            self._fleet.remove(endpoint.name, deployed.id)
            raise

    def undeploy_model(self, request: Any) -> Any:
        """Take a model off an endpoint: it must not have traffic any longer."""
        endpoint = self._get(request.endpoint)
        name, deployed_id = endpoint.name, request.deployed_model_id
        split = dict(request.traffic_split)

        def change(stored: Any) -> None:
            kept = [each for each in stored.deployed_models if each.id != deployed_id]
            if len(kept) == len(stored.deployed_models):
                raise NotFound(f"Endpoint `{name}` has no DeployedModel with id `{deployed_id}`.")
            if split:
                _check_traffic(stored, split)
                stored.traffic_split.clear()
                stored.traffic_split.update(split)
            if kept and stored.traffic_split.get(deployed_id, 0):
                raise FailedPrecondition(
                    f"DeployedModel `{deployed_id}` still gets {stored.traffic_split[deployed_id]} % of the "
                    f"traffic of Endpoint `{name}`: give it to others in traffic_split."
                )
            stored.traffic_split.pop(deployed_id, None)
            if not kept:
                stored.traffic_split.clear()
            del stored.deployed_models[:]
            stored.deployed_models.extend(kept)

        self._vertex.store.modify(name, v1.Endpoint, change)
        self._fleet.refresh(name)
        deployment = self._fleet.remove(name, deployed_id)

        def work(handle: OperationHandle) -> Any:
            if deployment is not None:
                deployment.stop()
            return v1.UndeployModelResponse()

        metadata = generic_metadata(v1.UndeployModelOperationMetadata)
        return self._vertex.operations.start(name, work, metadata)

    def mutate_deployed_model(self, request: Any) -> Any:
        """Change how many replicas a deployed model has."""
        endpoint = self._get(request.endpoint)
        given = request.deployed_model
        found: list[Any] = []

        def change(stored: Any) -> None:
            for deployed in stored.deployed_models:
                if deployed.id == given.id:
                    apply_mask(deployed, given, request.update_mask.paths, _MUTABLE)
                    _check_replicas(deployed)
                    found.append(deployed)
                    return
            raise NotFound(f"Endpoint `{endpoint.name}` has no DeployedModel with id `{given.id}`.")

        self._vertex.store.modify(endpoint.name, v1.Endpoint, change)
        deployed = found[0]
        deployment = self._fleet.find(endpoint.name, given.id)

        def work(handle: OperationHandle) -> Any:
            if deployment is not None:
                deployment.scale(Serving(endpoint.name, deployed, None).replicas)
                deployment.wait_until_ready(handle)
            return v1.MutateDeployedModelResponse(deployed_model=deployed)

        metadata = generic_metadata(v1.MutateDeployedModelOperationMetadata)
        return self._vertex.operations.start(endpoint.name, work, metadata)

    # Inside

    def _get(self, name: str) -> Any:
        name = self._vertex.name(name)
        found = self._vertex.store.find(name, v1.Endpoint)
        if found is None:
            raise NotFound(f"Endpoint `{name}` not found.")
        return found

    def _complete(self, deployed: Any, model: Any, endpoint: Any) -> None:
        """Fill in a DeployedModel that was asked for."""
        if deployed.id and not _DEPLOYED_ID.fullmatch(deployed.id):
            raise invalid("deployed_model.id", "At most 10 digits.")
        if deployed.id and any(each.id == deployed.id for each in endpoint.deployed_models):
            raise AlreadyExists(f"Endpoint `{endpoint.name}` has a DeployedModel with id `{deployed.id}` already.")
        kind = deployed.WhichOneof("prediction_resources")
        if kind == "shared_resources":
            raise Unimplemented("The local cloud has no DeploymentResourcePools: use dedicated_resources.")
        if kind is None:
            raise invalid("deployed_model.dedicated_resources", "Required field is not set.")
        if kind == "dedicated_resources":
            machine = deployed.dedicated_resources.machine_spec.machine_type
            machine_memory(machine, "deployed_model.dedicated_resources.machine_spec.machine_type")
        deployed.ClearField("private_endpoints")
        deployed.id = deployed.id or self._vertex.store.new_id()
        deployed.model, deployed.model_version_id = model.name, model.version_id
        deployed.display_name = deployed.display_name or model.display_name
        _check_replicas(deployed)

    def _take_up(self, name: str, deployed: Any, split: Mapping[str, int]) -> None:
        def change(stored: Any) -> None:
            _check_traffic(stored, split, coming=deployed.id)
            check_room(stored, bool(stored.deployed_models))
            address(stored, deployed, self._vertex.cloud.port)
            stored.deployed_models.append(deployed)
            if split:
                stored.traffic_split.clear()
                for key, share in split.items():
                    stored.traffic_split[deployed.id if key == "0" else key] = share

        self._vertex.store.modify(name, v1.Endpoint, change)
        self._fleet.refresh(name)


def _refuse_what_is_not_done(endpoint: Any) -> None:
    if endpoint.predict_request_response_logging_config.enabled:
        raise Unimplemented("The local cloud does not do predict_request_response_logging_config.")


def _check_replicas(deployed: Any) -> None:
    """Settle min and max replica counts: at least one, and no maximum below the minimum."""
    kind = deployed.WhichOneof("prediction_resources")
    resources = getattr(deployed, kind)
    if resources.min_replica_count < 0 or resources.max_replica_count < 0:
        raise invalid(f"deployed_model.{kind}", "min_replica_count and max_replica_count must not be negative.")
    resources.min_replica_count = resources.min_replica_count or 1
    resources.max_replica_count = resources.max_replica_count or resources.min_replica_count
    if resources.max_replica_count < resources.min_replica_count:
        raise invalid(
            f"deployed_model.{kind}.max_replica_count",
            f"Must be at least min_replica_count, which is {resources.min_replica_count}.",
        )


def _check_traffic(endpoint: Any, split: Mapping[str, int], coming: str = "") -> None:
    """Refuse a traffic split that names what is not deployed or does not sum to 100.

    Args:
        endpoint: The endpoint with its deployed models.
        split: Per cent by deployed model id; empty is right.
        coming: The id of the model that is being deployed, which the split calls `0`.
    """
    if not split:
        return
    check_split(endpoint, split)
    known = {deployed.id for deployed in endpoint.deployed_models} | ({"0", coming} if coming else set())
    unknown = sorted(set(split) - known)
    if unknown:
        raise invalid(
            "traffic_split",
            f"`{unknown[0]}` is not the id of a DeployedModel of Endpoint `{endpoint.name}`"
            + ("; the model being deployed is called `0`." if coming else "."),
        )
    if any(share < 0 or share > 100 for share in split.values()) or sum(split.values()) != 100:
        raise invalid("traffic_split", f"The shares must sum to 100, they sum to {sum(split.values())}.")
