"""The server itself: start to ready with a cached catalog, and memory when idle."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from localcloud import control

STARTS = 5
READY_WITHIN, IDLE_BELOW = 2.0, 250.0
"""Goals: seconds, MB."""


def measure() -> tuple[list[float], list[float]]:
    """Seconds from start to ready and MB when idle, of several starts on one state folder."""
    seconds, memory = [], []
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        root = Path(folder) / "cloud"
        control.start(root)
        control.stop(root)
        for _ in range(STARTS):
            began = time.perf_counter()
            running, _ = control.start(root)
            httpx.get(f"{running.url}status", trust_env=False)
            seconds.append(time.perf_counter() - began)
            time.sleep(1)
            processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            memory.append(sum(process.memory_info().rss for process in processes) / 1e6)
            control.stop(root)
    return seconds, memory


def line(what: str, values: list[float], unit: str, goal: float, meets: Callable[[float], bool]) -> str:
    """One row: median, spread, goal and whether it is met."""
    middle = statistics.median(values)
    verdict = "met" if meets(middle) else "MISSED"
    return f"{what:34} {middle:8.2f} {unit:5} [{min(values):.2f} to {max(values):.2f}]  goal {goal:g}: {verdict}"


def main() -> None:
    """Prints the rows."""
    seconds, memory = measure()
    print(line("start to ready, cached catalog", seconds, "s", READY_WITHIN, lambda value: value <= READY_WITHIN))
    print(line("idle memory of the server", memory, "MB", IDLE_BELOW, lambda value: value <= IDLE_BELOW))


if __name__ == "__main__":
    main()
