"""Tables: rows come back as they went in, schemas change as BigQuery permits, and nothing acknowledged is lost."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localcloud.bigquery.engine.engine import Engine
from localcloud.bigquery.failures import BigQueryError, Duplicate, EtagMismatch, InUse, Invalid, Missing
from localcloud.bigquery.refs import DatasetRef
from localcloud.bigquery.tables import Tables
from localcloud.bigquery.types import arrow_schema, fields_of_arrow, normalize, type_of

DATASET = DatasetRef("p", "d")


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    """A warehouse with the dataset `p:d`."""
    tables = Tables(tmp_path)
    tables.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    yield tables
    tables.close()


def field(name: str, kind: str, mode: str = "NULLABLE", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "mode": mode, **more}


# round trips

_FIRST, _LAST = datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "INTEGER": st.integers(-(2**63), 2**63 - 1),
    "FLOAT": st.floats(allow_nan=False),
    "NUMERIC": st.decimals("-1e20", "1e20", places=9, allow_nan=False, allow_infinity=False),
    "BIGNUMERIC": st.decimals("-1e19", "1e19", places=18, allow_nan=False, allow_infinity=False),
    "BOOLEAN": st.booleans(),
    "STRING": st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    "BYTES": st.binary(max_size=12),
    "DATE": st.dates(_FIRST.date(), _LAST.date()),
    "DATETIME": st.datetimes(_FIRST, _LAST),
    "TIME": st.times(),
    "TIMESTAMP": st.datetimes(_FIRST, _LAST, timezones=st.just(datetime.UTC)),
}


@st.composite
def columns(draw: st.DrawFn, depth: int = 0) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """A field and what its values are."""
    kinds = [*_SCALARS, *(["RECORD"] if depth < 2 else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "RECORD":
        inner = [draw(columns(depth + 1)) for _ in range(draw(st.integers(1, 2)))]
        fields = [{**f, "name": f"f{i}"} for i, (f, _) in enumerate(inner)]
        values: st.SearchStrategy[Any] = st.fixed_dictionaries({f"f{i}": v for i, (_, v) in enumerate(inner)})
        answer = field("x", "RECORD", fields=fields)
    else:
        answer, values = field("x", kind), _SCALARS[kind]
    mode = draw(st.sampled_from(["NULLABLE", "REQUIRED", "REPEATED"] if depth == 0 else ["NULLABLE", "REPEATED"]))
    answer["mode"] = mode
    if mode == "REPEATED":
        return answer, st.lists(values, max_size=3)
    return answer, values if mode == "REQUIRED" else st.none() | values


_number = iter(range(1_000_000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_come_back_as_they_went_in(tables: Tables, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(columns(), min_size=1, max_size=3))
    fields = normalize([{**f, "name": f"c{i}"} for i, (f, _) in enumerate(drawn)])
    rows = data.draw(st.lists(st.fixed_dictionaries({f"c{i}": v for i, (_, v) in enumerate(drawn)}), max_size=4))
    ref = DATASET.table(f"round_{next(_number)}")
    schema = arrow_schema(fields)
    given_ = pa.Table.from_pylist(rows, schema=schema)
    tables.insert_table(ref, {"schema": {"fields": fields}})
    assert tables.append(ref, given_) == len(rows)
    back = tables.read(ref).read_all()
    assert back.schema.equals(schema)
    assert back.to_pylist() == given_.to_pylist()
    assert tables.get_table(ref)["numRows"] == str(len(rows))
    detected = fields_of_arrow(schema)
    assert [type_of(f) for f in detected] == [type_of(f) for f in fields]


def test_nan_and_infinities_round_trip(tables: Tables) -> None:
    ref = DATASET.table("floats")
    given_ = pa.table({"x": [float("nan"), float("inf"), float("-inf"), -0.0, None]})
    tables.append(ref, given_, create_disposition="CREATE_IF_NEEDED")
    assert str(tables.read(ref).read_all().to_pylist()) == str(given_.to_pylist())


# writing


def test_dispositions(tables: Tables) -> None:
    ref = DATASET.table("t")
    with pytest.raises(Missing, match="Not found: Table p:d.t"):
        tables.append(ref, pa.table({"a": [1]}))
    tables.append(ref, pa.table({"a": [1]}), create_disposition="CREATE_IF_NEEDED")
    before = tables.get_table(ref)
    tables.append(ref, pa.table({"A": [2]}))
    assert tables.get_table(ref)["etag"] != before["etag"]
    with pytest.raises(Duplicate, match="Already Exists: Table p:d.t"):
        tables.append(ref, pa.table({"a": [3]}), write_disposition="WRITE_EMPTY")
    tables.append(ref, pa.table({"a": [4]}), write_disposition="WRITE_TRUNCATE")
    assert tables.read(ref).read_all().to_pylist() == [{"a": 4}]
    new = {"schema": {"fields": [field("b", "STRING")]}}
    tables.append(ref, pa.table({"b": ["x"]}), write_disposition="WRITE_TRUNCATE", resource=new)
    assert tables.read(ref).read_all().to_pylist() == [{"b": "x"}]
    assert tables.get_table(ref)["creationTime"] == before["creationTime"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"r": [None, 1]}, "Required field r cannot be null"),
        ({"s": ["x"]}, "Required field r cannot be null"),
        ({"r": ["x"]}, "Field r has changed type from INTEGER to STRING"),
        ({"r": [1], "q": [1]}, r"Cannot add fields \(field: q\)"),
        ({"r": [1], "l": [[1, None]]}, "Array cannot have a null element; error in writing field l"),
        ({"r": [1], "s": ["toolong"]}, "maximum length 3"),
    ],
)
def test_bad_rows_are_refused_and_none_is_written(tables: Tables, data: dict[str, Any], message: str) -> None:
    ref = DATASET.table("strict")
    fields = [field("r", "INT64", "REQUIRED"), field("s", "STRING", maxLength="3"), field("l", "INT64", "REPEATED")]
    tables.insert_table(ref, {"schema": {"fields": fields}})
    with pytest.raises(Invalid, match=message):
        tables.append(ref, pa.table(data))
    assert tables.get_table(ref)["numRows"] == "0"


def test_a_reader_that_fails_writes_nothing(tables: Tables) -> None:
    ref = DATASET.table("broken")
    tables.append(ref, pa.table({"a": [0]}), create_disposition="CREATE_IF_NEEDED")
    schema = pa.schema([("a", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(5):
            yield pa.RecordBatch.from_pydict({"a": list(range(10_000))}, schema=schema)
        raise ValueError("the file ends here")

    with pytest.raises(Exception, match="the file ends here"):
        tables.append(ref, pa.RecordBatchReader.from_batches(schema, batches()))
    assert tables.get_table(ref)["numRows"] == "1"


def test_schema_update_options(tables: Tables) -> None:
    ref = DATASET.table("grows")
    tables.insert_table(ref, {"schema": {"fields": [field("a", "INT64", "REQUIRED")]}})
    tables.append(ref, pa.table({"a": [1], "b": ["x"]}), schema_update_options=["ALLOW_FIELD_ADDITION"])
    with pytest.raises(Invalid):
        tables.append(ref, pa.table({"b": ["y"]}))
    relaxed = {"schema": {"fields": [field("a", "INT64"), field("b", "STRING")]}}
    tables.append(ref, pa.table({"b": ["y"]}), resource=relaxed, schema_update_options=["ALLOW_FIELD_RELAXATION"])
    assert tables.read(ref).read_all().to_pylist() == [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]


def test_read_selects_columns_and_rows(tables: Tables) -> None:
    Engine(tables)
    ref = DATASET.table("picked")
    rows = [{"a": i, "s": {"x": i, "y": str(i)}, "l": [{"k": i, "v": "v"}]} for i in range(3)]
    tables.append(ref, pa.Table.from_pylist(rows), create_disposition="CREATE_IF_NEEDED")
    assert tables.read(ref, ["s.y", "a"], "a > 1 AND s.x = 2").read_all().to_pylist() == [{"a": 2, "s": {"y": "2"}}]
    assert tables.read(ref, ["l.k"]).read_all().to_pylist()[1] == {"l": [{"k": 1}]}
    with pytest.raises(BigQueryError, match="nope"):
        tables.read(ref, ["nope"])
    with pytest.raises(BigQueryError, match="Unrecognized name: nope"):
        tables.read(ref, None, "nope = 1")


def test_partition_decorators(tables: Tables) -> None:
    ref = DATASET.table("days")
    layout = {"timePartitioning": {"type": "DAY", "field": "d"}, "schema": {"fields": [field("d", "DATE")]}}
    tables.insert_table(ref, layout)
    days = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2), None]
    tables.append(ref, pa.table({"d": pa.array(days, pa.date32())}))
    tables.append(
        DATASET.table("days$20200101"),
        pa.table({"d": pa.array([days[0]] * 3, pa.date32())}),
        write_disposition="WRITE_TRUNCATE",
    )
    for name, rows in (("days$20200101", 3), ("days$20200102", 1), ("days$__NULL__", 1), ("days", 5)):
        assert tables.read(DATASET.table(name)).read_all().num_rows == rows
    with pytest.raises(Invalid, match="Invalid partition id"):
        tables.read(DATASET.table("days$nope"))


def test_copy(tables: Tables) -> None:
    for name in ("one", "two"):
        tables.append(DATASET.table(name), pa.table({"a": [name]}), create_disposition="CREATE_IF_NEEDED")
    to = DATASET.table("both")
    assert tables.copy([DATASET.table("one"), DATASET.table("two")], to) == 2
    assert tables.read(to).read_all().to_pylist() == [{"a": "one"}, {"a": "two"}]


@pytest.mark.parametrize(("disposition", "rows"), [("WRITE_APPEND", 9), ("WRITE_TRUNCATE", 6)])
def test_a_table_is_copied_into_itself_as_it_was(tables: Tables, disposition: str, rows: int) -> None:
    ref = DATASET.table("own")
    tables.append(ref, pa.table({"a": [1, 2, 3]}), create_disposition="CREATE_IF_NEEDED")
    assert tables.copy([ref, ref], ref, write_disposition=disposition) == 6
    assert tables.read(ref).read_all().num_rows == rows


# resources


def test_datasets(tables: Tables) -> None:
    with pytest.raises(Duplicate, match="Already Exists: Dataset p:d"):
        tables.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    with pytest.raises(Invalid, match="Invalid dataset ID"):
        tables.insert_dataset("p", {"datasetReference": {"datasetId": "a-b"}})
    tables.insert_dataset("other", {"datasetReference": {"datasetId": "d"}, "labels": {"a": "1"}})
    assert [r["id"] for r in tables.list_datasets("p")] == ["p:d"]
    ref = DatasetRef("other", "d")
    old = tables.get_dataset(ref)
    changed = tables.patch_dataset(ref, {"labels": {"b": "2", "a": None}, "description": "x"}, etag=old["etag"])
    assert (changed["labels"], changed["description"]) == ({"b": "2"}, "x")
    with pytest.raises(EtagMismatch):
        tables.patch_dataset(ref, {"description": "y"}, etag=old["etag"])
    tables.insert_table(ref.table("t"), {"schema": {"fields": [field("a", "INT64")]}})
    with pytest.raises(InUse, match="Dataset other:d is still in use"):
        tables.delete_dataset(ref)
    tables.delete_dataset(ref, delete_contents=True)
    with pytest.raises(Missing, match="Not found: Dataset other:d"):
        tables.get_dataset(ref)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ([field("b", "STRING")], "Field a is missing in new schema"),
        ([field("a", "STRING", "REQUIRED"), field("b", "STRING")], "Field a has changed type from INTEGER to STRING"),
        ([field("a", "INT64", "REQUIRED"), field("b", "STRING", "REQUIRED")], "changed mode from NULLABLE to REQUIRED"),
        (
            [field("a", "INT64", "REQUIRED"), field("b", "STRING"), field("c", "DATE", "REQUIRED")],
            "Cannot add required fields",
        ),
        ([field("a", "INT64", "REQUIRED"), field("A", "INT64"), field("b", "STRING")], "already exists in schema"),
    ],
)
def test_schema_changes_that_bigquery_refuses(tables: Tables, new: list[dict[str, Any]], message: str) -> None:
    ref = DATASET.table("schema")
    tables.insert_table(ref, {"schema": {"fields": [field("a", "INT64", "REQUIRED"), field("b", "STRING")]}})
    with pytest.raises(Invalid, match=message):
        tables.patch_table(ref, {"schema": {"fields": new}})


def test_schema_changes_that_it_permits(tables: Tables) -> None:
    ref = DATASET.table("schema")
    record = field("r", "RECORD", fields=[field("x", "INT64")])
    repeated = field("l", "RECORD", "REPEATED", fields=[field("x", "INT64")])
    tables.insert_table(ref, {"schema": {"fields": [field("a", "INT64", "REQUIRED"), record, repeated]}})
    tables.append(ref, pa.Table.from_pylist([{"a": 1, "r": {"x": 2}, "l": [{"x": 3}]}]))
    for item in (record, repeated):
        item["fields"] = [*item["fields"], field("y", "STRING")]
    tables.patch_table(ref, {"schema": {"fields": [field("a", "INT64"), record, repeated, field("n", "DATE")]}})
    assert tables.read(ref).read_all().to_pylist() == [
        {"a": 1, "r": {"x": 2, "y": None}, "l": [{"x": 3, "y": None}], "n": None}
    ]
    assert tables.append(ref, pa.table({"n": pa.array([None], pa.date32())})) == 1


def test_expired_tables_are_gone(tables: Tables) -> None:
    ref = DATASET.table("short")
    soon = str(int(time.time() * 1000) + 150)
    tables.insert_table(ref, {"schema": {"fields": [field("a", "INT64")]}, "expirationTime": soon})
    assert len(tables.list_tables(DATASET)) == 1
    time.sleep(0.2)
    assert tables.list_tables(DATASET) == []
    with pytest.raises(Missing):
        tables.get_table(ref)
    tables.insert_table(ref, {"schema": {"fields": [field("b", "INT64")]}})


@pytest.mark.parametrize("name", ["", "a/b", "a.b", 'a"b', "x" * 1025, "a$b"])
def test_bad_table_names(tables: Tables, name: str) -> None:
    with pytest.raises(Invalid, match="Invalid table ID"):
        tables.insert_table(DATASET.table(name), {"schema": {"fields": [field("a", "INT64")]}})


# durability

_WRITER = """
import sys, pathlib, pyarrow as pa
from localcloud.bigquery.tables import Tables, TableRef
tables = Tables(pathlib.Path(sys.argv[1]))
ref = TableRef("p", "d", "t")
for number in range(10_000):
    batch = pa.table({"n": [number] * 500, "text": [str(number) * 20] * 500})
    tables.append(ref, batch, create_disposition="CREATE_IF_NEEDED")
    print(number, flush=True)
"""


def test_kill_in_the_middle_of_appends_loses_nothing_acknowledged(tmp_path: Path) -> None:
    first = Tables(tmp_path)
    first.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    first.close()
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as writer:
        assert writer.stdout is not None
        acknowledged = -1
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged >= 25:
                break
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    again = Tables(tmp_path)
    try:
        table = again.get_table(DATASET.table("t"))
        rows = again.read(DATASET.table("t")).read_all().to_pydict()["n"]
    finally:
        again.close()
    whole = sorted(set(rows))
    assert whole == list(range(len(whole)))
    assert all(rows.count(n) == 500 for n in whole)
    assert len(whole) in (acknowledged + 1, acknowledged + 2)
    assert table["numRows"] == str(len(rows))


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    engine = Engine(tables)
    tables.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    for sql in (
        "CREATE TABLE d.t (a INT64, b NUMERIC) OPTIONS(description='kept')",
        "INSERT INTO d.t VALUES (1, 2.5)",
        "CREATE VIEW d.v AS SELECT a * 2 AS a FROM d.t",
        "CREATE FUNCTION d.f(x INT64) AS (x + 1)",
    ):
        engine.execute(sql, project="p").close()
    before = tables.get_table(DATASET.table("t"))
    tables.close()
    again = Tables(tmp_path)
    engine = Engine(again)
    assert again.get_table(DATASET.table("t")) == before
    rows = engine.execute("SELECT d.f(v.a) AS x, b FROM d.v, d.t", project="p").table().to_pylist()
    assert rows == [{"x": 3, "b": Decimal("2.5")}]
    again.close()
