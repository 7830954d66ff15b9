"""What paths in SQL name: tables, views, wildcards, INFORMATION_SCHEMA, functions, variables.

It reads the resources of `tables.py`; how they are queried is decided by the analyzer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from ..database import Transaction
from ..failures import InvalidQuery, Missing
from ..layout import fields_of
from ..partitions import PARTITION_TIME
from ..refs import DatasetRef, TableRef
from ..resources import ingestion_time
from ..tables import Resource, Tables
from ..types import DATE, STRING, TIMESTAMP, Type, quote, type_of
from . import information_schema
from .dialect import parse
from .query import relation
from .scope import Column, Relation, Scope, Source, Statement
from .values import Expr, supertype

_MAX_DEPTH = 16


class Names:
    """The names that SQL of one project and session can use.

    Args:
        tables: The warehouse.
        project: Where unqualified datasets are.
        default_dataset: Where unqualified tables are.
        transaction: The open transaction, whose changes are seen.
        temporary: Temporary tables: physical name and resource, by lower-case name.
        functions: Temporary functions by lower-case name.
        variables: Script variables by lower-case name.
        system: System variables by name.
        jobs: Gives a project's jobs, for INFORMATION_SCHEMA.JOBS.
    """

    def __init__(
        self,
        tables: Tables,
        project: str,
        default_dataset: DatasetRef | None = None,
        *,
        transaction: Transaction | None = None,
        temporary: Mapping[str, tuple[str, Resource]] | None = None,
        functions: Mapping[str, Mapping[str, Any]] | None = None,
        variables: Mapping[str, tuple[Type, Any]] | None = None,
        system: Mapping[str, tuple[Type, Any]] | None = None,
        jobs: information_schema.Jobs | None = None,
    ) -> None:
        self.tables = tables
        self.project = project
        self.default_dataset = default_dataset
        self._transaction = transaction
        self._temporary = temporary or {}
        self._functions = functions or {}
        self._variables = variables or {}
        self._system = system or {}
        self._jobs = jobs

    def variable(self, name: str) -> tuple[Type, Any] | None:
        """A script variable's type and value."""
        return self._variables.get(name.lower())

    def system_variable(self, name: str) -> tuple[Type, Any] | None:
        """A system variable's type and value."""
        if name == "project_id":
            return STRING, self.project
        if name == "time_zone":
            return STRING, "UTC"
        if name == "dataset_id":
            return STRING, self.default_dataset.dataset if self.default_dataset else None
        return self._system.get(name)

    def function(self, path: Sequence[str]) -> Mapping[str, Any] | None:
        """The Routine resource of a path."""
        if len(path) == 1 and path[0].lower() in self._functions:
            return self._functions[path[0].lower()]
        if len(path) == 1 and self.default_dataset is None:
            return None
        return self.tables.database.find("routine", self.ref(path))

    def ref(self, path: Sequence[str]) -> TableRef:
        """The table or routine that a path names.

        Raises:
            InvalidQuery: An unqualified name without a default dataset.
        """
        if len(path) >= 3:
            return TableRef(".".join(path[:-2]), path[-2], path[-1])
        if len(path) == 2:
            return TableRef(self.project, path[0], path[1])
        if self.default_dataset is None:
            raise InvalidQuery(
                f'Table "{path[0]}" must be qualified with a dataset (e.g. dataset.table).', reason="invalid"
            )
        return self.default_dataset.table(path[0])

    def temporary(self, path: Sequence[str]) -> tuple[str, Resource] | None:
        """The physical name and resource of a temporary table."""
        if len(path) == 1 or (len(path) == 2 and path[0].upper() == "_SESSION"):
            return self._temporary.get(path[-1].lower())
        return None

    def table(self, path: Sequence[str], statement: Statement, node: exp.Expr) -> Relation | Source:
        """What a table path names, ready to select from."""
        schema = re.fullmatch(r"INFORMATION_SCHEMA\.(\w+)", path[-1], re.IGNORECASE)
        if schema:
            statement.cacheable = False
            return information_schema.view(schema[1].upper(), list(path[:-1]), self, self._jobs, statement, node)
        found = self.temporary(path)
        if found is not None:
            statement.cacheable = False
            return self._source(*found)
        ref = self.ref(path)
        if ref.table.endswith("*"):
            return self._wildcard(ref, statement, node)
        resource = self.resource(ref)
        statement.referenced[ref] = None
        if resource["type"] == "VIEW":
            return self._view(ref, resource, statement)
        if not fields_of(resource):
            raise statement.error(f"Table {ref} does not have a schema.", node)
        return self._source(ref.duckdb, resource)

    def resource(self, ref: TableRef) -> Resource:
        """The Table resource; `Not found: Table … was not found in location US`."""
        try:
            return self.tables.require_table(ref, self._transaction)
        except Missing as error:
            known = self.tables.database.find("dataset", ref.parent)
            location = known["location"] if known else "US"
            raise Missing(f"{error.message} was not found in location {location}", location="query") from None

    def _source(self, physical: str, resource: Resource) -> Source:
        columns = [Column(f["name"], Expr(f"{{source}}.{quote(f['name'])}", type_of(f))) for f in fields_of(resource)]
        if ingestion_time(resource):
            moment = f'{{source}}."{PARTITION_TIME}"'
            columns.append(Column(PARTITION_TIME, Expr(moment, TIMESTAMP), hidden=True))
            day = f"CAST(bq.utc({moment}) AS DATE)"
            columns.append(Column("_PARTITIONDATE", Expr(day, DATE), hidden=True))
        return Source(physical, columns)

    def _view(self, ref: TableRef, resource: Resource, statement: Statement) -> Relation:
        statement.depth += 1
        if statement.depth > _MAX_DEPTH:
            raise statement.error(f"View {ref} is nested too deep")
        outer_sql, outer = statement.sql, statement.environment
        query = str(resource["view"]["query"])
        statement.sql, statement.environment = (
            query,
            Names(self.tables, ref.project, transaction=self._transaction),
        )
        try:
            return relation(parse(query), Scope(statement))
        except InvalidQuery as error:
            raise InvalidQuery(f"Query error in view {ref}: {error.message}") from error
        finally:
            statement.sql, statement.environment = outer_sql, outer
            statement.depth -= 1

    def _wildcard(self, ref: TableRef, statement: Statement, node: exp.Expr) -> Relation | Source:
        prefix = ref.table[:-1]
        found = [
            (TableRef(ref.project, ref.dataset, resource["tableReference"]["tableId"]), resource)
            for resource in self.tables.list_tables(ref.parent)
            if resource["tableReference"]["tableId"].startswith(prefix) and resource["type"] != "VIEW"
        ]
        if not found:
            raise Missing(f"{ref} does not match any table.", location="query")
        # The schema is that of the newest table; columns an older one lacks are NULL.
        newest = max(found, key=lambda pair: int(pair[1]["creationTime"]))[1]
        fields = fields_of(newest)
        selects = []
        for each, resource in found:
            statement.referenced[each] = None
            known = {f["name"].lower(): type_of(f) for f in fields_of(resource)}
            values = []
            for field in fields:
                type_ = type_of(field)
                given = known.get(field["name"].lower())
                if given is not None and supertype([Expr("", given), Expr("", type_)]) != type_:
                    raise statement.error(
                        f"Cannot read field '{field['name']}' of type {given} as {type_} Field: {field['name']}",
                        node,
                    )
                column = quote(field["name"]) if given is not None else "NULL"
                values.append(f"CAST({column} AS {type_.duckdb}) AS {quote(field['name'])}")
            suffix = each.table[len(prefix) :].replace("'", "''")
            selects.append(f"SELECT {', '.join(values)}, '{suffix}' AS \"_TABLE_SUFFIX\" FROM {each.duckdb}")
        columns = [Column(f["name"], Expr(f"{{source}}.{quote(f['name'])}", type_of(f))) for f in fields]
        columns.append(Column("_TABLE_SUFFIX", Expr('{source}."_TABLE_SUFFIX"', STRING), hidden=True))
        return Source(f"({' UNION ALL '.join(selects)})", columns)
