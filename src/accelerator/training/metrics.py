"""Metrics of a training run: lines in the log, and the file that Vertex AI's hyperparameter tuning reads.

The file's form is cloudml-hypertune's, so that both can report to one trial.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerator.errors import CodeError, suggestion

_ENTRIES = 100
"""How many of the last reports the file keeps, as cloudml-hypertune does."""

_reported: deque[dict[str, Any]] = deque(maxlen=_ENTRIES)


def report(metrics: Mapping[str, float], step: int = 0) -> None:
    """Report metrics while training or at its end.

    Each is one line of JSON in the log. In a trial of hyperparameter tuning (CLOUD_ML_TRIAL_ID or
    CLOUD_ML_HP_METRIC_FILE is set) each is also written where the tuning service reads it.

    Args:
        metrics: Numbers by name.
        step: How far training has come, such as the epoch: tuning may stop a trial that does not improve.
    """
    for name, value in metrics.items():
        line = {"message": f"{name} {float(value):.6g}", "metric": name, "value": float(value), "step": step}
        print(json.dumps(line), flush=True)
    if "CLOUD_ML_TRIAL_ID" in os.environ or "CLOUD_ML_HP_METRIC_FILE" in os.environ:
        _write(metrics, step)


def _write(metrics: Mapping[str, float], step: int) -> None:
    for name, value in metrics.items():
        _reported.append(
            {
                "timestamp": time.time(),
                "trial": os.environ.get("CLOUD_ML_TRIAL_ID", "0"),
                name: str(float(value)),
                "global_step": str(step),
                "checkpoint_path": "",
            }
        )
    path = Path(os.environ.get("CLOUD_ML_HP_METRIC_FILE", "/tmp/hypertune/output.metrics"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry, sort_keys=True) + "\n" for entry in _reported))


def check(found: object, place: str, wanted: str | None) -> dict[str, float]:
    """The metrics that `train` returned, as plain numbers.

    Args:
        found: What was returned.
        place: The user's file, for an error.
        wanted: The metric that tuning looks at, where there is tuning.

    Raises:
        CodeError: They are not finite numbers by name, or the one that tuning needs is not among them.
    """
    if not isinstance(found, Mapping):
        raise CodeError(
            f"train returned {type(found).__name__} for metrics",
            place=place,
            next_step='Return (model, metrics) with metrics such as {"auc": 0.75}.',
        )
    metrics: dict[str, float] = {}
    for name, value in found.items():
        try:
            metrics[str(name)] = float(value)
        except (TypeError, ValueError):
            raise CodeError(
                f"The metric '{name}' is {value!r}, which is no number",
                place=place,
                next_step="Return numbers; print what is not.",
            ) from None
        if not math.isfinite(metrics[str(name)]):
            raise CodeError(
                f"The metric '{name}' is {value}",
                place=place,
                next_step="Look for empty or constant predictions; a model is not saved on such a metric.",
            )
    if wanted is not None and wanted not in metrics:
        raise CodeError(
            f"train returned no metric '{wanted}', which tuning.metric names",
            place=place,
            next_step=suggestion(wanted, metrics) or f'Return (model, {{"{wanted}": …}}).',
        )
    return metrics
