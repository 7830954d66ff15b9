"""What all workers of a container count, on one board of shared memory: request metrics, and their connections.

Each worker writes its own row, so there are no locks; what is counted when is decided in `app`.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import mmap
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import BinaryIO

CODES = (200, 400, 404, 405, 413, 500, 503)
"""The statuses that are counted one by one; any other is counted as the last of its hundred."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_LATENCY = len(CODES)
_LATENCY_SUM = _LATENCY + len(SECONDS) + 1
_BATCH = _LATENCY_SUM + 1
_BATCH_SUM = _BATCH + len(SIZES) + 1
_WAITING = _BATCH_SUM + 1
_CONNECTIONS = _WAITING + 1
_WIDTH = _CONNECTIONS + 1

LET_GO_SECONDS = 0.05
"""Between two looks at who has more connections than others; within it whoever was let go has come back and counts."""


def new_board(workers: int) -> BinaryIO:
    """An empty board: an unnamed file that workers inherit."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the container
    file.truncate(workers * _WIDTH * 8)
    return file


def vacate(descriptor: int, workers: int, row: int) -> None:
    """Take back what a worker that has ended said of itself; what it has counted stands."""
    with mmap.mmap(descriptor, workers * _WIDTH * 8) as memory, memoryview(memory) as octets, octets.cast("d") as cells:
        cells[row * _WIDTH + _WAITING] = 0
        cells[row * _WIDTH + _CONNECTIONS] = 0


class Board:
    """One worker's view of the board.

    Args:
        descriptor: The file of `new_board`.
        workers: How many rows it has.
        row: The row that this worker writes.
    """

    def __init__(self, descriptor: int, workers: int, row: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, workers * _WIDTH * 8)).cast("d")
        self._workers = workers
        self._row = row * _WIDTH
        self._surplus = 0
        self._next_look = 0.0

    def request(self, code: int, seconds: float) -> None:
        """Count an answered prediction request."""
        if code not in CODES:
            code = max((known for known in CODES if known // 100 == code // 100), default=500)
        cells, row = self._cells, self._row
        cells[row + CODES.index(code)] += 1
        cells[row + _LATENCY + bisect_left(SECONDS, seconds)] += 1
        cells[row + _LATENCY_SUM] += seconds

    def batch(self, instances: int) -> None:
        """Count a call of the model with this many instances."""
        self._cells[self._row + _BATCH + bisect_left(SIZES, instances)] += 1
        self._cells[self._row + _BATCH_SUM] += instances

    def waiting(self, requests: int) -> None:
        """Set how many requests are taken on and not answered."""
        self._cells[self._row + _WAITING] = requests

    def connections(self, count: int) -> None:
        """Set how many connections this worker has open: from now on it is one that can have more."""
        self._cells[self._row + _CONNECTIONS] = count + 1  # 0 is a worker that does not serve

    def let_go(self) -> bool:
        """Whether the client that is answered now had better connect anew, since another worker has fewer clients.

        Whoever accepts first has a connection, for as long as the client keeps it: without this, one worker may
        serve most of them while another has nothing to do.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LET_GO_SECONDS
            serving = [count for count in self._cells[_CONNECTIONS::_WIDTH].tolist() if count]
            self._surplus = int(self._cells[self._row + _CONNECTIONS] - min(serving)) // 2 if serving else 0
        if self._surplus <= 0:
            return False
        self._surplus -= 1
        return True

    def text(self) -> str:
        """Every worker's numbers, summed, as Prometheus text."""
        total = [sum(self._cells[i] for i in range(at, len(self._cells), _WIDTH)) for at in range(_WIDTH)]
        lines = _head("prediction_requests_total", "counter", "Prediction requests answered, by HTTP status.")
        lines += [f'prediction_requests_total{{code="{code}"}} {total[index]:.0f}' for index, code in enumerate(CODES)]
        lines += _histogram(
            "prediction_request_duration_seconds",
            "From the request's head to its answer.",
            SECONDS,
            total[_LATENCY:_LATENCY_SUM],
            total[_LATENCY_SUM],
        )
        lines += _histogram(
            "prediction_batch_instances",
            "Instances in one call of the model.",
            SIZES,
            total[_BATCH:_BATCH_SUM],
            total[_BATCH_SUM],
        )
        lines += _head("prediction_queue_depth", "gauge", "Requests taken on and not answered yet.")
        lines.append(f"prediction_queue_depth {total[_WAITING]:.0f}")
        lines += _head("prediction_workers", "gauge", "Processes that serve.")
        lines.append(f"prediction_workers {self._workers}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _histogram(name: str, about: str, bounds: Sequence[float], counts: Sequence[float], total: float) -> list[str]:
    lines, seen = _head(name, "histogram", about), 0.0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        seen += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {seen:.0f}')
    return [*lines, f"{name}_sum {total:.6f}", f"{name}_count {seen:.0f}"]
