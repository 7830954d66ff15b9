"""The worker process as the server sees it: orders go in as lines, events come out as lines.

What it does with them is localcloud.vertex.batch.worker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from localcloud.service import Cloud
from localcloud.vertex.batch.plan import Plan
from localcloud.vertex.common import failure_lines, project_environment

_WHAT = "localcloud.vertex.batch.worker"
_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**10),
    "MALLOC_TRIM_THRESHOLD_": str(2**20),
}
"""For glibc: what is free goes back at once. Left to itself it keeps a pool for each thread, in which the requests'
and the answers' large buffers leave holes, more of them the longer a job takes. Elsewhere nobody reads these."""


class WorkerProcess:
    """Starts the worker at once; it waits for ports by itself.

    Args:
        cloud: What all services share.
        plan: The job.
        event: Called with each event, from a thread; `{"gone": last lines}` if it ends without one.
    """

    def __init__(self, cloud: Cloud, plan: Plan, event: Callable[[dict[str, Any]], None]) -> None:
        self._event = event
        self._scratch = plan.scratch
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WHAT],
            env={**os.environ, **_MEMORY, **cloud.environment(), **project_environment(plan.project)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            text=True,
        )
        self._order(plan.to_json())
        threading.Thread(target=self._follow, name="batch-worker", daemon=True).start()

    def ports(self, ports: list[int]) -> None:
        """Tell it which containers answer now."""
        self._order(json.dumps({"ports": ports}))

    def cancel(self) -> None:
        """Have it write out what it has and end."""
        self._order(json.dumps({"cancel": True}))

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError):  # it has ended: its events say so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        ended = False
        for line in self._process.stdout:
            event = json.loads(line)
            ended = ended or "end" in event or "problem" in event
            self._event(event)
        self._process.wait()
        if not ended:
            self._errors.seek(0)
            lines = self._errors.read()[-20_000:].decode(errors="replace").splitlines()
            self._event({"gone": failure_lines(lines)})
        self._errors.close()
