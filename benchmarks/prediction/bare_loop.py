"""The bound: the same model called in a loop on a data frame that is there already, with nothing around it.

Prints one JSON line in the form of `client.py`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import joblib
import pandas as pd


def main(folder: Path, size: int, seconds: float) -> None:
    """Call the model for some seconds."""
    model = joblib.load(folder / "model.joblib")
    frame = pd.read_pickle(folder / f"{size}.pickle")
    for _ in range(20):
        model.predict_proba(frame)
    took: list[float] = []
    started = now = time.perf_counter()
    while now < started + seconds:
        model.predict_proba(frame)
        before, now = now, time.perf_counter()
        took.append(now - before)
    took.sort()
    p50, p99 = (took[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
    print(json.dumps({"requests": len(took), "seconds": now - started, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
