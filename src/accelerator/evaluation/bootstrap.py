"""An interval for the difference of two models on the same rows: the paired bootstrap, percentile method.

Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16. Both models are measured on the same
resamples, so that what is hard or easy about rows is in both and goes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from accelerator.evaluation.metrics import Floats, Problem, Ranking, better, metric


@dataclass(frozen=True)
class Interval:
    """By how much the challenger is better.

    Args:
        metric: In whose units.
        estimate: On the rows as they are.
        low: The lower end.
        high: The upper end.
        confidence: Such as 0.95.
        resamples: How many resamples had a value.
    """

    metric: str
    estimate: float
    low: float
    high: float
    confidence: float
    resamples: int


def paired(
    name: str,
    problem: Problem,
    challenger: Floats,
    champion: Floats,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    """The interval of a metric's improvement from champion to challenger.

    Args:
        name: The metric.
        problem: The truth.
        challenger: Its predictions.
        champion: Those of the other, of the same rows.
        confidence: The share of the resamples that the interval holds.
        resamples: How often to draw as many rows as there are, with replacement.
        seed: Of the draws.

    Raises:
        ValueError: The metric has no value on these rows.
    """
    measures = [_weighted(name, problem, values) for values in (challenger, champion)]
    rows = len(problem.truth)
    estimate = better(name, *(measure(np.ones(rows)) for measure in measures))
    if not np.isfinite(estimate):
        raise ValueError(f"{name} has no value on these {rows} rows")
    generator = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for number in range(resamples):
        weights = np.bincount(generator.integers(0, rows, rows), minlength=rows).astype(np.float64)
        differences[number] = better(name, *(measure(weights) for measure in measures))
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        raise ValueError(f"{name} has no value on any resample of these {rows} rows")
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Interval(name, float(estimate), float(low), float(high), confidence, len(differences))


def _weighted(name: str, problem: Problem, values: Floats) -> Callable[[Floats], float]:
    """The metric as a function of weights alone; for AUC the rows are sorted once."""
    if name == "auc" and len(problem.classes) == 2:
        order = np.argsort(values[:, 1], kind="stable")
        ranking = Ranking(problem.truth[order] == 1, values[order, 1])
        return lambda weights: ranking.auc(weights[order])
    whole = metric(name, problem)
    return lambda weights: whole(values, weights)
