"""Datasets, tables, views and routines: their REST resources and their rows, in one DuckDB file.

SQL is the business of `engine/`; HTTP, jobs and file formats that of the modules beside this one.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from . import schema, storage
from .database import Resource, Transaction, conflict
from .failures import BigQueryError, Duplicate, Invalid, Missing, Refused, disk_error
from .layout import fields_of
from .partitions import PARTITION_TIME, partition_condition, partition_time
from .refs import DatasetRef, TableRef
from .resources import Resources, ingestion_time, stamp
from .types import (
    ArrowCast,
    arrow_schema,
    fields_of_arrow,
    normalize,
    quote,
    type_of,
    type_of_arrow_field,
)

__all__ = ["DatasetRef", "Resource", "TableRef", "Tables"]

_BATCH_ROWS = 65_536
_NOT_NULL = re.compile(r"NOT NULL constraint failed: .*\.([^.\s]+)")


class Tables(Resources):
    """Everything that BigQuery keeps. Thread safe; one process owns the file.

    Resources are REST v2 dicts (Dataset, Table, Routine) with every output field filled in except
    `selfLink`, which the REST layer adds. Numbers are strings, as in JSON answers.

    Args:
        root: The folder of the DuckDB file; created when missing.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.translate_filter: Callable[[TableRef, Resource, str], str] = _no_filter
        """Turns a row restriction into a DuckDB condition; set by Engine."""
        self._sizes: dict[TableRef, tuple[str, int, int]] = {}
        self._sizes_guard = threading.Lock()

    def close(self) -> None:
        """Writes everything into the file and lets go of it."""
        self.database.close()

    def get_table(self, ref: TableRef) -> Resource:
        """The Table resource, with numRows, numBytes, lastModifiedTime and etag as they are now."""
        resource = dict(self.require_table(ref))
        if resource["type"] != "VIEW":
            rows, size = self.size(ref)
            resource |= {
                "numRows": str(rows),
                "numBytes": str(size),
                "numLongTermBytes": "0",
            }
            resource["numTotalLogicalBytes"] = resource["numActiveLogicalBytes"] = str(size)
        return resource

    def size(self, ref: TableRef) -> tuple[int, int]:
        """Rows and logical bytes of a table."""
        resource = self.require_table(ref)
        with self._sizes_guard:
            known = self._sizes.get(ref)
        if known is not None and known[0] == resource["etag"]:
            return known[1], known[2]
        fields = fields_of(resource)
        if not fields or resource["type"] == "VIEW":
            return 0, 0
        total = " + ".join(f"sum({storage.logical_bytes(quote(f['name']), type_of(f))})" for f in fields)
        with contextlib.closing(self.database.cursor()) as cursor:
            row = cursor.execute(f"SELECT count(*), coalesce({total}, 0) FROM {ref.duckdb}").fetchone()
        assert row is not None
        with self._sizes_guard:
            self._sizes[ref] = (resource["etag"], int(row[0]), int(row[1]))
        return int(row[0]), int(row[1])

    def append(
        self,
        ref: TableRef,
        data: pa.Table | pa.RecordBatchReader,
        *,
        write_disposition: str = "WRITE_APPEND",
        create_disposition: str = "CREATE_NEVER",
        resource: Mapping[str, Any] | None = None,
        schema_update_options: Sequence[str] = (),
    ) -> int:
        """Writes rows, all or none; when it returns they survive a kill -9.

        Columns are matched by name without case; a missing column is NULL. A table decorator
        (`t$20130101`) restricts WRITE_TRUNCATE to that partition.

        Args:
            ref: The table.
            data: Rows in Arrow types that `types.type_of_arrow` maps on the columns' types.
            write_disposition: WRITE_APPEND, WRITE_TRUNCATE (replaces rows, and schema where
                `resource` has one, in the same transaction) or WRITE_EMPTY.
            create_disposition: CREATE_IF_NEEDED creates the table from `resource`.
            resource: A Table resource for creation (schema, timePartitioning, clustering …); its
                schema defaults to that of the data.
            schema_update_options: ALLOW_FIELD_ADDITION, ALLOW_FIELD_RELAXATION.

        Returns:
            How many rows were written.

        Raises:
            Invalid: A column that the table does not have, a value of the wrong type or without a
                REQUIRED value; the message names the field.
        """
        reader = data.to_reader() if isinstance(data, pa.Table) else data
        reader = storage.readable_batches(reader)
        given = fields_of_arrow(reader.schema)
        with self.writing(ref) as transaction:
            base, partition = self.prepare(
                transaction,
                ref,
                given,
                write_disposition=write_disposition,
                create_disposition=create_disposition,
                resource=resource,
                schema_update_options=schema_update_options,
            )
            transaction.connection.register("incoming", reader)
            sources = {f.name.lower(): (quote(f.name), type_of_arrow_field(f)) for f in reader.schema}
            written = self.insert(transaction, base, sources, "incoming", partition)
            transaction.connection.unregister("incoming")
            return written

    @contextlib.contextmanager
    def writing(self, ref: TableRef) -> Iterator[Transaction]:
        """A transaction that writes one table; DuckDB's errors come out as BigQuery's."""
        with self.database.transaction() as transaction, stored_errors():
            transaction.lock("table", ref.split()[0])
            yield transaction

    def prepare(
        self,
        transaction: Transaction,
        ref: TableRef,
        given: Sequence[Mapping[str, Any]],
        *,
        write_disposition: str,
        create_disposition: str,
        resource: Mapping[str, Any] | None = None,
        schema_update_options: Sequence[str] = (),
    ) -> tuple[TableRef, str]:
        """Makes the table ready for rows with the fields `given`, by the dispositions.

        Returns:
            The table without its partition decorator, and the decorator.
        """
        base, partition = ref.split()
        wanted = normalize(fields_of(resource or {}))
        try:
            existing = self.require_table(base, transaction)
        except Missing:
            if create_disposition != "CREATE_IF_NEEDED":
                raise
            fields = wanted or normalize([{**f, "mode": _relaxed(f)} for f in given])
            self.create_table(transaction, base, {**(resource or {}), "schema": {"fields": fields}})
            return base, partition
        if existing["type"] == "VIEW":
            raise Invalid(f"Table {base} is a view: rows cannot be written to it")
        if write_disposition == "WRITE_EMPTY" and self._occupied(transaction, base, existing):
            raise Duplicate(f"Already Exists: Table {base}")
        if write_disposition == "WRITE_TRUNCATE":
            self._truncate(transaction, base, partition, existing, wanted, given)
        elif not fields_of(existing):
            fields = wanted or normalize([{**f, "mode": _relaxed(f)} for f in given])
            self.alter_table(transaction, base, {**existing, "schema": {"fields": fields}})
        else:
            merged = schema.merged(str(base), fields_of(existing), wanted or given, schema_update_options)
            if merged != fields_of(existing):
                new_schema = {**existing["schema"], "fields": merged}
                self.alter_table(transaction, base, {**existing, "schema": new_schema})
        return base, partition

    def _occupied(self, transaction: Transaction, ref: TableRef, resource: Resource) -> bool:
        if not fields_of(resource):
            return False
        return bool(transaction.connection.execute(f"SELECT 1 FROM {ref.duckdb} LIMIT 1").fetchall())

    def _truncate(
        self,
        transaction: Transaction,
        ref: TableRef,
        partition: str,
        existing: Resource,
        wanted: Sequence[Mapping[str, Any]],
        given: Sequence[Mapping[str, Any]],
    ) -> None:
        if partition:
            condition = partition_condition(existing, partition)
            transaction.connection.execute(f"DELETE FROM {ref.duckdb} WHERE {condition}")
            return
        fields = list(wanted) or fields_of(existing) or [{**f, "mode": _relaxed(f)} for f in given]
        replaced = {
            **existing,
            "schema": {**(existing.get("schema") or {}), "fields": fields},
        }
        created = existing.get("creationTime")
        answer = self.create_table(transaction, ref, replaced, replace=True)
        transaction.put("table", ref, {**answer, "creationTime": created})

    def insert(
        self,
        transaction: Transaction,
        ref: TableRef,
        sources: Mapping[str, tuple[str, Any]],
        relation: str,
        partition: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """Inserts what a DuckDB relation gives, column by column, and marks the table changed.

        Args:
            transaction: Holding the table's lock.
            ref: The table.
            sources: Expressions over the relation and their types, by lower-case column name.
            relation: A table name or a parenthesized query.
            partition: The partition that rows of an ingestion-time partitioned table go to.
            parameters: Values of `$name` in the relation.
        """
        resource = self.require_table(ref, transaction)
        left = dict(sources)
        columns, values = [], []
        for field in fields_of(resource):
            source = left.pop(field["name"].lower(), None)
            columns.append(quote(field["name"]))
            values.append(storage.missing(field) if source is None else storage.stored(*source, field, str(ref)))
        if ingestion_time(resource):
            columns.append(quote(PARTITION_TIME))
            values.append(partition_time(resource, partition))
            left.pop(PARTITION_TIME.lower(), None)
        if left:
            raise Invalid(f"Provided Schema does not match Table {ref}. Cannot add fields (field: {next(iter(left))})")
        sql = f"INSERT INTO {ref.duckdb} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {relation}"
        done = transaction.connection.execute(sql, dict(parameters or {})).fetchone()
        self.touch(transaction, ref)
        assert done is not None
        return int(done[0])

    def touch(self, transaction: Transaction, ref: TableRef) -> None:
        """Notes that the rows of a table have changed."""
        resource = dict(self.require_table(ref, transaction))
        transaction.put("table", ref, stamp(resource), visible=False)

    def read(
        self,
        ref: TableRef,
        columns: Sequence[str] | None = None,
        row_restriction: str = "",
    ) -> pa.RecordBatchReader:
        """The rows, streamed, in `types.arrow_schema` of the selected columns (`a.b` selects a subfield).

        The snapshot is that of the call. Exhaust or close the reader.
        """
        base, partition = ref.split()
        resource = self.require_table(base)
        if resource["type"] == "VIEW":
            raise Invalid(
                f"request failed: table {base} has a table type 'VIEW' that is not supported via Storage Read API"
            )
        fields = fields_of(resource)
        if not fields:
            raise Invalid(f"Table {base} does not have a schema.")
        chosen = storage.selected(fields, columns, str(base))
        conditions = []
        if partition:
            conditions.append(partition_condition(resource, partition))
        if row_restriction:
            conditions.append(self.translate_filter(base, resource, row_restriction))
        listed = ", ".join(f"{value} AS {quote(field['name'])}" for field, value in chosen)
        where = f" WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else ""
        cast = ArrowCast(arrow_schema([field for field, _ in chosen]))
        cursor = self.database.cursor()
        try:
            with stored_errors():
                rows = cursor.sql(f"SELECT {listed} FROM {base.duckdb}{where}").to_arrow_reader(_BATCH_ROWS)
        except BaseException:
            cursor.close()
            raise
        return cast.reader(_batches(rows, cursor))

    def copy(
        self,
        sources: Sequence[TableRef],
        destination: TableRef,
        *,
        write_disposition: str = "WRITE_EMPTY",
        create_disposition: str = "CREATE_IF_NEEDED",
    ) -> int:
        """Copies whole tables into one (copy jobs, CREATE TABLE COPY and CLONE); returns the rows."""
        resources = [self.require_table(source.split()[0]) for source in sources]
        first = resources[0]
        for source, resource in zip(sources, resources, strict=True):
            if resource["type"] == "VIEW":
                raise Invalid(f"Cannot copy view {source}")
            if [type_of(f) for f in fields_of(resource)] != [type_of(f) for f in fields_of(first)]:
                raise Invalid(f"Schema of {source} does not match the other source tables")
        keep = (
            "schema",
            "timePartitioning",
            "rangePartitioning",
            "clustering",
            "description",
            "labels",
        )
        model = {key: first[key] for key in keep if key in first}
        with self.writing(destination) as transaction:
            relations = []
            for number, (source, resource) in enumerate(zip(sources, resources, strict=True)):
                table, part = source.split()
                where = f" WHERE {partition_condition(resource, part)}" if part else ""
                relation = f"(SELECT * FROM {table.duckdb}{where})"
                if table == destination.split()[0]:
                    # a table that is copied into itself: as it is now, not as it will be
                    transaction.connection.execute(f"CREATE OR REPLACE TEMP TABLE copied_{number} AS FROM {relation}")
                    relation = f"temp.copied_{number}"
                relations.append(relation)
            base, partition = self.prepare(
                transaction,
                destination,
                fields_of(first),
                write_disposition=write_disposition,
                create_disposition=create_disposition,
                resource=model,
            )
            written = 0
            for relation, resource in zip(relations, resources, strict=True):
                columns = {f["name"].lower(): (quote(f["name"]), type_of(f)) for f in fields_of(resource)}
                if columns:
                    written += self.insert(transaction, base, columns, relation, partition)
            return written


def _no_filter(ref: TableRef, resource: Resource, text: str) -> str:
    raise Refused(f"Row restrictions need the SQL engine: {text}")


def _relaxed(field: Mapping[str, Any]) -> str:
    """The mode of a column made from data: data alone makes no column REQUIRED."""
    return "REPEATED" if field.get("mode") == "REPEATED" else "NULLABLE"


def _batches(rows: pa.RecordBatchReader, cursor: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    try:
        with stored_errors():
            yield from rows
    finally:
        rows.close()
        cursor.close()


@contextlib.contextmanager
def stored_errors() -> Iterator[None]:
    """Turns DuckDB's errors about rows that are written or read into BigQuery's."""
    try:
        yield
    except BigQueryError:
        raise
    except duckdb.TransactionException as error:
        raise conflict(error) from error
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        raise disk_error(error) or storage_error(str(error)) from error


def storage_error(text: str) -> BigQueryError:
    """BigQuery's error for a message of DuckDB's about stored rows."""
    line = text.strip().splitlines()[0]
    null = _NOT_NULL.search(line)
    if null:
        return Invalid(f"Required field {null[1]} cannot be null")
    return Invalid(re.sub(r"^(?:Invalid Input|Conversion|Constraint|Out of Range) Error: ", "", line))
