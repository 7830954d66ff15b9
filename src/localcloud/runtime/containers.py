"""One container of any engine: its supervisor, its output line by line, its end.

What is to be run is said by `processes` and `engine`; the process tree is held by `supervisor/`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.logs import Logs, Stream
from localcloud.runtime.spec import ContainerSpec, Image, StartFailed

TAIL_LINES = 500
LINE_LIMIT = 65_536
"""Bytes of a line without an end that are kept together; Cloud Logging's agent splits long ones too."""
SUPERVISOR = Path(__file__).parent / "supervisor"


class Running:
    """The containers of an engine that run now."""

    def __init__(self) -> None:
        self._containers: set[SupervisedContainer] = set()
        self._lock = threading.Lock()

    def add(self, container: SupervisedContainer) -> None:
        """One more."""
        with self._lock:
            self._containers.add(container)

    def discard(self, container: SupervisedContainer) -> None:
        """One has ended."""
        with self._lock:
            self._containers.discard(container)

    def stop(self, grace: float) -> None:
        """Stops all of them at once and waits for their end."""
        with self._lock:
            containers = list(self._containers)
        for container in containers:
            container.command(f"stop {grace}")
        for container in containers:
            with contextlib.suppress(TimeoutError):
                container.wait(grace + 15)


class PrivateMountsForbidden(Exception):
    """The machine does not allow mount namespaces."""


class SupervisedContainer:
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
        ended: Callable[[SupervisedContainer], None],
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


def arguments(spec: ContainerSpec, image: Image) -> list[str]:
    """The command: the spec's over the image's; a command without arguments drops the image's CMD."""
    if spec.command:
        argv = [*spec.command, *(spec.args or ())]
    else:
        argv = [*image.entrypoint, *(image.cmd if spec.args is None else spec.args)]
    if not argv:
        raise StartFailed(f"{spec.name}: image {image.uri} has no ENTRYPOINT or CMD: give a command")
    return argv


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
