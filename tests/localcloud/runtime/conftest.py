"""A runtime for the tests of this folder: its environments are made once, since that takes most of the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcloud.logs import Logs
from localcloud.runtime import ContainerSpec, Image, LogTarget, Runtime


@dataclass
class Place:
    """A runtime and what is around it."""

    root: Path
    logs: Logs
    runtime: Runtime

    @property
    def buckets(self) -> Path:
        """The folder of the buckets."""
        return self.root / "buckets"

    def image(self, text: str, context: Path, uri: str = "local/test:1") -> Image:
        """Builds an image from a Dockerfile's text."""
        return self.runtime.images.build(context, text + "\n", uri)

    def run(self, *command: str, image: str | Image = "python:3", **more: object) -> tuple[int, list[str]]:
        """Runs a container to its end; its exit code and output."""
        spec = ContainerSpec("test", image, command=command, **more)  # type: ignore[arg-type]
        container = self.runtime.start(spec)
        return container.wait(60), container.tail(500)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The runtime of all tests here."""
    root = tmp_path_factory.mktemp("runtime")
    (root / "buckets" / "models").mkdir(parents=True)
    logs = Logs(root)
    runtime = Runtime(root / "runtime", logs, lambda: {"CLOUD": "local"}, root / "buckets")
    yield Place(root, logs, runtime)
    runtime.close()
    logs.close()


@pytest.fixture
def target() -> LogTarget:
    """A job's log."""
    return LogTarget("projects/p/logs/workerpool0-0", "ml_job", {"job_id": "7"})


@pytest.fixture(params=["private mounts", "no private mounts"])
def either(place: Place, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The runtime as it is on this machine, and as it is where mount namespaces are forbidden."""
    backend = place.runtime._backend
    before = backend.private_mounts
    if request.param == "no private mounts":
        backend.private_mounts = False
    yield place
    backend.private_mounts = before
