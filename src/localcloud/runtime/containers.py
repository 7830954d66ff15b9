"""Containers as processes of this machine: what each is given, its output, its end.

The process tree is held by a supervisor of its own (`supervisor/`), which this talks to over pipes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.logs import Logs, Stream
from localcloud.runtime.environments import thin
from localcloud.runtime.images import Images
from localcloud.runtime.spec import ContainerSpec, Image, StartFailed
from localcloud.runtime.trees import copy_tree

TAIL_LINES = 500
LINE_LIMIT = 65_536
"""Bytes of a line without an end that are kept together; Cloud Logging's agent splits long ones too."""
LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
SUPERVISOR = Path(__file__).parent / "supervisor"
MERGED = {
    "/", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/home", "/root", "/mnt", "/media", "/opt", "/run",
    "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib",
    "/usr/local/share", "/usr/local/etc", "/usr/sbin", "/usr/share", "/usr/src", "/var", "/var/lib",
    "/var/log", "/var/tmp",
}  # fmt: skip
"""Folders that an image shares with the machine below it; any other of its folders hides the machine's."""


class Processes:
    """Starts containers as processes; see `Runtime`."""

    def __init__(
        self,
        root: Path,
        images: Images,
        logs: Logs,
        environment: Callable[[], dict[str, str]],
        buckets: Path,
    ) -> None:
        self.root = root.resolve()
        self.images = images
        self.logs = logs
        self.environment = environment
        self.buckets = buckets.resolve()
        self.scratch = self.root / "containers"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.private_mounts = sys.platform == "linux"
        self._running: set[ProcessContainer] = set()
        self._lock = threading.Lock()
        sweep(self.scratch)

    def start(self, spec: ContainerSpec) -> ProcessContainer:
        """See `Runtime.start`."""
        stream = log_stream(self.logs, spec)
        say = note_to(stream, spec)
        image = self.images.resolve(spec.image, say) if isinstance(spec.image, str) else spec.image
        while True:
            scratch = self.scratch / uuid.uuid4().hex
            config, notes = self.prepare(spec, image, scratch)
            for text in notes:
                say(text)
            container = ProcessContainer(spec, config, stream, self.logs, self._ended)
            with self._lock:
                self._running.add(container)
            try:
                container.begin()
            except PrivateMountsForbidden as error:
                if not self.private_mounts:
                    raise StartFailed(str(error)) from None
                self.private_mounts = False
                continue
            return container

    def close(self, grace: float) -> None:
        """See `Runtime.close`."""
        with self._lock:
            running = list(self._running)
        for container in running:
            container.command(f"stop {grace}")
        for container in running:
            with contextlib.suppress(TimeoutError):
                container.wait(grace + 15)

    def prepare(self, spec: ContainerSpec, image: Image, scratch: Path) -> tuple[dict[str, Any], list[str]]:
        """Makes a container's scratch folder and says what the supervisor is to run."""
        for name in ("home", "tmp"):
            (scratch / name).mkdir(parents=True)
        tree, venv = scratch / "root", scratch / "venv"
        copy_tree(Path(image.tree), tree) if image.tree else tree.mkdir()
        environment = self.images.environments.at(image.python)
        thin(environment, venv)
        own = self.environment()
        workdir = spec.workdir or image.workdir
        argv = arguments(spec, image)
        env = {name: os.environ[name] for name in LOCALE if name in os.environ}
        env.update(image.env)
        env["PATH"] = f"{venv / 'bin'}{os.pathsep}{image.env.get('PATH', os.defpath)}"
        env.update(HOME=str(scratch / "home"), PYTHONUNBUFFERED="1")
        env.update(own)
        env.update(spec.env)
        env["LOCALCLOUD_CONTAINER"] = str(scratch)
        mounts = {path: folder.resolve() for path, folder in spec.mounts.items()}
        notes: list[str] = []
        plan: list[list[object]] | None = None
        if self.private_mounts:
            env.setdefault("TMPDIR", "/tmp")
            if not covered(workdir, mounts) and not os.path.isdir(workdir):
                (tree / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
            plan = [["/tmp", str(scratch / "tmp"), True]]
            plan += [[path, str(tree) + path, True] for path in grafts(tree)]
            plan += [["/gcs", str(self.buckets), False]]
            plan += [[path, str(folder), False] for path, folder in mounts.items()]
            interpreter = Path(os.path.realpath(environment.python))
            needed = [self.root, self.buckets, interpreter.parent.parent, *paths_in(own.values())]
            plan += [[str(path), str(path), False] for path in needed]
        else:
            env.setdefault("TMPDIR", str(scratch / "tmp"))
            view = View(tree, {"/gcs": self.buckets, **mounts})
            real = view.translate(workdir)
            if real == workdir and not os.path.isdir(workdir):
                (tree / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
                real = view.translate(workdir)
            argv = [view.translate(word) for word in argv]
            env = {name: value if name in own else view.translate(value) for name, value in env.items()}
            if view.used_buckets:
                notes.append(
                    "this machine allows no private mounts: arguments and variables that name /gcs/… point "
                    f"to {self.buckets}/…; a /gcs/ path inside the code is not found"
                )
            workdir = real
        argv[0] = command_path(argv[0], venv / "bin")
        config = {
            "argv": argv,
            "env": env,
            "cwd": workdir,
            "scratch": str(scratch),
            "plan": plan,
            "memory": spec.memory_bytes or 0,
            "on_end": None,
        }
        return config, notes

    def _ended(self, container: ProcessContainer) -> None:
        with self._lock:
            self._running.discard(container)


class PrivateMountsForbidden(Exception):
    """The machine does not allow mount namespaces."""


class ProcessContainer:
    """A container and the thread that follows it; see `Container`.

    Args:
        spec: What was asked for.
        config: What the supervisor runs.
        stream: Where the output goes.
        logs: To be flushed at the end, so that who waited finds all lines.
        ended: Called at the end.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        config: dict[str, Any],
        stream: Stream | None,
        logs: Logs,
        ended: Callable[[ProcessContainer], None],
    ) -> None:
        self.name = spec.name
        self.pid = 0
        self.started = time.time()
        self._spec = spec
        self._config = config
        self._stream = stream
        self._logs = logs
        self._ended = ended
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._code: int | None = None
        self._out_of_memory = False
        self._begun = threading.Event()
        self._finished = threading.Event()
        self._failure: Exception | None = None
        self._control: int | None = None
        self._control_lock = threading.Lock()

    def begin(self) -> None:
        """Starts the supervisor and waits until it has started the command, or could not."""
        status_read, status_write = os.pipe()
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(status_write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[status_write],
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            bufsize=0,
        )
        os.close(status_write)
        assert supervisor.stdin is not None
        # Kept as a bare descriptor: its closing is the message that the server is gone.
        self._control = os.dup(supervisor.stdin.fileno())
        supervisor.stdin.close()
        self.command(json.dumps(self._config))
        threading.Thread(
            target=self._follow, args=(supervisor, status_read), name=f"container {self.name}", daemon=True
        ).start()
        self._begun.wait()
        if self._failure is not None:
            self._finished.wait()
            raise self._failure

    def poll(self) -> int | None:
        """See `Container.poll`."""
        return self._code if self._finished.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """See `Container.wait`."""
        if not self._finished.wait(timeout):
            raise TimeoutError(f"{self.name} still runs after {timeout:g} s")
        assert self._code is not None
        return self._code

    def stop(self, grace: float = 30.0) -> int:
        """See `Container.stop`."""
        self.command(f"stop {grace}")
        return self.wait()

    def kill(self) -> int:
        """See `Container.kill`."""
        self.command("kill")
        return self.wait()

    def tail(self, lines: int = 50) -> list[str]:
        """See `Container.tail`."""
        kept = list(self._tail)
        return kept[-lines:] if lines > 0 else []

    @property
    def out_of_memory(self) -> bool:
        """See `Container.out_of_memory`."""
        return self._out_of_memory

    def command(self, text: str) -> None:
        """Tells the supervisor something, if it still listens."""
        with self._control_lock:
            if self._control is None:
                return
            data = memoryview(text.encode() + b"\n")
            try:
                while data:
                    data = data[os.write(self._control, data) :]
            except OSError:
                return

    def _follow(self, supervisor: subprocess.Popen[bytes], status: int) -> None:
        """The container's thread: passes lines on until every pipe is closed."""
        assert supervisor.stdout is not None
        assert supervisor.stderr is not None
        lines = {
            status: Lines(self._event),
            supervisor.stdout.fileno(): Lines(lambda text: self._line(text, "INFO")),
            supervisor.stderr.fileno(): Lines(lambda text: self._line(text, "ERROR")),
        }
        with selectors.DefaultSelector() as selector:
            for descriptor in lines:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 65_536)
                    lines[key.fd].feed(data)
                    if not data:
                        selector.unregister(key.fd)
        supervisor.stdout.close()
        supervisor.stderr.close()
        os.close(status)
        code = supervisor.wait()
        with self._control_lock:
            assert self._control is not None
            os.close(self._control)
            self._control = None
        if self._code is None:
            # The supervisor itself was killed: what it held goes too.
            self._code = 137 if code < 0 else 1
            end_marked(self._config["scratch"])
            shutil.rmtree(self._config["scratch"], ignore_errors=True)
            if not self._begun.is_set():
                self._failure = StartFailed(f"{self.name} could not be started: {' '.join(self.tail(5))}")
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._logs.flush()
        self._ended(self)
        self._finished.set()
        self._begun.set()

    def _event(self, text: str) -> None:
        """What the supervisor reports."""
        event = json.loads(text)
        if "pid" in event:
            self.pid = event["pid"]
            self._begun.set()
        elif "forbidden" in event:
            self._code = 128
            self._failure = PrivateMountsForbidden(event["forbidden"])
        elif "error" in event:
            self._code = 128
            path = event["path"] or self._config["argv"][0]
            self._failure = StartFailed(f"{self.name} could not be started: {event['error']}: {path}")
        else:
            self._code = event["exit"]
            self._out_of_memory = event["out_of_memory"]

    def _line(self, text: str, severity: str) -> None:
        """A line of the container's output."""
        self._tail.append(text)
        if self._stream is not None:
            self._stream.line(text, severity)
        if self._spec.tee is not None:
            self._spec.tee(text)


class Lines:
    """Bytes as they come, cut into lines; a progress bar's carriage returns leave what was last shown."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self.sink = sink
        self.pending = b""

    def feed(self, data: bytes) -> None:
        """Takes more bytes; none at all is the end."""
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self.emit(line)
        while len(self.pending) > LINE_LIMIT:
            self.emit(self.pending[:LINE_LIMIT])
            self.pending = self.pending[LINE_LIMIT:]
        if not data and self.pending:
            self.emit(self.pending)
            self.pending = b""

    def emit(self, line: bytes) -> None:
        """Passes one line on."""
        self.sink(line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace"))


class View:
    """Where mounts are forbidden: image paths in arguments and variables become those of this machine."""

    def __init__(self, tree: Path, mounts: Mapping[str, Path]) -> None:
        self.tree = tree
        self.mounts = dict(sorted(mounts.items(), key=lambda item: -len(item[0])))
        self.used_buckets = False

    def translate(self, text: str) -> str:
        """A word with every part that is an image path replaced; parts are divided by `=`, `:` and `,`."""
        return re.sub(r"(?<![^=:,\s'\"])/[^=:,\s'\"]*", lambda found: self.path(found[0]), text)

    def path(self, path: str) -> str:
        """One absolute path."""
        for mount, folder in self.mounts.items():
            if covered(path, {mount: folder}):
                if mount == "/gcs" and os.path.realpath("/gcs") == str(folder):
                    return path
                self.used_buckets |= mount == "/gcs"
                return str(folder) + path[len(mount) :]
        inside = self.tree / path.lstrip("/")
        return str(inside) if path.strip("/") and path not in MERGED and os.path.lexists(inside) else path


def arguments(spec: ContainerSpec, image: Image) -> list[str]:
    """The command: the spec's over the image's; a command without arguments drops the image's CMD."""
    if spec.command:
        argv = [*spec.command, *(spec.args or ())]
    else:
        argv = [*image.entrypoint, *(image.cmd if spec.args is None else spec.args)]
    if not argv:
        raise StartFailed(f"{spec.name}: image {image.uri} has no ENTRYPOINT or CMD: give a command")
    return argv


def command_path(command: str, scripts: Path) -> str:
    """The environment's own program, where an image would have it elsewhere (`/usr/local/bin/python`)."""
    folder, _, name = command.rpartition("/")
    own = scripts / name
    if folder in ("/usr/local/bin", "/usr/bin", "/opt/conda/bin", "/opt/venv/bin") and own.exists():
        return str(own)
    return command


def grafts(tree: Path, place: str = "/") -> list[str]:
    """The highest image paths that are not shared with the machine."""
    found = []
    for entry in sorted((tree / place.lstrip("/")).iterdir()):
        path = f"{place.rstrip('/')}/{entry.name}"
        if path in MERGED and entry.is_dir() and not entry.is_symlink():
            found += grafts(tree, path)
        else:
            found.append(path)
    return found


def covered(path: str, mounts: Mapping[str, Path]) -> bool:
    """Whether a path is a mount or below one."""
    return any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in mounts)


def paths_in(values: Sequence[str] | Any) -> list[Path]:
    """The files and folders that variables name."""
    found = (Path(part) for value in values for part in value.split(os.pathsep) if part.startswith("/"))
    return [path for path in found if path.exists()]


def log_stream(logs: Logs, spec: ContainerSpec) -> Stream | None:
    """Where a spec sends its output."""
    if spec.log is None:
        return None
    target = spec.log
    return logs.stream(target.log_name, target.resource_type, target.resource_labels, target.labels)


def note_to(stream: Stream | None, spec: ContainerSpec) -> Callable[[str], None]:
    """Says something in a container's log that the container did not say itself."""

    def say(text: str) -> None:
        if stream is not None:
            stream.line(text, "NOTICE")
        if spec.tee is not None:
            spec.tee(text)

    return say


def sweep(scratch: Path) -> None:
    """Ends and removes what containers of an earlier server left, should a supervisor have been killed."""
    end_marked(str(scratch))
    for path in scratch.iterdir():
        shutil.rmtree(path, ignore_errors=True)


def end_marked(scratch: str) -> None:
    """SIGKILL to processes that carry a container's mark in their variables (Linux)."""
    if sys.platform != "linux":
        return
    mark = f"\0LOCALCLOUD_CONTAINER={scratch}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in b"\0" + Path("/proc", name, "environ").read_bytes():
                    os.kill(int(name), signal.SIGKILL)
