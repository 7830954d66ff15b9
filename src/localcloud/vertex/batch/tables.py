"""The rows of a BigQuery table or view, as Arrow over the Storage Read API, some of its columns sent to the model.

What values look like in JSON is localcloud.vertex.batch.values' to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from localcloud.errors import Code
from localcloud.vertex.batch.blocks import LEAST_ROWS, MOST_BYTES, Block, SourceProblem
from localcloud.vertex.batch.plan import Plan
from localcloud.vertex.batch.values import rows, values

_CHANNEL = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 8 << 20),
)
"""One message of the service's ahead, no more: left to itself gRPC widens its window while rows wait to be sent."""


class TableSource:
    """One table or view.

    Args:
        plan: The job.
        client: A google.cloud.bigquery.Client.
    """

    def __init__(self, plan: Plan, client: Any) -> None:
        from google.api_core.exceptions import GoogleAPICallError

        self._plan = plan
        self._client = client
        try:
            self._table = client.get_table(plan.sources[0])
        except GoogleAPICallError as error:
            raise SourceProblem(
                Code.of_http(int(error.code or 500)).number,
                f"input_config.bigquery_source.input_uri: bq://{plan.sources[0]} cannot be read: {error.message}",
            ) from None
        self.names = tuple(field.name for field in self._table.schema)
        self._check_names()
        excluded = {*plan.excluded, plan.key_field}
        self.sent = plan.included or tuple(name for name in self.names if name not in excluded)
        if not self.sent:
            raise SourceProblem(Code.INVALID_ARGUMENT.number, "instance_config: no column is left to send.")
        self.shown = (plan.key_field,) if plan.key_field else self._attached_order()
        self.total: int | None = self._table.num_rows if self._table.table_type == "TABLE" else None

    @property
    def schema(self) -> list[Any]:
        """The fields of the columns that come out beside predictions."""
        from google.cloud import bigquery

        by_name = {field.name: field.to_api_repr() for field in self._table.schema}
        found = []
        for name in self.shown:
            field = {key: value for key, value in by_name[name].items() if key in ("type", "mode", "fields")}
            if field.get("mode") == "REQUIRED":
                field["mode"] = "NULLABLE"
            field["name"] = "key" if self._plan.key_field else name
            found.append(bigquery.SchemaField.from_api_repr(field))
        return found

    def blocks(self) -> Iterator[Block]:
        """The rows, in the order of one stream."""
        batch_size, objects = self._plan.batch_size, self._plan.instance_type == "object"
        for batch in self._batches():
            each = max(1, batch.nbytes // max(1, batch.num_rows))
            size = max(LEAST_ROWS, batch_size) if each * LEAST_ROWS <= MOST_BYTES else max(1, MOST_BYTES // each)
            size = max(batch_size, size // batch_size * batch_size)
            for start in range(0, batch.num_rows, size):
                yield self._block(batch.slice(start, size), objects)

    def _block(self, batch: pa.RecordBatch, objects: bool) -> Block:
        files = self._plan.predictions_format != "bigquery"
        columns = batch.select(list(self.shown))
        keys = attached = None
        if self._plan.key_field:
            keys = values(batch.column(self._plan.key_field)) if files else []
            columns = columns.rename_columns(["key"])
        elif self._plan.excluded and files:
            attached = rows(batch, self._plan.excluded, objects=True)
        return Block(rows(batch, self.sent, objects=objects), self.sent, keys, attached, columns)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Arrow batches of a useful size; the service may give any."""
        waiting: list[pa.RecordBatch] = []
        for batch in self._read():
            waiting.append(batch)
            enough = sum(one.num_rows for one in waiting) >= LEAST_ROWS
            if enough or sum(one.nbytes for one in waiting) >= MOST_BYTES:
                yield _together(waiting)
                waiting = []
        if waiting:
            yield _together(waiting)

    def _read(self) -> Iterator[pa.RecordBatch]:
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

        wanted = dict.fromkeys((*self.sent, *self.shown))
        try:
            table = self._table.reference
            if self._table.table_type != "TABLE":
                chosen = ", ".join(f"`{name}`" for name in wanted)
                table = self._client.query(f"SELECT {chosen} FROM `{self._plan.sources[0]}`")
                table.result()
                table = table.destination
            channel = BigQueryReadGrpcTransport.create_channel(options=_CHANNEL)
            client: Any = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
            session = client.create_read_session(
                parent=f"projects/{self._plan.project}",
                read_session=types.ReadSession(
                    table=table.path.lstrip("/"),
                    data_format=types.DataFormat.ARROW,
                    read_options=types.ReadSession.TableReadOptions(selected_fields=list(wanted)),
                ),
                max_stream_count=1,
            )
            for stream in session.streams:
                schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
                for message in client.read_rows(stream.name):
                    data = message.arrow_record_batch.serialized_record_batch
                    yield pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        except GoogleAPICallError as error:
            raise SourceProblem(
                Code.of_http(int(error.code or 500)).number,
                f"input_config.bigquery_source.input_uri: reading bq://{self._plan.sources[0]} failed: {error.message}",
            ) from None

    def _attached_order(self) -> tuple[str, ...]:
        """Columns that come out: included_fields; without those all, since excluded ones are attached."""
        if self._plan.included:
            return self._plan.included
        return self.names

    def _check_names(self) -> None:
        for field, names in (
            ("included_fields", self._plan.included),
            ("excluded_fields", self._plan.excluded),
            ("key_field", (self._plan.key_field,) if self._plan.key_field else ()),
        ):
            for name in names:
                if name not in self.names:
                    raise SourceProblem(
                        Code.INVALID_ARGUMENT.number,
                        f"instance_config.{field}: bq://{self._plan.sources[0]} has no column `{name}`; "
                        f"it has {', '.join(self.names)}.",
                    )


def _together(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
