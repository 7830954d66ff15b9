"""Instances to data frames: what went through training comes back as it was, what does not fit is named."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from accelerator.prediction.columns import MOST_VIOLATIONS, STRICT, Columns, Leniency
from accelerator.prediction.failures import Failure
from accelerator.signature import Feature, Signature

FEATURES = (
    Feature("number", "number", "float64", nullable=True),
    Feature("small", "number", "float32", nullable=False),
    Feature("integer", "integer", "int64", nullable=False),
    Feature("byte", "integer", "int8", nullable=False),
    Feature("maybe", "integer", "Int64", nullable=True),
    Feature("flag", "boolean", "bool", nullable=False),
    Feature("text", "string", "str", nullable=True),
    Feature("category", "category", "category", nullable=True, categories=("a", "b", "c")),
    Feature("grade", "category", "category", nullable=False, categories=(1, 2, 3)),
    Feature("when", "timestamp", "datetime64[us, UTC]", nullable=True),
)
COLUMNS = Columns(Signature("regression", FEATURES, "label"))
GOOD: dict[str, Any] = {
    "number": 1.5,
    "small": 2,
    "integer": 3,
    "byte": 4,
    "maybe": None,
    "flag": True,
    "text": "x",
    "category": "b",
    "grade": 3,
    "when": "2013-07-01T09:30:00Z",
}

instance = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
        "small": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "integer": st.integers(-(2**63), 2**63 - 1),
        "byte": st.integers(-128, 127),
        "maybe": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.booleans(),
        "text": st.none() | st.text(st.characters(codec="utf-8")),
        "category": st.none() | st.sampled_from("abc"),
        "grade": st.sampled_from([1, 2, 3]),
        "when": st.none()
        | st.datetimes(pd.Timestamp(1900, 1, 1), pd.Timestamp(2200, 1, 1)).map(lambda t: t.isoformat() + "Z"),
    }
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def attempt(rows: list[Any], leniency: Leniency = STRICT) -> pd.DataFrame | Failure:
    """The frame or the refusal."""
    try:
        return COLUMNS.frame(rows, leniency)
    except Failure as failure:
        return failure


def expected(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The data frame of the rows, made column by column by pandas' own means."""
    frame = pd.DataFrame(rows, dtype=object)
    columns = {}
    for feature in FEATURES:
        column = frame[feature.name]
        if feature.type == "category":
            columns[feature.name] = column.astype(pd.CategoricalDtype(list(feature.categories)))
        elif feature.type == "timestamp":
            columns[feature.name] = pd.to_datetime(column, utc=True, format="ISO8601").astype(feature.dtype)
        else:
            columns[feature.name] = column.astype(feature.dtype)
    return pd.DataFrame(columns)


@settings(max_examples=60, deadline=None)
@given(st.lists(instance, min_size=1, max_size=5))
def test_objects_and_arrays_make_the_frame_of_training(rows: list[dict[str, Any]]) -> None:
    frame = COLUMNS.frame(rows)
    assert_frame_equal(frame, expected(rows), check_column_type=False)
    arrays = [[row[feature.name] for feature in FEATURES] for row in rows]
    assert_frame_equal(COLUMNS.frame(arrays), frame)
    shuffled = [dict(reversed(row.items())) for row in rows]
    assert_frame_equal(COLUMNS.frame(shuffled), frame)


@settings(max_examples=60, deadline=None)
@given(st.lists(json_value | instance, max_size=4), st.booleans(), st.booleans())
def test_any_json_makes_a_frame_or_a_400(values: list[Any], unknown: bool, missing: bool) -> None:
    outcome = attempt(values, Leniency(unknown, missing))
    if isinstance(outcome, Failure):
        assert outcome.http == 400
        json.loads(outcome.body())
    else:
        assert len(outcome) == len(values)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([feature.name for feature in FEATURES]), json_value, st.integers(0, 3))
def test_the_fast_way_and_the_search_for_faults_agree(name: str, value: Any, index: int) -> None:
    rows = [dict(GOOD) for _ in range(4)]
    rows[index][name] = value
    outcome = attempt(rows)
    if isinstance(outcome, Failure):
        assert outcome.message.startswith(f"instances[{index}].{name}: expected ")
        assert len(outcome.details[0]["fieldViolations"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": "far"}, 'instances[0].number: expected a number or null, got the string "far".'),
        ({"number": True}, "instances[0].number: expected a number or null, got true."),
        ({"small": None}, "instances[0].small: expected a number, got null."),
        ({"integer": 2.5}, "instances[0].integer: expected a whole number, got the number 2.5."),
        ({"small": 1e300}, "instances[0].small: expected a number, got the number 1e+300."),
        ({"byte": 300}, "instances[0].byte: expected a whole number, got the number 300."),
        ({"flag": "yes"}, 'instances[0].flag: expected true or false, got the string "yes".'),
        ({"text": 7}, "instances[0].text: expected a string or null, got the number 7."),
        ({"category": 7}, "instances[0].category: expected a string or null, got the number 7."),
        ({"grade": [1]}, "instances[0].grade: expected a number, got an array of 1."),
        (
            {"when": "noon"},
            'instances[0].when: expected a timestamp such as 2013-07-01T09:30:00Z or null, got the string "noon".',
        ),
        (
            {"numbr": 1},
            "instances[0].numbr: expected no feature of this name (did you mean number?), got the number 1.",
        ),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure) as caught:
        COLUMNS.frame([{**GOOD, **change}])
    assert caught.value.message == message


def test_a_missing_feature_is_named() -> None:
    with pytest.raises(Failure, match=r"instances\[1\]\.byte: expected a whole number, got nothing"):
        COLUMNS.frame([GOOD, {name: value for name, value in GOOD.items() if name != "byte"}])


def test_an_array_of_another_length_is_named() -> None:
    with pytest.raises(Failure, match=r"instances\[1\]: expected an array of 10 values \(number, .*\), got 1 values"):
        COLUMNS.frame([list(GOOD.values()), [1]])


def test_objects_and_arrays_do_not_mix() -> None:
    with pytest.raises(Failure, match=r"instances\[1\]: expected an array like the first instance"):
        COLUMNS.frame([list(GOOD.values()), GOOD])


def test_an_answer_names_a_bounded_number_of_faults() -> None:
    with pytest.raises(Failure, match="19 or more further in details") as caught:
        COLUMNS.frame([{}] * 1000)
    assert len(caught.value.details[0]["fieldViolations"]) == MOST_VIOLATIONS


def test_any_number_of_unknown_features_of_any_length_is_refused_at_once() -> None:
    instance = {**GOOD, **{f"{index}{'x' * 100_000}": 1 for index in range(200)}}
    with pytest.raises(Failure) as caught:
        COLUMNS.frame([instance])
    assert len(caught.value.body()) < 10_000


def test_a_made_up_instance_is_taken() -> None:
    assert len(COLUMNS.frame([COLUMNS.made_up()])) == 1


def test_leniency_drops_what_is_unknown_and_fills_what_is_missing() -> None:
    rows = [{name: value for name, value in GOOD.items() if name != "number"} | {"extra": 1}]
    frame = COLUMNS.frame(rows, Leniency(unknown=True, missing=True))
    assert frame["number"].isna().all()
    assert "extra" not in frame
    with pytest.raises(Failure, match=r"instances\[0\].small: expected a number, got null"):
        COLUMNS.frame([{}], Leniency(missing=True))


def test_a_category_that_training_did_not_see_counts_as_null() -> None:
    frame = COLUMNS.frame([{**GOOD, "category": "z", "grade": 9}])
    assert frame[["category", "grade"]].isna().all(axis=None)


def test_whole_floats_are_integers_because_protobuf_has_no_others() -> None:
    frame = COLUMNS.frame([{**GOOD, "integer": 3.0, "byte": 4.0, "maybe": 5.0, "grade": 2.0, "flag": 1.0}])
    assert frame.iloc[0][["integer", "byte", "maybe", "grade", "flag"]].to_list() == [3, 4, 5, 2, True]


def test_one_feature_is_enough() -> None:
    columns = Columns(Signature("regression", FEATURES[:1], "label"))
    assert columns.frame([{"number": 1}, {"number": None}])["number"].isna().to_list() == [False, True]
