"""The metrics of a StudySpec: goals and safety, the final measurement of a trial, the best trials of a study.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#MetricSpec; stopping on them early is
localcloud.vertex.vizier.stopping's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.vertex.common import invalid, v1


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        id: Its id.
        maximize: The goal; else to minimize.
        threshold: For a safety metric, the value between safe and unsafe; None for an objective.
    """

    id: str
    maximize: bool
    threshold: float | None = None

    def goodness(self, value: float) -> float:
        """The value such that more is better."""
        return value if self.maximize else -value

    def excess(self, value: float) -> float:
        """How far a safety metric is on the unsafe side; 0 or less where it is safe."""
        return -(self.goodness(value) - self.goodness(self.threshold or 0.0))


@dataclass(frozen=True)
class Metrics:
    """All metrics of a study."""

    all: tuple[Metric, ...]
    best_measurement: bool = False
    """Whether the best measurement is the final one; else the last."""

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """The metrics that are optimized."""
        return tuple(metric for metric in self.all if metric.threshold is None)

    @property
    def safety(self) -> tuple[Metric, ...]:
        """The metrics that must stay on the right side of a threshold."""
        return tuple(metric for metric in self.all if metric.threshold is not None)

    @property
    def ids(self) -> list[str]:
        """The ids of all."""
        return [metric.id for metric in self.all]

    def missing(self, measurement: Any) -> list[str]:
        """The metrics that a measurement does not have."""
        there = {metric.metric_id for metric in measurement.metrics}
        return [name for name in self.ids if name not in there]

    def check(self, measurement: Any, field: str, *, whole: bool) -> None:
        """Refuse a measurement that is not of these metrics.

        Args:
            measurement: A Measurement.
            field: Where it came from, for an error.
            whole: Whether all metrics must be there.

        Raises:
            InvalidArgument: Naming what is wrong.
        """
        if not measurement.metrics:
            raise invalid(f"{field}.metrics", "Required field is not set.")
        if measurement.step_count < 0:
            raise invalid(f"{field}.step_count", "Must not be negative.")
        seen: set[str] = set()
        for metric in measurement.metrics:
            if metric.metric_id not in self.ids:
                raise invalid(
                    f"{field}.metrics", f"The study has no metric `{metric.metric_id}`, it has {', '.join(self.ids)}."
                )
            if metric.metric_id in seen:
                raise invalid(f"{field}.metrics", f"Metric `{metric.metric_id}` is there twice.")
            if not math.isfinite(metric.value):
                raise invalid(
                    f"{field}.metrics",
                    f"Metric `{metric.metric_id}` is {metric.value}. Complete the trial as infeasible instead.",
                )
            seen.add(metric.metric_id)
        missing = self.missing(measurement)
        if whole and missing:
            raise invalid(f"{field}.metrics", f"Metric `{missing[0]}` is missing.")

    def final(self, measurements: Iterable[Any]) -> Any | None:
        """The measurement that is chosen as a trial's final one; None where none has all metrics."""
        whole = [measurement for measurement in measurements if not self.missing(measurement)]
        if not whole:
            return None
        if not self.best_measurement:
            return whole[-1]
        fronts = _undominated([self.goodness(measurement) for measurement in whole])
        return whole[fronts[-1]]

    def goodness(self, measurement: Any) -> list[float]:
        """The objectives such that more is better; all must be there."""
        values = _values(measurement)
        return [metric.goodness(values[metric.id]) for metric in self.objectives]

    def excess(self, measurement: Any) -> dict[str, float]:
        """By safety metric, how far it is on the unsafe side; 0 or less where it is safe."""
        values = _values(measurement)
        return {metric.id: metric.excess(values[metric.id]) for metric in self.safety}

    def optimal(self, trials: Iterable[Any]) -> list[Any]:
        """The best trial; of several objectives, the Pareto-optimal ones. Trials that are not safe are none."""
        done = [
            trial
            for trial in succeeded(trials)
            if not self.missing(trial.final_measurement)
            and all(excess <= 0 for excess in self.excess(trial.final_measurement).values())
        ]
        best = _undominated([self.goodness(trial.final_measurement) for trial in done])
        return [done[index] for index in (best[:1] if len(self.objectives) == 1 else best)]


def read_metrics(spec: Any, field: str) -> Metrics:
    """The metrics of a StudySpec.

    Raises:
        InvalidArgument: Naming the field that is wrong.
    """
    place = f"{field}.metrics"
    found: list[Metric] = []
    for number, given in enumerate(spec.metrics):
        here = f"{place}[{number}]"
        if not given.metric_id or any(char.isspace() for char in given.metric_id):
            raise invalid(f"{here}.metric_id", f"Must be set and contain no whitespace: `{given.metric_id}`.")
        if any(given.metric_id == metric.id for metric in found):
            raise invalid(f"{here}.metric_id", f"Metric id `{given.metric_id}` is there twice.")
        threshold = None
        if given.HasField("safety_config"):
            threshold = given.safety_config.safety_threshold
            if not math.isfinite(threshold):
                raise invalid(f"{here}.safety_config.safety_threshold", "Must be a finite number.")
            if not 0 <= given.safety_config.desired_min_safe_trials_fraction <= 1:
                raise invalid(f"{here}.safety_config.desired_min_safe_trials_fraction", "Must be from 0.0 to 1.0.")
        goal = v1.StudySpec.MetricSpec.GoalType.Name(given.goal)
        found.append(Metric(given.metric_id, goal != "MINIMIZE", threshold))
    selection = v1.StudySpec.MeasurementSelectionType.Name(spec.measurement_selection_type)
    metrics = Metrics(tuple(found), selection == "BEST_MEASUREMENT")
    if not metrics.objectives:
        raise invalid(
            place,
            "At least one metric without safety_config is required: a safety metric is no objective."
            if found
            else "At least one metric is required.",
        )
    return metrics


def succeeded(trials: Iterable[Any]) -> list[Any]:
    """The trials that have a final measurement."""
    return [trial for trial in trials if trial.state == v1.Trial.SUCCEEDED]


def _values(measurement: Any) -> dict[str, float]:
    return {metric.metric_id: metric.value for metric in measurement.metrics}


def _undominated(points: Sequence[Sequence[float]]) -> list[int]:
    """The indexes of the points that no other is better than in one way and as good as in all."""
    if points and len(points[0]) == 1:
        best = max(points, key=lambda point: point[0])
        return [index for index, point in enumerate(points) if point[0] == best[0]]
    return [
        index
        for index, point in enumerate(points)
        if not any(
            all(theirs >= ours for theirs, ours in zip(other, point, strict=True)) and list(other) != list(point)
            for other in points
        )
    ]
