"""The Storage Read API by Google's client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound, OutOfRange
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.types import ArrowSerializationOptions, ReadSession

pytestmark = [
    pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Retrieving Arrow record batches:PendingDeprecationWarning"),
]
ROWS = 20_000


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    frame = pd.DataFrame({"id": range(ROWS), "text": "x", "day": dt.date(2013, 1, 1)})
    client.load_table_from_dataframe(frame, "data.t").result()
    return f"projects/{client.project}/datasets/data/tables/t"


@pytest.fixture
def reader(project: str) -> Iterator[BigQueryReadClient]:
    with BigQueryReadClient() as client:
        yield client


def session(
    reader: BigQueryReadClient,
    table: str,
    *,
    streams: int = 1,
    minimum: int = 0,
    form: str = "ARROW",
    **options: object,
) -> ReadSession:
    parent = "/".join(table.split("/")[:2])
    wanted = ReadSession(table=table, data_format=form, read_options=options)
    request = {
        "parent": parent,
        "read_session": wanted,
        "max_stream_count": streams,
        "preferred_min_stream_count": minimum,
    }
    return reader.create_read_session(request=request)


def ids(reader: BigQueryReadClient, stream: str, offset: int = 0) -> list[int]:
    return [row["id"] for row in reader.read_rows(stream, offset=offset).rows()] if stream else []


def test_streams_have_each_row_once(reader: BigQueryReadClient, table: str) -> None:
    found = session(reader, table, streams=3, minimum=3)
    parts = [reader.read_rows(stream.name).to_arrow(found)["id"].to_pylist() for stream in found.streams]
    assert len(parts) == 3
    assert sorted(id_ for part in parts for id_ in part) == list(range(ROWS))
    assert found.estimated_row_count == ROWS


@pytest.mark.parametrize("codec", ["COMPRESSION_UNSPECIFIED", "LZ4_FRAME", "ZSTD"])
def test_compression_is_honoured(reader: BigQueryReadClient, table: str, codec: str) -> None:
    options = ArrowSerializationOptions(buffer_compression=codec)
    found = session(reader, table, arrow_serialization_options=options)
    messages = list(reader.read_rows(found.streams[0].name))
    size = sum(len(message.arrow_record_batch.serialized_record_batch) for message in messages)
    plain = sum(message.uncompressed_byte_size for message in messages)
    assert sum(message.row_count for message in messages) == ROWS
    assert size > plain if codec == "COMPRESSION_UNSPECIFIED" else size < plain / 2
    schema = pa.ipc.read_schema(pa.py_buffer(found.arrow_schema.serialized_schema))
    batch = pa.ipc.read_record_batch(pa.py_buffer(messages[0].arrow_record_batch.serialized_record_batch), schema)
    assert batch.schema.names == ["id", "text", "day"]


def test_fields_and_rows_are_selected(reader: BigQueryReadClient, table: str) -> None:
    found = session(reader, table, selected_fields=["day", "id"], row_restriction="id < 5 AND text = 'x'")
    rows = reader.read_rows(found.streams[0].name).to_arrow(found)
    assert rows.column_names == ["id", "day"]
    assert sorted(rows["id"].to_pylist()) == [0, 1, 2, 3, 4]
    with pytest.raises(InvalidArgument, match="nothing"):
        session(reader, table, selected_fields=["nothing"])
    with pytest.raises(GoogleAPICallError, match="nothing"):
        session(reader, table, row_restriction="nothing = 1")


def test_reading_goes_on_at_an_offset(reader: BigQueryReadClient, table: str) -> None:
    found = session(reader, table)
    name = found.streams[0].name
    whole = reader.read_rows(name).to_arrow(found)["id"].to_pylist()
    rest = reader.read_rows(name, offset=ROWS - 3).to_arrow(found)["id"].to_pylist()
    assert rest == whole[-3:]
    with pytest.raises(OutOfRange):
        list(reader.read_rows(name, offset=ROWS + 1))


def test_streams_are_split(reader: BigQueryReadClient, table: str) -> None:
    found = session(reader, table)
    name = found.streams[0].name
    split = reader.split_read_stream(request={"name": name, "fraction": 0.25})
    first = reader.read_rows(split.primary_stream.name).to_arrow(found)["id"].to_pylist()
    second = reader.read_rows(split.remainder_stream.name).to_arrow(found)["id"].to_pylist()
    assert len(first) == ROWS // 4
    assert first + second == reader.read_rows(name).to_arrow(found)["id"].to_pylist()


def test_a_session_is_a_snapshot(reader: BigQueryReadClient, client: bigquery.Client, table: str) -> None:
    found = session(reader, table)
    client.insert_rows_json(f"{client.project}.data.t", [{"id": -1}])
    assert -1 not in reader.read_rows(found.streams[0].name).to_arrow(found)["id"].to_pylist()
    later = session(reader, table)
    assert -1 in reader.read_rows(later.streams[0].name).to_arrow(later)["id"].to_pylist()


def test_avro(reader: BigQueryReadClient, table: str) -> None:
    found = session(reader, table, form="AVRO")
    rows = list(reader.read_rows(found.streams[0].name).rows(found))
    assert len(rows) == ROWS
    assert rows[0] == {"id": 0, "text": "x", "day": dt.date(2013, 1, 1)}


def test_what_is_not_there(reader: BigQueryReadClient, client: bigquery.Client, table: str) -> None:
    with pytest.raises(NotFound, match="none"):
        session(reader, table.removesuffix("t") + "none")
    with pytest.raises(InvalidArgument, match="Invalid read_session.table"):
        session(reader, "projects/p/tables/t")
    client.create_table(bigquery.Table(f"{client.project}.data.empty", [bigquery.SchemaField("a", "INT64")]))
    assert len(session(reader, table.removesuffix("t") + "empty").streams) == 0
    assert client.list_rows("data.empty").to_arrow().num_rows == 0


def test_results_of_queries_are_read(reader: BigQueryReadClient, client: bigquery.Client, table: str) -> None:
    job = client.query("SELECT id FROM data.t WHERE id < 10 ORDER BY id")
    job.result()
    anonymous = job.destination
    assert anonymous.dataset_id.startswith("_")
    found = session(reader, anonymous.to_bqstorage())
    assert reader.read_rows(found.streams[0].name).to_arrow(found)["id"].to_pylist() == list(range(10))
    assert client.get_table(anonymous).expires > dt.datetime.now(dt.UTC) + dt.timedelta(hours=23)
    assert client.query_and_wait("SELECT * FROM data.t").to_arrow().num_rows == ROWS
