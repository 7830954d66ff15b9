"""What lies on disk between requests, and lasts through a restart: uploads, write streams, snapshots."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

from localcloud.bigquery.failures import Invalid, Missing
from localcloud.bigquery.refs import TableRef
from localcloud.bigquery.rest.uploads import Uploads
from localcloud.bigquery.snapshots import Snapshots
from localcloud.bigquery.storage_api.streams import WriteStreams
from localcloud.bigquery.tables import Tables
from localcloud.errors import AlreadyExists, OutOfRange

REF = TableRef("p", "d", "t")
FIELDS = [{"name": "id", "type": "INTEGER", "mode": "NULLABLE"}]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_a_resumable_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    name = Uploads(tmp_path).begin({"configuration": {}})
    assert anyio.run(Uploads(tmp_path).receive, name, "bytes 0-2/6", chunks(b"ab", b"c")) == (3, None)
    again = Uploads(tmp_path)
    again.purge()
    assert anyio.run(again.receive, name, "bytes */6", chunks()) == (3, None)
    with pytest.raises(Invalid, match="3 bytes are there"):
        anyio.run(again.receive, name, "bytes 5-5/6", chunks(b"x"))
    have, complete = anyio.run(again.receive, name, "bytes 2-5/6", chunks(b"cdef"))
    assert have == 6
    assert complete is not None
    resource, file = complete
    assert (resource, file.read_bytes()) == ({"configuration": {}}, b"abcdef")
    with pytest.raises(Missing):
        anyio.run(again.receive, name, "bytes */6", chunks())
    with pytest.raises(Missing):
        anyio.run(again.receive, "../../etc/passwd", "", chunks())


@pytest.mark.parametrize("line", ["\r\n", "\n"])
def test_multipart_bodies(tmp_path: Path, line: str) -> None:
    content = b"--B inside, \r\n and a line break at the end\r\n"
    head = f"--B{line}Content-Type: application/json{line}{line}{{}}{line}--B{line}Content-Type: */*{line}{line}"
    body = head.encode() + content + f"{line}--B--{line}".encode()
    uploads = Uploads(tmp_path)
    resource, file = anyio.run(uploads.multipart, 'multipart/related; boundary="B"', chunks(body[:20], body[20:]))
    assert (resource, file.read_bytes()) == ({}, content)
    with pytest.raises(Invalid, match="Multipart upload"):
        anyio.run(uploads.multipart, "multipart/related; boundary=B", chunks(b"nothing"))


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    found = Tables(tmp_path / "tables")
    found.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    found.insert_table(REF, {"tableReference": REF.resource, "schema": {"fields": FIELDS}})
    yield found
    found.close()


def count(tables: Tables) -> int:
    return int(tables.get_table(REF)["numRows"])


def test_write_streams_keep_their_offsets(tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "streams"
    rows = pa.table({"id": [1, 2, 3]})
    streams = WriteStreams(tables, folder)
    names = {kind: streams.create(REF, kind).id for kind in ("COMMITTED", "PENDING", "BUFFERED")}
    for name in names.values():
        streams.append(streams.get(REF, name), rows, 0)
    streams.flush(streams.get(REF, names["BUFFERED"]), 0)
    assert count(tables) == 4
    after = WriteStreams(tables, folder)  # as another process finds them
    for name in names.values():
        stream = after.get(REF, name)
        assert stream.rows == 3
        with pytest.raises(AlreadyExists):
            after.append(stream, rows, 0)
        with pytest.raises(OutOfRange):
            after.append(stream, rows, 4)
        assert after.append(stream, rows, 3) == 3
    after.flush(after.get(REF, names["BUFFERED"]), 4)
    after.finalize(after.get(REF, names["PENDING"]))
    assert count(tables) == 6 + 5
    moment, errors = after.commit(REF, [after.get(REF, names["PENDING"])])
    assert moment > 0
    assert errors == []
    assert count(tables) == 6 + 5 + 6


def test_snapshots_stay_and_expire(tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3]})
    snapshots = Snapshots(tmp_path, lifetime=60)
    made = snapshots.write(rows.to_reader(), FIELDS)
    found = Snapshots(tmp_path, lifetime=60).get(made.id)
    assert found is not None
    assert (found.table.to_pydict(), found.fields) == ({"id": [1, 2, 3]}, FIELDS)
    assert Snapshots(tmp_path, lifetime=-1).get(made.id) is None
    assert not list(tmp_path.iterdir())
    assert snapshots.get("../made") is None


def test_a_snapshot_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [1]})
        raise RuntimeError("broken")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64())]), batches())
    with pytest.raises(RuntimeError, match="broken"):
        Snapshots(tmp_path, lifetime=time.time()).write(reader, FIELDS)
    assert not list(tmp_path.iterdir())
