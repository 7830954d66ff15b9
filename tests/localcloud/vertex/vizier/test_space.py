"""The search space and what is drawn from it, for any space that hypothesis thinks of."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.errors import InvalidArgument
from localcloud.vertex.common import v1
from localcloud.vertex.vizier.metrics import read_metrics
from localcloud.vertex.vizier.space import Node, Space, fill_parameters, read_space
from localcloud.vertex.vizier.stopping import should_stop_trial
from localcloud.vertex.vizier.suggesting import decode, distribution, encode, suggest

SCALES = ("UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE")
GOAL = {"metric_id": "m", "goal": "MAXIMIZE"}


def study(*parameters: dict[str, Any], **fields: Any) -> Any:
    return v1.StudySpec(**{"metrics": [GOAL], "parameters": list(parameters), **fields})


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """A DOUBLE or INTEGER parameter of any scale."""
    scale = draw(st.sampled_from(SCALES))
    least = 1e-6 if scale != SCALES[0] else -1e9
    if draw(st.booleans()):
        low, high = sorted(draw(st.floats(least, 1e9)) for _ in range(2))
        spec: dict[str, Any] = {"double_value_spec": {"min_value": low, "max_value": high}}
    else:
        first, last = sorted(draw(st.integers(max(1, int(least)) if least > 0 else -(10**9), 10**9)) for _ in range(2))
        spec = {"integer_value_spec": {"min_value": first, "max_value": last}}
    return {"parameter_id": "x", "scale_type": scale, **spec}


@st.composite
def trees(draw: st.DrawFn, depth: int = 2, prefix: str = "p") -> dict[str, Any]:
    """A parameter with values that can be counted, and parameters under some of them."""
    kind = draw(st.sampled_from(("integer", "categorical", "discrete")))
    count = draw(st.integers(1, 3))
    if kind == "integer":
        values: list[Any] = list(range(5, 5 + count))
        spec: dict[str, Any] = {"integer_value_spec": {"min_value": 5, "max_value": 4 + count}}
        field = "parent_int_values"
    elif kind == "categorical":
        values = [f"v{i}" for i in range(count)]
        spec, field = {"categorical_value_spec": {"values": values}}, "parent_categorical_values"
    else:
        values = [0.5 * i for i in range(count)]
        spec, field = {"discrete_value_spec": {"values": values}}, "parent_discrete_values"
    children = []
    if depth:
        for value in draw(st.lists(st.sampled_from(values), unique=True, max_size=count)):
            # namesakes under values that exclude each other
            child = draw(trees(depth=depth - 1, prefix=f"{prefix}c"))
            children.append({field: {"values": [value]}, "parameter_spec": child})
    return {"parameter_id": prefix, "conditional_parameter_specs": children, **spec}


@given(ranges(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_drawn_value_is_in_range_and_told_back_as_it_was_drawn(spec: dict[str, Any], data: st.DataObject) -> None:
    [node] = read_space(study(spec), "study_spec").roots
    found = distribution(node)
    drawn = data.draw(
        st.integers(found.low, found.high) if node.kind == "integer" else st.floats(found.low, found.high)
    )
    value = decode(node, drawn)
    assert node.low <= value <= node.high
    assert math.isclose(encode(node, value), drawn, rel_tol=1e-9, abs_tol=1e-9 * max(1.0, abs(node.high)))


@pytest.mark.parametrize(("scale", "middle"), [(SCALES[0], 500.5), (SCALES[1], 31.6), (SCALES[2], 969.4)])
def test_half_of_a_random_search_lies_below_the_middle_of_the_scale(scale: str, middle: float) -> None:
    wide = {
        "parameter_id": "x",
        "scale_type": scale,
        "double_value_spec": {"min_value": 1.0, "max_value": 1000.0},
    }
    spec = study(wide, algorithm="RANDOM_SEARCH")
    space, metrics = read_space(spec, "s"), read_metrics(spec, "s")
    values = [each["x"] for each in suggest(spec, space, metrics, [], [{}] * 400)]
    below = sum(value < middle for value in values)
    assert 130 < below < 270  # seven standard deviations


@given(st.lists(trees(), min_size=1, max_size=2))
@settings(max_examples=60, deadline=None)
def test_a_grid_holds_every_point_once_and_each_is_of_the_space(specs: list[dict[str, Any]]) -> None:
    named = [{**spec, "parameter_id": f"{spec['parameter_id']}{i}"} for i, spec in enumerate(specs)]
    if len(named) > 1:
        named[1]["conditional_parameter_specs"] = []
    spec = study(*named, algorithm="GRID_SEARCH")
    space = read_space(spec, "study_spec")
    points = [space.point(number) for number in range(min(space.size(), 200))]
    assert len({frozenset(point.items()) for point in points}) == len(points)
    for point in points:
        trial = v1.Trial()
        fill_parameters(trial, point)
        assert space.read(trial.parameters, "parameters") == point
        assert space.is_whole(point)
    if space.size() <= 60:
        everything = suggest(spec, space, read_metrics(spec, "s"), [], [{}] * (space.size() + 1))
        assert len(everything) == space.size()


@given(trees(), st.sampled_from(("ALGORITHM_UNSPECIFIED", "RANDOM_SEARCH")))
@settings(max_examples=25, deadline=None)
def test_a_suggestion_has_the_parameters_of_its_branch_and_no_others(tree: dict[str, Any], algorithm: str) -> None:
    spec = study(tree, algorithm=algorithm, observation_noise="LOW")
    space, metrics = read_space(spec, "s"), read_metrics(spec, "s")
    trials: list[Any] = []
    while found := suggest(spec, space, metrics, trials, [{}]):
        trial = v1.Trial(state=v1.Trial.SUCCEEDED)
        fill_parameters(trial, found[0])
        trial.final_measurement.metrics.add(metric_id="m", value=float(len(trials)))
        assert space.read(trial.parameters, "parameters") == found[0]
        trials.append(trial)
        assert len(trials) <= space.size()
    assert len(trials) == space.size(), "with low noise no point is tried twice, and none is left out"


def test_the_estimator_finds_the_hill_that_chance_does_not() -> None:
    axes = [
        {"parameter_id": name, "double_value_spec": {"min_value": 0.0, "max_value": 1.0}} for name in ("a", "b", "c")
    ]

    def best(algorithm: str) -> float:
        spec = study(*axes, algorithm=algorithm)
        space, metrics = read_space(spec, "s"), read_metrics(spec, "s")
        trials: list[Any] = []
        for _ in range(40):
            [point] = suggest(spec, space, metrics, trials, [{}])
            trial = v1.Trial(state=v1.Trial.SUCCEEDED)
            fill_parameters(trial, point)
            height = -sum((point[name] - 0.3) ** 2 for name in ("a", "b", "c"))
            trial.final_measurement.metrics.add(metric_id="m", value=height)
            trials.append(trial)
        [optimal] = metrics.optimal(trials)
        return float(optimal.final_measurement.metrics[0].value)

    assert sum(best("ALGORITHM_UNSPECIFIED") for _ in range(5)) > sum(best("RANDOM_SEARCH") for _ in range(5))


def test_unsafe_and_infeasible_regions_are_left() -> None:
    spec = study(
        {"parameter_id": "x", "double_value_spec": {"min_value": 0.0, "max_value": 1.0}},
        metrics=[GOAL, {"metric_id": "heat", "goal": "MINIMIZE", "safety_config": {"safety_threshold": 0.5}}],
    )
    space, metrics = read_space(spec, "s"), read_metrics(spec, "s")
    late: list[float] = []
    for _ in range(12):  # one study alone may be unlucky
        trials: list[Any] = []
        for number in range(30):
            [point] = suggest(spec, space, metrics, trials, [{}])
            x = point["x"]
            trial = v1.Trial(id=str(number + 1), state=v1.Trial.SUCCEEDED)
            fill_parameters(trial, point)
            if x < 0.2:
                trial.state = v1.Trial.INFEASIBLE
            else:
                trial.final_measurement.metrics.add(metric_id="m", value=x)
                trial.final_measurement.metrics.add(metric_id="heat", value=x)
            trials.append(trial)
        late += [trial.parameters[0].value.number_value for trial in trials[15:]]
        [optimal] = metrics.optimal(trials)
        assert 0.2 <= optimal.parameters[0].value.number_value <= 0.5
    assert sum(0.2 <= x <= 0.55 for x in late) > len(late) / 2, "chance leaves 0.35 of them there"


X = {"parameter_id": "x", "integer_value_spec": {"min_value": 1, "max_value": 3}}
Y = {"parameter_id": "y", "categorical_value_spec": {"values": ["a", "b"]}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (study(), "s.parameters"),
        (study(X, X), "`x` is there twice"),
        (study({"parameter_id": "x"}), "needs one of double_value_spec"),
        (study({**X, "parameter_id": "x y"}), "whitespace"),
        (study({**X, "integer_value_spec": {"min_value": 3, "max_value": 1}}), "max_value"),
        (
            study({**X, "integer_value_spec": {"min_value": 0, "max_value": 3}, "scale_type": SCALES[1]}),
            "greater than 0",
        ),
        (study({**X, "integer_value_spec": {"min_value": 1, "max_value": 3, "default_value": 9}}), "default_value"),
        (study({"parameter_id": "x", "double_value_spec": {"min_value": math.nan, "max_value": 1}}), "min_value"),
        (study({"parameter_id": "x", "discrete_value_spec": {"values": [2, 1]}}), "increasing order"),
        (study({"parameter_id": "x", "discrete_value_spec": {"values": range(1001)}}), "1000"),
        (study({**Y, "categorical_value_spec": {"values": ["a", "a"]}}), "twice"),
        (study({**Y, "scale_type": SCALES[1]}), "scale_type"),
        (
            study(
                {"parameter_id": "x", "double_value_spec": {"min_value": 0, "max_value": 1}}, algorithm="GRID_SEARCH"
            ),
            "DOUBLE",
        ),
        (
            study({**Y, "conditional_parameter_specs": [{"parent_int_values": {"values": [1]}, "parameter_spec": X}]}),
            "parent_categorical_values",
        ),
        (
            study(
                {
                    **Y,
                    "conditional_parameter_specs": [
                        {"parent_categorical_values": {"values": ["c"]}, "parameter_spec": X}
                    ],
                }
            ),
            "c is no value of `y`",
        ),
        (
            study(
                {
                    **Y,
                    "conditional_parameter_specs": [
                        {"parent_categorical_values": {"values": ["a", "b"]}, "parameter_spec": X},
                        {"parent_categorical_values": {"values": ["b"]}, "parameter_spec": X},
                    ],
                }
            ),
            "exclude each other",
        ),
    ],
)
def test_a_wrong_space_is_refused_with_the_field(spec: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        read_space(spec, "s")


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([GOAL, GOAL], "twice"),
        ([{**GOAL, "metric_id": "a b"}], "whitespace"),
        ([{**GOAL, "safety_config": {"safety_threshold": 1}}], "no objective"),
        ([GOAL, {"metric_id": "n", "safety_config": {"desired_min_safe_trials_fraction": 2}}], "0.0 to 1.0"),
    ],
)
def test_wrong_metrics_are_refused_with_the_field(metrics: list[Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        read_metrics(study(X, metrics=metrics), "s")


def curve(values: list[float], state: str = "SUCCEEDED") -> Any:
    trial = v1.Trial(state=state)
    for step, value in enumerate(values, 1):
        trial.measurements.add(step_count=step).metrics.add(metric_id="m", value=value)
    if state == "SUCCEEDED":
        trial.final_measurement.CopyFrom(trial.measurements[-1])
    return trial


@pytest.mark.parametrize("rule", ["median_automated_stopping_spec", "decay_curve_stopping_spec"])
def test_a_hopeless_trial_is_stopped_and_a_good_one_goes_on(rule: str) -> None:
    spec = study(X, **{rule: {}})
    metrics = read_metrics(spec, "s")
    done = [curve([top * (1 - 0.5**step) for step in range(1, 11)]) for top in (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)]
    bad = curve([0.1, 0.15, 0.17], "ACTIVE")
    good = curve([0.48, 0.72, 0.84], "ACTIVE")
    assert should_stop_trial(spec, metrics, bad, done)
    assert not should_stop_trial(spec, metrics, good, done)
    assert not should_stop_trial(spec, metrics, bad, [])
    assert not should_stop_trial(spec, metrics, v1.Trial(), done)


def test_a_space_knows_its_parameters() -> None:
    inner = {"parent_categorical_values": {"values": ["a"]}, "parameter_spec": X}
    space = read_space(study({**Y, "conditional_parameter_specs": [inner]}), "s")
    assert isinstance(space, Space)
    assert space.ids() == ["y", "x"]
    assert space.size() == 4
    assert isinstance(space.roots[0], Node)
