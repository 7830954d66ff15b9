"""When enough is enough: a trial that will not get among the best, and a study that has come to its end.

The rules are those of https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec; who stops what then is
left to the callers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from localcloud.errors import Unimplemented
from localcloud.vertex.common import invalid, v1
from localcloud.vertex.vizier.metrics import Metric, Metrics, succeeded

_CURVES = 5
"""How many finished trials' curves must be known before others are predicted from them."""
_SAMPLES = 4
"""How many points of a curve the prediction looks at."""
_LOW_PROBABILITY = 0.05
_DONE = frozenset({v1.Trial.SUCCEEDED, v1.Trial.INFEASIBLE})

Curve = list[tuple[float, float]]
"""Places along the way (steps or seconds) and how good the objective was there; more is better."""


def check_stopping(spec: Any, field: str) -> None:
    """Refuse conditions that make no sense or that nobody looks at here.

    Raises:
        InvalidArgument: A number that is out of range.
        Unimplemented: A rule that the local cloud does not have.
    """
    if spec.WhichOneof("automated_stopping_spec") == "convex_automated_stopping_spec":
        raise Unimplemented(
            f"{field}.convex_automated_stopping_spec: the local cloud does not stop trials by the convex rule; use "
            "median_automated_stopping_spec or decay_curve_stopping_spec."
        )
    config = spec.study_stopping_config
    for name in ("min_num_trials", "max_num_trials", "max_num_trials_no_progress"):
        if config.HasField(name) and getattr(config, name).value < (0 if name == "min_num_trials" else 1):
            raise invalid(f"{field}.study_stopping_config.{name}", "Must be positive.")


def should_stop_trial(spec: Any, metrics: Metrics, trial: Any, trials: Sequence[Any]) -> bool:
    """Whether a trial under way should be stopped by the study's automated stopping rule.

    Args:
        spec: The StudySpec.
        metrics: Its metrics; the first objective is looked at.
        trial: The trial, with its measurements so far.
        trials: All trials of the study.
    """
    rule = spec.WhichOneof("automated_stopping_spec")
    if rule is None:
        return False
    by_time = getattr(spec, rule).use_elapsed_duration
    objective = metrics.objectives[0]
    own = _curve(trial, objective, by_time)
    others = [curve for other in succeeded(trials) if (curve := _curve(other, objective, by_time))]
    if not own or not others:
        return False
    return _below_the_median(own, others) if rule == "median_automated_stopping_spec" else _hopeless(own, others)


def is_study_over(spec: Any, metrics: Metrics, created: datetime, trials: Sequence[Any]) -> bool:
    """Whether the study's stopping conditions are met; without any it never is.

    Args:
        spec: The StudySpec.
        metrics: Its metrics.
        created: When the study was made.
        trials: All its trials.
    """
    config = spec.study_stopping_config
    done = [trial for trial in trials if trial.state in _DONE]
    # These two hold back all others.
    if config.HasField("minimum_runtime_constraint") and not _passed(config.minimum_runtime_constraint, created):
        return False
    if config.HasField("min_num_trials") and len(done) < config.min_num_trials.value:
        return False
    if config.HasField("maximum_runtime_constraint") and _passed(config.maximum_runtime_constraint, created):
        return True
    if config.HasField("max_num_trials") and len(trials) >= config.max_num_trials.value:
        return True
    if len(metrics.objectives) > 1 or not (
        config.HasField("max_num_trials_no_progress") or config.HasField("max_duration_no_progress")
    ):
        return False
    best = metrics.optimal(trials)
    if not best:
        return False
    ended = best[0].end_time.ToDatetime(UTC)
    since = sum(1 for trial in done if trial.end_time.ToDatetime(UTC) > ended)
    if config.HasField("max_num_trials_no_progress") and since >= config.max_num_trials_no_progress.value:
        return True
    longest = config.max_duration_no_progress.ToTimedelta() if config.HasField("max_duration_no_progress") else None
    return longest is not None and datetime.now(UTC) - ended >= longest


def _passed(constraint: Any, created: datetime) -> bool:
    now = datetime.now(UTC)
    if constraint.WhichOneof("constraint") == "end_time":
        return bool(now >= constraint.end_time.ToDatetime(UTC))
    return bool(now - created >= constraint.max_duration.ToTimedelta())


def _curve(trial: Any, objective: Metric, by_time: bool) -> Curve:
    found: Curve = []
    for measurement in trial.measurements:
        place = measurement.elapsed_duration.ToTimedelta().total_seconds() if by_time else measurement.step_count
        for metric in measurement.metrics:
            if metric.metric_id == objective.id:
                found.append((float(place), objective.goodness(metric.value)))
    return found


def _below_the_median(own: Curve, others: Sequence[Curve]) -> bool:
    """The best so far is strictly worse than the median of the others' running averages up to here."""
    reached = own[-1][0]
    averages = [
        statistics.fmean(values)
        for curve in others
        if (values := [value for place, value in curve if place <= reached])
    ]
    return bool(averages) and max(value for _, value in own) < statistics.median(averages)


def _hopeless(own: Curve, others: Sequence[Curve]) -> bool:
    """A Gaussian process over the finished curves gives the trial little chance to become the best."""
    import numpy as np

    reached = own[-1][0]
    known = [curve for curve in others if curve[-1][0] >= reached]
    if len(known) < _CURVES:
        return False
    start = own[0][0]
    places = np.linspace(start, reached, _SAMPLES) if reached > start else np.array([reached])

    def at(curve: Curve) -> Any:
        return np.interp(places, [place for place, _ in curve], [value for _, value in curve])

    best = max(curve[-1][1] for curve in others)
    inputs, here = np.array([at(curve) for curve in known]), at(own)
    # what is still to be gained, from the last place on
    gains = np.array([curve[-1][1] for curve in known]) - inputs[:, -1]
    mean, deviation = _predict(inputs, gains, here)
    gain_needed = best - here[-1]
    if deviation == 0.0:
        return bool(mean < gain_needed)
    chance = 0.5 * math.erfc((gain_needed - mean) / (deviation * math.sqrt(2)))
    return chance < _LOW_PROBABILITY


def _predict(inputs: Any, outputs: Any, at: Any) -> tuple[float, float]:
    """The mean and standard deviation of Gaussian process regression (squared exponential kernel) at one point."""
    import numpy as np

    spread = inputs.std(axis=0)
    spread[spread == 0.0] = 1.0
    points, point = inputs / spread, at / spread
    height = float(outputs.std())
    if height == 0.0:
        return float(outputs.mean()), 0.0
    centred = (outputs - outputs.mean()) / height
    scale = 2.0 * points.shape[1]

    def kernel(one: Any, two: Any) -> Any:
        return np.exp(-((one[:, None, :] - two[None, :, :]) ** 2).sum(axis=-1) / scale)

    noise = 1e-2
    within = kernel(points, points) + noise * np.eye(len(points))
    across = kernel(points, point[None, :])[:, 0]
    weights = np.linalg.solve(within, across)
    variance = max(1.0 + noise - float(across @ weights), 0.0)
    return float(outputs.mean() + height * (weights @ centred)), height * math.sqrt(variance)
