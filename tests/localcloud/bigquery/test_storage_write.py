"""The Storage Write API by Google's client: every kind of stream, offsets, bad rows, protobuf and Arrow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound, OutOfRange
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse, WriteStream
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ALREADY_EXISTS, OUT_OF_RANGE, INVALID_ARGUMENT, FAILED_PRECONDITION = 6, 11, 3, 9
_FIELD = descriptor_pb2.FieldDescriptorProto


def message(type_name: str, /, **fields: Any) -> descriptor_pb2.DescriptorProto:
    """A proto2 message type of optional fields; a list for a repeated one."""
    found = descriptor_pb2.DescriptorProto(name=type_name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        repeated = isinstance(kind, list)
        label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        found.field.add(name=field, number=number, type=kind[0] if repeated else kind, label=label)
    return found


ROW = message("Row", id=_FIELD.TYPE_INT64, name=_FIELD.TYPE_STRING)


def serialized(descriptor: descriptor_pb2.DescriptorProto, rows: Sequence[dict[str, Any]]) -> list[bytes]:
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto2")
    file.message_type.add().CopyFrom(descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{descriptor.name}"))
    return [kind(**row).SerializeToString() for row in rows]


def request(
    stream: str,
    rows: Sequence[dict[str, Any]],
    *,
    offset: int | None = None,
    descriptor: descriptor_pb2.DescriptorProto = ROW,
) -> AppendRowsRequest:
    data = AppendRowsRequest.ProtoData()
    data.writer_schema.proto_descriptor = descriptor
    data.rows.serialized_rows = serialized(descriptor, rows)
    return AppendRowsRequest(write_stream=stream, proto_rows=data, offset=offset)


@pytest.fixture
def writer(project: str) -> Iterator[BigQueryWriteClient]:
    with BigQueryWriteClient() as client:
        yield client


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    schema = [SchemaField("id", "INT64", mode="REQUIRED"), SchemaField("name", "STRING")]
    client.create_table(bigquery.Table(f"{client.project}.data.t", schema=schema))
    return f"projects/{client.project}/datasets/data/tables/t"


def append(writer: BigQueryWriteClient, *requests: AppendRowsRequest) -> list[AppendRowsResponse]:
    return list(writer.append_rows(iter(requests)))


def create(writer: BigQueryWriteClient, table: str, kind: str) -> str:
    return writer.create_write_stream(parent=table, write_stream=WriteStream(type_=kind)).name


def ids(client: bigquery.Client) -> list[int]:
    return sorted(row["id"] for row in client.list_rows("data.t"))


def test_the_default_stream(writer: BigQueryWriteClient, client: bigquery.Client, table: str) -> None:
    name = f"{table}/streams/_default"
    second = request("", [{"id": 3}])
    del second.proto_rows.writer_schema
    first, third = append(writer, request(name, [{"id": 1, "name": "x"}, {"id": 2}]), second)
    assert (first.error.code, third.error.code) == (0, 0)
    assert "offset" not in first.append_result
    assert [tuple(row.values()) for row in client.list_rows("data.t")] == [(1, "x"), (2, None), (3, None)]
    [refused] = append(writer, request(f"{table}/_default", [{"id": 4}], offset=0))
    assert refused.error.code == INVALID_ARGUMENT
    assert writer.get_write_stream(request={"name": name, "view": "FULL"}).table_schema.fields[0].name == "id"


def test_offsets_make_committed_streams_exactly_once(
    writer: BigQueryWriteClient, client: bigquery.Client, table: str
) -> None:
    name = create(writer, table, "COMMITTED")
    rows = [{"id": 1}, {"id": 2}]
    answers = append(
        writer,
        request(name, rows, offset=0),
        request(name, rows, offset=0),
        request(name, [{"id": 9}], offset=7),
        request(name, [{"id": 3}], offset=2),
    )
    assert [answer.error.code for answer in answers] == [0, ALREADY_EXISTS, OUT_OF_RANGE, 0]
    assert answers[3].append_result.offset == 2
    assert ids(client) == [1, 2, 3]
    assert writer.finalize_write_stream(name=name).row_count == 3
    [after] = append(writer, request(name, [{"id": 4}], offset=3))
    assert after.error.code == FAILED_PRECONDITION
    assert ids(client) == [1, 2, 3]


def test_pending_streams_show_together(writer: BigQueryWriteClient, client: bigquery.Client, table: str) -> None:
    names = [create(writer, table, "PENDING") for _ in range(2)]
    for number, name in enumerate(names):
        append(
            writer, request(name, [{"id": 10 * number}], offset=0), request(name, [{"id": 10 * number + 1}], offset=1)
        )
    assert ids(client) == []
    early = writer.batch_commit_write_streams(request={"parent": table, "write_streams": names})
    assert len(early.stream_errors) == 2
    for name in names:
        writer.finalize_write_stream(name=name)
    done = writer.batch_commit_write_streams(request={"parent": table, "write_streams": names})
    assert not done.stream_errors
    assert done.commit_time
    assert ids(client) == [0, 1, 10, 11]
    again = writer.batch_commit_write_streams(request={"parent": table, "write_streams": names})
    assert len(again.stream_errors) == 2
    assert ids(client) == [0, 1, 10, 11]


def test_buffered_streams_show_what_is_flushed(
    writer: BigQueryWriteClient, client: bigquery.Client, table: str
) -> None:
    name = create(writer, table, "BUFFERED")
    append(
        writer, request(name, [{"id": number} for number in range(4)], offset=0), request(name, [{"id": 4}], offset=4)
    )
    assert ids(client) == []
    assert writer.flush_rows(request={"write_stream": name, "offset": 1}).offset == 1
    assert ids(client) == [0, 1]
    writer.flush_rows(request={"write_stream": name, "offset": 1})
    assert ids(client) == [0, 1]
    writer.flush_rows(request={"write_stream": name, "offset": 4})
    assert ids(client) == [0, 1, 2, 3, 4]
    with pytest.raises(OutOfRange):
        writer.flush_rows(request={"write_stream": name, "offset": 5})
    [more] = append(writer, request(name, [{"id": 5}], offset=5))
    assert more.error.code == 0


def test_bad_rows_are_named_and_none_is_written(
    writer: BigQueryWriteClient, client: bigquery.Client, table: str
) -> None:
    name = create(writer, table, "COMMITTED")
    bad, good = append(
        writer, request(name, [{"id": 1}, {"name": "x"}], offset=0), request(name, [{"id": 2}], offset=0)
    )
    assert bad.error.code == INVALID_ARGUMENT
    assert [(error.index, error.message) for error in bad.row_errors] == [(1, "Field id: Missing required field: id.")]
    assert good.error.code == 0
    wider = message("Wider", id=_FIELD.TYPE_INT64, other=_FIELD.TYPE_STRING)
    [extra] = append(writer, request(name, [{"id": 1, "other": "x"}], offset=1, descriptor=wider))
    assert extra.error.code == INVALID_ARGUMENT
    assert "other" in extra.error.message
    assert ids(client) == [2]


def test_every_type_in_protobuf(writer: BigQueryWriteClient, client: bigquery.Client, dataset: str) -> None:
    kinds = {"ts": "TIMESTAMP", "d": "DATE", "t": "TIME", "dt": "DATETIME", "n": "NUMERIC", "m": "NUMERIC"}
    kinds |= {"y": "BYTES", "f": "FLOAT64", "b": "BOOL", "j": "JSON", "u": "TIMESTAMP"}
    schema = [SchemaField(name, kind) for name, kind in kinds.items()]
    schema.append(SchemaField("l", "INT64", mode="REPEATED"))
    schema.append(SchemaField("r", "RECORD", fields=[SchemaField("k", "STRING")]))
    client.create_table(bigquery.Table(f"{client.project}.data.all", schema=schema))
    row = message(
        "All",
        **{"ts": _FIELD.TYPE_INT64, "d": _FIELD.TYPE_INT32, "t": _FIELD.TYPE_STRING, "dt": _FIELD.TYPE_INT64},
        **{"n": _FIELD.TYPE_STRING, "m": _FIELD.TYPE_BYTES, "y": _FIELD.TYPE_BYTES, "f": _FIELD.TYPE_DOUBLE},
        **{"b": _FIELD.TYPE_BOOL, "j": _FIELD.TYPE_STRING, "u": _FIELD.TYPE_STRING, "l": [_FIELD.TYPE_INT64]},
    )
    row.nested_type.add().CopyFrom(message("Inner", k=_FIELD.TYPE_STRING))
    row.field.add(name="r", number=20, type=_FIELD.TYPE_MESSAGE, label=_FIELD.LABEL_OPTIONAL, type_name="Inner")
    packed = ((2013 << 9 | 1 << 5 | 2) << 17 | 3 << 12 | 4 << 6 | 5) << 20 | 6
    values = {
        "ts": 1357016400000000,
        "d": 15706,
        "t": "01:02:03",
        "dt": packed,
        "n": "1.5",
        "m": (-15 * 10**8).to_bytes(8, "little", signed=True),
    }
    values |= {
        "y": b"\x00",
        "f": 0.5,
        "b": True,
        "j": '{"a":1}',
        "u": "2013-01-01 00:00:00 UTC",
        "l": [1, 2],
        "r": {"k": "x"},
    }
    name = f"projects/{client.project}/datasets/data/tables/all/_default"
    [answer] = append(writer, request(name, [values, {}], descriptor=row))
    assert answer.error.code == 0, answer
    first, second = (dict(row) for row in client.list_rows("data.all"))
    assert first == {
        "ts": dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC),
        "d": dt.date(2013, 1, 1),
        "t": dt.time(1, 2, 3),
        "dt": dt.datetime(2013, 1, 2, 3, 4, 5, 6),
        **{"n": Decimal("1.5"), "m": Decimal("-1.5"), "y": b"\x00", "f": 0.5, "b": True, "j": {"a": 1}},
        "u": dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
        **{"l": [1, 2], "r": {"k": "x"}},
    }
    assert second == {**dict.fromkeys(first), "l": []}


def test_arrow_rows(writer: BigQueryWriteClient, client: bigquery.Client, table: str) -> None:
    batch = pa.record_batch({"id": [1, 2], "name": ["x", None]})
    data = AppendRowsRequest.ArrowData()
    data.writer_schema.serialized_schema = batch.schema.serialize().to_pybytes()
    data.rows.serialized_record_batch = batch.serialize().to_pybytes()
    [answer] = append(writer, AppendRowsRequest(write_stream=f"{table}/_default", arrow_rows=data))
    assert answer.error.code == 0, answer
    assert ids(client) == [1, 2]


def test_streams_and_tables_that_are_not_there(writer: BigQueryWriteClient, table: str) -> None:
    with pytest.raises(NotFound):
        create(writer, f"{table}x", "PENDING")
    with pytest.raises(NotFound, match="was not found"):
        writer.get_write_stream(name=f"{table}/streams/none")
    [answer] = append(writer, request(f"{table}/streams/none", [{"id": 1}]))
    assert answer.error.code == 5
    with pytest.raises(InvalidArgument, match="write_stream"):
        append(writer, request("", [{"id": 1}]))
    with pytest.raises(GoogleAPICallError, match="type must be"):
        create(writer, table, "TYPE_UNSPECIFIED")
