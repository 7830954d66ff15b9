"""BigQuery as preprocessing uses it: tables read stream by stream as Arrow, files loaded into tables whole.

https://cloud.google.com/bigquery/docs/reference/storage
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from accelerator.errors import DataError

STREAMS = 64
"""Into how many pieces a table is divided at most: what workers share."""


def full(table: str, project: str) -> str:
    """`project.dataset.table`."""
    return table if table.count(".") > 1 else f"{project}.{table}"


def session(project: str, table: str) -> tuple[list[str], bytes]:
    """The streams of a table's (or view's) rows as they are now, and their Arrow schema, serialized.

    Raises:
        DataError: The table cannot be read.
    """
    from google.cloud import bigquery
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

    with errors(table):
        client = bigquery.Client(project=project)
        found = client.get_table(table)
        reference = found.reference
        if found.table_type != "TABLE":
            job = client.query(f"SELECT * FROM `{table}`")
            job.result()
            reference = job.destination
        reader: Any = BigQueryReadClient()
        made = reader.create_read_session(
            parent=f"projects/{project}",
            read_session=types.ReadSession(table=reference.path.lstrip("/"), data_format=types.DataFormat.ARROW),
            max_stream_count=STREAMS,
        )
        return [stream.name for stream in made.streams], made.arrow_schema.serialized_schema


def rows(stream: str, schema: bytes) -> Iterator[pa.RecordBatch]:
    """The rows of one stream."""
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    reader: Any = BigQueryReadClient()
    columns = pa.ipc.read_schema(pa.py_buffer(schema))
    for message in reader.read_rows(stream):
        data = message.arrow_record_batch.serialized_record_batch
        yield pa.ipc.read_record_batch(pa.py_buffer(data), columns)


def load(project: str, table: str, files: Sequence[str], run: str, *, append: bool) -> int:
    """Load Parquet files into a table by one job, which replaces or appends whole or not at all; gives its rows.

    A job of the same name is not run twice, so a worker may be asked again.
    """
    from google.api_core.exceptions import Conflict
    from google.cloud import bigquery

    with errors(table):
        client = bigquery.Client(project=project)
        client.create_dataset(table.rpartition(".")[0], exists_ok=True)
        options = bigquery.ParquetOptions()
        options.enable_list_inference = True  # else an array becomes a record of a list of elements
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            parquet_options=options,
            write_disposition="WRITE_APPEND" if append else "WRITE_TRUNCATE",
            schema_update_options=["ALLOW_FIELD_ADDITION"] if append else None,
        )
        name = f"preprocessing-{hashlib.sha256(f'{run} {table} {sorted(files)}'.encode()).hexdigest()[:32]}"
        try:
            job: Any = client.load_table_from_uri(list(files), table, job_id=name, job_config=config)
        except Conflict:
            job = client.get_job(name)
        return int(job.result().output_rows)


def remove(uri: str) -> None:
    """Take away all objects below a gs:// folder."""
    from google.cloud.storage import Client

    from accelerator.storage import cloud_errors

    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    with cloud_errors(uri):
        client = Client()
        for blob in client.list_blobs(bucket, prefix=f"{prefix.rstrip('/')}/"):
            blob.delete()


@contextmanager
def errors(table: str) -> Iterator[None]:
    """Google's errors in words of ours."""
    from google.api_core.exceptions import GoogleAPICallError, NotFound

    try:
        yield
    except NotFound as error:
        raise DataError(
            f"BigQuery does not have the table {table}: {error.message}",
            place=f"BigQuery table {table}",
            next_step="check preprocessing.tables in mlops.yaml",
        ) from error
    except GoogleAPICallError as error:
        raise DataError(
            f"BigQuery failed: {error.message}", place=f"BigQuery table {table}", next_step="correct what it names"
        ) from error
