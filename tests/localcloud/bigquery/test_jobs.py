"""Jobs by Google's client: listing, duplicates, cancelling, copies, extracts, and what a killed server leaves."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import time
import uuid
from typing import Any

import fastavro
import pandas as pd
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery, storage
from google.cloud.bigquery import CopyJobConfig, ExtractJobConfig, QueryJobConfig
from tests.conftest import LocalCloud

pytestmark = pytest.mark.filterwarnings("ignore:Loading DataFrames:PendingDeprecationWarning")
FOREVER = "SELECT SUM(a * b) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) a, UNNEST(GENERATE_ARRAY(1, 1000000)) b"


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    frame = pd.DataFrame({"id": [1, 2, 3], "name": ["x", 'say "hi"', None]})
    client.load_table_from_dataframe(frame, "data.t").result()
    return "data.t"


def rows(client: bigquery.Client, table: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in client.list_rows(table)), key=repr)


def test_jobs_are_listed(client: bigquery.Client, table: str) -> None:
    done = client.query("SELECT 1", job_id="mine", job_config=QueryJobConfig(labels={"k": "v"}), job_retry=None)
    done.result()
    failed = client.query("SELECT nothing")
    with pytest.raises(BadRequest):
        failed.result()
    listed = list(client.list_jobs())
    assert [job.job_type for job in listed] == ["query", "query", "load"]
    assert [job.job_id for job in client.list_jobs(max_results=1)] == [failed.job_id]
    assert [job.job_id for job in client.list_jobs(page_size=1)] == [job.job_id for job in listed]
    assert list(client.list_jobs(state_filter="running")) == []
    assert len(list(client.list_jobs(state_filter="done"))) == 3
    assert [job.job_id for job in client.list_jobs(min_creation_time=failed.created)] == [failed.job_id]
    again = client.get_job("mine")
    assert (again.state, again.labels, again.statement_type) == ("DONE", {"k": "v"}, "SELECT")
    assert again.created <= again.started <= again.ended
    assert failed.error_result["reason"] == "invalidQuery"
    client.delete_job_metadata(again)
    with pytest.raises(NotFound, match="Not found: Job"):
        client.get_job("mine")


def test_a_job_id_is_used_once(client: bigquery.Client) -> None:
    body = {
        "jobReference": {"projectId": client.project, "jobId": "once"},
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
    }
    path = f"/projects/{client.project}/jobs"
    client._connection.api_request(method="POST", path=path, data=body)
    with pytest.raises(Conflict, match="Already Exists: Job"):
        client._connection.api_request(method="POST", path=path, data=body)


def test_a_repeated_request_finds_its_job(client: bigquery.Client) -> None:
    body = {"query": "SELECT RAND() AS x", "useLegacySql": False, "requestId": str(uuid.uuid4())}
    path = f"/projects/{client.project}/queries"
    first, second = (client._connection.api_request(method="POST", path=path, data=body) for _ in range(2))
    assert first["jobReference"] == second["jobReference"]
    assert first["rows"] == second["rows"]


def test_a_query_is_cancelled(client: bigquery.Client) -> None:
    job = client.query(FOREVER)
    assert job.state in ("PENDING", "RUNNING")
    time.sleep(0.3)
    assert client.get_job(job.job_id).state == "RUNNING"
    job.cancel()
    with pytest.raises(GoogleAPICallError, match="[Cc]ancel"):
        job.result(timeout=30)
    ended = client.get_job(job.job_id)
    assert (ended.state, ended.error_result["reason"]) == ("DONE", "stopped")


def test_a_job_times_out(client: bigquery.Client) -> None:
    job = client.query(FOREVER, job_config=QueryJobConfig(job_timeout_ms=300))
    with pytest.raises(GoogleAPICallError, match="timed out after"):
        job.result(timeout=30)


def test_a_slow_query_answers_before_it_is_done(client: bigquery.Client) -> None:
    body = {"query": FOREVER, "useLegacySql": False, "timeoutMs": 100}
    answer = client._connection.api_request(method="POST", path=f"/projects/{client.project}/queries", data=body)
    assert answer["jobComplete"] is False
    client.cancel_job(answer["jobReference"]["jobId"])


def test_tables_are_copied(client: bigquery.Client, table: str) -> None:
    client.copy_table(table, "data.copy").result()
    assert rows(client, "data.copy") == rows(client, table)
    with pytest.raises(Conflict, match="Already Exists"):
        client.copy_table(table, "data.copy").result()
    append = CopyJobConfig(write_disposition="WRITE_APPEND")
    client.copy_table([table, table], "data.copy", job_config=append).result()
    assert client.get_table("data.copy").num_rows == 9
    with pytest.raises(NotFound):
        client.copy_table("data.none", "data.x").result()
    job = client.query("SELECT id FROM data.t WHERE id > 1")
    job.result()
    client.copy_table(job.destination, "data.kept").result()
    assert rows(client, "data.kept") == [(2,), (3,)]


@pytest.mark.parametrize("compression", ["NONE", "GZIP"])
def test_csv_and_json_extracts(client: bigquery.Client, table: str, bucket: storage.Bucket, compression: str) -> None:
    unpack = gzip.decompress if compression == "GZIP" else bytes
    config = ExtractJobConfig(compression=compression)
    job = client.extract_table(table, f"gs://{bucket.name}/out/t-*.csv", job_config=config).result()
    assert job.destination_uri_file_counts == [1]
    found = unpack(bucket.blob("out/t-000000000000.csv").download_as_bytes(raw_download=True))
    assert found == b'id,name\n1,x\n2,"say ""hi"""\n3,\n'
    config = ExtractJobConfig(compression=compression, destination_format="NEWLINE_DELIMITED_JSON")
    client.extract_table(table, f"gs://{bucket.name}/t.json", job_config=config).result()
    found = unpack(bucket.blob("t.json").download_as_bytes(raw_download=True))
    assert found == b'{"id":"1","name":"x"}\n{"id":"2","name":"say \\"hi\\""}\n{"id":"3"}\n'


def test_parquet_and_avro_extracts(client: bigquery.Client, table: str, bucket: storage.Bucket) -> None:
    uris = [f"gs://{bucket.name}/a-*.parquet", f"gs://{bucket.name}/b-*.parquet"]
    config = ExtractJobConfig(destination_format="PARQUET", compression="SNAPPY")
    job = client.extract_table(table, uris, job_config=config).result()
    assert job.destination_uri_file_counts == [1, 1]
    parts = [pq.read_table(io.BytesIO(blob.download_as_bytes())) for blob in bucket.list_blobs()]
    assert sorted(id_ for part in parts for id_ in part["id"].to_pylist()) == [1, 2, 3]
    config = ExtractJobConfig(destination_format="AVRO", compression="DEFLATE")
    client.extract_table(table, f"gs://{bucket.name}/t.avro", job_config=config).result()
    found = list(fastavro.reader(io.BytesIO(bucket.blob("t.avro").download_as_bytes())))
    assert found[0] == {"id": 1, "name": "x"}
    job = client.query("SELECT 7 AS seven")
    job.result()
    client.extract_table(job.destination, f"gs://{bucket.name}/q.csv").result()
    assert bucket.blob("q.csv").download_as_bytes() == b"seven\n7\n"


def test_what_cannot_be_extracted(client: bigquery.Client, table: str, bucket: storage.Bucket) -> None:
    config = ExtractJobConfig(compression="SNAPPY")
    with pytest.raises(BadRequest, match="Compression SNAPPY is not possible with CSV"):
        client.extract_table(table, f"gs://{bucket.name}/x", job_config=config).result()
    with pytest.raises(NotFound, match="bucket"):
        client.extract_table(table, "gs://no-such-bucket-here/x").result()
    with pytest.raises(BadRequest, match="Invalid destination URI"):
        client.extract_table(table, f"gs://{bucket.name}/../x").result()
    client.query_and_wait("CREATE TABLE data.nested AS SELECT [1] AS l")
    with pytest.raises(BadRequest, match="nested schema"):
        client.extract_table("data.nested", f"gs://{bucket.name}/x").result()


_START = """
import sys
from google.cloud import bigquery
client = bigquery.Client()
client.create_dataset("data")
client.load_table_from_json([{"a": 1}], "data.t").result()
client.query("CREATE TABLE data.made AS SELECT 1 AS a").result()
done = client.query("SELECT a FROM data.t", job_id="finished", job_retry=None)
done.result()
client.query(sys.argv[1], job_id="killed", job_retry=None)
"""
_LOOK = """
from google.cloud import bigquery
client = bigquery.Client()
killed = client.get_job("killed")
assert killed.state == "DONE", killed.state
assert killed.error_result["reason"] == "stopped", killed.error_result
assert "was stopped while this job ran" in killed.error_result["message"]
assert [row["a"] for row in client.get_job("finished").result()] == [1]
assert client.get_table("data.t").num_rows == 1
assert [row["a"] for row in client.list_rows("data.made")] == [1]
assert client.insert_rows_json(f"{client.project}.data.t", [{"a": 2}]) == []
"""


def test_a_killed_server_loses_nothing_that_was_acknowledged(own_cloud: LocalCloud) -> None:
    def run(program: str, *arguments: str) -> None:
        command = [sys.executable, "-c", program, *arguments]
        subprocess.run(command, env=own_cloud.environment("killed-project"), check=True, timeout=120)

    run(_START, FOREVER)
    own_cloud.kill()
    own_cloud.start()
    run(_LOOK)
