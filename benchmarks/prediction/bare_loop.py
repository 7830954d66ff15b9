"""The bound: the same model called in a loop on a data frame that is there already, with nothing around it.

Told `instances seconds` on a line of stdin, it calls that long and prints one JSON line in the form of `client.py`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import pandas as pd


def call(model: Any, frame: pd.DataFrame, seconds: float) -> dict[str, float]:
    """Call the model for some seconds."""
    took: list[float] = []
    processor = time.process_time()
    started = now = time.perf_counter()
    while now < started + seconds:
        model.predict_proba(frame)
        before, now = now, time.perf_counter()
        took.append(now - before)
    processor = time.process_time() - processor
    took.sort()
    p50, p99 = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
    return {"requests": len(took), "seconds": now - started, "p50": p50, "p99": p99, "processor": processor}


def main(folder: Path) -> None:
    """Do as stdin says, to its end."""
    model = joblib.load(folder / "model.joblib")
    for line in sys.stdin:
        size, seconds = line.split()
        frame = pd.read_pickle(folder / f"{size}.pickle")
        call(model, frame, 0.1)
        print(json.dumps(call(model, frame, float(seconds))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
