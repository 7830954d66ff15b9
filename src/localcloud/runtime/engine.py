"""The same runtime through a container engine: docker or podman, by its command line.

Images are the engine's own; a container is the engine's `run` under our supervisor, which removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.logs import Logs
from localcloud.runtime.containers import Running, SupervisedContainer, log_stream, note_to
from localcloud.runtime.images import full_name, quiet
from localcloud.runtime.processes import paths_in
from localcloud.runtime.spec import BuildFailed, ContainerSpec, Image, ImageNotFound, StartFailed
from localcloud.runtime.trees import digest

LABEL = "dev.localcloud.image"
"""Marks the images that were built here, so that `list` shows those alone."""


class EngineImages:
    """The images of an engine; see `ImageStore`.

    Args:
        engine: The command, `docker` or `podman`.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        if shutil.which(engine) is None:
            raise StartFailed(f"there is no command {engine}: install it, or leave --runtime out")

    def build(
        self,
        context: Path,
        dockerfile: Path | str,
        uri: str,
        *,
        build_args: Mapping[str, str] | None = None,
        log: Callable[[str], None] = quiet,
    ) -> Image:
        """See `ImageStore.build`."""
        uri = full_name(uri)
        command = [self.engine, "build", "--network", "host", "--label", f"{LABEL}=1", "--tag", uri]
        for name, value in (build_args or {}).items():
            command += ["--build-arg", f"{name}={value}"]
        text = None
        if isinstance(dockerfile, str) and "\n" in dockerfile:
            command, text = [*command, "--file", "-"], dockerfile
        else:
            path = Path(dockerfile)
            command += ["--file", str(path if path.is_absolute() else context / path)]
        process = subprocess.Popen(
            [*command, str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(text or "")
            process.stdin.close()
            for line in process.stdout:
                said.append(line.rstrip())
                log(said[-1])
        if process.returncode != 0:
            raise BuildFailed(f"{self.engine} build ended with {process.returncode}:\n" + "\n".join(said[-30:]))
        return self.resolve(uri)

    def resolve(self, uri: str, log: Callable[[str], None] = quiet) -> Image:
        """See `ImageStore.resolve`; an image that is not here is pulled."""
        name = full_name(uri)
        answer = self.run("image", "inspect", name)
        if answer.returncode != 0:
            log(f"{self.engine} pull {name}")
            pulled = self.run("pull", name)
            if pulled.returncode != 0:
                raise ImageNotFound(
                    f"Image {uri} is neither in {self.engine}'s store nor could it be pulled: "
                    f"{pulled.stderr.strip()[-500:]}"
                )
            answer = self.run("image", "inspect", name)
        described: dict[str, Any] = json.loads(answer.stdout)[0]
        config: dict[str, Any] = described.get("Config") or {}
        identifier: str = described["Id"]
        return Image(
            uri=name,
            digest=identifier if identifier.startswith("sha256:") else f"sha256:{identifier}",
            env=dict(entry.partition("=")[::2] for entry in config.get("Env") or ()),
            workdir=config.get("WorkingDir") or "/",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            cmd=tuple(config.get("Cmd") or ()),
            ports=tuple(int(port.partition("/")[0]) for port in config.get("ExposedPorts") or ()),
            labels=config.get("Labels") or {},
            user=config.get("User") or "",
        )

    def list(self) -> list[Image]:
        """See `ImageStore.list`."""
        template = "{{.Repository}}:{{.Tag}}"
        answer = self.run("image", "ls", "--filter", f"label={LABEL}", "--format", template)
        names = sorted(name for name in answer.stdout.split() if "<none>" not in name)
        return [self.resolve(name) for name in names]

    def tag(self, source: str, target: str) -> Image:
        """See `ImageStore.tag`."""
        self.resolve(source)
        answer = self.run("tag", full_name(source), full_name(target))
        if answer.returncode != 0:
            raise BuildFailed(f"{self.engine} tag: {answer.stderr.strip()}")
        return self.resolve(target)

    def delete(self, uri: str) -> None:
        """See `ImageStore.delete`."""
        answer = self.run("image", "rm", full_name(uri))
        if answer.returncode != 0:
            raise ImageNotFound(f"Image {uri} could not be deleted: {answer.stderr.strip()}")

    def with_packages(
        self, image: str | Image, packages: Sequence[Path], *, log: Callable[[str], None] = quiet
    ) -> Image:
        """See `ImageStore.with_packages`."""
        base = self.resolve(image, log) if isinstance(image, str) else image
        content = json.dumps([base.digest, [[path.name, digest(path)] for path in packages]])
        uri = f"localcloud/packages:{hashlib.sha256(content.encode()).hexdigest()[:24]}"
        if self.run("image", "inspect", uri).returncode == 0:
            return self.resolve(uri)
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            for path in packages:
                if path.is_dir():
                    shutil.copytree(path, context / path.name)
                else:
                    shutil.copy2(path, context / path.name)
            names = " ".join(f"/tmp/packages/{path.name}" for path in packages)
            text = f"FROM {base.uri}\nCOPY . /tmp/packages/\nRUN python3 -m pip install --no-cache-dir {names}\n"
            return self.build(context, text, uri, log=log)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A short command of the engine."""
        return subprocess.run(
            [self.engine, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )


class EngineContainers:
    """Starts containers through an engine; see `Runtime`."""

    def __init__(
        self,
        engine: str,
        root: Path,
        images: EngineImages,
        logs: Logs,
        environment: Callable[[], dict[str, str]],
        buckets: Path,
    ) -> None:
        self.engine = engine
        self.images = images
        self.logs = logs
        self.environment = environment
        self.buckets = buckets.resolve()
        self.scratch = root.resolve() / "containers"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.running = Running()
        self.mark = f"{LABEL}.root={self.scratch}"
        self.sweep()

    def sweep(self) -> None:
        """Removes what containers of an earlier server left, should a supervisor have been killed."""
        left = self.images.run("ps", "--all", "--quiet", "--filter", f"label={self.mark}").stdout.split()
        if left:
            self.images.run("rm", "--force", *left)
        for path in self.scratch.iterdir():
            shutil.rmtree(path, ignore_errors=True)

    def start(self, spec: ContainerSpec) -> SupervisedContainer:
        """See `Runtime.start`."""
        stream = log_stream(self.logs, spec)
        image = spec.image
        if isinstance(image, str):
            image = self.images.resolve(image, note_to(stream, spec))
        identifier = f"localcloud-{uuid.uuid4().hex}"
        scratch = self.scratch / identifier
        scratch.mkdir()
        config = {
            "argv": self.command(spec, image, identifier),
            "env": dict(os.environ),
            "cwd": str(scratch),
            "scratch": str(scratch),
            "plan": None,
            "memory": 0,
            "oom_question": [self.engine, "inspect", "--format", "{{.State.OOMKilled}}", identifier],
            "on_end": [self.engine, "rm", "--force", identifier],
        }
        container = SupervisedContainer(spec, config, stream, self.logs, self.running.discard)
        self.running.add(container)
        container.begin()
        return container

    def command(self, spec: ContainerSpec, image: Image, identifier: str) -> list[str]:
        """The engine's `run` for a spec."""
        own = self.environment()
        command = [self.engine, "run", "--name", identifier, "--network", "host"]
        command += ["--label", self.mark]
        for name, value in {**own, **spec.env}.items():
            command += ["--env", f"{name}={value}"]
        command += ["--volume", f"{self.buckets}:/gcs"]
        # The trust bundle and the credentials that the variables name.
        for path in dict.fromkeys(path for path in paths_in(own.values()) if path.is_file()):
            command += ["--volume", f"{path}:{path}:ro"]
        for target, folder in spec.mounts.items():
            command += ["--volume", f"{folder.resolve()}:{target}"]
        if spec.memory_bytes:
            command += ["--memory", str(spec.memory_bytes)]
        if spec.workdir:
            command += ["--workdir", spec.workdir]
        if spec.command:
            command += ["--entrypoint", spec.command[0], image.uri, *spec.command[1:], *(spec.args or ())]
        else:
            command += [image.uri, *(spec.args or ())]
        return command

    def close(self, grace: float) -> None:
        """See `Runtime.close`."""
        self.running.stop(grace)
