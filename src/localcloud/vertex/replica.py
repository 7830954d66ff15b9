"""One replica of a deployed model: a prediction container that is started, watched and started again.

Which replica answers a request is localcloud.vertex.deployment's choice.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable

import psutil

from localcloud.errors import CloudError
from localcloud.runtime import Container
from localcloud.vertex.common import Vertex, failure_lines
from localcloud.vertex.serving_container import Serving
from localcloud.vertex.upstream import Upstream

_log = logging.getLogger(__name__)

HEALTH_INTERVAL = 10.0
HEALTH_TIMEOUT = 10.0
HEALTH_FAILURES = 4
"""Failed health checks in a row after which a replica gets no more requests."""
LONGEST_BACKOFF = 30.0
LONGEST_PAUSE = 0.5
"""Seconds between two looks at a container that is not healthy yet."""
STEADY = 60.0
"""Seconds of health after which a replica's earlier failures are forgotten."""


class Replica:
    """Keeps one container running, in a thread of its own, until it is told to stop.

    Args:
        vertex: The shared facilities.
        serving: What is served.
        name: `7212…-0`.
        changed: Called whenever `ready` or `problem` has changed.
    """

    def __init__(self, vertex: Vertex, serving: Serving, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self.ready = False
        """Whether it may be sent requests."""
        self.problem = ""
        """Why it last went down or did not come up; empty while all is well."""
        self.outstanding = 0
        """Requests that it is answering now; counted by the deployment on the event loop."""
        self.upstream: Upstream | None = None
        self.port = 0
        """Where it answers, once it has been ready."""
        self.restarts = 0
        self._vertex = vertex
        self._serving = serving
        self._changed = changed
        self._stopping = threading.Event()
        self._container: Container | None = None
        self._thread = threading.Thread(target=self._run, name=f"replica-{name}", daemon=True)

    def start(self) -> None:
        """Start the container."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """End the container: SIGTERM, and SIGKILL after `grace` seconds."""
        self._stopping.set()
        self._set(ready=False, problem="It was stopped.")
        container = self._container
        if container is not None:
            container.stop(grace)
        self._thread.join(grace + 10)

    # The thread

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                healthy_for = self._once()
            except Exception as error:  # whoever waits for this replica is to hear of it
                _log.exception("replica %s", self.name)
                healthy_for = 0.0
                self._set(ready=False, problem=f"The local cloud failed to run it: {type(error).__name__}: {error}.")
            failures = 1 if healthy_for > STEADY else failures + 1
            self._stopping.wait(min(0.5 * 2.0 ** (failures - 1), LONGEST_BACKOFF))
            self.restarts += 1

    def _once(self) -> float:
        """Run one container to its end; gives how many seconds it was healthy."""
        port = _free_port()
        try:
            container = self._vertex.cloud.runtime.start(self._serving.container(self._vertex, self.name, port))
        except CloudError as error:
            self._set(ready=False, problem=error.message)
            return 0.0
        self._container = container
        if self._stopping.is_set():
            container.kill()
            return 0.0
        healthy_at = self._until_healthy(container, port)
        if healthy_at is None:
            container.kill()
            return 0.0
        self.port = port = healthy_at
        began = time.monotonic()
        self.upstream = Upstream("127.0.0.1", port)
        self._set(ready=True, problem="")
        self._watch(container, port)
        self._set(ready=False, problem=self._end(container))
        return time.monotonic() - began

    def _until_healthy(self, container: Container, port: int) -> int | None:
        """Wait for health; gives the port, which is another than AIP_HTTP_PORT for a container with its own ideas."""
        deadline = time.monotonic() + self._serving.startup_seconds
        pause = 0.02
        while not self._stopping.is_set():
            if container.poll() is not None:
                container.wait()
                self._set(ready=False, problem=self._end(container))
                return None
            others = _listening(container.pid) if pause == LONGEST_PAUSE else []
            for candidate in [port, *others]:
                if self._probe(candidate):
                    return candidate
            if time.monotonic() > deadline:
                lines = failure_lines(container.tail())
                self._set(
                    ready=False,
                    problem=(
                        f"Model server never became ready: GET {self._serving.health_route} on port {port} "
                        f"(AIP_HTTP_PORT) did not answer 200 within {self._serving.startup_seconds:g} s. "
                        f"Last lines of its log:\n{lines}"
                    ),
                )
                return None
            self._stopping.wait(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)
        return None

    def _watch(self, container: Container, port: int) -> None:
        """Check a healthy container until it ends, or is ended because nothing listens any longer."""
        failed = 0
        while not self._stopping.is_set():
            try:
                container.wait(HEALTH_INTERVAL)
                return
            except TimeoutError:
                pass
            if self._probe(port):
                failed = 0
                self._set(ready=True, problem="")
                continue
            failed += 1
            if failed >= HEALTH_FAILURES:
                self._set(ready=False, problem=f"Its health route failed {failed} times in a row.")
                if not _listens(port):
                    container.kill()
                    return

    def _probe(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_TIMEOUT)
        try:
            connection.request("GET", self._serving.health_route)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, container: Container) -> str:
        if container.out_of_memory:
            return "Model server ran out of memory."
        code = container.poll()
        return (
            f"Model server exited unexpectedly with status {code}. Last lines of its log:\n"
            f"{failure_lines(container.tail())}"
        )

    def _set(self, *, ready: bool, problem: str) -> None:
        if (ready, problem) != (self.ready, self.problem):
            self.ready, self.problem = ready, problem
            self._changed()


def _listening(pid: int) -> list[int]:
    """The TCP ports on which a process and its children listen."""
    ports: set[int] = set()
    try:
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            found = process.net_connections("tcp")
            ports.update(each.laddr.port for each in found if each.status == psutil.CONN_LISTEN)
    except psutil.Error:
        return []
    return sorted(ports)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=HEALTH_TIMEOUT).close()
    except OSError:
        return False
    return True
