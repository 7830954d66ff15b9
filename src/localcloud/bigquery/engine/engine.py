"""The engine's front: statements and scripts in, results out.

Analysis of SQL is in the modules beside it; storage is in `tables.py`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from ..failures import Refused
from ..layout import fields_of
from ..refs import DatasetRef, TableRef
from ..tables import Resource, Tables
from ..types import FieldSchema, Type, quote, type_of
from . import constructors, functions_dates, functions_general, functions_scalar, literals, operators, script
from .dialect import parse
from .environment import Names
from .execution import Analysed, Destination, Execution, finished
from .expressions import condition
from .information_schema import Jobs
from .parameters import decode
from .prelude import install
from .query import relation
from .result import Cancellation, Disposition, Result
from .scope import Column, Scope, Source, Statement
from .session import TEMPORARY, Session
from .values import Expr

# These add their functions and expressions to the tables of `calls` and `expressions` when they are imported.
_REGISTERED = (constructors, functions_dates, functions_general, functions_scalar, literals, operators)
_CACHED = 256


class Engine:
    """Runs GoogleSQL over the tables. Thread safe: every query has a connection of its own.

    Args:
        tables: The warehouse; one engine to a warehouse.
        jobs: Gives the Job resources of a project, for INFORMATION_SCHEMA.JOBS.
    """

    def __init__(self, tables: Tables, *, jobs: Jobs | None = None) -> None:
        self.tables = tables
        self.jobs = jobs
        connection = tables.database.connection
        install(connection)
        connection.execute(f"DROP SCHEMA IF EXISTS {TEMPORARY} CASCADE")
        connection.execute(f"CREATE SCHEMA {TEMPORARY}")
        tables.describe_view = self.describe_view
        tables.translate_filter = self.translate_filter
        self._cache: OrderedDict[Any, tuple[int, Analysed]] = OrderedDict()
        self._cache_lock = threading.Lock()

    def session(self) -> Session:
        """A new session (`createSession` of a query job); close it."""
        return Session(self.tables)

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
                rangePartitioning, clustering, schemaUpdateOptions, expirationTime.
            cancellation: A handle by which another thread can stop it.

        Raises:
            BigQueryError: With BigQuery's message and reason: InvalidQuery, Missing, Duplicate,
                Refused (SQL that is not carried over, naming the construct), Stopped.
        """
        declared = decode(parameters)
        own = session is None
        execution = Execution(
            self.tables,
            session or Session(self.tables),
            project,
            default_dataset,
            declared,
            cancellation or Cancellation(),
            dry_run,
            self.jobs,
        )
        to = Destination(destination, write_disposition, create_disposition, options or {}) if destination else None
        key = (sql, project, default_dataset, tuple((n, t) for n, (t, _) in declared.items()))
        cached = self._cached(key, declared) if own else None
        if cached is not None:
            result = execution.select(cached, to)
            result.sql = sql
            return result
        with execution.session.lock:
            try:
                result, analysed = script.run(sql, execution, to)
            finally:
                if own:
                    execution.session.close()
        if analysed is not None and analysed.cacheable and own:
            with self._cache_lock:
                self._cache[key] = (self.tables.database.version, analysed)
                while len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
        return result

    def _cached(self, key: Any, declared: Mapping[str, tuple[Type, Any]]) -> Analysed | None:
        with self._cache_lock:
            found = self._cache.get(key)
            if found is None or found[0] != self.tables.database.version:
                return None
            self._cache.move_to_end(key)
        analysed = found[1]
        for ref in analysed.referenced:
            self.tables.require_table(ref)
        bound = {name: declared[name.removeprefix("p_")][1] for name in analysed.bound}
        return Analysed(analysed.sql, analysed.fields, bound, analysed.referenced, True)

    def describe_view(self, query: str, project: str) -> list[FieldSchema]:
        """The columns of a view."""
        tree = parse(query)
        if not isinstance(tree, exp.Query):
            raise Refused("A view must be made of a query")
        statement = Statement(query, Names(self.tables, project))
        return finished(relation(tree, Scope(statement)), statement)[1]

    def translate_filter(self, ref: TableRef, resource: Resource, text: str) -> str:
        """A row restriction of the Storage Read API as a DuckDB condition on the table's columns."""
        statement = Statement(text, Names(self.tables, ref.project))
        columns = [Column(f["name"], Expr(quote(f["name"]), type_of(f))) for f in fields_of(resource)]
        scope = Scope(statement, sources=[Source(ref.table, columns)])
        tree = parse(f"SELECT {text}")
        return condition(tree.expressions[0].unalias(), scope, "row restriction")
