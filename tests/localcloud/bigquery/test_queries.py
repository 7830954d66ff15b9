"""Query jobs by Google's client: results, parameters, destinations, statistics, scripts, sessions, data frames."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pandas_gbq
import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, QueryJobConfig, ScalarQueryParameter, StructQueryParameter
from tests.conftest import LocalCloud

pytestmark = [
    pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Retrieving Arrow record batches:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Retrieving DataFrames:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In a future major release, the default delimiter:PendingDeprecationWarning"),
]


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    frame = pd.DataFrame({"id": [1, 2, 3], "group": ["a", "a", "b"], "value": [1.5, np.nan, 2.0]})
    client.load_table_from_dataframe(frame, "data.t").result()
    return "data.t"


def values(client: bigquery.Client, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    rows = client.query(sql, job_config=QueryJobConfig(**options)).result()
    return [tuple(row.values()) for row in rows]


def test_statistics_of_a_select(client: bigquery.Client, table: str) -> None:
    job = client.query("SELECT `group`, COUNT(*) AS n FROM data.t GROUP BY 1 ORDER BY 1")
    assert [tuple(row.values()) for row in job.result()] == [("a", 2), ("b", 1)]
    assert job.statement_type == "SELECT"
    assert [(field.name, field.field_type) for field in job.schema] == [("group", "STRING"), ("n", "INTEGER")]
    assert [str(ref) for ref in job.referenced_tables] == [f"{client.project}.data.t"]
    assert job.total_bytes_processed > 0
    assert job.cache_hit is False


def test_parameters(client: bigquery.Client, table: str) -> None:
    parameters = [
        ScalarQueryParameter("i", "INT64", 2),
        ScalarQueryParameter("n", "NUMERIC", Decimal("1.5")),
        ScalarQueryParameter("at", "TIMESTAMP", dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)),
        ArrayQueryParameter("l", "STRING", ["x", "y"]),
        StructQueryParameter("s", ScalarQueryParameter("k", "DATE", dt.date(2013, 1, 1))),
        ScalarQueryParameter("none", "STRING", None),
    ]
    [row] = values(client, "SELECT @i + 1, @n, @at, @l, @s.k, @none", query_parameters=parameters)
    assert row == (3, Decimal("1.5"), dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC), ["x", "y"], dt.date(2013, 1, 1), None)
    positional = [ScalarQueryParameter(None, "INT64", 2)]
    assert values(client, "SELECT id FROM data.t WHERE id > ?", query_parameters=positional) == [(3,)]


def test_a_dry_run_says_schema_and_size_and_keeps_nothing(client: bigquery.Client, table: str) -> None:
    before = len(list(client.list_jobs()))
    job = client.query("SELECT id FROM data.t", job_config=QueryJobConfig(dry_run=True))
    assert (job.state, job.statement_type) == ("DONE", "SELECT")
    assert [field.name for field in job.schema] == ["id"]
    assert job.total_bytes_processed > 0
    with pytest.raises(BadRequest, match="Unrecognized name: nothing"):
        client.query("SELECT nothing FROM data.t", job_config=QueryJobConfig(dry_run=True))
    assert len(list(client.list_jobs())) == before
    with pytest.raises(GoogleAPICallError, match="exceeded limit for bytes billed: 1"):
        client.query("SELECT id FROM data.t", job_config=QueryJobConfig(maximum_bytes_billed=1)).result()


def test_destinations(client: bigquery.Client, table: str) -> None:
    destination = f"{client.project}.data.out"
    values(client, "SELECT 1 AS a", destination=destination)
    with pytest.raises(Conflict, match="Already Exists"):
        values(client, "SELECT 1 AS a", destination=destination)
    assert values(client, "SELECT 2 AS a", destination=destination, write_disposition="WRITE_APPEND")
    assert sorted(values(client, "SELECT * FROM data.out")) == [(1,), (2,)]
    rows = values(client, "SELECT 'x' AS b", destination=destination, write_disposition="WRITE_TRUNCATE")
    assert rows == [("x",)]
    assert [field.name for field in client.get_table(destination).schema] == ["b"]
    options: dict[str, Any] = {"time_partitioning": bigquery.TimePartitioning(field="d")}
    values(client, "SELECT DATE '2013-01-01' AS d", destination=f"{client.project}.data.parts", **options)
    assert client.get_table("data.parts").time_partitioning.field == "d"
    with pytest.raises(NotFound):
        never = {"create_disposition": "CREATE_NEVER", "destination": f"{client.project}.data.never"}
        values(client, "SELECT 1 AS a", **never)


def test_statements_that_change_data(client: bigquery.Client, table: str) -> None:
    made = client.query("CREATE TABLE data.made AS SELECT * FROM data.t")
    assert made.result().total_rows in (0, None)
    assert (made.statement_type, made.ddl_operation_performed) == ("CREATE_TABLE_AS_SELECT", "CREATE")
    assert str(made.ddl_target_table) == f"{client.project}.data.made"
    changed = client.query("UPDATE data.made SET value = 0 WHERE id < 3")
    changed.result()
    assert changed.num_dml_affected_rows == 2
    assert changed.dml_stats.updated_row_count == 2
    merged = client.query(
        "MERGE data.made t USING (SELECT 3 AS id UNION ALL SELECT 4) s ON t.id = s.id "
        "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (id)"
    )
    merged.result()
    assert (merged.dml_stats.inserted_row_count, merged.dml_stats.deleted_row_count) == (1, 1)
    assert sorted(values(client, "SELECT id FROM data.made")) == [(1,), (2,), (4,)]
    assert client.query_and_wait("DELETE FROM data.made WHERE TRUE").num_dml_affected_rows == 3


def test_scripts_have_child_jobs(client: bigquery.Client, table: str) -> None:
    job = client.query("DECLARE x INT64 DEFAULT 2; CREATE TABLE data.s AS SELECT x AS a; SELECT a + 1 AS b FROM data.s")
    assert [tuple(row.values()) for row in job.result()] == [(3,)]
    assert job.statement_type == "SCRIPT"
    children = list(client.list_jobs(parent_job=job.job_id))
    assert job.num_child_jobs == len(children)
    assert "CREATE_TABLE_AS_SELECT" in [child.statement_type for child in children]
    assert all(child.parent_job_id == job.job_id for child in children)
    assert job.job_id in [listed.job_id for listed in client.list_jobs()]
    assert not {child.job_id for child in children} & {listed.job_id for listed in client.list_jobs()}


def test_sessions_keep_what_is_temporary(client: bigquery.Client, dataset: str) -> None:
    first = client.query("CREATE TEMP TABLE kept AS SELECT 7 AS a", job_config=QueryJobConfig(create_session=True))
    first.result()
    session = [bigquery.ConnectionProperty("session_id", first.session_info.session_id)]
    assert values(client, "SELECT a FROM kept", connection_properties=session) == [(7,)]
    with pytest.raises(GoogleAPICallError, match="kept"):
        values(client, "SELECT a FROM kept")
    with pytest.raises(GoogleAPICallError, match="not valid"):
        values(client, "SELECT 1", connection_properties=[bigquery.ConnectionProperty("session_id", "none")])


def test_errors_of_sql_have_bigquerys_form(client: bigquery.Client, table: str) -> None:
    for sql, kind, text in (
        ("SELEC 1", BadRequest, "Syntax error"),
        ("SELECT * FROM data.none", NotFound, "Not found: Table"),
        ("SELECT nothing FROM data.t", BadRequest, "Unrecognized name: nothing"),
        ("SELECT 1 / 0", BadRequest, "division by zero"),
    ):
        with pytest.raises(kind, match=text):
            client.query(sql).result()
        with pytest.raises(kind, match=text):
            client.query_and_wait(sql)
    with pytest.raises(GoogleAPICallError, match="Legacy SQL is not carried over"):
        values(client, "SELECT 1", use_legacy_sql=True)


def test_results_are_tables_for_a_day(client: bigquery.Client, table: str) -> None:
    job = client.query("SELECT id FROM data.t")
    job.result()
    ref = job.destination
    assert sorted(row["id"] for row in client.list_rows(ref)) == [1, 2, 3]
    assert values(client, f"SELECT SUM(id) FROM `{ref}`") == [(6,)]
    assert ref.dataset_id not in [item.dataset_id for item in client.list_datasets()]


def test_pages_of_a_large_result(client: bigquery.Client) -> None:
    sql = "SELECT n, REPEAT('x', 100) AS text FROM UNNEST(GENERATE_ARRAY(1, 50000)) AS n ORDER BY n"
    rows = client.query_and_wait(sql)
    assert rows.total_rows == 50_000
    assert [row["n"] for row in rows] == list(range(1, 50_001))
    pages = [page.num_items for page in client.query(sql).result(page_size=20_000).pages]
    assert pages == [20_000, 20_000, 10_000]
    assert client.query(sql).result(start_index=49_998).to_dataframe(create_bqstorage_client=False)["n"].tolist() == [
        49_999,
        50_000,
    ]


@pytest.mark.parametrize("storage", [True, False])
def test_data_frames(client: bigquery.Client, table: str, storage: bool) -> None:
    columns = "id, value, DATE '2013-01-01' AS d, TIMESTAMP '2013-01-01 05:00:00' AS at, [id] AS l"
    sql = f"SELECT {columns} FROM data.t ORDER BY id"
    frame = client.query(sql).to_dataframe(create_bqstorage_client=storage)
    assert frame["id"].dtype == "Int64"
    assert frame["id"].tolist() == [1, 2, 3]
    assert str(frame["at"].dtype).startswith("datetime64[us, UTC]")
    assert [list(item) for item in frame["l"]] == [[1], [2], [3]]
    table_ = client.query(sql).to_arrow(create_bqstorage_client=storage)
    assert table_.schema.field("at").type == pa.timestamp("us", "UTC")
    assert table_["d"].to_pylist() == [dt.date(2013, 1, 1)] * 3


def test_nan_and_null_stay_apart(client: bigquery.Client) -> None:
    sql = "SELECT CAST('nan' AS FLOAT64) AS a, CAST(NULL AS FLOAT64) AS b, CAST('-inf' AS FLOAT64) AS c"
    [(a, b, c)] = values(client, sql)
    assert np.isnan(a)
    assert (b, c) == (None, -np.inf)
    [row] = client.query(sql).to_arrow().to_pylist()
    assert np.isnan(row["a"])
    assert row["b"] is None


def test_pandas_gbq(cloud: LocalCloud, client: bigquery.Client, dataset: str) -> None:
    frame = pd.DataFrame({"id": [1, 2], "name": ["x", None], "ok": [True, False]})
    pandas_gbq.to_gbq(frame, "data.g", project_id=client.project, progress_bar=False)
    pandas_gbq.to_gbq(frame, "data.g", project_id=client.project, if_exists="append", progress_bar=False)
    read = pandas_gbq.read_gbq("SELECT * FROM data.g ORDER BY id", project_id=client.project, progress_bar_type=None)
    assert read["id"].tolist() == [1, 1, 2, 2]
    assert read["ok"].tolist() == [True, True, False, False]


def test_routines(client: bigquery.Client, dataset: str) -> None:
    argument = bigquery.RoutineArgument(
        name="x", data_type=bigquery.StandardSqlDataType(bigquery.StandardSqlTypeNames.INT64)
    )
    routine = bigquery.Routine(f"{client.project}.data.twice", type_="SCALAR_FUNCTION", language="SQL")
    routine.arguments = [argument]
    routine.body = "x * 2"
    client.create_routine(routine)
    with pytest.raises(Conflict):
        client.create_routine(routine)
    assert [item.routine_id for item in client.list_routines("data")] == ["twice"]
    assert client.get_routine("data.twice").body.strip() == "x * 2"
    assert values(client, "SELECT data.twice(21)") == [(42,)]
    client.delete_routine("data.twice")
    with pytest.raises(NotFound):
        client.get_routine("data.twice")


def test_jobs_are_in_the_information_schema(client: bigquery.Client, table: str) -> None:
    client.query_and_wait("SELECT id FROM data.t")
    sql = "SELECT query, state FROM `region-us`.INFORMATION_SCHEMA.JOBS WHERE query LIKE 'SELECT id%'"
    assert ("SELECT id FROM data.t", "DONE") in values(client, sql)
