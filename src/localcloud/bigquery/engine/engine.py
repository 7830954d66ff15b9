"""The engine's front: statements and scripts in, results out.

Analysis of SQL is in the modules beside it; storage is in `tables.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..failures import Refused
from ..refs import DatasetRef, TableRef
from ..tables import Tables
from .result import Cancellation, Disposition, Result

Jobs = Callable[[str], list[dict[str, Any]]]
"""Gives the job resources of a project, for INFORMATION_SCHEMA.JOBS."""


class Session:
    """What lasts from one query to the next: temporary tables and functions, variables, a transaction."""

    def close(self) -> None:
        """Rolls back what is open and drops what is temporary."""


class Engine:
    """Runs GoogleSQL over the tables. Thread safe: every query has a connection of its own."""

    def __init__(self, tables: Tables, *, jobs: Jobs | None = None) -> None:
        self.tables = tables
        self.jobs = jobs

    def session(self) -> Session:
        """A new session (`createSession` of a query job); close it."""
        return Session()

    def execute(
        self,
        sql: str,
        *,
        project: str,
        default_dataset: DatasetRef | None = None,
        parameters: Sequence[Mapping[str, Any]] = (),
        dry_run: bool = False,
        session: Session | None = None,
        destination: TableRef | None = None,
        create_disposition: str = "CREATE_IF_NEEDED",
        write_disposition: Disposition = "WRITE_EMPTY",
        options: Mapping[str, Any] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Result:
        """Runs a statement, or a script of several.

        Args:
            sql: GoogleSQL.
            project: The project that unqualified dataset names and new tables belong to.
            default_dataset: Where unqualified table names are looked up.
            parameters: QueryParameters of the REST API (name, parameterType, parameterValue); all
                named or all positional.
            dry_run: Only check, and say the schema and the tables.
            session: From `session()`; None for a query of its own.
            destination: For a SELECT: the table that gets the rows, written within DuckDB. The
                result then has no reader; read the table.
            create_disposition: CREATE_IF_NEEDED or CREATE_NEVER, for `destination`.
            write_disposition: For `destination`.
            options: More of JobConfigurationQuery that shapes `destination`: timePartitioning,
                rangePartitioning, clustering, schemaUpdateOptions, destinationTableProperties.
            cancellation: A handle by which another thread can stop it.

        Raises:
            BigQueryError: With BigQuery's message and reason: InvalidQuery, Missing, Duplicate,
                Refused (SQL that is not carried over, naming the construct), Stopped.
        """
        raise Refused("Queries are not carried over yet")
