"""Predictions into a BigQuery table and failed rows into a second one, as Arrow over the Storage Write API.

The columns are the instance's, then `prediction` as JSON text, since a custom model's predictions have no schema;
the errors' table has `errors` in its place.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from localcloud.errors import Code
from localcloud.vertex.batch.blocks import UNASKED, Block, Failure, SourceProblem, text
from localcloud.vertex.batch.plan import Plan

MOST_BYTES = 6 * 2**20
"""Of one AppendRows request; BigQuery takes 10 MB."""
_STATUS = pa.struct([("code", pa.int64()), ("message", pa.string())])


class TableSink:
    """The two tables of a job's output.

    Args:
        plan: The job.
        client: A google.cloud.bigquery.Client.
        schema: The columns before the prediction, as SchemaFields.

    Raises:
        SourceProblem: They cannot be made.
    """

    def __init__(self, plan: Plan, client: Any, schema: list[Any]) -> None:
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud import bigquery

        project, dataset, *table = plan.destination.split(".")
        self.dataset = f"{project}.{dataset}"
        self.table = table[0] if table else f"predictions_{plan.suffix}"
        taken = {field.name.lower() for field in schema} & {"prediction", "errors"}
        if taken:
            message = (
                f"input_config: the output has a column `{taken.pop()}` of its own; exclude or rename the input's."
            )
            raise SourceProblem(Code.INVALID_ARGUMENT.number, message)
        status = [bigquery.SchemaField("code", "INTEGER"), bigquery.SchemaField("message", "STRING")]
        results = [*schema, bigquery.SchemaField("prediction", "STRING")]
        errors = [*schema, bigquery.SchemaField("errors", "RECORD", fields=status)]
        try:
            if plan.new_dataset:
                made = bigquery.Dataset(self.dataset)
                made.location = plan.location
                client.create_dataset(made)
            names = (f"{self.dataset}.{self.table}", f"{self.dataset}.errors_{plan.suffix}")
            tables = [
                client.create_table(bigquery.Table(name, fields))
                for name, fields in zip(names, (results, errors), strict=True)
            ]
        except GoogleAPICallError as error:
            raise SourceProblem(
                Code.of_http(int(error.code or 500)).number,
                f"output_config.bigquery_destination.output_uri: {error.message}",
            ) from None
        self._results, self._errors = (_Appender(table.path.lstrip("/")) for table in tables)

    def write(self, block: Block, results: list[Any]) -> None:
        """Append a block's rows."""
        shown = block.table()
        bad = [index for index, result in enumerate(results) if type(result) is Failure]
        asked = [index for index, result in enumerate(results) if result is not UNASKED]
        if len(asked) == len(results) and not bad:
            texts = [_prediction(result) for result in results]
            self._results.add(shown.append_column("prediction", pa.array(texts, pa.string())))
        else:
            failed = set(bad)
            good = [index for index in asked if index not in failed]
            texts = [_prediction(results[index]) for index in good]
            self._results.add(
                shown.take(pa.array(good, pa.int64())).append_column("prediction", pa.array(texts, pa.string()))
            )
            status = pa.array([results[index]._asdict() for index in bad], _STATUS)
            self._errors.add(shown.take(pa.array(bad, pa.int64())).append_column("errors", status))
        if block.unread:
            status = pa.array([failure._asdict() for _, failure in block.unread], _STATUS)
            rows = pa.array([text(row) for row, _ in block.unread], pa.string())
            self._errors.add(pa.record_batch([rows, status], names=[shown.schema.names[0], "errors"]))

    def close(self) -> None:
        """Append what waits."""
        self._results.close()
        self._errors.close()


class _Appender:
    """Rows for one table, gathered into large requests on a committed stream."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: Iterator[Any] | None = None
        self._unanswered = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are sent when enough have come."""
        if not batch.num_rows:
            return
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= MOST_BYTES:
            self._flush()

    def close(self) -> None:
        """Send the rest, and wait until the service has it all."""
        self._flush()
        if self._answers is not None:
            while self._unanswered:
                self._take_answer()
            self._requests.put(None)
            for _ in self._answers:
                pass

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting).combine_chunks()
        parts = -(-self._bytes // MOST_BYTES)
        self._waiting, self._bytes = [], 0
        for batch in table.to_batches(max_chunksize=-(-table.num_rows // parts)):
            self._send(batch)

    def _send(self, batch: pa.RecordBatch) -> None:
        from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

        request = types.AppendRowsRequest()
        if self._answers is None:
            client: Any = BigQueryWriteClient()
            stream = client.create_write_stream(
                parent=self._table, write_stream=types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
            )
            request.write_stream = stream.name
            request.arrow_rows.writer_schema.serialized_schema = batch.schema.serialize().to_pybytes()
        request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
        self._requests.put(request)
        self._unanswered += 1
        if self._answers is None:
            metadata = (("x-goog-request-params", f"write_stream={request.write_stream}"),)
            self._answers = iter(client.append_rows(iter(self._requests.get, None), metadata=metadata))
        if self._unanswered > 1:  # one is under way while the next is made
            self._take_answer()

    def _take_answer(self) -> None:
        assert self._answers is not None
        answer = next(self._answers)
        self._unanswered -= 1
        if answer.error.code:
            message = f"output_config.bigquery_destination: appending rows failed: {answer.error.message}"
            raise SourceProblem(answer.error.code, message)


def _prediction(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else orjson.dumps(value)
