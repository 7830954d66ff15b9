"""What the runtime is asked for and what it answers with: images, container specs, log targets, errors.

Plain values. Building images is in `build`, running containers in `containers` and `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from localcloud.errors import FailedPrecondition, NotFound


class ImageNotFound(NotFound):
    """No image has this URI: the message names the nearest ones that there are."""


class BuildFailed(FailedPrecondition):
    """An image could not be built: the message names the file, the line and what to do."""


class StartFailed(FailedPrecondition):
    """A container's process could not be started: no such command, no such working directory."""


@dataclass(frozen=True)
class Image:
    """A built image: what a container of it starts with.

    Args:
        uri: The name it was asked for by, with its tag.
        digest: `sha256:…` over everything below: equal images have equal digests.
        python: The interpreter of the image's environment; empty for images of a container engine.
        tree: Folder with the image's own files at their absolute paths (`tree/app/main.py`).
        env: ENV of the Dockerfile.
        workdir: WORKDIR, absolute.
        entrypoint: ENTRYPOINT as an argument vector.
        cmd: CMD as an argument vector.
        ports: EXPOSEd TCP ports.
        labels: LABELs.
        user: USER as written; containers of the process runtime run as the user who started the server.
        created: Seconds since the epoch.
        remarks: What is not as in the image of this name; each container's log begins with them.
    """

    uri: str
    digest: str
    python: str = ""
    tree: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    created: float = 0.0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogTarget:
    """Where a container's stdout and stderr go in Cloud Logging.

    Args:
        log_name: The full name, `projects/PROJECT/logs/LOG_ID`, LOG_ID percent-encoded as Google's is.
        resource_type: The monitored resource, such as `ml_job` or `aiplatform.googleapis.com/Endpoint`.
        resource_labels: Its labels, such as `{"job_id": "123", "task_name": "workerpool0-0"}`.
        labels: Labels of each entry.
    """

    log_name: str
    resource_type: str
    resource_labels: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContainerSpec:
    """One container to start.

    Args:
        name: What messages call it (`workerpool0-0`); need not be unique.
        image: An image URI, or the Image that `images.resolve` gave.
        command: In place of the image's ENTRYPOINT; CMD is dropped with it, as Vertex AI does.
        args: In place of the image's CMD.
        env: Added last: over the image's ENV and the variables that point at the local cloud.
        log: Where the output goes; None keeps the tail alone.
        memory_bytes: Ends the container as out of memory when its processes together hold more.
        workdir: In place of the image's WORKDIR.
        mounts: Folders that appear at absolute paths, such as `{"/workspace": folder}`.
        tee: Called with each line of output as it comes, from the container's own thread.
    """

    name: str
    image: str | Image
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    log: LogTarget | None = None
    memory_bytes: int | None = None
    workdir: str | None = None
    mounts: Mapping[str, Path] = field(default_factory=dict)
    tee: Callable[[str], None] | None = None


class ImageStore(Protocol):
    """The images of a runtime; thread safe, durable."""

    def build(
        self,
        context: Path,
        dockerfile: Path | str,
        uri: str,
        *,
        build_args: Mapping[str, str] | None = None,
        log: Callable[[str], None] = ...,
    ) -> Image:
        """Builds an image and names it.

        Args:
            context: The folder COPY reads from.
            dockerfile: A path, or the Dockerfile's text if it is a string with a line break in it.
            uri: What to name the image; `:latest` is added where there is no tag.
            build_args: Values for ARG.
            log: Called with each line of the build's output.

        Raises:
            BuildFailed: With the Dockerfile's line and what to do about it.
        """
        ...

    def resolve(self, uri: str, log: Callable[[str], None] = ...) -> Image:
        """The image of this name; a public image we know is built at its first use, which `log` hears of.

        Raises:
            ImageNotFound: With the nearest names that there are.
        """
        ...

    def list(self) -> list[Image]:
        """All images by name, without public images that were never used."""
        ...

    def tag(self, source: str, target: str) -> Image:
        """Gives an image a second name."""
        ...

    def delete(self, uri: str) -> None:
        """Takes a name away; what no image needs any longer is removed from disk."""
        ...

    def with_packages(self, image: str | Image, packages: Sequence[Path], *, log: Callable[[str], None] = ...) -> Image:
        """The image with Python packages (wheels, source archives, folders) pip-installed on top.

        What Vertex AI does with `python_package_spec.package_uris`. Keyed by content: a second call with the
        same files costs nothing.

        Raises:
            BuildFailed: With the installer's words.
        """
        ...


class Container(Protocol):
    """A container that was started."""

    name: str
    pid: int
    """The main process, as this machine numbers it."""
    started: float
    """Seconds since the epoch."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs; 128+n when signal n ended it, so 137 is SIGKILL."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of every process and of the output, and gives the exit code.

        Raises:
            TimeoutError: After `timeout` seconds.
        """
        ...

    def stop(self, grace: float = 30.0) -> int:
        """SIGTERM to the whole group, SIGKILL after `grace` seconds; gives the exit code."""
        ...

    def kill(self) -> int:
        """SIGKILL to everything it started; gives the exit code."""
        ...

    def tail(self, lines: int = 50) -> list[str]:
        """The last lines of stdout and stderr together (at most 500 are kept)."""
        ...

    @property
    def out_of_memory(self) -> bool:
        """Whether it was ended because it went over `memory_bytes`."""
        ...
