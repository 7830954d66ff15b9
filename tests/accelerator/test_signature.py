"""The signature of a model: what is read off the training features, and what a file gives back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accelerator.signature import FILE, Feature, Signature, SignatureError

FRAME = pd.DataFrame(
    {
        "number": [1.5, np.nan],
        "small": np.array([1, 2], dtype=np.float32),
        "integer": [1, 2],
        "maybe": pd.array([1, None], dtype="Int64"),
        "flag": [True, False],
        "flags": pd.Series([True, None], dtype=object),
        "text": ["a", None],
        "category": pd.Categorical(["x", None], categories=["x", "y"]),
        "when": pd.to_datetime(["2013-01-01", "2013-01-02"], utc=True),
    }
)


def test_features_are_read_off_the_frame() -> None:
    found = Signature.of(FRAME, "late", classes=np.array([False, True]), nullable={"integer": True})
    assert [(one.name, one.type, one.nullable) for one in found.features] == [
        ("number", "number", True),
        ("small", "number", False),
        ("integer", "integer", True),
        ("maybe", "integer", True),
        ("flag", "boolean", False),
        ("flags", "boolean", True),
        ("text", "string", True),
        ("category", "category", True),
        ("when", "timestamp", False),
    ]
    assert [one.dtype for one in found.features] == [str(dtype) for dtype in FRAME.dtypes]
    assert found.features[7].categories == ("x", "y")
    assert (found.task, found.classes, found.label) == ("classification", (False, True), "late")
    assert {"python", "scikit-learn", "pandas"} <= found.libraries.keys()


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    signature = Signature.of(FRAME, "late", model="model.bst", code="code/model.py")
    signature.write(tmp_path)
    assert Signature.read(tmp_path) == signature


@pytest.mark.parametrize("column", [[[1], [2]], [1, "a"], [{}, {}], [1 + 2j, 2j]])
def test_a_column_that_json_cannot_carry_is_named(column: list[object]) -> None:
    with pytest.raises(SignatureError, match="column odd holds"):
        Signature.of(pd.DataFrame({"odd": pd.Series(column)}), "late")


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{}", '{"format": 2}', json.dumps({"format": 1, "features": [{"nme": "x"}]})]
)
def test_a_file_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(SignatureError, match=r"model\.json"):
        Signature.read(tmp_path)


def test_a_feature_knows_no_categories_unless_it_is_one() -> None:
    assert Feature("x", "number", "float64", nullable=False).categories == ()
