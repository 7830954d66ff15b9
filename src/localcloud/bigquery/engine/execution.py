"""One statement on its way through: analysed, run on DuckDB, its rows as Arrow.

DML and DDL are in `dml.py` and `ddl.py`, scripts in `script.py`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..failures import BigQueryError, InvalidQuery, disk_error
from ..refs import DatasetRef, TableRef
from ..storage import literal
from ..tables import Tables
from ..types import ArrowCast, FieldSchema, Type, arrow_schema, field_of, type_of
from .duckdb_errors import translated
from .environment import Names
from .information_schema import Jobs
from .query import relation
from .result import Cancellation, Result
from .scope import Relation, Scope, Statement
from .session import Session
from .values import Expr, field_access

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the rows of a SELECT go, and how (configuration.query of a job)."""

    table: TableRef
    write_disposition: str
    create_disposition: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Analysed:
    """A query ready to run: DuckDB SQL with the columns c1, c2 … and their REST fields."""

    sql: str
    fields: list[FieldSchema]
    bound: dict[str, Any]
    referenced: list[TableRef]
    cacheable: bool


@dataclass
class Execution:
    """What the statements of one `Engine.execute` share."""

    tables: Tables
    session: Session
    project: str
    default_dataset: DatasetRef | None
    parameters: Mapping[str, tuple[Type, Any]]
    cancellation: Cancellation
    dry_run: bool
    jobs: Jobs | None

    def names(self) -> Names:
        """The names that a statement can use now."""
        session = self.session
        return Names(
            self.tables,
            self.project,
            self.default_dataset,
            transaction=session.transaction,
            temporary=session.temporary,
            functions=session.functions,
            variables=session.variables,
            system=session.system,
            jobs=self.jobs,
        )

    def statement(self, sql: str) -> Statement:
        """The state of the analysis of one statement."""
        return Statement(sql, self.names(), self.parameters)

    def analyse(self, tree: exp.Expr, sql: str) -> Analysed:
        """A query as DuckDB SQL."""
        statement = self.statement(sql)
        found = relation(tree, Scope(statement))
        final, fields = finished(found, statement)
        cacheable = statement.cacheable and not any(key.startswith(("v_", "s_")) for key in statement.bound)
        return Analysed(final, fields, used(statement.bound, final), list(statement.referenced), cacheable)

    def select(self, query: Analysed, destination: Destination | None = None) -> Result:
        """Runs an analysed query."""
        result = Result(
            "SELECT", query.fields, query.referenced, _bytes_processed=lambda: self.bytes_of(query.referenced)
        )
        if self.dry_run:
            self.check(query)
        elif destination is not None:
            self._write(query, destination)
        elif self.session.transaction is not None:
            with self.running(self.session.transaction.connection) as connection:
                table = connection.sql(query.sql, params=query.bound or None).to_arrow_table()
            cast = ArrowCast(arrow_schema(query.fields))
            result._reader = cast.reader(iter(table.to_batches()))
        else:
            self._stream(query, result)
        return result

    def check(self, query: Analysed) -> None:
        """Has DuckDB bind the query without running it: what the analysis lets through is found here."""
        cursor = self.tables.database.cursor()
        try:
            with self.running(cursor) as connection:
                connection.execute(f"EXPLAIN {query.sql}", query.bound or None)
        finally:
            cursor.close()

    def _stream(self, query: Analysed, result: Result) -> None:
        cursor = self.tables.database.cursor()
        done = self.cancellation.watch(cursor.interrupt)

        def release() -> None:
            done()
            cursor.close()

        try:
            self.cancellation.check()
            with duckdb_errors():
                rows = cursor.sql(query.sql, params=query.bound or None).to_arrow_reader(_BATCH_ROWS)
        except BaseException:
            release()
            raise
        cast = ArrowCast(arrow_schema(query.fields))

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                with duckdb_errors():
                    yield from rows
            finally:
                rows.close()
                release()

        result._reader = cast.reader(batches())
        result._release = release

    @contextlib.contextmanager
    def running(self, connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that `cancel` interrupts and whose errors come out as BigQuery's."""
        done = self.cancellation.watch(connection.interrupt)
        try:
            self.cancellation.check()
            with duckdb_errors():
                yield connection
        finally:
            done()

    def _write(self, query: Analysed, destination: Destination) -> None:
        with self.session.writing() as transaction:
            base = destination.table.split()[0]
            transaction.lock("table", base)
            with self.running(transaction.connection) as connection:
                source, bound = f"({query.sql}) q", query.bound
                scratch = ""
                if base in query.referenced:
                    # The table is about to be emptied: its rows are read first.
                    scratch = self.session.scratch()
                    connection.execute(f"CREATE TABLE {scratch} AS {query.sql}", bound)
                    source, bound = f"{scratch} q", {}
                target, partition = self.tables.prepare(
                    transaction,
                    destination.table,
                    query.fields,
                    write_disposition=destination.write_disposition,
                    create_disposition=destination.create_disposition,
                    resource=destination.options,
                    schema_update_options=destination.options.get("schemaUpdateOptions") or (),
                )
                if destination.write_disposition == "WRITE_TRUNCATE" and not partition:
                    self._adopt(query, target, transaction)
                sources = {f["name"].lower(): (f"q.c{i}", type_of(f)) for i, f in enumerate(query.fields, 1)}
                self.tables.insert(transaction, target, sources, source, partition, bound)
                if scratch:
                    connection.execute(f"DROP TABLE {scratch}")

    def _adopt(self, query: Analysed, target: TableRef, transaction: Any) -> None:
        """WRITE_TRUNCATE of a query result replaces the schema as well."""
        resource = self.tables.require_table(target, transaction)
        shape = [(f["name"], type_of(f)) for f in resource.get("schema", {}).get("fields", [])]
        if shape != [(f["name"], type_of(f)) for f in query.fields]:
            changed = {**resource, "schema": {"fields": query.fields}}
            created = resource["creationTime"]
            answer = self.tables.create_table(transaction, target, changed, replace=True)
            transaction.put("table", target, {**answer, "creationTime": created})

    def bytes_of(self, referenced: list[TableRef]) -> int:
        """The logical bytes of the tables that a query names."""
        total = 0
        for ref in referenced:
            with contextlib.suppress(BigQueryError):
                total += self.tables.size(ref)[1]
        return total


def used(bound: Mapping[str, Any], sql: str) -> dict[str, Any]:
    """The bound values that SQL has a place for: some were only looked at (LIMIT, formats)."""
    if not bound:
        return {}
    placed = set(re.findall(r"\$(\w+)", sql))
    return {name: value for name, value in bound.items() if name in placed}


@contextlib.contextmanager
def duckdb_errors() -> Iterator[None]:
    """Turns what DuckDB raises into BigQuery's errors."""
    try:
        yield
    except BigQueryError:
        raise
    except (duckdb.Error, pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise disk_error(error) or translated(error) from error


def finished(found: Relation, statement: Statement) -> tuple[str, list[FieldSchema]]:
    """A query as it is returned: names for all columns, no NULL arrays.

    Raises:
        InvalidQuery: Two columns of one name.
    """
    columns = found.columns
    values = [Expr(f"q.c{i}", type_) for i, (_, type_) in enumerate(columns, 1)]
    wrap = False
    if found.value_table and columns[0][1].kind == "STRUCT":
        row = Expr("q.c1", columns[0][1])
        pairs = zip(row.type.fields, row.type.named_fields(), strict=True)
        columns = [(given, type_) for (given, type_), _ in pairs]
        values = [field_access(row, name, type_) for name, type_ in row.type.named_fields()]
        wrap = True
    fields = []
    seen: dict[str, str] = {}
    unnamed = 0
    for name, type_ in columns:
        if not name:
            name = f"f{unnamed}_"
            unnamed += 1
        if name.lower() in seen:
            raise InvalidQuery(
                "Duplicate column names in the result are not supported when a destination table is present. "
                f"Found duplicate(s): {name}"
            )
        seen[name.lower()] = name
        fields.append(field_of(name, type_))
    if not wrap and not any(type_.element is not None for _, type_ in columns):
        return found.sql, fields
    listed = [_returned(v, f["name"]) for v, f in zip(values, fields, strict=True)]
    picked = ", ".join(f"{v} AS c{i}" for i, v in enumerate(listed, 1))
    return f"SELECT {picked} FROM ({found.sql}) q", fields


def _returned(value: Expr, name: str) -> str:
    if value.type.element is None:
        return value.sql
    text = literal(f"Array cannot have a null element; error in writing field {name}")
    failed = f"CAST([bq.fail({text})] AS {value.type.duckdb})" if value.type.element.kind != "STRUCT" else "[]"
    return (
        f"CASE WHEN {value.sql} IS NULL THEN [] WHEN len({value.sql}) <> list_count({value.sql}) "
        f"THEN {failed} ELSE {value.sql} END"
    )
