"""Metrics of predictions on held-out rows, all of them with weights, so that resampling is weighting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerator.evaluation.scoring import Scores

Floats = NDArray[np.float64]
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "calibration_error", "rmse", "mae", "bias"})
BINARY = ("auc", "auc_pr", "log_loss", "accuracy", "precision", "recall", "f1", "brier", "calibration_error")
MULTICLASS = ("auc", "log_loss", "accuracy", "f1")
REGRESSION = ("rmse", "mae", "r2", "bias")
NAMES = tuple(dict.fromkeys((*BINARY, *MULTICLASS, *REGRESSION)))
"""Every metric there is."""
BINS = 10
"""Of equal width, for calibration: Naeini, Cooper, Hauskrecht, Obtaining Well Calibrated Probabilities, AAAI 2015."""
_TINY = 1e-15


@dataclass(frozen=True)
class Problem:
    """What there is to measure against.

    Args:
        classes: Of a classifier, the labels in the order of its scores; the last is the positive one of two.
        truth: Of a classifier, each row's index into `classes`; else the true values.
    """

    classes: tuple[Any, ...]
    truth: NDArray[Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that this kind of problem has."""
        return REGRESSION if not self.classes else BINARY if len(self.classes) == 2 else MULTICLASS

    def part(self, rows: NDArray[np.bool_]) -> Problem:
        """The same of some rows."""
        return Problem(self.classes, self.truth[rows])


def problem_of(labels: NDArray[Any], scores: Scores) -> Problem:
    """Labels in the terms of a model's classes.

    Raises:
        ValueError: A label that the model does not know, or that is no number where it predicts numbers.
    """
    if not scores.classes:
        try:
            return Problem((), labels.astype(np.float64))
        except (TypeError, ValueError):
            raise ValueError(f"the label {labels[0]!r} is no number, and the model predicts numbers") from None
    index = {_key(value): position for position, value in enumerate(scores.classes)}
    try:
        return Problem(scores.classes, np.array([index[_key(label)] for label in labels], dtype=np.int64))
    except KeyError:
        unknown = sorted({str(label) for label in labels if _key(label) not in index})
        known = ", ".join(str(value) for value in scores.classes)
        raise ValueError(f"the model knows the classes {known}, not {', '.join(unknown[:5])}") from None


def measure(problem: Problem, values: Floats) -> dict[str, float]:
    """All metrics that exist on these rows; AUC does not where there is one class alone."""
    found = {}
    for name in problem.names:
        value = metric(name, problem)(values, None)
        if np.isfinite(value):
            found[name] = float(value)
    return found


def metric(name: str, problem: Problem) -> Callable[[Floats, Floats | None], float]:
    """A metric as a function of predictions and of the rows' weights (None for one each); NaN where it has no value."""
    if not problem.classes:
        return lambda values, weights: _regression(name, problem.truth, values, weights)
    if len(problem.classes) == 2:
        positive = problem.truth == 1
        return lambda values, weights: _binary(name, positive, values[:, 1], weights)
    return lambda values, weights: _multiclass(name, problem, values, weights)


def _binary(name: str, positive: NDArray[np.bool_], score: Floats, weights: Floats | None) -> float:
    from sklearn import metrics

    w = np.ones(len(score)) if weights is None else weights
    match name:
        case "auc":
            return auc(positive, score, w)
        case "auc_pr":
            if not (w[positive].sum() and w[~positive].sum()):
                return float("nan")
            return float(metrics.average_precision_score(positive, score, sample_weight=w))
        case "log_loss":
            p = np.clip(score, _TINY, 1 - _TINY)
            return float(np.average(-np.where(positive, np.log(p), np.log(1 - p)), weights=w))
        case "brier":
            return float(np.average((score - positive) ** 2, weights=w))
        case "calibration_error":
            return sum(
                row["share"] * abs(row["predicted"] - row["observed"]) for row in calibration(positive, score, w)
            )
    said = score >= 0.5
    true_positive = w[said & positive].sum()
    called, actual = w[said].sum(), w[positive].sum()
    match name:
        case "accuracy":
            return float(w[said == positive].sum() / w.sum())
        case "precision":
            return float(true_positive / called) if called else float("nan")
        case "recall":
            return float(true_positive / actual) if actual else float("nan")
        case _:
            return float(2 * true_positive / (called + actual)) if called + actual else float("nan")


def _multiclass(name: str, problem: Problem, values: Floats, weights: Floats | None) -> float:
    from sklearn import metrics

    w = np.ones(len(values)) if weights is None else weights
    match name:
        case "auc":
            parts = [auc(problem.truth == index, values[:, index], w) for index in range(len(problem.classes))]
            return float(np.mean(parts))
        case "log_loss":
            chosen = np.clip(values[np.arange(len(values)), problem.truth], _TINY, 1.0)
            return float(np.average(-np.log(chosen), weights=w))
        case "accuracy":
            return float(np.average(values.argmax(axis=1) == problem.truth, weights=w))
        case _:
            said = values.argmax(axis=1)
            return float(metrics.f1_score(problem.truth, said, average="macro", sample_weight=w, zero_division=0.0))


def _regression(name: str, truth: Floats, values: Floats, weights: Floats | None) -> float:
    w = np.ones(len(values)) if weights is None else weights
    error = values - truth
    match name:
        case "rmse":
            return float(np.sqrt(np.average(error**2, weights=w)))
        case "mae":
            return float(np.average(np.abs(error), weights=w))
        case "bias":
            return float(abs(np.average(error, weights=w)))
        case _:
            spread = np.average((truth - np.average(truth, weights=w)) ** 2, weights=w)
            return float(1 - np.average(error**2, weights=w) / spread) if spread else float("nan")


def auc(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> float:
    """The area under the ROC curve of weighted rows, ties counted half; NaN where one class has no weight."""
    order = np.argsort(score, kind="stable")
    return Ranking(positive[order], score[order]).auc(weights[order])


class Ranking:
    """Rows in the order of their scores: what many AUCs of the same scores under other weights have in common.

    Args:
        positive: Whether each row is of the positive class, in the order of the scores.
        score: The scores, ascending.
    """

    def __init__(self, positive: NDArray[np.bool_], score: Floats) -> None:
        self._positive = positive.astype(np.float64)
        self._starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])

    def auc(self, weights: Floats) -> float:
        """The area for weights in the order of the scores."""
        positives = np.add.reduceat(weights * self._positive, self._starts)
        negatives = np.add.reduceat(weights * (1.0 - self._positive), self._starts)
        total = positives.sum() * negatives.sum()
        if not total:
            return float("nan")
        below = np.cumsum(negatives) - negatives
        return float((positives * (below + negatives / 2)).sum() / total)


def calibration(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> list[Mapping[str, float]]:
    """By bin of the score: the share of rows, the mean score and the share of positives among them."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    table: list[Mapping[str, float]] = []
    for index in range(BINS):
        inside = bins == index
        weight = weights[inside].sum()
        if weight:
            table.append(
                {
                    "from": index / BINS,
                    "to": (index + 1) / BINS,
                    "share": float(weight / weights.sum()),
                    "predicted": float(np.average(score[inside], weights=weights[inside])),
                    "observed": float(np.average(positive[inside], weights=weights[inside])),
                }
            )
    return table


def better(name: str, one: float, other: float) -> float:
    """By how much `one` is the better value of a metric; negative where it is the worse."""
    return other - one if name in LOWER_IS_BETTER else one - other


def _key(value: Any) -> Any:
    """Labels that JSON has carried and those that Arrow gives are equal by value; True and 1 are not."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (isinstance(value, bool), value)
