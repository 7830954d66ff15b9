"""The gate: may a challenger take the champion's place? What cannot be evaluated may not.

How each number comes about is told by the modules beside this one; here is what is asked of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accelerator.config import Config
from accelerator.errors import AcceleratorError, ConfigError, suggestion
from accelerator.evaluation.baselines import baselines
from accelerator.evaluation.bootstrap import Interval, paired
from accelerator.evaluation.held_out import HeldOut, read
from accelerator.evaluation.metrics import LOWER_IS_BETTER, NAMES, Problem, calibration, measure, problem_of
from accelerator.evaluation.scoring import Scores, score

THRESHOLDS = 100
"""Points of the ROC curve that are kept."""


@dataclass(frozen=True)
class Verdict:
    """What the gate has found.

    Args:
        valid: Whether the challenger may be deployed.
        reasons: Why not, a sentence each; where it may, what was looked at.
        rows: How many held-out rows there were.
        split: Which they were.
        metrics: The challenger's, by name.
        champion: The champion's on the same rows; empty where there is none.
        interval: By how much the challenger is better; None where there is no champion.
        slices: By `column=value`, rows and metrics of that part.
        baselines: By name, metrics on the same rows.
        classes: Of a classifier, its labels.
        confusion: Of a classifier, rows by true (down) and predicted (across) class.
        roc: Of a binary classifier, (threshold, recall, false positive rate).
        calibration: Of a binary classifier, by bin of the score.
    """

    valid: bool
    reasons: list[str]
    rows: int = 0
    split: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    champion: dict[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    classes: list[Any] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    roc: list[tuple[float, float, float]] = field(default_factory=list)
    calibration: list[Mapping[str, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Verdict:
        """Of what `to_json` gave."""
        interval = content["interval"]
        return cls(**{**content, "interval": Interval(**interval) if interval else None})


def evaluate(
    config: Config,
    challenger: str,
    champion: str = "",
    environment: Mapping[str, str] = os.environ,
    split: str = "",
) -> Verdict:
    """Judge a challenger on the held-out rows.

    Args:
        config: The project; its `validation` section says what is asked.
        challenger: The folder of its artifact, `gs://…/model`.
        champion: That of the model to beat; empty where there is none.
        environment: Where Vertex AI's data variables are looked up.
        split: Which rows are held out; see `held_out.read`.

    Raises:
        ConfigError: `validation` asks for what there is not.
    """
    _check(config)
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        try:
            held_out = read(config, config.validation.slices, Path(folder), environment, split)
            scores = score(challenger, held_out.file, len(held_out), "challenger")
            problem = problem_of(held_out.labels, scores)
        except ConfigError:
            raise
        except AcceleratorError as error:
            return Verdict(False, [_told(error)])
        except ValueError as error:
            return Verdict(False, [f"the challenger cannot be evaluated: {error}"])
        return _judge(config, held_out, problem, scores, champion, environment)


def _judge(
    config: Config,
    held_out: HeldOut,
    problem: Problem,
    scores: Scores,
    champion: str,
    environment: Mapping[str, str],
) -> Verdict:
    metrics = measure(problem, scores.values)
    against = _thresholds(config.validation.thresholds, metrics, "")
    slices = _slices(config, held_out, problem, scores)
    for name, part in slices.items():
        if part["rows"] >= config.validation.slice_rows:
            against += _thresholds(config.validation.slice_thresholds, part["metrics"], f" of {name}")
    champion_metrics: dict[str, float] = {}
    interval = None
    looked_at = []
    if champion:
        try:
            theirs = score(champion, held_out.file, len(held_out), "champion")
            values = _in_order(theirs, problem)
            champion_metrics = measure(problem, values)
            interval = paired(
                primary(config, problem),
                problem,
                scores.values,
                values,
                confidence=config.validation.confidence,
                resamples=config.validation.resamples,
                seed=config.training.seed,
            )
        except AcceleratorError as error:
            against.append(_told(error))
        except ValueError as error:
            against.append(f"the challenger cannot be held against the champion: {error}")
        else:
            against += _beats(interval, config.validation.by)
            looked_at.append(f"it is better than the champion: {_interval(interval)}")
    elif config.validation.beat:
        looked_at.append(f"no version has the alias {config.validation.beat}: there is nothing to beat")
    looked_at += [f"{name} {metrics[name]:.4f}" for name in config.validation.thresholds if name in metrics]
    binary = len(problem.classes) == 2
    return Verdict(
        valid=not against,
        reasons=against or looked_at or ["nothing is asked of it: validation has no thresholds and no model to beat"],
        rows=len(held_out),
        split=held_out.split,
        metrics=metrics,
        champion=champion_metrics,
        interval=interval,
        slices=slices,
        baselines=baselines(config, held_out, problem, environment),
        classes=list(problem.classes),
        confusion=_confusion(problem, scores.values) if problem.classes else [],
        roc=_roc(problem, scores.values) if binary else [],
        calibration=calibration(problem.truth == 1, scores.values[:, 1], np.ones(len(held_out))) if binary else [],
    )


def primary(config: Config, problem: Problem) -> str:
    """The metric that champion and challenger are compared by."""
    if config.validation.metric is not None:
        wanted = config.validation.metric
    elif config.tuning is not None and config.tuning.metric in problem.names:
        wanted = config.tuning.metric
    else:
        wanted = problem.names[0]
    if wanted not in problem.names:
        raise ValueError(f"the metric {wanted} is not one of this model's: {', '.join(problem.names)}")
    return wanted


def _check(config: Config) -> None:
    asked = {
        "validation.thresholds": config.validation.thresholds,
        "validation.slice_thresholds": config.validation.slice_thresholds,
        "validation.metric": [config.validation.metric] if config.validation.metric else [],
    }
    for setting, names in asked.items():
        for name in names:
            if name not in NAMES:
                raise ConfigError(
                    f"There is no metric '{name}', which {setting} names",
                    place=config.place(setting),
                    next_step=suggestion(name, NAMES) or f"There are {', '.join(NAMES)}.",
                )


def _thresholds(thresholds: Mapping[str, float], metrics: Mapping[str, float], where: str) -> list[str]:
    against = []
    for name, limit in thresholds.items():
        value = metrics.get(name)
        if value is None:
            against.append(f"{name}{where} has no value: one class alone, or no such metric for this kind of model")
        elif value > limit if name in LOWER_IS_BETTER else value < limit:
            word = "more" if name in LOWER_IS_BETTER else "less"
            against.append(f"{name}{where} is {value:.4f}, {word} than {limit:g}")
    return against


def _slices(config: Config, held_out: HeldOut, problem: Problem, scores: Scores) -> dict[str, dict[str, Any]]:
    found = {}
    for column, values in held_out.slices.items():
        for value in sorted(set(values)):
            rows = values == value
            part = problem.part(rows)
            found[f"{column}={value}"] = {"rows": int(rows.sum()), "metrics": measure(part, scores.values[rows])}
    return found


def _in_order(theirs: Scores, problem: Problem) -> Any:
    """The champion's scores in the order of the challenger's classes.

    Raises:
        ValueError: It predicts something else.
    """
    if set(theirs.classes) != set(problem.classes):
        raise ValueError(f"its classes are {list(problem.classes)}, the champion's {list(theirs.classes)}")
    if not problem.classes:
        return theirs.values
    return theirs.values[:, [theirs.classes.index(label) for label in problem.classes]]


def _beats(interval: Interval, by: float) -> list[str]:
    if interval.low > by:
        return []
    return [f"it is not shown to be better than the champion{f' by {by:g}' if by else ''}: {_interval(interval)}"]


def _interval(interval: Interval) -> str:
    return (
        f"{interval.metric} {interval.estimate:+.4f}, with {interval.confidence:.0%} confidence "
        f"{interval.low:+.4f} to {interval.high:+.4f}"
    )


def _confusion(problem: Problem, values: Any) -> list[list[int]]:
    count = len(problem.classes)
    said = (values[:, 1] >= 0.5).astype(int) if count == 2 else values.argmax(axis=1)
    table: list[list[int]] = (
        np.bincount(problem.truth * count + said, minlength=count * count).reshape(count, count).tolist()
    )
    return table


def _roc(problem: Problem, values: Any) -> list[tuple[float, float, float]]:
    """Points of the curve, from the highest threshold on, thinned out."""
    from sklearn.metrics import roc_curve

    if len(set(problem.truth)) < 2:
        return []
    false_positive, recall, threshold = roc_curve(problem.truth, values[:, 1])
    chosen = np.unique(np.linspace(0, len(threshold) - 1, min(THRESHOLDS, len(threshold))).astype(int))
    threshold = np.minimum(threshold, 1.0)  # the first is infinite: nothing is called positive
    return [(float(threshold[i]), float(recall[i]), float(false_positive[i])) for i in chosen]


def _told(error: AcceleratorError) -> str:
    return f"{error.headline} ({error.place})" if error.place else error.headline
