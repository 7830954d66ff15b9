"""The search space as Vertex AI takes it, and which trial is the best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud import aiplatform_v1

from accelerator.config.sections import Tuning
from accelerator.contract import Categorical, Discrete, Double, Integer
from accelerator.tuning.search import TuningError, best
from accelerator.tuning.space import parameter_spec

SPACE = {
    "booster": Categorical(["tree", "linear"]),
    "depth": Integer(2, 8, when={"booster": ["tree"]}),
    "bins": Discrete([16, 64, 256], scale="log", when={"depth": [7, 8]}),
    "rate": Double(0.01, 0.3, scale="log"),
}


def test_conditions_stand_below_their_parents() -> None:
    specs = [spec._to_parameter_spec(name) for name, spec in parameter_spec(SPACE).items()]
    study = aiplatform_v1.StudySpec(parameters=specs)
    booster, rate = study.parameters
    assert (rate.parameter_id, rate.double_value_spec.max_value, rate.scale_type.name) == (
        "rate",
        0.3,
        "UNIT_LOG_SCALE",
    )
    (depth,) = booster.conditional_parameter_specs
    assert list(depth.parent_categorical_values.values) == ["tree"]
    assert depth.parameter_spec.integer_value_spec.max_value == 8
    (bins,) = depth.parameter_spec.conditional_parameter_specs
    assert list(bins.parent_int_values.values) == [7, 8]
    assert list(bins.parameter_spec.discrete_value_spec.values) == [16, 64, 256]


def trial(value: float | None, state: str = "SUCCEEDED", **parameters: Any) -> Any:
    measured = [] if value is None else [SimpleNamespace(metric_id="auc", value=value)]
    return SimpleNamespace(
        state=SimpleNamespace(name=state),
        final_measurement=SimpleNamespace(metrics=measured),
        infeasible_reason="" if state == "SUCCEEDED" else "train raised ValueError: no luck",
        parameters=[SimpleNamespace(parameter_id=name, value=given) for name, given in parameters.items()],
    )


def test_the_best_trial_gives_its_hyperparameters() -> None:
    trials = [
        trial(0.7, booster="linear", rate=0.1),
        trial(0.8, booster="tree", depth=7.0, bins=64.0000000001, rate=0.2),
        trial(0.9, state="INFEASIBLE", booster="tree"),
        trial(float("nan"), booster="tree"),
        trial(None, booster="tree"),
    ]
    found = best("jobs/1", trials, Tuning(metric="auc"), SPACE)
    assert (found.metric, found.trials, found.failed) == (0.8, 2, 3)
    assert found.hyperparameters == {"booster": "tree", "depth": 7, "bins": 64, "rate": 0.2}
    assert isinstance(found.hyperparameters["depth"], int)
    assert best("jobs/1", trials, Tuning(metric="auc", goal="minimize"), SPACE).metric == 0.7


def test_no_trial_that_measured_is_an_error() -> None:
    with pytest.raises(TuningError, match="None of 2 trials measured 'auc'") as raised:
        best("jobs/1", [trial(None), trial(0.5, state="INFEASIBLE")], Tuning(metric="auc"), SPACE)
    assert "no luck" in raised.value.headline
