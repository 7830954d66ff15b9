"""A team's preprocessing functions: what they return and refuse, and what is said of those that may not be."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from accelerator.errors import CodeError
from accelerator.preprocessing.functions import Function, Outcome

CODE = """
import pyarrow as pa
import pyarrow.compute as pc
from accelerator.contract import Reject

def clean(row):
    if row["n"] is None:
        raise Reject("no n")
    return {**row, "double": row["n"] * 2}

def fails(row):
    return 1 / 0

def nothing(row):
    return None

def small(batch):
    fits = pc.fill_null(pc.less(batch.column("n"), 3), False)
    return batch.filter(fits), pc.if_else(fits, pa.scalar(None, pa.string()), "large")

def all_of(batch):
    return batch

def short(batch):
    return batch, ["too few"]

def wrong(batch):
    return [1]
"""
BATCH = pa.record_batch({"n": pa.array([1, None, 3], pa.int64()), "word": ["a", "b", "c"]})


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / f"code_{tmp_path.name}.py"
    path.write_text(CODE)
    return path


def apply(code: Path, name: str, by_rows: bool) -> Outcome:
    return Function(code, name, by_rows).apply(BATCH)


def test_rows_are_kept_or_put_aside(code: Path) -> None:
    outcome = apply(code, "clean", by_rows=True)
    assert outcome.kept.to_pylist() == [{"n": 1, "word": "a", "double": 2}, {"n": 3, "word": "c", "double": 6}]
    assert outcome.kept.schema.field("n").type == pa.int64()
    assert (outcome.rejected, outcome.reasons) == ([1], ["no n"])


def test_batches_say_which_rows_and_why(code: Path) -> None:
    outcome = apply(code, "small", by_rows=False)
    assert outcome.kept.to_pylist() == [{"n": 1, "word": "a"}]
    assert (outcome.rejected, outcome.reasons) == ([1, 2], ["large", "large"])
    assert apply(code, "all_of", by_rows=False).kept.num_rows == 3


@pytest.mark.parametrize(
    ("name", "by_rows", "words"),
    [
        ("fails", True, "fails raised ZeroDivisionError"),
        ("nothing", True, "nothing returned NoneType, not the row as a dict"),
        ("short", False, "1 reasons for 3 rows"),
        ("wrong", False, "list, not a pyarrow RecordBatch"),
        ("claen", True, "defines no function claen"),
    ],
)
def test_other_code_is_an_error_that_names_it(code: Path, name: str, by_rows: bool, words: str) -> None:
    with pytest.raises(CodeError, match=words) as raised:
        apply(code, name, by_rows)
    if name == "fails":
        assert str(raised.value.place).endswith("line 12")
    if name == "claen":
        assert "clean" in raised.value.next_step


def test_a_file_that_does_not_import_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken_code.py"
    path.write_text("import os\nimport nowhere_at_all\n")
    with pytest.raises(CodeError, match="nowhere_at_all") as raised:
        Function(path, "clean", by_rows=True)
    assert "line 2" in str(raised.value.place)
