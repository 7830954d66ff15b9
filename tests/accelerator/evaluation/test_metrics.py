"""Metrics against scikit-learn's, and what must hold of an interval whatever the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from accelerator.evaluation import metrics
from accelerator.evaluation.bootstrap import paired
from accelerator.evaluation.metrics import Problem, auc, measure, problem_of
from accelerator.evaluation.scoring import Scores

ROWS = st.integers(4, 60)


def binary(generator: np.random.Generator, rows: int) -> tuple[Problem, Any]:
    truth = np.r_[0, 1, generator.integers(0, 2, rows - 2)]
    score = np.round(generator.random(rows), 1)  # with ties
    return Problem((False, True), truth), np.c_[1 - score, score]


@given(st.integers(0, 10**6), ROWS)
def test_auc_is_that_of_scikit_learn(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    problem, values = binary(generator, rows)
    weights = generator.integers(1, 4, rows).astype(float)
    expected = sklearn_metrics.roc_auc_score(problem.truth, values[:, 1], sample_weight=weights)
    assert auc(problem.truth == 1, values[:, 1], weights) == pytest.approx(expected)


@given(st.integers(0, 10**6), ROWS)
def test_a_weight_is_as_many_rows(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    problem, values = binary(generator, rows)
    weights = generator.integers(1, 4, rows)
    repeated = Problem(problem.classes, np.repeat(problem.truth, weights))
    for name in problem.names:
        weighted = metrics.metric(name, problem)(values, weights.astype(float))
        again = metrics.metric(name, repeated)(np.repeat(values, weights, axis=0), None)
        assert weighted == pytest.approx(again, nan_ok=True), name


def test_all_of_a_binary_problem() -> None:
    problem = Problem(("no", "yes"), np.array([0, 0, 1, 1]))
    found = measure(problem, np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]))
    assert found["auc"] == 1.0
    assert (found["accuracy"], found["precision"], found["recall"]) == (0.75, pytest.approx(2 / 3), 1.0)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.09 + 0.04) / 4)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.2) / 4)


def test_all_of_a_multiclass_and_a_regression_problem() -> None:
    classes = measure(Problem(("a", "b", "c"), np.array([0, 1, 2])), np.eye(3))
    assert (classes["auc"], classes["accuracy"], classes["f1"]) == (1.0, 1.0, 1.0)
    numbers = measure(Problem((), np.array([1.0, 2.0, 3.0])), np.array([1.5, 2.5, 3.5]))
    assert numbers == pytest.approx({"rmse": 0.5, "mae": 0.5, "r2": 1 - 0.75 / 2, "bias": 0.5})


def test_one_class_alone_has_no_auc() -> None:
    problem = Problem((False, True), np.array([1, 1]))
    assert "auc" not in measure(problem, np.array([[0.2, 0.8], [0.1, 0.9]]))


def test_labels_are_matched_by_value() -> None:
    scores = Scores((0, 1), np.zeros((2, 2)))
    assert list(problem_of(np.array([1, 0.0], dtype=object), scores).truth) == [1, 0]
    with pytest.raises(ValueError, match="knows the classes 0, 1, not 2"):
        problem_of(np.array([2], dtype=object), scores)
    with pytest.raises(ValueError, match="not True"):
        problem_of(np.array([True], dtype=object), scores)
    with pytest.raises(ValueError, match="'late' is no number"):
        problem_of(np.array(["late"], dtype=object), Scores((), np.zeros(1)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(metrics.BINARY))
def test_a_model_is_as_good_as_itself(seed: int, name: str) -> None:
    problem, values = binary(np.random.default_rng(seed), 40)
    found = paired(name, problem, values, values, confidence=0.9, resamples=50, seed=seed)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_interval_turns_round_with_the_models(seed: int) -> None:
    generator = np.random.default_rng(seed)
    problem, one = binary(generator, 40)
    score = generator.random(40)
    other = np.c_[1 - score, score]
    options: dict[str, Any] = {"confidence": 0.9, "resamples": 50, "seed": 1}
    there = paired("log_loss", problem, one, other, **options)
    back = paired("log_loss", problem, other, one, **options)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low <= there.high


def test_noise_does_not_promote_and_signal_does() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 5000)
    problem = Problem((False, True), truth)

    def model(strength: float, seed: int) -> Any:
        noise = np.random.default_rng(seed).normal(size=len(truth))
        score = 1 / (1 + np.exp(-(strength * (truth - 0.5) + noise)))
        return np.c_[1 - score, score]

    options: dict[str, Any] = {"confidence": 0.95, "resamples": 200, "seed": 0}
    same = paired("auc", problem, model(1.0, 1), model(1.0, 2), **options)
    assert same.low < 0 < same.high
    better = paired("auc", problem, model(1.3, 1), model(1.0, 2), **options)
    assert 0 < better.low < better.estimate < better.high
