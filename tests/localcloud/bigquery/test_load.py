"""Load jobs by Google's client: every format, from uploads and from gs://, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import bigquery, storage
from google.cloud.bigquery import LoadJobConfig, SchemaField
from pyarrow import orc

UTC = dt.UTC
pytestmark = pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning")
CSV = b"id,name,when\n1,x,2013-01-01 05:00:00 UTC\n2,,\n"
SCHEMA = [SchemaField("id", "INT64"), SchemaField("name", "STRING"), SchemaField("when", "TIMESTAMP")]


def load(client: bigquery.Client, content: bytes, table: str, **options: Any) -> Any:
    job = client.load_table_from_file(io.BytesIO(content), table, job_config=LoadJobConfig(**options))
    return job.result()


def rows(client: bigquery.Client, table: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in client.list_rows(table)), key=repr)


def test_csv_with_a_schema(client: bigquery.Client, dataset: str) -> None:
    job = load(client, CSV, "data.t", schema=SCHEMA, skip_leading_rows=1)
    assert (job.output_rows, job.state, job.input_files) == (2, "DONE", 1)
    assert rows(client, "data.t") == [(1, "x", dt.datetime(2013, 1, 1, 5, tzinfo=UTC)), (2, None, None)]


def test_csv_schema_is_detected(client: bigquery.Client, dataset: str) -> None:
    content = b"id,price,day,ok,note\n1,2.5,2013-01-01,true,a\n2,3,2013-01-02,false,b\n"
    load(client, content, "data.t", autodetect=True)
    found = [(field.name, field.field_type) for field in client.get_table("data.t").schema]
    assert found == [("id", "INTEGER"), ("price", "FLOAT"), ("day", "DATE"), ("ok", "BOOLEAN"), ("note", "STRING")]
    assert rows(client, "data.t")[0] == (1, 2.5, dt.date(2013, 1, 1), True, "a")


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"1;'a;b'\n", {"field_delimiter": ";", "quote_character": "'"}, [(1, "a;b")]),
        (b'1,"a\nb"\n2,"say ""hi"""\n', {"allow_quoted_newlines": True}, [(1, "a\nb"), (2, 'say "hi"')]),
        (b"1\n2,b\n", {"allow_jagged_rows": True}, [(1, None), (2, "b")]),
        (b"1,a,b,c\n", {"ignore_unknown_values": True}, [(1, "a")]),
        (b"NA,NA\n1,\n", {"null_marker": "NA"}, [(1, ""), (None, None)]),
        (b'1,""\n2,\n', {}, [(1, ""), (2, None)]),
        ("1,\u00e9\n".encode("latin-1"), {"encoding": "ISO-8859-1"}, [(1, "\u00e9")]),
        (b"x,1\n1,a\n1,2,3\n", {"max_bad_records": 2}, [(1, "a")]),
        (gzip.compress(b"1,a\n", mtime=0), {}, [(1, "a")]),
        (b"", {}, []),
    ],
)
def test_csv_options(
    client: bigquery.Client, dataset: str, content: bytes, options: dict[str, Any], expected: list[Any]
) -> None:
    job = load(client, content, "data.t", schema=SCHEMA[:2], **options)
    assert rows(client, "data.t") == expected
    assert job.output_rows == len(expected)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"1,a\n\nx,b\n", "Could not parse 'x' as INT64 for field id (position 0) at line 3"),
        (b"1,a\n2\n", "CSV table references column position 1 (name), but line 2 contains only 1 columns."),
        (b"1,a\n\n2,b,c\n", "Too many values in line 3. Found 3 column(s) while expected 2."),
        (b'1,"a\nb"\n', "Missing close quote character"),
        (b"\xff\xfe,1\n", "invalid UTF8"),
    ],
)
def test_csv_errors_name_the_place_and_leave_the_table(
    client: bigquery.Client, dataset: str, content: bytes, place: str
) -> None:
    load(client, b"7,kept\n", "data.t", schema=SCHEMA[:2])
    with pytest.raises(GoogleAPICallError, match="Error while reading data, error message") as failure:
        load(client, content, "data.t", schema=SCHEMA[:2], write_disposition="WRITE_TRUNCATE")
    assert place in str(failure.value)
    assert "the uploaded file" in str(failure.value)
    assert rows(client, "data.t") == [(7, "kept")]


def test_json_lines(client: bigquery.Client, dataset: str) -> None:
    schema = [
        SchemaField("id", "INT64", mode="REQUIRED"),
        SchemaField("tags", "STRING", mode="REPEATED"),
        SchemaField("place", "RECORD", fields=[SchemaField("x", "FLOAT64"), SchemaField("n", "NUMERIC")]),
        SchemaField("data", "JSON"),
        SchemaField("raw", "BYTES"),
        SchemaField("at", "DATETIME"),
    ]
    data = [
        {"id": "1", "tags": ["a", "b"], "place": {"x": 1, "n": "1.5"}, "data": {"k": 1}, "raw": "YWI="},
        {"id": 2, "at": "2013-01-01T05:00:00"},
    ]
    job = client.load_table_from_json(data, "data.t", job_config=LoadJobConfig(schema=schema))
    assert job.result().output_rows == 2
    first, second = sorted((dict(row) for row in client.list_rows("data.t")), key=lambda row: row["id"])
    assert first == {
        **{"id": 1, "tags": ["a", "b"], "place": {"x": 1.0, "n": Decimal("1.5")}},
        **{"data": {"k": 1}, "raw": b"ab", "at": None},
    }
    assert second["tags"] == []
    assert second["at"] == dt.datetime(2013, 1, 1, 5)


def test_json_schema_is_detected(client: bigquery.Client, dataset: str) -> None:
    data = [{"a": 1, "b": {"c": "2013-01-01 00:00:00"}, "d": [1.5], "e": None}, {"a": 2.5, "e": True}]
    client.load_table_from_json(data, "data.t").result()
    schema = client.get_table("data.t").schema
    assert [(f.name, f.field_type, f.mode) for f in schema] == [
        ("a", "FLOAT", "NULLABLE"),
        ("b", "RECORD", "NULLABLE"),
        ("d", "FLOAT", "REPEATED"),
        ("e", "BOOLEAN", "NULLABLE"),
    ]
    assert schema[1].fields[0].field_type == "TIMESTAMP"


def test_json_errors_name_line_and_field(client: bigquery.Client, dataset: str) -> None:
    content = b'{"id": 1}\n{"id": "x", "other": 1}\n{"id": \n'
    config = LoadJobConfig(schema=SCHEMA, source_format="NEWLINE_DELIMITED_JSON")
    failed = client.load_table_from_file(io.BytesIO(content), "data.t", job_config=config)
    with pytest.raises(BadRequest, match="JSON table encountered too many errors"):
        failed.result()
    messages = " ".join(error["message"] for error in failed.errors)
    assert "line 2: field other: no such field: other." in messages
    assert "field id: Cannot convert value to integer (bad value): x" in messages
    assert "JSON parsing error in row at line 3" in messages
    with pytest.raises(NotFound):
        client.get_table("data.t")
    job = load(client, content, "data.t", schema=SCHEMA, source_format="NEWLINE_DELIMITED_JSON", max_bad_records=2)
    assert job.output_rows == 1
    assert len(job.errors) == 2


def test_data_frames_keep_their_types(client: bigquery.Client, dataset: str) -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "f": [1.5, float("nan")],
            "s": ["x", None],
            "b": [True, False],
            "at": pd.to_datetime(["2013-01-01 05:00:00.123456", None], utc=True),
            "naive": pd.to_datetime(["2013-01-01 05:00:00", "2013-01-02 00:00:00"]),
            "n": [Decimal("1.1"), None],
            "list": [[1, 2], []],
        }
    )
    schema = [SchemaField("n", "NUMERIC"), SchemaField("list", "INT64", mode="REPEATED")]
    client.load_table_from_dataframe(frame, "data.t", job_config=LoadJobConfig(schema=schema)).result()
    types = {field.name: field.field_type for field in client.get_table("data.t").schema}
    assert types["at"] == "TIMESTAMP"
    assert types["naive"] == "DATETIME"
    assert types["list"] == "INTEGER"
    first, second = sorted((dict(row) for row in client.list_rows("data.t")), key=lambda row: row["s"] or "~")
    assert first["i"] == 1
    assert first["at"] == dt.datetime(2013, 1, 1, 5, 0, 0, 123456, tzinfo=UTC)
    assert first["naive"] == dt.datetime(2013, 1, 1, 5)
    assert first["n"] == Decimal("1.1")
    assert first["list"] == [1, 2]
    assert second["i"] is None
    assert second["at"] is None


def test_dispositions(client: bigquery.Client, dataset: str) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    client.load_table_from_dataframe(frame, "data.t").result()
    client.load_table_from_dataframe(frame, "data.t").result()
    assert client.get_table("data.t").num_rows == 4
    truncate = LoadJobConfig(write_disposition="WRITE_TRUNCATE")
    client.load_table_from_dataframe(pd.DataFrame({"z": ["x"]}), "data.t", job_config=truncate).result()
    assert rows(client, "data.t") == [("x",)]
    empty = LoadJobConfig(write_disposition="WRITE_EMPTY")
    with pytest.raises(GoogleAPICallError, match="Already Exists"):
        client.load_table_from_dataframe(pd.DataFrame({"z": ["x"]}), "data.t", job_config=empty).result()
    never = LoadJobConfig(create_disposition="CREATE_NEVER")
    with pytest.raises(NotFound):
        client.load_table_from_dataframe(frame, "data.none", job_config=never).result()
    with pytest.raises(GoogleAPICallError, match="nodata"):
        client.load_table_from_dataframe(frame, "nodata.t").result()


def test_fields_are_added_where_allowed(client: bigquery.Client, dataset: str) -> None:
    client.load_table_from_dataframe(pd.DataFrame({"a": [1]}), "data.t").result()
    wider = pd.DataFrame({"a": [2], "b": ["x"]})
    with pytest.raises(GoogleAPICallError, match="b"):
        client.load_table_from_dataframe(wider, "data.t").result()
    addition = LoadJobConfig(schema_update_options=["ALLOW_FIELD_ADDITION"])
    client.load_table_from_dataframe(wider, "data.t", job_config=addition).result()
    assert rows(client, "data.t") == [(1, None), (2, "x")]


def test_partitioned_and_clustered(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(
        schema=SCHEMA,
        skip_leading_rows=1,
        time_partitioning=bigquery.TimePartitioning(field="when"),
        clustering_fields=["name"],
        destination_table_description="Things",
    )
    client.load_table_from_file(io.BytesIO(CSV), "data.t", job_config=config).result()
    table = client.get_table("data.t")
    assert table.time_partitioning.field == "when"
    assert table.clustering_fields == ["name"]
    assert table.description == "Things"


def test_large_files_are_resumable_uploads(client: bigquery.Client, dataset: str) -> None:
    content = b"".join(b'%d,"%s"\n' % (number, b"x" * 90) for number in range(80_000))
    config = LoadJobConfig(schema=SCHEMA[:2])
    job = client.load_table_from_file(io.BytesIO(content), "data.t", job_config=config)
    assert job.result().output_rows == 80_000
    assert client.get_table("data.t").num_rows == 80_000


def test_files_on_cloud_storage(client: bigquery.Client, dataset: str, bucket: storage.Bucket) -> None:
    bucket.blob("in/a-1.csv").upload_from_string("h\n1,x\n")
    bucket.blob("in/a-2.csv").upload_from_string("h\n2,y\n")
    bucket.blob("in/b.csv").upload_from_string("h\n3,z\n")
    config = LoadJobConfig(schema=SCHEMA[:2], skip_leading_rows=1)
    job = client.load_table_from_uri(f"gs://{bucket.name}/in/a-*", "data.t", job_config=config).result()
    assert (job.input_files, job.output_rows) == (2, 2)
    assert rows(client, "data.t") == [(1, "x"), (2, "y")]
    with pytest.raises(NotFound, match="Not found: URI"):
        client.load_table_from_uri(f"gs://{bucket.name}/none-*", "data.t", job_config=config).result()
    bucket.blob("in/a-3.csv").upload_from_string("h\nbad,y\n")
    with pytest.raises(BadRequest, match=rf"gs://{bucket.name}/in/a-3\.csv") as failure:
        client.load_table_from_uri(f"gs://{bucket.name}/in/a-*", "data.t", job_config=config).result()
    assert "line 2" in str(failure.value)
    assert client.get_table("data.t").num_rows == 2


def test_parquet_types(client: bigquery.Client, dataset: str, tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "at": pa.array([0, 1], pa.timestamp("ns", "UTC")),
            "d": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
            "l": pa.array([["a"], []], pa.list_(pa.string())),
            "s": pa.array([{"x": 1}, None], pa.struct([("x", pa.int64())])),
            "c": pa.array(["u", "v"]).dictionary_encode(),
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    options = bigquery.ParquetOptions()
    options.enable_list_inference = True
    load(client, path.read_bytes(), "data.t", source_format="PARQUET", parquet_options=options)
    types = [(f.name, f.field_type, f.mode) for f in client.get_table("data.t").schema]
    assert types == [
        ("i", "INTEGER", "NULLABLE"),
        ("at", "TIMESTAMP", "NULLABLE"),
        ("d", "NUMERIC", "NULLABLE"),
        ("l", "STRING", "REPEATED"),
        ("s", "RECORD", "NULLABLE"),
        ("c", "STRING", "NULLABLE"),
    ]
    first = min((dict(row) for row in client.list_rows("data.t")), key=lambda row: row["c"])
    assert first == {
        **{"i": 1, "at": dt.datetime(1970, 1, 1, tzinfo=UTC), "d": Decimal("1.1")},
        **{"l": ["a"], "s": {"x": 1}, "c": "u"},
    }
    load(client, path.read_bytes(), "data.nested", source_format="PARQUET")
    nested = next(iter(client.list_rows("data.nested")))
    assert nested["l"] == {"list": [{"element": "a"}]}
    with pytest.raises(BadRequest, match="Column c has type STRING which does not match the table's type INT64"):
        load(
            client,
            path.read_bytes(),
            "data.x",
            source_format="PARQUET",
            schema=[SchemaField("c", "INT64")],
            ignore_unknown_values=True,
        )
    with pytest.raises(BadRequest, match="not in Parquet format"):
        load(client, b"not parquet", "data.x", source_format="PARQUET")


def test_avro(client: bigquery.Client, dataset: str) -> None:
    schema = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "i", "type": "long"},
            {"name": "s", "type": ["null", "string"]},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "l", "type": {"type": "array", "items": "double"}},
            {"name": "n", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
            {"name": "m", "type": {"type": "map", "values": "int"}},
        ],
    }
    moment = dt.datetime(2013, 1, 1, 5, tzinfo=UTC)
    record = {"i": 1, "s": None, "at": moment, "l": [1.5], "n": Decimal("1.25"), "m": {}}
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [record], codec="deflate")
    load(client, buffer.getvalue(), "data.logical", source_format="AVRO", use_avro_logical_types=True)
    row = next(iter(client.list_rows("data.logical")))
    assert (row["i"], row["s"], row["at"], row["l"], row["n"]) == (1, None, moment, [1.5], Decimal("1.25"))
    load(client, buffer.getvalue(), "data.plain", source_format="AVRO")
    assert next(iter(client.list_rows("data.plain")))["at"] == 1357016400000000
    with pytest.raises(BadRequest, match="Avro library failed"):
        load(client, b"nothing", "data.x", source_format="AVRO")


def test_orc(client: bigquery.Client, dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "x.orc"
    orc.write_table(pa.table({"i": [1, 2], "s": ["a", None]}), path)
    load(client, path.read_bytes(), "data.t", source_format="ORC")
    assert rows(client, "data.t") == [(1, "a"), (2, None)]


def test_what_is_not_done_is_refused_by_name(client: bigquery.Client, dataset: str) -> None:
    config = LoadJobConfig(schema=SCHEMA[:2])
    config.hive_partitioning = bigquery.HivePartitioningOptions.from_api_repr({"mode": "AUTO"})
    with pytest.raises(GoogleAPICallError, match="hivePartitioningOptions is not carried over"):
        client.load_table_from_uri("gs://some-bucket/x", "data.t", job_config=config).result()
    with pytest.raises(BadRequest, match="Schema is required"):
        load(client, b"1,a\n", "data.t")


def test_a_nested_field_in_csv_is_refused(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(BadRequest, match="nested or repeated"):
        load(client, b"1\n", "data.t", schema=[SchemaField("a", "INT64", mode="REPEATED")])


def test_rest_names_what_is_missing(client: bigquery.Client) -> None:
    with pytest.raises(BadRequest, match="exactly one of query, load, extract and copy"):
        client._connection.api_request(
            method="POST", path=f"/projects/{client.project}/jobs", data={"configuration": {}}
        )
