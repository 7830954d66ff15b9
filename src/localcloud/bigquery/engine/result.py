"""What a statement gives back, and the handle by which somebody else can stop it.

The REST layer turns these into job statistics, errors and pages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from ..failures import Stopped
from ..refs import DatasetRef, TableRef
from ..types import FieldSchema, arrow_schema

Disposition = Literal["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"]


@dataclass
class Result:
    """One statement that ran (or, dry, that would run).

    Args:
        statement_type: As in JobStatistics2: SELECT, INSERT, CREATE_TABLE_AS_SELECT, SCRIPT …
        fields: The REST schema of the rows; empty where the statement has none.
        referenced_tables: The tables and views it names, those behind a view included.
        num_dml_affected_rows: For DML, else None.
        dml_stats: insertedRowCount, updatedRowCount, deletedRowCount as strings, for DML.
        ddl_operation_performed: CREATE, REPLACE, SKIP, DROP or ALTER, for DDL.
        ddl_target_table: For DDL on tables and views.
        ddl_target_routine: For CREATE and DROP FUNCTION or PROCEDURE.
        ddl_target_dataset: For DDL on schemas.
        children: The statements of a script, in the order in which they ran.
        undeclared_parameters: Parameters that a dry run found without values, as QueryParameters.
        sql: The text of this statement (of children: their part of the script).
    """

    statement_type: str
    fields: list[FieldSchema] = field(default_factory=list)
    referenced_tables: list[TableRef] = field(default_factory=list)
    num_dml_affected_rows: int | None = None
    dml_stats: dict[str, str] | None = None
    ddl_operation_performed: str = ""
    ddl_target_table: TableRef | None = None
    ddl_target_routine: TableRef | None = None
    ddl_target_dataset: DatasetRef | None = None
    children: list[Result] = field(default_factory=list)
    sql: str = ""
    undeclared_parameters: list[dict[str, Any]] = field(default_factory=list)
    rows: pa.Table | None = None
    """The rows where they are all here already (scripts and their children): read as often as one likes."""
    _reader: pa.RecordBatchReader | None = None
    _release: Callable[[], None] = lambda: None
    _bytes_processed: Callable[[], int] = lambda: 0

    @property
    def total_bytes_processed(self) -> int:
        """The logical bytes of the tables it names, counted when asked for."""
        return self._bytes_processed()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows, as the Storage Read API would send them."""
        return arrow_schema(self.fields)

    def reader(self) -> pa.RecordBatchReader:
        """The rows, once, streamed from DuckDB; exhaust it or call `close`.

        Rows are computed while they are read: an error of the query may come up here, as the
        BigQueryError it is.
        """
        if self.rows is not None:
            return self.rows.to_reader()
        if self._reader is None:
            return pa.RecordBatchReader.from_batches(self.schema, [])
        reader, self._reader = self._reader, None
        return reader

    def table(self) -> pa.Table:
        """All rows at once."""
        try:
            return self.reader().read_all()
        finally:
            self.close()

    def close(self) -> None:
        """Gives back the connection that the rows come from; closing twice does nothing."""
        release, self._release = self._release, lambda: None
        self._reader = None
        release()


class Cancellation:
    """A handle on running SQL: `cancel` interrupts what runs now and keeps the rest from starting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupts: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Stops the statement; it raises Stopped in its own thread."""
        with self._lock:
            self.cancelled = True
            for interrupt in self._interrupts:
                interrupt()

    def check(self) -> None:
        """Raises Stopped once cancelled."""
        if self.cancelled:
            raise Stopped("Job execution was cancelled: User requested cancellation")

    def watch(self, interrupt: Callable[[], None]) -> Callable[[], None]:
        """Has `interrupt` called upon cancel; call what is returned to end that."""
        with self._lock:
            self._interrupts.append(interrupt)

        def done() -> None:
            with self._lock:
                if interrupt in self._interrupts:
                    self._interrupts.remove(interrupt)

        return done
