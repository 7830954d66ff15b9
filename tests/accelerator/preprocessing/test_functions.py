"""A team's preprocessing functions: what they return and refuse, and what is said of those that may not be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from accelerator.errors import CodeError
from accelerator.preprocessing.batches import ROWS, gathered, read_ahead
from accelerator.preprocessing.functions import Function, Outcome, as_json

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


def test_messages_are_put_together_and_nothing_is_lost() -> None:
    messages = [pa.record_batch({"n": list(range(at, at + 1000))}) for at in range(0, 70_000, 1000)]
    made = list(gathered(read_ahead(iter(messages))))
    assert [batch.num_rows for batch in made] == [33_000, 33_000, 4_000]
    assert made[0].num_rows >= ROWS
    assert [n for batch in made for n in batch["n"].to_pylist()] == list(range(70_000))
    assert list(gathered(iter([]))) == []


def test_an_error_while_reading_ahead_is_raised_where_rows_are_taken() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield BATCH
        raise OSError("the stream broke")

    taken = read_ahead(broken())
    assert next(taken) is BATCH
    with pytest.raises(OSError, match="the stream broke"):
        next(taken)


def test_nothing_is_read_on_when_nobody_takes_it() -> None:
    read: list[int] = []

    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            read.append(1)
            yield BATCH

    taken = read_ahead(endless())
    next(taken)
    taken.close()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "bigquery-stream"] or [None]
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()
    assert len(read) < 10


def test_a_row_is_json_whatever_is_in_it() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    row = {"x": float("nan"), "b": b"\x01", "tax": Decimal("2.50"), "list": [at, None], "part": {"a": 1}, "s": "é"}
    assert json.loads(as_json(row)) == {
        "x": "nan",
        "b": "01",
        "tax": "2.50",
        "list": ["2026-01-01T00:00:00+00:00", None],
        "part": {"a": 1},
        "s": "é",
    }
