"""Rows of a BigQuery table or view as Arrow, over several streams of the Storage Read API.

https://cloud.google.com/bigquery/docs/reference/storage; what the rows are for is not known here.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from accelerator.errors import DataError, suggestion
from accelerator.training.columns import select
from accelerator.windows import TimeRange

if TYPE_CHECKING:
    from google.cloud import bigquery

_TYPES = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATETIME": pa.timestamp("us"),
    "DATE": pa.date32(),
}
_LITERALS = {
    "TIMESTAMP": "TIMESTAMP '%Y-%m-%d %H:%M:%S.%f+00'",
    "DATETIME": "DATETIME '%Y-%m-%d %H:%M:%S.%f'",
    "DATE": "DATE '%Y-%m-%d'",
}
"""How a bound of a window is written for a column of each type; times without a zone are taken as UTC."""

_QUEUED = 2
"""Batches waiting in each stream: what bounds memory."""


class TableSource:
    """One window or part of a table or view.

    Args:
        table: `dataset.table` or `project.dataset.table`.
        project: The project that reads, and that `dataset.table` is in.
        time: The column that `window` is over.
        window: Which rows; all if None.
        part: A column and the text that it holds in the rows that are taken; all if None.
    """

    def __init__(
        self,
        table: str,
        *,
        project: str,
        time: str | None = None,
        window: TimeRange | None = None,
        part: tuple[str, str] | None = None,
    ) -> None:
        self.name = table if table.count(".") > 1 else f"{project}.{table}"
        self.place = f"BigQuery table {self.name}" + (f" ({window})" if window is not None else "")
        self.place += f" ({part[0]} = {part[1]})" if part is not None else ""
        self._project = project
        self._time, self._window, self._part = time, window, part

    def schema(self) -> pa.Schema:
        # Types that are not in the list are given as bytes, which no model takes.
        fields = [
            (
                field.name,
                pa.binary() if field.mode == "REPEATED" else _TYPES.get(field.field_type, pa.binary()),
            )
            for field in self.fields
        ]
        return pa.schema(fields)

    @property
    def fields(self) -> Sequence[bigquery.SchemaField]:
        """The columns as BigQuery has them."""
        return list(self._table.schema)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

        with self._errors():
            restriction = self._restriction()
            table = self._table.reference
            if self._table.table_type != "TABLE":
                table, restriction = self._query(columns, restriction), ""
            client: Any = BigQueryReadClient()
            options = types.ReadSession.TableReadOptions(selected_fields=list(columns), row_restriction=restriction)
            session = client.create_read_session(
                parent=f"projects/{self._project}",
                read_session=types.ReadSession(
                    table=table.path.lstrip("/"), data_format=types.DataFormat.ARROW, read_options=options
                ),
                max_stream_count=max(2, os.cpu_count() or 2),
            )
            streams = [_Stream(client.read_rows(stream.name), session) for stream in session.streams]
            try:
                # In turns, so that the order is the same whenever the streams are.
                while streams:
                    for stream in list(streams):
                        batch = stream.next()
                        if batch is None:
                            streams.remove(stream)
                        else:
                            yield select(batch, columns)
            finally:
                for stream in streams:
                    stream.stop()

    @cached_property
    def _client(self) -> bigquery.Client:
        from google.cloud import bigquery

        return bigquery.Client(project=self._project)

    @cached_property
    def _table(self) -> bigquery.Table:
        with self._errors():
            return self._client.get_table(self.name)

    def _restriction(self) -> str:
        if self._part is not None:
            column, value = self._part
            if column not in self.schema().names:
                raise DataError(
                    f"There is no column '{column}' in {self.name}, which data.split.column names",
                    place=self.place,
                    next_step=suggestion(column, self.schema().names),
                )
            return f"`{column}` = '{value}'"
        if self._window is None or self._time is None:
            return ""
        field = next((field for field in self._table.schema if field.name == self._time), None)
        if field is None:
            from accelerator.training.sources import missing_time

            raise missing_time(self._time, self.place, self.schema().names)
        literal = _LITERALS.get(field.field_type)
        if literal is None:
            raise DataError(
                f"The time column '{self._time}' is of type {field.field_type}",
                place=self.place,
                next_step="Name a TIMESTAMP, DATETIME or DATE column under data.time.",
            )
        bounds = [f"`{self._time}` IS NOT NULL"]
        if self._window.start is not None:
            bounds.append(f"`{self._time}` >= {self._window.start.strftime(literal)}")
        if self._window.end is not None:
            bounds.append(f"`{self._time}` < {self._window.end.strftime(literal)}")
        return " AND ".join(bounds)

    def _query(self, columns: Sequence[str], restriction: str) -> Any:
        """A view has no rows to stream: its query's result has, in a table that BigQuery keeps for a day."""
        names = ", ".join(f"`{name}`" for name in columns)
        where = f" WHERE {restriction}" if restriction else ""
        job = self._client.query(f"SELECT {names} FROM `{self.name}`{where}")
        job.result()
        return job.destination

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from google.api_core.exceptions import (
            Aborted,
            Forbidden,
            GoogleAPICallError,
            MethodNotImplemented,
            NotFound,
            RetryError,
            ServerError,
            TooManyRequests,
        )
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except NotFound as error:
            raise DataError(
                f"BigQuery does not have the table {self.name}",
                place=self.place,
                next_step=self._neighbours(),
            ) from error
        except Forbidden as error:
            raise DataError(
                f"BigQuery does not let this job read: {error.message}",
                place=self.place,
                next_step="Give the job's service account roles/bigquery.dataViewer on the dataset, and "
                "roles/bigquery.readSessionUser and roles/bigquery.jobUser on the project.",
            ) from error
        except GoogleAuthError as error:
            raise DataError(
                f"There are no credentials for Google Cloud: {error}",
                place=self.place,
                next_step="Run `gcloud auth application-default login`, or run under `mlops exec`.",
            ) from error
        except (GoogleAPICallError, RetryError) as error:
            passing = isinstance(error, RetryError | ServerError | TooManyRequests | Aborted)
            passing = passing and not isinstance(error, MethodNotImplemented)
            raise DataError(
                f"BigQuery failed: {error}",
                place=self.place,
                next_step="Run the job again." if passing else "Correct what BigQuery names.",
            ) from error

    def _neighbours(self) -> str:
        """What there is instead of a table that is not."""
        from google.api_core.exceptions import GoogleAPICallError

        project, dataset, table = self.name.rsplit(".", 2)
        try:
            datasets = [item.dataset_id for item in self._client.list_datasets(project)]
            if dataset not in datasets:
                return f"There is no dataset '{dataset}'. {suggestion(dataset, datasets)}".rstrip()
            tables = [item.table_id for item in self._client.list_tables(f"{project}.{dataset}")]
        except GoogleAPICallError:
            return "Check data.table and the project."
        return suggestion(table, tables) or f"The dataset '{dataset}' is empty: load the table first."


class _Stream:
    """One stream of a read session, read ahead by a thread of its own."""

    def __init__(self, reader: Any, session: Any) -> None:
        self._pages = reader.rows(session).pages
        self._batches: queue.Queue[pa.RecordBatch | Exception | None] = queue.Queue(_QUEUED)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="bigquery-stream", daemon=True)
        self._thread.start()

    def next(self) -> pa.RecordBatch | None:
        """The next batch; None at the end."""
        found = self._batches.get()
        if isinstance(found, Exception):
            raise found
        return found

    def stop(self) -> None:
        """Read no further: nobody asks for the rest."""
        self._stopped.set()

    def _read(self) -> None:
        try:
            for page in self._pages:
                self._put(page.to_arrow())
                if self._stopped.is_set():
                    return
            self._put(None)
        except Exception as error:  # raised again where the batches are taken
            self._put(error)

    def _put(self, found: pa.RecordBatch | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                self._batches.put(found, timeout=0.2)
                return
            except queue.Full:
                continue
