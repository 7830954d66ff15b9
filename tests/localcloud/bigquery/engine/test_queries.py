"""Queries: clauses, joins, windows, aggregates, set operations, parameters, names and schemas of results."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from localcloud.bigquery.engine import Cancellation
from localcloud.bigquery.engine.engine import Engine
from localcloud.bigquery.failures import BigQueryError, InvalidQuery, Missing, Stopped
from localcloud.bigquery.refs import DatasetRef, TableRef

Run = Callable[..., list[dict[str, Any]]]
ROWS = "UNNEST([STRUCT('a' AS k, 1 AS v, 1.5 AS w), ('b', 2, NULL), ('a', 3, 2.5), ('c', NULL, 0.5)])"

# (query, rows)
QUERIES = [
    ("SELECT 1, 'x' AS a, 2", [{"f0_": 1, "a": "x", "f1_": 2}]),
    (f"SELECT k, SUM(v) AS s FROM {ROWS} GROUP BY k ORDER BY k", [{"k": "a", "s": 4}, {"k": "b", "s": 2}, {"k": "c", "s": None}]),
    (f"SELECT k, COUNT(*) AS n FROM {ROWS} GROUP BY 1 HAVING n > 1", [{"k": "a", "n": 2}]),
    (f"SELECT UPPER(k) AS k, MAX(v) AS m FROM {ROWS} GROUP BY k ORDER BY m DESC LIMIT 1", [{"k": "A", "m": 3}]),
    (f"SELECT COUNT(DISTINCT k) AS d, COUNTIF(v > 1) AS c, AVG(v) AS a FROM {ROWS}", [{"d": 3, "c": 2, "a": 2.0}]),
    (f"SELECT LOGICAL_AND(v > 0) AS a, LOGICAL_OR(v > 2) AS o, MIN(w) AS m FROM {ROWS}", [{"a": True, "o": True, "m": 0.5}]),
    (f"SELECT ARRAY_AGG(v IGNORE NULLS ORDER BY v DESC LIMIT 2) AS x FROM {ROWS}", [{"x": [3, 2]}]),
    (f"SELECT ARRAY_AGG(DISTINCT k ORDER BY k) AS x FROM {ROWS}", [{"x": ["a", "b", "c"]}]),
    (f"SELECT STRING_AGG(k, '-' ORDER BY v DESC) AS x FROM {ROWS}", [{"x": "a-b-a-c"}]),
    (f"SELECT STRING_AGG(DISTINCT k, ',' ORDER BY k LIMIT 2) AS x FROM {ROWS}", [{"x": "a,b"}]),
    (f"SELECT ANY_VALUE(k HAVING MAX w) AS x, ANY_VALUE(k HAVING MIN w) AS y FROM {ROWS}", [{"x": "a", "y": "c"}]),
    (f"SELECT MAX_BY(k, v) AS x, MIN_BY(k, v) AS y FROM {ROWS}", [{"x": "a", "y": "a"}]),
    ("SELECT APPROX_QUANTILES(x, 2) AS q FROM UNNEST([1, 1, 1, 4, 5, 6, 7, 8, 9, 10]) AS x", [{"q": [1, 5, 10]}]),
    ("SELECT APPROX_COUNT_DISTINCT(x) AS n FROM UNNEST([0, 1, 1, 2, 3, 5]) AS x", [{"n": 5}]),
    ("SELECT APPROX_TOP_COUNT(x, 1) AS t FROM UNNEST(['a', 'b', 'a']) AS x", [{"t": [{"value": "a", "count": 2}]}]),
    ("SELECT SUM(x) AS s, AVG(x) AS a FROM UNNEST([NUMERIC '1.1', NUMERIC '2.2', NUMERIC '2.2']) x", [{"s": Decimal("5.5"), "a": Decimal("1.833333333")}]),
    ("SELECT STDDEV(x) AS s, VAR_POP(x) AS v FROM UNNEST([1, 2, 3]) x", [{"s": 1.0, "v": 2 / 3}]),
    (f"SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM {ROWS} WHERE v IS NOT NULL ORDER BY k, r",
     [{"k": "a", "v": 3, "r": 1}, {"k": "a", "v": 1, "r": 2}, {"k": "b", "v": 2, "r": 1}]),
    (f"SELECT v, LAG(v, 1, 0) OVER (ORDER BY v) AS l, LEAD(v) OVER w AS n FROM {ROWS} WHERE v > 0 WINDOW w AS (ORDER BY v) ORDER BY v",
     [{"v": 1, "l": 0, "n": 2}, {"v": 2, "l": 1, "n": 3}, {"v": 3, "l": 2, "n": None}]),
    ("SELECT x, SUM(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM UNNEST([1, 2, 3]) x ORDER BY x",
     [{"x": 1, "s": 1}, {"x": 2, "s": 3}, {"x": 3, "s": 5}]),
    ("SELECT PERCENTILE_CONT(x, 0.5) OVER () AS m, PERCENTILE_DISC(x, 0.5) OVER () AS d FROM UNNEST([0, 3, NULL, 1, 2]) AS x LIMIT 1", [{"m": 1.5, "d": 1}]),
    ("SELECT FIRST_VALUE(x IGNORE NULLS) OVER (ORDER BY y) AS f FROM UNNEST([STRUCT(CAST(NULL AS INT64) AS x, 1 AS y), (5, 2)]) ORDER BY y DESC LIMIT 1", [{"f": 5}]),
    (f"SELECT k, v FROM {ROWS} QUALIFY RANK() OVER (PARTITION BY k ORDER BY v DESC) = 1 ORDER BY k", [{"k": "a", "v": 3}, {"k": "b", "v": 2}, {"k": "c", "v": None}]),
    (f"SELECT DISTINCT k FROM {ROWS} ORDER BY k DESC", [{"k": "c"}, {"k": "b"}, {"k": "a"}]),
    ("SELECT x FROM UNNEST([3, NULL, 1]) x ORDER BY x", [{"x": None}, {"x": 1}, {"x": 3}]),
    ("SELECT x FROM UNNEST([3, NULL, 1]) x ORDER BY x DESC", [{"x": 3}, {"x": 1}, {"x": None}]),
    ("SELECT x FROM UNNEST([3, NULL, 1]) x ORDER BY x NULLS LAST", [{"x": 1}, {"x": 3}, {"x": None}]),
    ("SELECT x FROM UNNEST([1, 2, 3]) x ORDER BY x LIMIT 1 OFFSET 1", [{"x": 2}]),
    ("SELECT * EXCEPT (b) REPLACE (a + 1 AS a) FROM (SELECT 1 AS a, 2 AS b, 3 AS c)", [{"a": 2, "c": 3}]),
    ("SELECT t.s.* FROM (SELECT STRUCT(1 AS x, 'y' AS y) AS s) t", [{"x": 1, "y": "y"}]),
    ("SELECT AS STRUCT 1 AS a, 2 AS b", [{"a": 1, "b": 2}]),
    ("SELECT AS VALUE STRUCT(1 AS a)", [{"a": 1}]),
    ("SELECT a.x, b.y FROM (SELECT 1 AS x) a CROSS JOIN UNNEST([1, 2]) AS y_ JOIN (SELECT 2 AS y) b ON b.y = y_", [{"x": 1, "y": 2}]),
    ("SELECT * FROM (SELECT 1 AS id, 'l' AS l) FULL JOIN (SELECT 2 AS id, 'r' AS r) USING (id) ORDER BY id", [{"id": 1, "l": "l", "r": None}, {"id": 2, "l": None, "r": "r"}]),
    ("SELECT id, l, r FROM (SELECT 1 AS id, 'l' AS l) LEFT JOIN (SELECT 1 AS id, 'r' AS r) USING (id)", [{"id": 1, "l": "l", "r": "r"}]),
    ("SELECT x, o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o ORDER BY o", [{"x": "a", "o": 0}, {"x": "b", "o": 1}]),
    ("SELECT id, item FROM (SELECT 1 AS id, [10, 20] AS items) t, t.items AS item ORDER BY item", [{"id": 1, "item": 10}, {"id": 1, "item": 20}]),
    ("SELECT id, item FROM (SELECT 1 AS id, CAST([] AS ARRAY<INT64>) AS items) t LEFT JOIN UNNEST(t.items) AS item", [{"id": 1, "item": None}]),
    ("WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM a, b", [{"x": 1, "y": 2}]),
    ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n ORDER BY i", [{"i": 1}, {"i": 2}, {"i": 3}]),
    ("SELECT 1 AS x UNION ALL SELECT 2.5 ORDER BY x DESC", [{"x": 2.5}, {"x": 1.0}]),
    ("SELECT 1 AS x UNION DISTINCT SELECT 1", [{"x": 1}]),
    ("SELECT 1 AS i, 'x' AS s UNION ALL SELECT 2, NULL ORDER BY i", [{"i": 1, "s": "x"}, {"i": 2, "s": None}]),
    ("SELECT NULL AS s UNION ALL SELECT NULL UNION ALL SELECT 'x' ORDER BY s DESC LIMIT 1", [{"s": "x"}]),
    ("SELECT x FROM UNNEST([1, 2]) x EXCEPT DISTINCT SELECT 1", [{"x": 2}]),
    ("SELECT x FROM UNNEST([1, 2]) x INTERSECT DISTINCT SELECT 2", [{"x": 2}]),
    ("SELECT x FROM UNNEST([1, 2]) x WHERE x = (SELECT MAX(y) FROM UNNEST([1, 2]) y WHERE y >= x)", [{"x": 2}]),
    ("SELECT * FROM (SELECT 'x' AS p, 'Q1' AS q, 1 AS v UNION ALL SELECT 'x', 'Q2', 5) PIVOT(SUM(v) AS s, COUNT(*) AS n FOR q IN ('Q1', 'Q2' AS second))",
     [{"p": "x", "s_Q1": 1, "n_Q1": 1, "s_second": 5, "n_second": 1}]),
    ("SELECT * FROM (SELECT 1 AS id, 2 AS a, CAST(NULL AS INT64) AS b) UNPIVOT(v FOR n IN (a, b))", [{"id": 1, "v": 2, "n": "a"}]),
    ("SELECT k, SUM(v) AS s FROM UNNEST([STRUCT('a' AS k, 1 AS v)]) GROUP BY ROLLUP(k) ORDER BY k", [{"k": None, "s": 1}, {"k": "a", "s": 1}]),
    ("SELECT IF(x > 1, 'big', 'small') AS size, COUNT(*) AS n FROM UNNEST([1, 2, 3]) x GROUP BY size ORDER BY size", [{"size": "big", "n": 2}, {"size": "small", "n": 1}]),
    ("SELECT x FROM UNNEST([DATE '2020-01-01', DATE '2021-01-01']) x WHERE x >= '2020-06-01'", [{"x": datetime.date(2021, 1, 1)}]),
    ("SELECT COUNT(*) AS n FROM UNNEST([1, 2]) a JOIN UNNEST([2, 3]) b ON a = b", [{"n": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "rows"), QUERIES, ids=[q[0] for q in QUERIES])
def test_rows(run: Run, sql: str, rows: list[dict[str, Any]]) -> None:
    got = run(sql)
    assert [list(row) for row in got] == [list(row) for row in rows]
    for one, other in zip(got, rows, strict=True):
        for key, wanted in other.items():
            assert one[key] == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


ERRORS = [
    ("SELECT a, a FROM (SELECT 1 AS a)", "Duplicate column names in the result are not supported"),
    ("SELECT x FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b", "Column name x is ambiguous at [1:8]"),
    ("SELECT k, v FROM (SELECT 1 AS k, 2 AS v) GROUP BY k", "An expression references column"),
    ("SELECT 1 UNION SELECT 2", "Syntax error: Unexpected keyword SELECT at [1:16]"),
    ("SELECT 1 UNION ALL SELECT 1, 2", "Queries in UNION ALL have mismatched column count"),
    ("SELECT 1 UNION ALL SELECT 'a'", "Column 1 in UNION ALL has incompatible types: INT64, STRING"),
    ("SELECT 1 WHERE 1", "WHERE clause should return type BOOL, but returns INT64"),
    ("SELECT * FROM UNNEST(1)", "Values referenced in UNNEST must be arrays. UNNEST contains expression of type INT64"),
    ("SELECT nme FROM (SELECT 1 AS name)", "Unrecognized name: nme; Did you mean name? at [1:8]"),
    ("SELECT t.b FROM (SELECT 1 AS a) t", "Name b not found inside t at [1:8]"),
    ("SELECT 1\nFROM\n  (SELECT foo)", "Unrecognized name: foo at [3:11]"),
    ("SELECT * EXCEPT (z) FROM (SELECT 1 AS a)", "Column z in SELECT * EXCEPT list does not exist"),
    ("SELECT 1 ORDER BY 2", "ORDER BY column number item is out of range: 2."),
    ("SELEC 1", "Syntax error: "),
    ("SELECT (1", "Syntax error: "),
    ("SELECT x FROM t", 'Table "t" must be qualified with a dataset (e.g. dataset.table).'),
    ("", "Syntax error: "),
]


@pytest.mark.parametrize(("sql", "message"), ERRORS, ids=[e[0] for e in ERRORS])
def test_error(run: Run, sql: str, message: str) -> None:
    with pytest.raises(InvalidQuery) as raised:
        run(sql)
    assert raised.value.message.startswith(message)


def test_missing_table_and_dataset(run: Run) -> None:
    with pytest.raises(Missing, match="Not found: Table p:d.nope was not found in location US") as raised:
        run("SELECT * FROM d.nope")
    assert raised.value.reason == "notFound"
    with pytest.raises(Missing, match="Not found: Dataset p:nope was not found in location US"):
        run("SELECT * FROM nope.t")


def test_nan_sorts_before_numbers_and_after_null(run: Run) -> None:
    rows = run("SELECT x FROM UNNEST([1.0, CAST('nan' AS FLOAT64), NULL, CAST('-inf' AS FLOAT64)]) x ORDER BY x")
    values = [row["x"] for row in rows]
    assert values[0] is None
    assert math.isnan(values[1])
    assert values[2:] == [-math.inf, 1.0]


def parameter(type_: Any, value: Any, name: str = "") -> dict[str, Any]:
    kind = type_ if isinstance(type_, dict) else {"type": type_}
    given = value if isinstance(value, dict) else {"value": value}
    return {"parameterType": kind, "parameterValue": given} | ({"name": name} if name else {})


def test_parameters_of_all_types(run: Run) -> None:
    parameters = [
        parameter("INT64", "7", "i"),
        parameter("FLOAT64", "1.5", "f"),
        parameter("STRING", "it's", "s"),
        parameter("BOOL", "true", "b"),
        parameter("BYTES", "YWI=", "y"),
        parameter("DATE", "2020-01-02", "d"),
        parameter("TIMESTAMP", "2020-01-02 03:04:05+00:00", "t"),
        parameter("NUMERIC", "1.25", "n"),
        parameter({"type": "ARRAY", "arrayType": {"type": "INT64"}}, {"arrayValues": [{"value": "1"}, {"value": "2"}]}, "a"),
        parameter(
            {"type": "STRUCT", "structTypes": [{"name": "x", "type": {"type": "INT64"}}]},
            {"structValues": {"x": {"value": "3"}}},
            "r",
        ),
        parameter("INT64", None, "z"),
    ]  # fmt: skip
    sql = "SELECT @i i, @f f, @s s, @b b, @y y, @d d, @t t, @n n, @a a, @r.x x, @z z, 2 IN UNNEST(@a) m"
    assert run(sql, parameters=parameters) == [
        {
            "i": 7, "f": 1.5, "s": "it's", "b": True, "y": b"ab", "d": datetime.date(2020, 1, 2),
            "t": datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "n": Decimal("1.25"), "a": [1, 2],
            "x": 3, "z": None, "m": True,
        }
    ]  # fmt: skip


def test_positional_parameters_and_another_run_with_other_values(run: Run) -> None:
    sql = "SELECT x FROM UNNEST([1, 2, 3]) x WHERE x > ? ORDER BY x LIMIT ?"
    first = [parameter("INT64", "1"), parameter("INT64", "5")]
    second = [parameter("INT64", "2"), parameter("INT64", "0")]
    assert run(sql, parameters=first) == [{"x": 2}, {"x": 3}]
    assert run(sql, parameters=second) == []


def test_schema_and_referenced_tables(engine: Engine) -> None:
    engine.execute("CREATE OR REPLACE TABLE d.schema_of (a INT64, b ARRAY<STRUCT<c STRING>>)", project="p").close()
    engine.execute("CREATE OR REPLACE VIEW d.view_of AS SELECT a FROM d.schema_of", project="p").close()
    result = engine.execute("SELECT b, v.a FROM d.schema_of, d.view_of v", project="p", dry_run=True)
    assert result.fields == [
        {"name": "b", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "c", "type": "STRING", "mode": "NULLABLE"}]},
        {"name": "a", "type": "INTEGER", "mode": "NULLABLE"},
    ]  # fmt: skip
    assert set(result.referenced_tables) == {TableRef("p", "d", "schema_of"), TableRef("p", "d", "view_of")}
    assert result.statement_type == "SELECT"


def test_default_dataset(engine: Engine, run: Run) -> None:
    run("CREATE OR REPLACE TABLE d.plain AS SELECT 5 AS a")
    assert run("SELECT a FROM plain", default_dataset=DatasetRef("p", "d")) == [{"a": 5}]
    assert run("SELECT plain.a FROM `p.d.plain`") == [{"a": 5}]
    assert run("SELECT a FROM `p`.d.plain") == [{"a": 5}]


def test_table_names_are_told_apart_by_case(run: Run) -> None:
    run("CREATE OR REPLACE TABLE d.Case_ AS SELECT 'upper' AS a")
    run("CREATE OR REPLACE TABLE d.case_ AS SELECT 'lower' AS a")
    assert run("SELECT A FROM d.Case_") == [{"A": "upper"}]
    assert run("SELECT a FROM d.case_") == [{"a": "lower"}]


def test_destination_append_truncate_empty(engine: Engine, run: Run) -> None:
    to = TableRef("p", "d", "destination")
    run("SELECT 1 AS a", destination=to)
    with pytest.raises(BigQueryError, match="Already Exists: Table p:d.destination"):
        run("SELECT 2 AS a", destination=to)
    run("SELECT 2 AS a", destination=to, write_disposition="WRITE_APPEND")
    assert run("SELECT a FROM d.destination ORDER BY a") == [{"a": 1}, {"a": 2}]
    run("SELECT a, 'x' AS b FROM d.destination WHERE a = 2", destination=to, write_disposition="WRITE_TRUNCATE")
    assert run("SELECT * FROM d.destination") == [{"a": 2, "b": "x"}]


def test_several_queries_at_once(engine: Engine) -> None:
    engine.tables.append(
        TableRef("p", "d", "wide"), pa.table({"x": list(range(50_000))}), create_disposition="CREATE_IF_NEEDED"
    )
    answers: list[int] = []

    def count(low: int) -> None:
        table = engine.execute(f"SELECT COUNT(*) n FROM d.wide WHERE x >= {low}", project="p").table()
        answers.append(table.column(0)[0].as_py())

    threads = [threading.Thread(target=count, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [50_000 - i for i in range(11, -1, -1)]


def test_cancel_interrupts(engine: Engine) -> None:
    cancellation = Cancellation()
    endless = "SELECT SUM(a * b) FROM UNNEST(GENERATE_ARRAY(1, 200000)) a, UNNEST(GENERATE_ARRAY(1, 200000)) b"
    raised: list[BaseException] = []

    def run() -> None:
        try:
            engine.execute(endless, project="p", cancellation=cancellation).table()
        except Stopped as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    cancellation.cancel()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert len(raised) == 1


def test_an_unread_result_can_be_closed(engine: Engine) -> None:
    result = engine.execute("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 100000)) x", project="p")
    result.reader().read_next_batch()
    result.close()
    result.close()


def test_an_error_in_the_middle_of_the_rows_is_bigquerys(engine: Engine) -> None:
    result = engine.execute("SELECT 10 / (x - 90000) AS y FROM UNNEST(GENERATE_ARRAY(1, 100000)) x", project="p")
    with pytest.raises(InvalidQuery, match="division by zero: 10 / 0"):
        result.reader().read_all()
