"""DML, DDL, scripts, functions and INFORMATION_SCHEMA."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from localcloud.bigquery.engine import Result
from localcloud.bigquery.engine.engine import Engine
from localcloud.bigquery.failures import BigQueryError, Duplicate, InUse, Missing
from localcloud.bigquery.refs import DatasetRef, TableRef

Run = Callable[..., list[dict[str, Any]]]


def execute(engine: Engine, sql: str, **options: Any) -> Result:
    result = engine.execute(sql, project="p", **options)
    result.close()
    return result


@pytest.fixture
def table(engine: Engine) -> TableRef:
    """`d.t` with the rows (1, 'a'), (2, 'b')."""
    execute(engine, "CREATE OR REPLACE TABLE d.t AS SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'b'")
    return TableRef("p", "d", "t")


def counts(result: Result) -> tuple[int, int, int]:
    assert result.dml_stats is not None
    kinds = ("insertedRowCount", "updatedRowCount", "deletedRowCount")
    return tuple(int(result.dml_stats[k]) for k in kinds)  # type: ignore[return-value]


# DML


def test_insert_values_select_and_defaults(engine: Engine, run: Run, table: TableRef) -> None:
    execute(engine, "CREATE OR REPLACE TABLE d.defaults (a INT64, b STRING DEFAULT 'none', c ARRAY<INT64>)")
    result = execute(engine, "INSERT INTO d.defaults (a) VALUES (1), (2)")
    assert (result.statement_type, result.num_dml_affected_rows, counts(result)) == ("INSERT", 2, (2, 0, 0))
    execute(engine, "INSERT d.defaults (a, b) VALUES (3, DEFAULT)")
    execute(engine, "INSERT d.defaults (a, b) SELECT 4, NULL")
    execute(engine, "INSERT INTO d.defaults SELECT id + 10, name, [id] FROM d.t WHERE id = 1")
    assert run("SELECT * FROM d.defaults ORDER BY a") == [
        {"a": 1, "b": "none", "c": []},
        {"a": 2, "b": "none", "c": []},
        {"a": 3, "b": "none", "c": []},
        {"a": 4, "b": None, "c": []},
        {"a": 11, "b": "a", "c": [1]},
    ]


def test_update_delete_truncate(engine: Engine, run: Run, table: TableRef) -> None:
    result = execute(engine, "UPDATE d.t SET name = CONCAT(name, '!'), id = id * 10 WHERE id = 2")
    assert (result.statement_type, counts(result)) == ("UPDATE", (0, 1, 0))
    assert run("SELECT * FROM d.t ORDER BY id") == [{"id": 1, "name": "a"}, {"id": 20, "name": "b!"}]
    result = execute(engine, "DELETE FROM d.t WHERE id IN (SELECT 1)")
    assert (result.statement_type, counts(result)) == ("DELETE", (0, 0, 1))
    result = execute(engine, "TRUNCATE TABLE d.t")
    assert (result.statement_type, counts(result)) == ("TRUNCATE_TABLE", (0, 0, 1))


def test_update_from_and_nested_fields(engine: Engine, run: Run) -> None:
    execute(engine, "CREATE OR REPLACE TABLE d.nested AS SELECT 1 AS id, STRUCT('x' AS a, STRUCT(1 AS c) AS b) AS s")
    execute(engine, "UPDATE d.nested n SET n.s.b.c = u.c, s.a = 'y' FROM (SELECT 1 AS id, 5 AS c) u WHERE n.id = u.id")
    assert run("SELECT s FROM d.nested") == [{"s": {"a": "y", "b": {"c": 5}}}]


@pytest.mark.parametrize("sql", ["UPDATE d.t SET id = 1", "DELETE FROM d.t", "DELETE d.t"])
def test_where_is_required(run: Run, table: TableRef, sql: str) -> None:
    with pytest.raises(BigQueryError, match="must have a WHERE clause"):
        run(sql)


def test_merge_in_all_forms(engine: Engine, run: Run, table: TableRef) -> None:
    result = execute(
        engine,
        """MERGE d.t AS T USING (SELECT 2 AS id, 'B' AS name UNION ALL SELECT 3, 'c') AS S ON T.id = S.id
        WHEN MATCHED AND S.name = 'B' THEN UPDATE SET name = S.name
        WHEN NOT MATCHED BY TARGET THEN INSERT (id, name) VALUES (S.id, S.name)
        WHEN NOT MATCHED BY SOURCE THEN DELETE""",
    )
    assert (result.statement_type, counts(result)) == ("MERGE", (1, 1, 1))
    assert run("SELECT * FROM d.t ORDER BY id") == [{"id": 2, "name": "B"}, {"id": 3, "name": "c"}]
    execute(engine, "MERGE d.t T USING (SELECT 9 AS id, 'z' AS name) S ON FALSE WHEN NOT MATCHED THEN INSERT ROW")
    execute(engine, "MERGE d.t T USING d.t S ON T.id = S.id AND S.id = 9 WHEN MATCHED THEN DELETE")
    assert run("SELECT id FROM d.t ORDER BY id") == [{"id": 2}, {"id": 3}]


def test_a_row_matched_twice_is_an_error(run: Run, table: TableRef) -> None:
    two = "(SELECT 1 AS id UNION ALL SELECT 1)"
    for sql in (
        f"MERGE d.t T USING {two} S ON T.id = S.id WHEN MATCHED THEN UPDATE SET name = 'x'",
        f"UPDATE d.t T SET name = 'x' FROM {two} S WHERE T.id = S.id",
    ):
        with pytest.raises(BigQueryError, match="must match at most one source row for each target row"):
            run(sql)
    assert run("SELECT name FROM d.t WHERE id = 1") == [{"name": "a"}]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("INSERT INTO d.t (id) VALUES ('x')", "Value of type STRING cannot be assigned to id, which has type INT64"),
        ("INSERT INTO d.t VALUES (1)", "Inserted row has wrong column count; Has 1, expected 2"),
        ("INSERT INTO d.t (nope) VALUES (1)", "Column nope is not present in table p:d.t"),
        ("UPDATE d.t SET id = 1, id = 2 WHERE TRUE", "Update item id assigned more than once"),
        ("INSERT INTO d.nope VALUES (1)", "Not found: Table p:d.nope was not found in location US"),
    ],
)
def test_dml_errors(run: Run, table: TableRef, sql: str, message: str) -> None:
    with pytest.raises(BigQueryError) as raised:
        run(sql)
    assert raised.value.message.startswith(message)


def test_values_are_checked_against_the_column(engine: Engine, run: Run) -> None:
    execute(engine, "CREATE OR REPLACE TABLE d.checked (r INT64 NOT NULL, s STRING(2), n NUMERIC(4, 1))")
    execute(engine, "INSERT INTO d.checked VALUES (1, 'ab', 12.34)")
    assert run("SELECT n FROM d.checked") == [{"n": Decimal("12.3")}]
    for values, message in (
        ("(NULL, 'a', 1)", "Required field r cannot be null"),
        ("(1, 'abc', 1)", "maximum length 2"),
        ("(1, 'a', 12345)", "more than 3 digits"),
    ):
        with pytest.raises(BigQueryError, match=message):
            run(f"INSERT INTO d.checked VALUES {values}")


# DDL


def test_create_table_keeps_its_layout(engine: Engine) -> None:
    sql = """CREATE OR REPLACE TABLE d.layout (
      id INT64 NOT NULL OPTIONS(description='the id'), ts TIMESTAMP, tags ARRAY<STRUCT<k STRING, v NUMERIC(10, 2)>>
    ) PARTITION BY TIMESTAMP_TRUNC(ts, HOUR) CLUSTER BY id
    OPTIONS(description='d', labels=[('a', 'b')], partition_expiration_days=2)"""
    result = execute(engine, sql)
    assert (result.statement_type, result.ddl_target_table) == ("CREATE_TABLE", TableRef("p", "d", "layout"))
    table = engine.tables.get_table(TableRef("p", "d", "layout"))
    assert table["timePartitioning"] == {"type": "HOUR", "field": "ts", "expirationMs": str(2 * 86_400_000)}
    assert table["clustering"] == {"fields": ["id"]}
    assert (table["description"], table["labels"]) == ("d", {"a": "b"})
    assert table["schema"]["fields"][0] == {
        "name": "id", "type": "INTEGER", "mode": "REQUIRED", "description": "the id",
    }  # fmt: skip
    assert table["schema"]["fields"][2]["fields"][1] == {
        "name": "v", "type": "NUMERIC", "mode": "NULLABLE", "precision": "10", "scale": "2",
    }  # fmt: skip


def test_create_skip_replace_duplicate(engine: Engine, table: TableRef) -> None:
    assert execute(engine, "CREATE TABLE IF NOT EXISTS d.t (x INT64)").ddl_operation_performed == "SKIP"
    with pytest.raises(Duplicate, match="Already Exists: Table p:d.t"):
        execute(engine, "CREATE TABLE d.t (x INT64)")
    result = execute(engine, "CREATE OR REPLACE TABLE d.t AS SELECT id + 1 AS id FROM d.t")
    assert (result.statement_type, result.ddl_operation_performed) == ("CREATE_TABLE_AS_SELECT", "REPLACE")
    assert engine.execute("SELECT SUM(id) s FROM d.t", project="p").table().to_pylist() == [{"s": 5}]


def test_like_clone_copy(engine: Engine, run: Run, table: TableRef) -> None:
    for name, source, rows in (("l1", "LIKE d.t", 0), ("c1", "CLONE d.t", 2), ("c2", "COPY d.t", 2)):
        execute(engine, f"CREATE OR REPLACE TABLE d.{name} {source}")
        assert run(f"SELECT COUNT(*) n FROM d.{name}") == [{"n": rows}]


def test_alter_table(engine: Engine, run: Run, table: TableRef) -> None:
    execute(engine, "ALTER TABLE d.t ADD COLUMN extra STRUCT<a INT64>, ADD COLUMN IF NOT EXISTS id INT64")
    execute(engine, "ALTER TABLE d.t RENAME COLUMN name TO label")
    execute(engine, "ALTER TABLE d.t ALTER COLUMN id SET DATA TYPE FLOAT64")
    execute(engine, "ALTER TABLE d.t SET OPTIONS(description='changed')")
    assert run("SELECT * FROM d.t ORDER BY id LIMIT 1") == [{"id": 1.0, "label": "a", "extra": None}]
    execute(engine, "ALTER TABLE d.t DROP COLUMN extra")
    resource = engine.tables.get_table(table)
    assert [f["name"] for f in resource["schema"]["fields"]] == ["id", "label"]
    assert resource["description"] == "changed"
    execute(engine, "DROP TABLE IF EXISTS d.renamed")
    execute(engine, "ALTER TABLE d.t RENAME TO renamed")
    assert run("SELECT COUNT(*) n FROM d.renamed") == [{"n": 2}]
    with pytest.raises(Missing):
        engine.tables.get_table(table)


def test_views(engine: Engine, run: Run, table: TableRef) -> None:
    execute(engine, "CREATE OR REPLACE VIEW d.v (k, w) AS SELECT id, name FROM d.t")
    assert run("SELECT w FROM d.v WHERE k = 1") == [{"w": "a"}]
    assert engine.tables.get_table(TableRef("p", "d", "v"))["type"] == "VIEW"
    with pytest.raises(BigQueryError, match="Unrecognized name: nope"):
        execute(engine, "CREATE OR REPLACE VIEW d.v AS SELECT nope FROM d.t")
    with pytest.raises(BigQueryError, match="A TABLE is expected"):
        execute(engine, "DROP TABLE d.v")
    assert execute(engine, "DROP VIEW d.v").ddl_operation_performed == "DROP"
    assert execute(engine, "DROP VIEW IF EXISTS d.v").ddl_operation_performed == "SKIP"


def test_schemas(engine: Engine) -> None:
    execute(engine, "CREATE SCHEMA IF NOT EXISTS other OPTIONS(location='EU', description='x')")
    dataset = engine.tables.get_dataset(DatasetRef("p", "other"))
    assert (dataset["location"], dataset["description"]) == ("EU", "x")
    execute(engine, "CREATE TABLE other.t (a INT64)")
    with pytest.raises(InUse, match="Dataset p:other is still in use"):
        execute(engine, "DROP SCHEMA other")
    execute(engine, "DROP SCHEMA other CASCADE")
    with pytest.raises(Missing, match="Not found: Dataset p:other"):
        engine.tables.get_dataset(DatasetRef("p", "other"))


def test_ingestion_time_and_wildcards(engine: Engine, run: Run) -> None:
    execute(engine, "CREATE OR REPLACE TABLE d.ingested (a INT64) PARTITION BY _PARTITIONDATE")
    execute(engine, "INSERT INTO d.ingested (a) VALUES (1)")
    assert run("SELECT * FROM d.ingested WHERE _PARTITIONDATE = CURRENT_DATE()") == [{"a": 1}]
    for year in (2019, 2020):
        execute(engine, f"CREATE OR REPLACE TABLE d.y_{year} AS SELECT {year} AS y")
    assert run("SELECT y, _TABLE_SUFFIX AS s FROM `d.y_*` WHERE _TABLE_SUFFIX >= '2020'") == [{"y": 2020, "s": "2020"}]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE MODEL d.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS label",
        "CREATE MATERIALIZED VIEW d.m AS SELECT 1 AS a",
        "CREATE TEMP FUNCTION f(x STRING) RETURNS STRING LANGUAGE js AS 'return x'; SELECT f('a')",
        "EXPORT DATA OPTIONS(uri='gs://b/*.csv', format='CSV') AS SELECT 1",
        "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)",
        "SELECT * FROM d.t FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()",
        "CREATE PROCEDURE d.q() BEGIN SELECT 1; END",
    ],
)
def test_refused_by_name(run: Run, table: TableRef, sql: str) -> None:
    with pytest.raises(BigQueryError) as raised:
        run(sql)
    assert raised.value.reason == "notImplemented"
    assert "is not carried over" in raised.value.message


# functions and scripts


def test_sql_functions(engine: Engine, run: Run) -> None:
    execute(engine, "CREATE OR REPLACE FUNCTION d.plus(x INT64, y ANY TYPE) AS (x + y)")
    assert run("SELECT d.plus(1, 2) AS a, d.plus(1, 2.5) AS b") == [{"a": 3, "b": 3.5}]
    with pytest.raises(BigQueryError, match="No matching signature for function D.PLUS"):
        run("SELECT d.plus('x', 1)")
    sql = "CREATE TEMP FUNCTION twice(x STRING) RETURNS STRING AS (CONCAT(x, x)); SELECT twice('ab') AS t"
    assert run(sql) == [{"t": "abab"}]
    execute(engine, "DROP FUNCTION d.plus")
    with pytest.raises(BigQueryError, match="Function not found: d.plus"):
        run("SELECT d.plus(1, 2)")


SCRIPTS = [
    ("DECLARE x INT64 DEFAULT 2; SET x = x * 3; SELECT x;", [{"x": 6}]),
    ("DECLARE a, b STRING; SET (a, b) = ('p', 'q'); SELECT a, b", [{"a": "p", "b": "q"}]),
    ("DECLARE d DATE DEFAULT DATE '2020-01-31'; SET d = DATE_ADD(d, INTERVAL 1 MONTH); SELECT CAST(d AS STRING) s", [{"s": "2020-02-29"}]),
    ("DECLARE xs ARRAY<INT64> DEFAULT [1, 2]; SELECT SUM(x) s FROM UNNEST(xs) x", [{"s": 3}]),
    ("DECLARE i INT64 DEFAULT 0; WHILE i < 5 DO SET i = i + 1; IF i = 3 THEN BREAK; END IF; END WHILE; SELECT i", [{"i": 3}]),
    ("DECLARE i INT64 DEFAULT 0; LOOP SET i = i + 1; IF i < 4 THEN CONTINUE; ELSE LEAVE; END IF; END LOOP; SELECT i", [{"i": 4}]),
    ("DECLARE i INT64 DEFAULT 0; REPEAT SET i = i + 2; UNTIL i >= 5 END REPEAT; SELECT i", [{"i": 6}]),
    ("DECLARE s INT64 DEFAULT 0; FOR r IN (SELECT x FROM UNNEST([1, 2, 3]) x) DO SET s = s + r.x; END FOR; SELECT s", [{"s": 6}]),
    ("DECLARE x STRING DEFAULT 'b'; IF x = 'a' THEN SELECT 1 AS r; ELSEIF x = 'b' THEN SELECT 2 AS r; ELSE SELECT 3 AS r; END IF;", [{"r": 2}]),
    ("CASE 2 WHEN 1 THEN SELECT 'one' AS r; WHEN 2 THEN SELECT 'two' AS r; END CASE;", [{"r": "two"}]),
    ("BEGIN SELECT 1 / 0; EXCEPTION WHEN ERROR THEN SELECT @@error.message AS m; END;", [{"m": "division by zero: 1 / 0"}]),
    ("EXECUTE IMMEDIATE 'SELECT ? * @@row_count AS x' USING 2", None),
    ("EXECUTE IMMEDIATE 'SELECT @a AS x' USING 2 AS a", [{"x": 2}]),
    ("DECLARE y INT64; EXECUTE IMMEDIATE CONCAT('SELECT ', '40 + 2') INTO y; SELECT y", [{"y": 42}]),
    ("CREATE TEMP TABLE tt AS SELECT 5 AS q; INSERT INTO tt VALUES (6); SELECT SUM(q) s FROM tt;", [{"s": 11}]),
    ("CREATE OR REPLACE TABLE d.s1 (a INT64); INSERT INTO d.s1 VALUES (1), (2); SELECT @@row_count AS n;", [{"n": 2}]),
    ("SELECT 1 AS a; SELECT 2 AS b;", [{"b": 2}]),
    ("ASSERT 1 = 1; SELECT 1 AS ok", [{"ok": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "rows"), [s for s in SCRIPTS if s[1]], ids=[s[0] for s in SCRIPTS if s[1]])
def test_script(engine: Engine, sql: str, rows: list[dict[str, Any]]) -> None:
    result = engine.execute(sql, project="p")
    assert result.table().to_pylist() == rows
    if ";" in sql.rstrip(";"):
        assert result.statement_type == "SCRIPT"
        assert result.children


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ASSERT FALSE AS 'told you'", "told you"),
        ("SET nope = 1", "Undeclared variable: nope"),
        ("DECLARE x INT64 DEFAULT 'a'", "Cannot coerce expression of type STRING to type INT64"),
        ("BEGIN RAISE USING MESSAGE = 'mine'; END", "mine"),
        ("IF TRUE THEN SELECT 1;", "Syntax error: Expected keyword"),
        ("SELECT 1;\nSELECT foo;", "Unrecognized name: foo at [2:8]"),
        ("COMMIT TRANSACTION", "There is no active transaction"),
        ("BREAK", "BREAK and CONTINUE must be inside a loop"),
    ],
)
def test_script_errors(run: Run, sql: str, message: str) -> None:
    with pytest.raises(BigQueryError) as raised:
        run(sql)
    assert raised.value.message.startswith(message)


def test_transactions(engine: Engine, run: Run, table: TableRef) -> None:
    run("BEGIN TRANSACTION; INSERT INTO d.t VALUES (3, 'c'); DELETE FROM d.t WHERE id = 1; ROLLBACK TRANSACTION;")
    assert run("SELECT COUNT(*) n FROM d.t") == [{"n": 2}]
    seen = run("BEGIN TRANSACTION; INSERT INTO d.t VALUES (3, 'c'); SELECT COUNT(*) n FROM d.t; COMMIT TRANSACTION;")
    assert seen == [{"n": 3}]
    assert run("SELECT COUNT(*) n FROM d.t") == [{"n": 3}]
    with pytest.raises(BigQueryError, match="division by zero"):
        run("BEGIN TRANSACTION; INSERT INTO d.t VALUES (4, 'd'); SELECT 1 / 0; COMMIT TRANSACTION;")
    assert run("SELECT COUNT(*) n FROM d.t") == [{"n": 3}]


def test_a_session_lasts(engine: Engine, run: Run) -> None:
    session = engine.session()
    run("CREATE TEMP TABLE kept AS SELECT 1 AS a; DECLARE x INT64 DEFAULT 5;", session=session)
    assert run("SELECT a FROM kept", session=session) == [{"a": 1}]
    assert run("SELECT x + 1 AS y", session=session) == [{"y": 6}]
    with pytest.raises(BigQueryError):
        run("SELECT a FROM kept")
    session.close()


# INFORMATION_SCHEMA


def test_information_schema(engine: Engine, run: Run) -> None:
    execute(engine, "CREATE SCHEMA IF NOT EXISTS info")
    execute(
        engine,
        "CREATE OR REPLACE TABLE info.t (id INT64 NOT NULL, at DATE, s STRUCT<a STRING>) "
        "PARTITION BY at CLUSTER BY id OPTIONS(description='hello')",
    )
    execute(engine, "INSERT INTO info.t (id, at) VALUES (1, '2020-01-01'), (2, '2020-01-02'), (3, NULL)")
    execute(engine, "CREATE OR REPLACE VIEW info.v AS SELECT id FROM info.t")
    assert run("SELECT table_name, table_type FROM info.INFORMATION_SCHEMA.TABLES ORDER BY 1") == [
        {"table_name": "t", "table_type": "BASE TABLE"},
        {"table_name": "v", "table_type": "VIEW"},
    ]
    columns = "column_name c, data_type t, is_nullable n, is_partitioning_column p, clustering_ordinal_position o"
    assert run(f"SELECT {columns} FROM p.info.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 't' ORDER BY ordinal_position") == [
        {"c": "id", "t": "INT64", "n": "NO", "p": "NO", "o": 1},
        {"c": "at", "t": "DATE", "n": "YES", "p": "YES", "o": None},
        {"c": "s", "t": "STRUCT<a STRING>", "n": "YES", "p": "NO", "o": None},
    ]  # fmt: skip
    paths = run("SELECT field_path FROM info.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS WHERE table_name = 't'")
    assert [row["field_path"] for row in paths] == ["id", "at", "s", "s.a"]
    assert run("SELECT option_value FROM info.INFORMATION_SCHEMA.TABLE_OPTIONS") == [{"option_value": '"hello"'}]
    assert run("SELECT view_definition d FROM info.INFORMATION_SCHEMA.VIEWS") == [{"d": "SELECT id FROM info.t"}]
    partitions = run("SELECT partition_id i, total_rows n FROM info.INFORMATION_SCHEMA.PARTITIONS ORDER BY i")
    assert [(row["i"], row["n"]) for row in partitions] == [("20200101", 1), ("20200102", 1), ("__NULL__", 1)]
    schemata = run("SELECT schema_name FROM INFORMATION_SCHEMA.SCHEMATA")
    assert {"schema_name": "info"} in schemata
