"""What all tests share: one local cloud for the session, a fresh project for each test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Before anything loads the catalog: see localcloud.catalog.load.
import google.cloud.aiplatform_v1
import google.cloud.aiplatform_v1beta1
import google.cloud.bigquery_storage_v1
import google.cloud.devtools.cloudbuild_v1
import google.cloud.logging_v2
import google.cloud.resourcemanager_v3
import google.pubsub_v1  # noqa: F401
import pytest

from localcloud import environment

REGION = "us-central1"


@dataclass
class LocalCloud:
    """A local cloud in a process of its own.

    Args:
        root: Its state folder.
    """

    root: Path

    def start(self) -> LocalCloud:
        """Starts the server and waits until it answers."""
        self.output = (self.root.parent / f"{self.root.name}.out").open("ab")
        command = [sys.executable, "-m", "localcloud", "--root", str(self.root)]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=self.output, start_new_session=True)
        state = self.root / "server.json"
        until = time.monotonic() + 90
        while not state.exists() or json.loads(state.read_text())["pid"] != self.process.pid:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(Path(self.output.name).read_text() or "the local cloud did not start")
            time.sleep(0.02)
        return self

    @property
    def port(self) -> int:
        """The loopback port."""
        return int(json.loads((self.root / "server.json").read_text())["port"])

    @property
    def url(self) -> str:
        """Where it answers in clear."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, project: str = "") -> dict[str, str]:
        """The variables of the local target, over those of this machine."""
        return {**_BEFORE, **environment.variables(self.root, self.port, project=project, before=_BEFORE)}

    def stop(self) -> None:
        """Ends the server as `mlops down` does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server as a crash does: what it was in the middle of stays half done."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        self.output.close()
        if number is signal.SIGKILL:
            (self.root / "server.json").unlink(missing_ok=True)


_BEFORE = dict(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest comes first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_demo.py")


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    """The session's local cloud; Google's clients in this process are pointed at it.

    A test must not stop it: use `own_cloud` for that. Resources go into the `project` of the test.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-test-") as folder:
        running = LocalCloud(Path(folder) / "cloud").start()
        os.environ.update(running.environment())
        try:
            yield running
        finally:
            running.stop()
            for name in environment.variables(running.root, 0, before=_BEFORE):
                os.environ.pop(name, None)
            os.environ.update(_BEFORE)


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """A local cloud for one test alone, which may kill and start it again.

    Clients must be programs of their own, started with `own_cloud.environment()`, since this process may already
    be pointed at the session's.
    """
    running = LocalCloud(tmp_path / "cloud").start()
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def project(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project that nothing else uses, as the clients' default."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", name)
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", name)
    return name


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed on a local cloud shows what the server's log says of it."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    running = getattr(item, "funcargs", {}).get("own_cloud") or getattr(item, "funcargs", {}).get("cloud")
    if report.failed and running is not None:
        log = (running.root / "server.log").read_text(errors="replace")
        report.sections.append(("the end of the local cloud's log", log[-6000:]))
