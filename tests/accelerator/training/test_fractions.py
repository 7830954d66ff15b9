"""Splits by fraction: every row in one split, the same one however it is read, and a container that trains on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerator.config import Split
from accelerator.training.fractions import FractionSource, draws

COLUMNS = ["id", "size", "name"]


class Table:
    """A table in memory, in batches of some size."""

    place = "memory"

    def __init__(self, table: pa.Table, rows: int) -> None:
        self._table, self._rows = table, rows

    def schema(self) -> pa.Schema:
        return self._table.schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(list(columns)).combine_chunks().to_batches(self._rows)


def ids(table: pa.Table, split: Split, rows: int, by: Sequence[str] = COLUMNS) -> dict[str, set[int]]:
    """The ids of the rows of each split."""
    sources = {
        name: FractionSource(Table(table, rows), by=by, part=part, place=name) for name, part in split.parts().items()
    }
    found = {
        name: [one for batch in source.batches(["id"]) for one in batch["id"].to_pylist()]
        for name, source in sources.items()
    }
    assert all(len(set(values)) == len(values) for values in found.values())
    return {name: set(values) for name, values in found.items()}


def rows_of(count: int) -> pa.Table:
    random = np.random.default_rng(1)
    return pa.table(
        {
            "id": pa.array(range(count)),
            "size": pa.array(random.normal(size=count).round(1), mask=random.random(count) < 0.2),
            "name": pa.array(random.choice(["a", "b", "ü"], count), mask=random.random(count) < 0.2),
        }
    )


cells = st.tuples(st.none() | st.floats(), st.none() | st.text(st.characters(codec="utf-8"), max_size=5))
percents = st.lists(st.integers(1, 98), min_size=2, max_size=2, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, max_size=40), percents, st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_row_is_in_one_split_whatever_its_order_and_batch(values, edges, rows, random):
    first, second = edges
    split = Split(train=first / 100, validation=(second - first) / 100, test=(100 - second) / 100)
    table = pa.table(
        {
            "id": pa.array(range(len(values)), pa.int64()),
            "size": pa.array([size for size, _ in values], pa.float64()),
            "name": pa.array([name for _, name in values], pa.string()),
        }
    )
    found = ids(table, split, 100)
    assert sorted(one for split_ids in found.values() for one in split_ids) == list(range(len(values)))
    order = list(range(len(values)))
    random.shuffle(order)
    shuffled = table.take(pa.array(order, pa.int64())).select(["name", "id", "size"])
    assert ids(shuffled, split, rows) == found


@pytest.mark.parametrize("fractions", [(0.8, 0.2, None), (0.7, 0.2, 0.1), (0.05, 0.9, 0.05), (0.3, 0.3, None)])
def test_the_fractions_are_about_right(fractions):
    names = ("train", "validation", "test")
    given = {name: fraction for name, fraction in zip(names, fractions, strict=True) if fraction}
    found = ids(rows_of(20_000), Split(**given), 4_000)
    assert {name: len(split_ids) / 20_000 for name, split_ids in found.items()} == pytest.approx(given, abs=0.012)


def test_the_parts_of_fractions_that_are_one_leave_nothing_out():
    assert Split(train=0.7, validation=0.2, test=0.1).parts() == {
        "train": (0, 0.7),
        "validation": (0.7, 0.9),
        "test": (0.9, 1),
    }


def test_a_key_keeps_its_rows_together():
    table = rows_of(6_000).append_column("customer", pa.array([f"c{one % 600}" for one in range(6_000)]))
    found = ids(table, Split(train=0.8, validation=0.2), 1_000, by=["customer"])
    customers = {name: {one % 600 for one in split_ids} for name, split_ids in found.items()}
    assert customers["train"].isdisjoint(customers["validation"])
    assert len(customers["validation"]) / 600 == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([1, None, -7], [pa.int64(), pa.int8(), pa.float64(), pa.float32(), pa.decimal128(38, 9)]),
        ([0.5, None, float("inf")], [pa.float64(), pa.float32()]),
        (["a", None, "a"], [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]),
        ([datetime(2020, 5, 1, tzinfo=UTC), None], [pa.timestamp(unit, "UTC") for unit in ("s", "us", "ns")]),
        ([Decimal("1.25"), None], [pa.decimal128(38, 9), pa.decimal256(76, 38), pa.float64()]),
        ([True, False, None], [pa.bool_()]),
        ([None, None], [pa.null(), pa.string(), pa.float64()]),
    ],
)
def test_the_same_values_are_drawn_alike_in_every_type(values, kinds):
    found = []
    for kind in kinds:
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        numbers = [float(one) if isinstance(one, Decimal) and pa.types.is_floating(kind) else one for one in values]
        column = pa.array(numbers, plain).cast(kind)
        found.append(draws(pa.record_batch({"x": column}), ["x"]).tolist())
    assert all(one == found[0] for one in found)
    assert len({*found[0]}) == len({*values})
    assert all(0 <= one < 1 for one in found[0])


def test_what_was_drawn_once_is_drawn_for_ever():
    batch = pa.record_batch({"x": pa.array([1, 2, None]), "y": pa.array(["a", None, "b"])})
    assert draws(batch, ["x", "y"]).round(6).tolist() == [0.411195, 0.24956, 0.482022]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_container_trains_on_fractions_of_files_of_any_kind(project, form):
    table = pa.parquet.read_table(project.folder / "rows.parquet").drop_columns("time")
    pa.parquet.write_table(table, project.folder / "rows.parquet")
    if form == "csv":
        pa.csv.write_csv(table, project.folder / "rows.csv")
    elif form == "jsonl":
        (project.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    project.settings["data"] = {"files": [f"rows.{form}"], "label": "late", "split": {"train": 0.7, "validation": 0.2}}
    run = project.run()
    assert (run.code, run.err) == (0, "")
    record = json.loads((project.model_dir / "training.json").read_text())["data"]
    # rows that are equal in all columns are drawn together, and the same in every format
    drawn = draws(table.combine_chunks().to_batches()[0], table.column_names)
    assert record["train"]["rows"] == int((drawn < 0.7).sum())
    assert record["validation"]["rows"] == int(((drawn >= 0.7) & (drawn < 0.9)).sum())
    assert record["train"]["source"] == f"rows.{form} (0.7 of the rows)"


def test_without_a_split_a_fifth_of_the_rows_validates_and_the_log_says_so(project):
    del project.settings["data"]["split"], project.settings["data"]["time"]
    project.settings["data"]["ignore"] = ["time"]
    run = project.run()
    assert (run.code, run.err) == (0, "")
    assert "from rows.parquet (0.8 of the rows, the default without data.split)" in run.out
    assert "from rows.parquet (0.2 of the rows, the default without data.split)" in run.out


def test_a_key_is_looked_up_and_is_no_feature(project):
    data = project.settings["data"]
    data |= {"split": {"train": 0.5, "validation": 0.5}, "key": "our"}
    run = project.run()
    assert "no key column 'our'" in run.err
    assert "Did you mean 'hour'?" in run.err
    data["key"] = "hour"
    run = project.run()
    assert (run.code, run.err) == (0, "")
    assert "2 features from rows.parquet (0.5 of the values of hour)" in run.out
