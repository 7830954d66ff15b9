"""Which deployment answers an endpoint's request: the traffic splits, kept ready in memory.

The store has the truth about endpoints; this is what of it a request needs, renewed after each change.
"""

from __future__ import annotations

import bisect
import random
import threading
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from localcloud.errors import FailedPrecondition, NotFound
from localcloud.vertex.access import Access, access_of, address, host_of, timeout_of
from localcloud.vertex.common import Vertex, v1
from localcloud.vertex.deployment import Deployment
from localcloud.vertex.serving_container import Serving
from localcloud.vertex.versions import Versions


@dataclass(frozen=True)
class Route:
    """An endpoint as requests see it."""

    endpoint: str
    access: Access
    host: str
    """Its own DNS name; empty where it has none."""
    timeout: float
    """Seconds a prediction may take."""
    deployments: tuple[Deployment, ...]
    """Those that get traffic."""
    bounds: tuple[int, ...]
    """Up to which per cent each of them gets it."""

    def pick(self) -> Deployment:
        """A deployment, by the weights of the traffic split.

        Raises:
            FailedPrecondition: None gets traffic.
        """
        if not self.deployments:
            raise FailedPrecondition(
                f"Endpoint `{self.endpoint}` has no model that gets traffic: deploy one, or give a deployed one "
                "its share in traffic_split."
            )
        if len(self.deployments) == 1:
            return self.deployments[0]
        return self.deployments[bisect.bisect_right(self.bounds, random.randrange(self.bounds[-1]))]


class Fleet:
    """All deployments of the local cloud.

    Args:
        vertex: The shared facilities.
    """

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._versions = Versions(vertex)
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._deployments: dict[tuple[str, str], Deployment] = {}
        self._routes: dict[str, Route] = {}

    def start(self) -> None:
        """Start the replicas of everything that is deployed; they come up in the background."""
        for endpoint in self._vertex.store.all("", v1.Endpoint, descendants=True):
            self._address(endpoint)
            for deployed in endpoint.deployed_models:
                model = self._versions.find(f"{deployed.model}@{deployed.model_version_id}")
                deployment = Deployment(self._vertex, Serving(endpoint.name, deployed, model))
                self.add(deployment)
                deployment.scale(deployment.serving.replicas)
            self.refresh(endpoint.name)

    def stop(self) -> None:
        """End all replicas."""
        with self._lock:
            deployments, self._deployments = list(self._deployments.values()), {}
        threads = [threading.Thread(target=each.stop, args=(0.0,), daemon=True) for each in deployments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    def add(self, deployment: Deployment) -> None:
        """Take up a deployment; it gets traffic with the next refresh that says so."""
        key = (deployment.serving.endpoint, deployment.serving.deployed.id)
        with self._lock:
            self._deployments[key] = deployment

    def remove(self, endpoint: str, deployed_id: str) -> Deployment | None:
        """Give up a deployment, which is then to be stopped."""
        with self._lock:
            return self._deployments.pop((endpoint, deployed_id), None)

    def find(self, endpoint: str, deployed_id: str) -> Deployment | None:
        """The deployment of a deployed model."""
        with self._lock:
            return self._deployments.get((endpoint, deployed_id))

    def being_deployed(self, endpoint: str) -> bool:
        """Whether the endpoint has deployments, finished or under way."""
        with self._lock:
            return any(key[0] == endpoint for key in self._deployments)

    def refresh(self, endpoint: str) -> None:
        """Route by an endpoint as it is stored now: whoever changed it last, the route is the last one's."""
        with self._refreshing:
            stored = self._vertex.store.find(endpoint, v1.Endpoint)
            if stored is None:
                self._routes.pop(endpoint, None)
            else:
                self._routes[endpoint] = self._route(stored)

    def _address(self, endpoint: Any) -> None:
        """Correct the addresses of a private endpoint's models: the port may be another than before."""

        def change(stored: Any) -> None:
            for deployed in stored.deployed_models:
                address(stored, deployed, self._vertex.cloud.port)

        before = endpoint.SerializeToString(deterministic=True)
        change(endpoint)
        if endpoint.SerializeToString(deterministic=True) != before:
            self._vertex.store.modify(endpoint.name, v1.Endpoint, change)

    def _route(self, endpoint: Any) -> Route:
        access = access_of(endpoint)
        if access is Access.PEERED:
            split = {deployed.id: 100 for deployed in endpoint.deployed_models}
        else:
            split = dict(endpoint.traffic_split)
        shares = [
            (deployment, share)
            for deployed_id, share in split.items()
            if share and (deployment := self.find(endpoint.name, deployed_id)) is not None
        ]
        return Route(
            endpoint=endpoint.name,
            access=access,
            host=host_of(endpoint.name, access),
            timeout=timeout_of(endpoint),
            deployments=tuple(deployment for deployment, _ in shares),
            bounds=tuple(accumulate(share for _, share in shares)),
        )

    def route(self, endpoint: str) -> Route:
        """The route of an endpoint.

        Raises:
            NotFound: There is no such endpoint.
        """
        name = self._vertex.name(endpoint)
        found = self._routes.get(name)
        if found is None:
            raise NotFound(f"Endpoint `{name}` not found.")
        return found
