"""Rows streamed in by insertAll, and listed in pages."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import LoadJobConfig, SchemaField

pytestmark = pytest.mark.filterwarnings("ignore:Retrieving Arrow record batches:PendingDeprecationWarning")


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> bigquery.Table:
    schema = [
        SchemaField("id", "INT64", mode="REQUIRED"),
        SchemaField("name", "STRING"),
        SchemaField("at", "TIMESTAMP"),
    ]
    return client.create_table(bigquery.Table(f"{client.project}.data.t", schema=schema))


def ids(client: bigquery.Client, table: Any) -> list[int]:
    return sorted(row["id"] for row in client.list_rows(table))


def test_rows_are_there_at_once(client: bigquery.Client, table: bigquery.Table) -> None:
    moment = dt.datetime(2013, 1, 1, 5, 0, 0, 123456, tzinfo=dt.UTC)
    assert client.insert_rows(table, [{"id": 1, "name": "x", "at": moment}, (2, None, None)]) == []
    assert [tuple(row.values()) for row in client.list_rows(table)] == [(1, "x", moment), (2, None, None)]


def test_errors_are_by_row_and_nothing_is_written(client: bigquery.Client, table: bigquery.Table) -> None:
    errors = client.insert_rows_json(table, [{"id": 1}, {"id": "x"}, {"id": 3, "other": 1}, {}])
    assert [error["index"] for error in errors] == [0, 1, 2, 3]
    assert [error["errors"][0]["reason"] for error in errors] == ["stopped", "invalid", "invalid", "invalid"]
    assert [error["errors"][0]["location"] for error in errors] == ["", "id", "other", "id"]
    assert ids(client, table) == []


def test_invalid_rows_can_be_skipped(client: bigquery.Client, table: bigquery.Table) -> None:
    errors = client.insert_rows_json(table, [{"id": 1}, {"id": "x"}], skip_invalid_rows=True)
    assert [error["index"] for error in errors] == [1]
    assert client.insert_rows_json(table, [{"id": 2, "other": 1}], ignore_unknown_values=True) == []
    assert ids(client, table) == [1, 2]


def test_insert_ids_keep_repeated_requests_from_doubling(client: bigquery.Client, table: bigquery.Table) -> None:
    for _ in range(2):
        assert client.insert_rows_json(table, [{"id": 1}, {"id": 2}], row_ids=["a", "b"]) == []
    assert client.insert_rows_json(table, [{"id": 3}, {"id": 3}], row_ids=["c", "c"]) == []
    assert client.insert_rows_json(table, [{"id": 4}, {"id": 4}], row_ids=[None, None]) == []
    assert ids(client, table) == [1, 2, 3, 4, 4]


def test_what_cannot_take_rows(client: bigquery.Client, table: bigquery.Table) -> None:
    with pytest.raises(NotFound):
        client.insert_rows_json(f"{client.project}.data.none", [{"id": 1}])
    with pytest.raises(BadRequest, match="No rows present"):
        client.insert_rows_json(table, [])


def test_a_template_suffix_makes_a_table(client: bigquery.Client, table: bigquery.Table) -> None:
    assert client.insert_rows_json(table, [{"id": 9}], template_suffix="_july") == []
    assert ids(client, "data.t_july") == [9]


def test_pages_are_of_one_moment(client: bigquery.Client, table: bigquery.Table) -> None:
    client.insert_rows_json(table, [{"id": number} for number in range(25)])
    pages = client.list_rows(table, page_size=10).pages
    first = [row["id"] for row in next(pages)]
    client.insert_rows_json(table, [{"id": 100}])
    rest = [row["id"] for page in pages for row in page]
    assert sorted(first + rest) == list(range(25))
    assert [row["id"] for row in client.list_rows(table, start_index=20, max_results=3)] == [20, 21, 22]
    selected = list(client.list_rows(table, selected_fields=[SchemaField("name", "STRING")], max_results=2))
    assert [row.values() for row in selected] == [(None,), (None,)]
    with pytest.raises(BadRequest, match="Invalid page token"):
        list(client.list_rows(table, page_token="nonsense"))


def test_every_type_comes_back_the_same_by_every_way(client: bigquery.Client, dataset: str) -> None:
    values = {
        "i": -(2**63),
        "f": 1.5e300,
        "n": Decimal("12345678901234567890.123456789"),
        "s": 'quote " and \u20ac',
        "y": b"\x00\xff",
        "b": True,
        "d": dt.date(1969, 12, 31),
        "t": dt.time(23, 59, 59, 999999),
        "dt": dt.datetime(1000, 1, 1, 0, 0, 0, 1),
        "ts": dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        "a": ["x", ""],
        "r": [{"k": 1, "v": None}],
    }
    kinds = ["INT64", "FLOAT64", "NUMERIC", "STRING", "BYTES", "BOOL", "DATE", "TIME", "DATETIME", "TIMESTAMP"]
    schema = [SchemaField(name, kind) for name, kind in zip(values, kinds, strict=False)]
    schema.append(SchemaField("a", "STRING", mode="REPEATED"))
    pair = [SchemaField("k", "INT64"), SchemaField("v", "STRING")]
    schema.append(SchemaField("r", "RECORD", mode="REPEATED", fields=pair))
    table = client.create_table(bigquery.Table(f"{client.project}.data.all", schema=schema))
    assert client.insert_rows(table, [values]) == []
    assert dict(next(iter(client.list_rows(table)))) == values
    assert dict(next(iter(client.query_and_wait("SELECT * FROM data.all")))) == values
    by_rest = client.list_rows(table).to_arrow(create_bqstorage_client=False)
    by_storage = client.list_rows(table).to_arrow()
    assert by_rest.cast(by_storage.schema).equals(by_storage)
    assert by_storage.to_pylist()[0]["n"] == values["n"]


def test_listing_by_rest_gives_every_row_once(client: bigquery.Client, dataset: str) -> None:
    content = "".join(f"{number},{'x' * 200}\n" for number in range(60_000)).encode()
    config = LoadJobConfig(schema=[SchemaField("id", "INT64"), SchemaField("text", "STRING")])
    client.load_table_from_file(io.BytesIO(content), "data.big", job_config=config).result()
    rows = client.list_rows("data.big").to_arrow(create_bqstorage_client=False)
    assert sorted(rows["id"].to_pylist()) == list(range(60_000))
    assert rows.schema.field("id").type == pa.int64()
