"""What a service of the local cloud is, and what it is given.

A service folder has an `api.py` with `def api(cloud: Cloud) -> Api`. An API is either *RPC*: objects whose
class is named after a gRPC service and whose methods are its RPCs in snake_case (the catalog adds transports,
routes, transcoding and errors), or *HTTP*: an ASGI application, for APIs that Google describes by discovery
documents alone (Cloud Storage, BigQuery).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from starlette.types import ASGIApp

if TYPE_CHECKING:
    from localcloud.logs import Logs
    from localcloud.objects import Objects
    from localcloud.operations import Operations
    from localcloud.resources import ResourceStore
    from localcloud.runtime import Runtime


_LAUNCHER = "google-cloud-pipeline-components"


@dataclass
class Call:
    """One request as it arrived; a method takes it as its last argument if it names it `call`."""

    method: str
    """`google.pubsub.v1.Publisher.Publish`."""
    transport: Literal["grpc", "rest", "internal"]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers or gRPC metadata, keys in lower case."""
    response_headers: dict[str, str] = field(default_factory=dict)
    """What the method wants sent back as headers (REST) or initial metadata (gRPC)."""
    deadline: float | None = None
    """`time.monotonic()` at which the client gives up, where it said so."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when the client has gone: long-running methods look at it."""
    package: str = ""
    """The proto package that the client speaks, such as `google.cloud.aiplatform.v1beta1`."""
    native: str = ""
    """The package that the method is written in, such as `google.cloud.aiplatform.v1`."""

    def remaining(self, default: float) -> float:
        """Seconds that are left to answer in; `default` where the client named no deadline."""
        return default if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def patience(self, most: float) -> float:
        """Seconds that the client would rather wait for an end than look again; 0 for most clients.

        The launchers of Google's prebuilt pipeline components look every 20 seconds: an answer that comes when the
        work is over, instead of at once, saves them that.

        Args:
            most: What the method would wait.
        """
        agents = (self.headers.get(name, "") for name in ("user-agent", "x-goog-api-client"))
        if not any(_LAUNCHER in agent for agent in agents):
            return 0.0
        return most if self.deadline is None else max(0.0, min(most, self.remaining(most) - 1.0))

    def type_url(self, full_name: str) -> str:
        """The type URL under which the client knows a message: operations hold theirs packed in an Any."""
        if self.native and full_name.startswith(self.native + "."):
            full_name = self.package + full_name[len(self.native) :]
        return f"type.googleapis.com/{full_name}"


CURRENT_CALL: ContextVar[Call] = ContextVar("CURRENT_CALL")
"""The request that is being answered in this thread or task."""


def patience(most: float) -> float:
    """`Call.patience` of the request that is being answered."""
    call = CURRENT_CALL.get(None)
    return 0.0 if call is None else call.patience(most)


@dataclass(frozen=True)
class Api:
    """One Google API: the hosts it answers on and what answers.

    Args:
        name: Google's short name, such as `aiplatform`.
        hosts: Host patterns; `*` stands for one leading label or part, as in `*-aiplatform.googleapis.com`.
        services: RPC objects; the class name is the gRPC service's (`JobService`). A large service may be
            several classes of that name, each with a part of its RPCs.
        packages: The proto packages these objects serve, the first being the one they are written in;
            requests to the others are carried over by their wire form (v1beta1 to v1).
        http: An ASGI application for everything that is not RPC on these hosts.
        paths: Path prefixes under which `http` answers on the bare loopback address as well
            (`/storage/v1/`), which is how `*_EMULATOR_HOST` and gcloud's endpoint overrides arrive.
        start: Called once, before the first request: recover what an earlier process left.
        stop: Called once at the end: end processes and flush.
    """

    name: str
    hosts: tuple[str, ...]
    services: tuple[object, ...] = ()
    packages: tuple[str, ...] = ()
    http: ASGIApp | None = None
    paths: tuple[str, ...] = ()
    start: Callable[[], None] = lambda: None
    stop: Callable[[], None] = lambda: None


@dataclass
class Cloud:
    """The facilities that services share. Services reach each other only through `call`."""

    root: Path
    """The state folder: everything the local cloud keeps is below it."""
    port: int
    store: ResourceStore
    operations: Operations
    objects: Objects
    logs: Logs
    runtime: Runtime
    call: Callable[[str, Any], Any]
    """`call("google.pubsub.v1.Publisher.Publish", request)`: a unary RPC of another service, in process."""
    environment: Callable[[], dict[str, str]]
    """The variables that point a process at this local cloud: what `mlops env` prints."""
