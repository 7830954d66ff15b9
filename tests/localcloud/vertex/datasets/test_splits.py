"""Splits as SQL: what is refused before any SQL is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.errors import InvalidArgument
from localcloud.vertex.common import v1
from localcloud.vertex.datasets.splits import Split


def config(**fields: object) -> object:
    return v1.InputDataConfig(dataset_id="1", **fields)


def test_nothing_said_is_eighty_ten_ten() -> None:
    assert Split.of(config()) == Split("fraction", "", (0.8, 0.1, 0.1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fraction_split": {"training_fraction": 0.9, "test_fraction": 0.2}}, "sum to 1.1"),
        ({"fraction_split": {"training_fraction": -0.1}}, "from 0 to 1"),
        ({"fraction_split": {"training_fraction": float("nan")}}, "from 0 to 1"),
        ({"predefined_split": {}}, "predefined_split.key"),
        ({"predefined_split": {"key": "a`b"}}, "is no column name"),
        ({"stratified_split": {"training_fraction": 0.5}}, "stratified_split.key"),
        ({"filter_split": {"training_filter": "a"}}, "Filter split"),
    ],
)
def test_bad_splits_name_their_field(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Split.of(config(**fields))


def test_a_key_that_is_no_column_is_named() -> None:
    with pytest.raises(InvalidArgument, match="no column `use`; it has a, b"):
        Split("predefined", "use").check(["a", "b"])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda found: 0 < sum(found) <= 1))
def test_any_fractions_make_sql(fractions: list[float]) -> None:
    message = config(
        fraction_split=dict(zip(("training_fraction", "validation_fraction", "test_fraction"), fractions, strict=True))
    )
    sql = Split.of(message).sql("p.d.t")
    assert sql.count("WHEN") == 3
