"""google.devtools.cloudbuild.v1.CloudBuild: builds are created, read, listed, cancelled and retried.

Triggers and worker pools are not served. What a build does is `run`'s business.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from typing import Any

from localcloud.build.run import Run, status, v1
from localcloud.build.substitutions import substitute
from localcloud.build.workspace import BuildLog, Workspace
from localcloud.errors import Code, FailedPrecondition, InvalidArgument, Unimplemented, of
from localcloud.operations import OperationHandle
from localcloud.projects import Projects
from localcloud.service import Cloud

RESTARTED = "the local cloud was restarted while this build ran; create it again"


class CloudBuild:
    """The builds of all projects."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._projects = Projects(cloud.store)
        self._cancelled: dict[str, threading.Event] = {}
        self._ended: dict[str, threading.Event] = {}
        self._root = cloud.root / "build"

    def create_build(self, request: Any) -> Any:
        """Starts a build; the operation's response is the Build at its end."""
        project, location = self._place(request.parent, request.project_id)
        build = v1.Build()
        build.CopyFrom(request.build)
        return self._start(build, project, location)

    def get_build(self, request: Any) -> Any:
        """The build as it is now."""
        return self._cloud.store.get(self._name(request), v1.Build)

    def list_builds(self, request: Any) -> Any:
        """The builds of a project, newest first."""
        project, location = self._place(request.parent, request.project_id)
        page = self._cloud.store.list(
            f"projects/{self._projects.number(project)}/locations/{location}",
            v1.Build,
            filter=request.filter,
            order_by="create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListBuildsResponse(builds=page.items, next_page_token=page.next_page_token)

    def cancel_build(self, request: Any) -> Any:
        """Ends a build and everything it started."""
        name = self._name(request)
        build = self._cloud.store.get(name, v1.Build)
        ended = self._ended.get(name)
        if ended is None:
            raise FailedPrecondition(f"Build {build.id} is not running: it is {state_of(build)}.")
        self._cancelled[name].set()
        ended.wait()
        return self._cloud.store.get(name, v1.Build)

    def retry_build(self, request: Any) -> Any:
        """A new build of the same steps, source and values."""
        before = self._cloud.store.get(self._name(request), v1.Build)
        build = v1.Build(
            source=before.source,
            steps=before.steps,
            images=before.images,
            tags=before.tags,
            options=before.options,
            artifacts=before.artifacts,
            logs_bucket=before.logs_bucket,
            timeout=before.timeout,
        )
        for step in build.steps:
            for field in ("timing", "pull_timing", "status", "exit_code"):
                step.ClearField(field)
        # The values are in the steps already, so a dollar left there is the shell's own.
        parts = before.name.split("/")
        return self._start(build, before.project_id, parts[3], substituted=True)

    def recover(self) -> None:
        """Builds that an earlier server left running have ended with it."""
        for build in self._cloud.store.all("", v1.Build, descendants=True):
            if build.status in (status("QUEUED"), status("WORKING")):
                self._cloud.store.modify(build.name, v1.Build, end_at_restart)
        shutil.rmtree(self._root, ignore_errors=True)

    def stop(self) -> None:
        """Cancels what runs."""
        for cancelled in list(self._cancelled.values()):
            cancelled.set()
        for ended in list(self._ended.values()):
            ended.wait(10)

    def _start(self, build: Any, project: str, location: str, substituted: bool = False) -> Any:
        """Checks a build, keeps it, and runs it in an operation."""
        check(build)
        number = self._projects.number(project)
        build.id = str(uuid.uuid4())
        build.project_id = project
        build.name = f"projects/{number}/locations/{location}/builds/{build.id}"
        build.status = status("QUEUED")
        build.log_url = f"https://console.cloud.google.com/cloud-build/builds/{build.id}?project={number}"
        build.create_time.GetCurrentTime()
        if not substituted:
            values = {
                "PROJECT_ID": project,
                "PROJECT_NUMBER": number,
                "BUILD_ID": build.id,
                "LOCATION": location,
            }
            substitute(build, values)
        if not build.HasField("timeout"):
            build.timeout.FromSeconds(600)
        name = build.name
        self._cloud.store.create(name, build)
        self._cancelled[name] = threading.Event()
        self._ended[name] = threading.Event()
        return self._cloud.operations.start(
            f"projects/{number}/locations/{location}",
            lambda handle: self._run(name, handle),
            v1.BuildOperationMetadata(build=build),
        )

    def _run(self, name: str, handle: OperationHandle) -> Any:
        """The work of the operation."""
        # Cancelling the operation and cancelling the build are the same thing.
        cancelled = self._cancelled[name]
        if handle.cancelled.is_set():
            cancelled.set()
        handle.cancelled = cancelled
        build = self._cloud.store.get(name, v1.Build)
        workspace = Workspace(self._root / build.id)

        def report(now: Any) -> None:
            self._cloud.store.modify(name, v1.Build, lambda stored: stored.CopyFrom(now))
            handle.update(v1.BuildOperationMetadata(build=now))

        try:
            run = Run(
                build,
                self._cloud.runtime,
                self._cloud.objects,
                workspace,
                self._log(build),
                cancelled,
                report,
            )
            run.run()
        except Exception as error:
            build.status, build.status_detail = status("INTERNAL_ERROR"), repr(error)
            build.finish_time.GetCurrentTime()
            report(build)
            raise
        finally:
            workspace.remove()
            self._cloud.logs.flush()
            self._cancelled.pop(name, None)
            self._ended.pop(name).set()
        if build.status != status("SUCCESS"):
            code = Code.CANCELLED if build.status == status("CANCELLED") else Code.UNKNOWN
            raise of(code, f"Build failed; check build logs for details: {build.status_detail}")
        return build

    def _log(self, build: Any) -> BuildLog:
        """Where a build's log goes."""
        stream = self._cloud.logs.stream(
            f"projects/{build.project_id}/logs/cloudbuild",
            "build",
            {"project_id": build.project_id, "build_id": build.id, "build_trigger_id": ""},
            {"build_tags": ",".join(build.tags)} if build.tags else {},
        )
        bucket = build.logs_bucket.removeprefix("gs://").rstrip("/")
        uri = f"gs://{bucket}/log-{build.id}.txt" if bucket else ""
        return BuildLog(stream, self._cloud.objects, uri)

    def _place(self, parent: str, project: str) -> tuple[str, str]:
        """Project id and location of a request, which names them in one of two ways."""
        parts = parent.split("/")
        if len(parts) == 4 and parts[0] == "projects" and parts[2] == "locations":
            return self._projects.id(parts[1]), parts[3]
        if not project and not (len(parts) == 2 and parts[0] == "projects"):
            raise InvalidArgument("project_id: name the project, or parent as projects/PROJECT/locations/REGION")
        return self._projects.id(project or parts[1]), "global"

    def _name(self, request: Any) -> str:
        """The name of the build that a request is about."""
        if request.name:
            return self._projects.canonical(request.name)
        number = self._projects.number(request.project_id)
        return f"projects/{number}/locations/global/builds/{request.id}"


def check(build: Any) -> None:
    """Refuses a build that cannot run, naming the field.

    Raises:
        InvalidArgument: It is no valid build.
        Unimplemented: It needs what the local Cloud Build does not have.
    """
    if not build.steps:
        raise InvalidArgument("invalid build: must specify at least one step")
    source = build.source.WhichOneof("source")
    if source not in (None, "storage_source"):
        raise Unimplemented(f"source.{source} is not implemented locally; upload an archive as storage_source")
    ids: set[str] = set()
    for index, step in enumerate(build.steps):
        if not step.name:
            raise InvalidArgument(f"invalid build: invalid build step {index}: name is required")
        if step.script and (step.args or step.entrypoint):
            raise InvalidArgument(f"invalid build: invalid build step {index}: script excludes args and entrypoint")
        if step.secret_env:
            raise Unimplemented(f"steps[{index}].secret_env is not implemented locally")
        if step.id and step.id in ids:
            raise InvalidArgument(f"invalid build: duplicate build step id {step.id!r}")
        for name in step.wait_for:
            if name != "-" and name not in ids:
                raise InvalidArgument(
                    f"invalid build: build step {index} waits for {name!r}, which no step before it is called"
                )
        ids.add(step.id)
    if build.available_secrets.ByteSize() or build.secrets:
        raise Unimplemented("available_secrets is not implemented locally")
    artifacts = build.artifacts
    for field in ("maven_artifacts", "go_modules", "python_packages", "npm_packages"):
        if getattr(artifacts, field):
            raise Unimplemented(f"artifacts.{field} is not implemented locally; artifacts.objects is")


def state_of(build: Any) -> str:
    """The name of a build's state."""
    return str(v1.Build.Status.Name(build.status))


def end_at_restart(build: Any) -> None:
    """What becomes of a build whose server is gone."""
    build.status = status("INTERNAL_ERROR")
    build.status_detail = RESTARTED
    build.finish_time.GetCurrentTime()
