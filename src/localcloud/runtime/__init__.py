"""Images and processes: what stands in for a container registry and for the machines that run containers.

Knows Dockerfiles, environments and process trees; nothing of jobs, endpoints or any Google API.

    runtime = Runtime(root, logs, environment, buckets)
    runtime.images.build(Path("images/training"), "Dockerfile", "us-docker.pkg.dev/p/r/training:1")
    container = runtime.start(ContainerSpec("workerpool0-0", image="us-docker.pkg.dev/p/r/training:1"))
    container.wait()
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localcloud.logs import Logs
from localcloud.runtime.spec import (
    BuildFailed,
    Container,
    ContainerSpec,
    Image,
    ImageNotFound,
    ImageStore,
    LogTarget,
    StartFailed,
)
from localcloud.runtime.stopping import Stopped, held, stoppable

if TYPE_CHECKING:
    from localcloud.runtime.engine import EngineContainers
    from localcloud.runtime.processes import Processes

__all__ = [
    "BuildFailed",
    "Container",
    "ContainerSpec",
    "Image",
    "ImageNotFound",
    "ImageStore",
    "LogTarget",
    "Runtime",
    "StartFailed",
    "Stopped",
    "held",
    "stoppable",
]

Engine = Literal["process", "docker", "podman"]


class Runtime:
    """Starts containers as processes of this machine, or through a container engine.

    Args:
        root: A folder of its own for images, environments and scratch folders.
        logs: Where the containers' output goes.
        environment: The variables that point a process at this local cloud, read at each start.
        buckets: The folder whose children are the buckets; containers see it as `/gcs`.
        engine: `process` needs nothing installed; `docker` and `podman` go through that command.
    """

    images: ImageStore

    def __init__(
        self,
        root: Path,
        logs: Logs,
        environment: Callable[[], dict[str, str]],
        buckets: Path,
        engine: Engine = "process",
    ) -> None:
        self.root = root
        self.engine = engine
        if engine == "process":
            from localcloud.runtime.images import Images
            from localcloud.runtime.processes import Processes

            images = Images(root)
            self.images = images
            self._backend: Processes | EngineContainers = Processes(root, images, logs, environment, buckets)
            images.prune()
        else:
            from localcloud.runtime.engine import EngineContainers, EngineImages

            engine_images = EngineImages(engine)
            self.images = engine_images
            self._backend = EngineContainers(engine, root, engine_images, logs, environment, buckets)

    def start(self, spec: ContainerSpec) -> Container:
        """Starts a container and returns at once; its output is already on its way to the logs.

        Raises:
            ImageNotFound: No such image.
            BuildFailed: A public image that was to be built at its first use could not be.
            StartFailed: The command or the working directory does not exist.
        """
        return self._backend.start(spec)

    def close(self, grace: float = 5.0) -> None:
        """Ends every container that still runs."""
        self._backend.close(grace)
