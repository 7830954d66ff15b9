"""What a trial reports: the file that cloudml-hypertune writes, read while the trial writes it.

The file holds the last hundred reports, one JSON object a line, and is written anew with each; what has been read
before is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from localcloud.vertex.common import v1

_OWN = frozenset({"timestamp", "trial", "global_step", "checkpoint_path"})
_Report = tuple[float, int, str, float]
"""When, at which step, which metric, its value."""


class Reports:
    """The reports of one trial.

    Args:
        path: The metric file; it need not be there yet.
        metrics: The ids of the metrics that count.
        started: When the trial began.
    """

    def __init__(self, path: Path, metrics: Iterable[str], started: Timestamp) -> None:
        self._path = path
        self._metrics = list(metrics)
        self._started = started.ToNanoseconds() / 1e9
        self._seen: dict[_Report, None] = {}
        self._stamp: tuple[int, int] | None = None

    def read(self) -> bool:
        """Read what is new; gives whether there was anything."""
        try:
            state = self._path.stat()
            if self._stamp == (state.st_mtime_ns, state.st_size):
                return False
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return False
        self._stamp = (state.st_mtime_ns, state.st_size)
        before = len(self._seen)
        for line in lines:
            self._seen.update(dict.fromkeys(_reports(line)))
        return len(self._seen) > before

    def measurements(self) -> list[Any]:
        """Measurements of the metrics that count, in order: one holds what was reported at a step, each metric once."""
        found: list[Any] = []
        for when, step, metric, value in sorted(self._seen, key=lambda report: (report[1], report[0])):
            if metric not in self._metrics or not math.isfinite(value):
                continue
            last = found[-1] if found else None
            if last is None or last.step_count != step or any(one.metric_id == metric for one in last.metrics):
                last = v1.Measurement(step_count=step)
                found.append(last)
            last.elapsed_duration.FromMicroseconds(max(0, int((when - self._started) * 1e6)))
            last.metrics.add(metric_id=metric, value=value)
        return found

    def why_nothing(self) -> str:
        """Why there is no measurement with all metrics."""
        names = list(dict.fromkeys(metric for _, _, metric, _ in self._seen))
        for metric in self._metrics:
            values = [value for _, _, name, value in self._seen if name == metric]
            if values and not any(map(math.isfinite, values)):
                return f"The trial reported {values[-1]} for the metric `{metric}`."
            if not values:
                others = f"; it reported {', '.join(f'`{name}`' for name in names)}" if names else ""
                return f"The trial ended without reporting the metric `{metric}`{others}."
        return "The trial reported its metrics at different steps, never all of them at one."


def _reports(line: str) -> list[_Report]:
    """The metrics in a line; none in one that is not written to its end yet."""
    try:
        entry = json.loads(line)
        when, step = float(entry.get("timestamp", 0.0)), max(0, int(float(entry.get("global_step", 0))))
        return [(when, step, name, float(value)) for name, value in entry.items() if name not in _OWN]
    except (ValueError, TypeError, AttributeError, OverflowError):
        return []
