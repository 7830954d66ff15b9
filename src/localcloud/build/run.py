"""One build as it runs: source, steps by their order, images, artifacts, states and timings on the way.

Each step is the docker builder or a container of the local runtime; any other image is refused by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from localcloud.build import docker
from localcloud.build.workspace import BuildLog, Workspace
from localcloud.catalog import Package
from localcloud.errors import CloudError, FailedPrecondition, InvalidArgument, Unimplemented
from localcloud.objects import Objects
from localcloud.runtime import Container, ContainerSpec, ImageNotFound, Runtime, stoppable
from localcloud.runtime import Stopped as GivenUp

v1 = Package("google.devtools.cloudbuild.v1")

DEFAULT_TIMEOUT = 600.0
"""Seconds of a build that names none (https://cloud.google.com/build/docs/build-config-file-schema#timeout)."""


def status(name: str) -> int:
    """A value of Build.Status."""
    return int(v1.Build.Status.Value(name))


class Stopped(Exception):
    """The build ends in this state before its steps are through."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail


class Run:
    """The work of one build.

    Args:
        build: The Build with its substitutions done; changed in place under `lock`.
        runtime: Images and containers.
        objects: Source, artifacts.
        workspace: The build's folders.
        log: Its log.
        cancelled: Set when a client cancels.
        report: Called with the build after each change.
    """

    def __init__(
        self,
        build: Any,
        runtime: Runtime,
        objects: Objects,
        workspace: Workspace,
        log: BuildLog,
        cancelled: threading.Event,
        report: Callable[[Any], None],
    ) -> None:
        self.build = build
        self.runtime = runtime
        self.objects = objects
        self.workspace = workspace
        self.log = log
        self.cancelled = cancelled
        self.given_up = threading.Event()  # for images that are being built
        self.report = report
        self.lock = threading.RLock()
        self.stop: Stopped | None = None
        self.containers: dict[int, Container] = {}
        self.changed = threading.Condition(self.lock)
        self.ended: dict[int, bool] = {}

    def run(self) -> None:
        """Runs the build to its end and leaves its state in it; raises nothing for a build that fails."""
        limit = self.build.timeout.ToTimedelta().total_seconds() or DEFAULT_TIMEOUT
        deadline = time.monotonic() + limit
        self.log.say(f'starting build "{self.build.id}"')
        self.build.start_time.GetCurrentTime()
        self._set("WORKING")
        try:
            self._timed("FETCHSOURCE", self._fetch)
            self._timed("BUILD", lambda: self._steps(deadline, limit))
            self._timed("PUSH", self._push)
            self._set("SUCCESS")
            self.log.say("DONE")
        except Stopped as stopped:
            self._finish(stopped.state, stopped.detail)
        except CloudError as error:
            self._finish("FAILURE", error.message)
        self.log.upload()

    def _finish(self, state: str, detail: str) -> None:
        """A build that did not succeed."""
        self.build.status_detail = detail
        self.log.say("ERROR")
        self.log.say(f"ERROR: {detail}", "ERROR")
        self._set(state)

    def _set(self, state: str) -> None:
        with self.lock:
            self.build.status = status(state)
            if state != "WORKING":
                self.build.finish_time.GetCurrentTime()
            self.report(self.build)

    def _timed(self, phase: str, work: Callable[[], None]) -> None:
        """Runs a phase and notes its times."""
        self.log.say(phase)
        span = v1.TimeSpan()
        span.start_time.GetCurrentTime()
        try:
            work()
        finally:
            span.end_time.GetCurrentTime()
            with self.lock:
                self.build.timing[phase].CopyFrom(span)

    def _fetch(self) -> None:
        kind = self.build.source.WhichOneof("source")
        if kind is None:
            return
        uri = self.workspace.fetch(self.build.source.storage_source, self.objects)
        self.build.source_provenance.resolved_storage_source.CopyFrom(self.build.source.storage_source)
        self.log.say(f"Fetched {uri}")

    def _steps(self, deadline: float, limit: float) -> None:
        """Starts each step when those it waits for are through; ends them all when one fails."""
        waits = [self._waits(index) for index in range(len(self.build.steps))]
        threads: dict[int, threading.Thread] = {}
        with self.lock:
            while len(self.ended) < len(waits) and self.stop is None:
                for index, before in enumerate(waits):
                    if index not in threads and all(self.ended.get(other) for other in before):
                        threads[index] = threading.Thread(
                            target=self._step, args=(index,), name=f"build step {index}", daemon=True
                        )
                        threads[index].start()
                self.changed.wait(0.2)
                if self.cancelled.is_set():
                    self.stop = Stopped("CANCELLED", "the build was cancelled")
                elif time.monotonic() > deadline:
                    self.stop = Stopped("TIMEOUT", f"the build timed out after {limit:g} s")
            containers = list(self.containers.values())
        if self.stop is not None:
            self.given_up.set()
            for container in containers:
                container.kill()
        for thread in threads.values():
            thread.join()
        if self.stop is not None:
            raise self.stop

    def _waits(self, index: int) -> list[int]:
        """The steps that a step waits for: all before it, unless it says otherwise."""
        wanted = list(self.build.steps[index].wait_for)
        if not wanted:
            return list(range(index))
        known = {step.id: number for number, step in enumerate(self.build.steps[:index]) if step.id}
        return [known[name] for name in wanted if name != "-"]

    def _step(self, index: int) -> None:
        """One step, in a thread of its own."""
        step = self.build.steps[index]
        title = f"Step #{index}" + (f' - "{step.id}"' if step.id else "")
        self.log.say(f"Starting {title}")
        with self.lock:
            step.status = status("WORKING")
            step.timing.start_time.GetCurrentTime()
            self.report(self.build)
        failed = f'build step {index} "{step.name}" failed'
        problem, state = "", "FAILURE"
        try:
            with stoppable(self.given_up):
                code = self._carry_out(index, lambda line: self.log.say(f"{title}: {line}"))
            if code != 0:
                problem = f"{failed}: step exited with non-zero status: {code}"
        except GivenUp:
            code, problem = 137, f"{failed}: it was given up"
        except TimeoutError as error:
            code, problem, state = 137, f"{failed}: {error}", "TIMEOUT"
        except CloudError as error:
            code, problem = 1, f"{failed}: {error.message}"
        except Exception as error:
            code, problem, state = 1, f"{failed}: {error!r}", "INTERNAL_ERROR"
        self.log.say(f"Finished {title}")
        with self.lock:
            step.exit_code = code
            step.timing.end_time.GetCurrentTime()
            excused = step.allow_failure or code in step.allow_exit_codes
            if self.stop is not None and problem:
                state = "CANCELLED"
            step.status = status(state if problem else "SUCCESS")
            if problem and not excused and self.stop is None:
                self.stop = Stopped(state, problem)
            self.ended[index] = True
            self.report(self.build)
            self.changed.notify_all()

    def _carry_out(self, index: int, say: Callable[[str], None]) -> int:
        """Does what a step says and gives its exit code."""
        step = self.build.steps[index]
        if step.name in docker.IMAGES:
            if step.entrypoint or step.script:
                raise Unimplemented(
                    "the docker builder with an entrypoint or script of its own is not done by the local "
                    "Cloud Build; give args to `docker` itself"
                )
            folder = self.workspace.folder(step.dir_)
            return docker.docker(self.runtime.images, step.args, folder, self.workspace.source, say)
        spec = self._container(index, say)
        try:
            container = self.runtime.start(spec)
        except ImageNotFound as error:
            raise FailedPrecondition(
                f"{step.name} is no image of the local registry and no builder that the local Cloud Build has "
                f"(that is gcr.io/cloud-builders/docker): {error.message}"
            ) from None
        with self.lock:
            self.containers[index] = container
            stopping = self.stop is not None
        try:
            if stopping:
                return container.kill()
            limit = step.timeout.ToTimedelta().total_seconds()
            try:
                return container.wait(limit or None)
            except TimeoutError:
                container.kill()
                raise TimeoutError(f"step timed out after {limit:g} s") from None
        finally:
            with self.lock:
                self.containers.pop(index, None)

    def _container(self, index: int, say: Callable[[str], None]) -> ContainerSpec:
        """A step as a container in the workspace."""
        step = self.build.steps[index]
        options = self.build.options
        env = {"HOME": "/builder/home", "BUILDER_OUTPUT": "/builder/outputs"}
        if options.automap_substitutions or step.automap_substitutions:
            env.update(self.build.substitutions)
        for entry in [*options.env, *step.env]:
            name, _, value = entry.partition("=")
            env[name] = value
        mounts = {
            "/workspace": self.workspace.source,
            "/builder/home": self.workspace.home,
            "/builder/scripts": self.workspace.scripts,
            "/builder/outputs": self.workspace.volume(f".outputs-{index}"),
        }
        for volume in [*options.volumes, *step.volumes]:
            mounts[volume.path] = self.workspace.volume(volume.name)
        folder = self.workspace.folder(step.dir_).relative_to(self.workspace.source.resolve()).as_posix()
        if step.script:
            command: list[str] | None = self.workspace.script(index, step.script)
        else:
            command = [step.entrypoint] if step.entrypoint else None
        return ContainerSpec(
            name=f"build {self.build.id} step {index}",
            image=step.name,
            command=command,
            args=list(step.args) if step.args or command else None,
            env=env,
            workdir="/workspace" if folder == "." else f"/workspace/{folder}",
            mounts=mounts,
            tee=say,
        )

    def _push(self) -> None:
        """Checks that the images are there, and keeps the artifacts."""
        missing = []
        for uri in [*self.build.images, *self.build.artifacts.images]:
            try:
                image = self.runtime.images.resolve(uri)
            except ImageNotFound:
                missing.append(uri)
                continue
            pushed = self.build.results.images.add(name=uri, digest=image.digest)
            pushed.push_timing.start_time.GetCurrentTime()
            pushed.push_timing.end_time.GetCurrentTime()
            self.log.say(f"Pushed {uri} {image.digest}")
        if missing:
            raise FailedPrecondition(f"failed to find one or more images after execution of build steps: {missing}")
        location, paths = self.build.artifacts.objects.location, self.build.artifacts.objects.paths
        for pattern in paths:
            found = sorted(path for path in self.workspace.source.glob(pattern) if path.is_file())
            if not found:
                raise FailedPrecondition(f"artifacts.objects.paths: {pattern!r} matches no file in /workspace")
            for path in found:
                if not path.resolve().is_relative_to(self.workspace.source.resolve()):
                    raise InvalidArgument(f"artifacts.objects.paths: {pattern!r} leads out of /workspace")
                self.objects.write_bytes(f"{location.rstrip('/')}/{path.name}", path.read_bytes())
                self.build.results.num_artifacts += 1
