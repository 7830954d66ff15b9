"""INFORMATION_SCHEMA: the views over resources that SQL can read.

https://cloud.google.com/bigquery/docs/information-schema-intro lists them; those without a local counterpart
are refused by name.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from ..layout import fields_of
from ..partitions import partition_column, partition_id
from ..refs import DatasetRef, TableRef
from ..storage import literal
from ..types import BOOL, FLOAT64, INT64, JSON, STRING, TIMESTAMP, FieldSchema, Type, type_of
from .scope import Relation, Statement

if TYPE_CHECKING:
    from .environment import Names

Jobs = Callable[[str], list[dict[str, Any]]]
"""Gives the Job resources of a project."""

_Row = dict[str, Any]
_TABLES = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("table_type", STRING),
    ("is_insertable_into", STRING), ("is_typed", STRING), ("creation_time", TIMESTAMP), ("ddl", STRING),
)  # fmt: skip
_COLUMNS = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("column_name", STRING),
    ("ordinal_position", INT64), ("is_nullable", STRING), ("data_type", STRING), ("is_generated", STRING),
    ("is_hidden", STRING), ("is_system_defined", STRING), ("is_partitioning_column", STRING),
    ("clustering_ordinal_position", INT64), ("column_default", STRING),
)  # fmt: skip
_PATHS = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("column_name", STRING),
    ("field_path", STRING), ("data_type", STRING), ("description", STRING),
)  # fmt: skip
_OPTIONS = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("option_name", STRING),
    ("option_type", STRING), ("option_value", STRING),
)  # fmt: skip
_VIEWS = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("view_definition", STRING),
    ("check_option", STRING), ("use_standard_sql", STRING),
)  # fmt: skip
_PARTITIONS = (
    ("table_catalog", STRING), ("table_schema", STRING), ("table_name", STRING), ("partition_id", STRING),
    ("total_rows", INT64), ("total_logical_bytes", INT64), ("last_modified_time", TIMESTAMP),
    ("storage_tier", STRING),
)  # fmt: skip
_SCHEMATA = (
    ("catalog_name", STRING), ("schema_name", STRING), ("schema_owner", STRING), ("creation_time", TIMESTAMP),
    ("last_modified_time", TIMESTAMP), ("location", STRING), ("ddl", STRING),
)  # fmt: skip
_JOBS = (
    ("creation_time", TIMESTAMP), ("project_id", STRING), ("user_email", STRING), ("job_id", STRING),
    ("job_type", STRING), ("statement_type", STRING), ("start_time", TIMESTAMP), ("end_time", TIMESTAMP),
    ("query", STRING), ("state", STRING), ("total_bytes_processed", INT64), ("error_result", JSON),
)  # fmt: skip
_ROUTINES = (
    ("specific_catalog", STRING), ("specific_schema", STRING), ("specific_name", STRING),
    ("routine_catalog", STRING), ("routine_schema", STRING), ("routine_name", STRING), ("routine_type", STRING),
    ("data_type", STRING), ("routine_body", STRING), ("routine_definition", STRING),
)  # fmt: skip


def view(
    name: str, path: Sequence[str], names: Names, jobs: Jobs | None, statement: Statement, node: exp.Expr
) -> Relation:
    """A view of INFORMATION_SCHEMA as a relation of its rows."""
    project, dataset = _where(path, names)
    if name == "SCHEMATA":
        return _relation(_SCHEMATA, (_schema(r) for r in names.tables.list_datasets(project)))
    if name in ("JOBS", "JOBS_BY_PROJECT", "JOBS_BY_USER"):
        if jobs is None:
            raise statement.refuse(f"INFORMATION_SCHEMA.{name}", node)
        return _relation(_JOBS, (_job(r) for r in jobs(project)))
    if dataset is None and path and path[-1].lower().startswith("region-"):
        datasets = [DatasetRef.of(r["datasetReference"]) for r in names.tables.list_datasets(project)]
    elif dataset is None:
        raise statement.error(f"INFORMATION_SCHEMA.{name} must be qualified with a dataset", node)
    else:
        names.tables.get_dataset(dataset)
        datasets = [dataset]
    makers: dict[str, tuple[Sequence[tuple[str, Type]], Callable[[Names, DatasetRef], Iterable[_Row]]]] = {
        "TABLES": (_TABLES, _tables),
        "COLUMNS": (_COLUMNS, _columns),
        "COLUMN_FIELD_PATHS": (_PATHS, _field_paths),
        "TABLE_OPTIONS": (_OPTIONS, _table_options),
        "VIEWS": (_VIEWS, _views),
        "PARTITIONS": (_PARTITIONS, _partitions),
        "ROUTINES": (_ROUTINES, _routines),
    }
    if name not in makers:
        raise statement.refuse(f"INFORMATION_SCHEMA.{name}", node)
    columns, rows = makers[name]
    return _relation(columns, (row for each in datasets for row in rows(names, each)))


def _where(path: Sequence[str], names: Names) -> tuple[str, DatasetRef | None]:
    if not path:
        return names.project, names.default_dataset
    project = ".".join(path[:-1]) or names.project
    if path[-1].lower().startswith("region-"):
        return project, None
    return project, DatasetRef(project, path[-1])


def _relation(columns: Sequence[tuple[str, Type]], rows: Iterable[_Row]) -> Relation:
    """Rows as VALUES: they are few, and the names in them are quoted as texts."""
    listed = [f"({', '.join(_sql(row.get(name), type_) for name, type_ in columns)})" for row in rows]
    names = ", ".join(f"c{i}" for i in range(1, len(columns) + 1))
    typed = ", ".join(f"CAST(c{i} AS {t.duckdb}) AS c{i}" for i, (_, t) in enumerate(columns, 1))
    if not listed:
        empty = ", ".join("NULL" for _ in columns)
        return Relation(f"SELECT {typed} FROM (VALUES ({empty})) v({names}) WHERE FALSE", list(columns))
    return Relation(f"SELECT {typed} FROM (VALUES {', '.join(listed)}) v({names})", list(columns))


def _sql(value: Any, type_: Type) -> str:
    if value is None:
        return "NULL"
    if type_ == TIMESTAMP:
        return f"make_timestamptz({int(value) * 1000})"
    if type_ in (INT64, FLOAT64, BOOL):
        return str(value)
    return literal(json.dumps(value) if type_ == JSON else str(value))


def _base(ref: TableRef) -> _Row:
    return {"table_catalog": ref.project, "table_schema": ref.dataset, "table_name": ref.table}


def _each(names: Names, dataset: DatasetRef) -> list[tuple[TableRef, dict[str, Any]]]:
    found = names.tables.list_tables(dataset)
    return [(TableRef.of(r["tableReference"]), r) for r in found]


def _schema(resource: dict[str, Any]) -> _Row:
    ref = DatasetRef.of(resource["datasetReference"])
    return {
        "catalog_name": ref.project, "schema_name": ref.dataset, "creation_time": resource["creationTime"],
        "last_modified_time": resource["lastModifiedTime"], "location": resource["location"],
        "ddl": f"CREATE SCHEMA `{ref.project}.{ref.dataset}`\nOPTIONS(\n  location=\"{resource['location']}\"\n);",
    }  # fmt: skip


def _tables(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    kinds = {"TABLE": "BASE TABLE", "VIEW": "VIEW", "SNAPSHOT": "SNAPSHOT"}
    for ref, resource in _each(names, dataset):
        yield {
            **_base(ref), "table_type": kinds.get(resource["type"], resource["type"]),
            "is_insertable_into": "YES" if resource["type"] == "TABLE" else "NO", "is_typed": "NO",
            "creation_time": resource["creationTime"], "ddl": _ddl(ref, resource),
        }  # fmt: skip


def _ddl(ref: TableRef, resource: dict[str, Any]) -> str:
    name = f"`{ref.project}.{ref.dataset}.{ref.table}`"
    if resource["type"] == "VIEW":
        return f"CREATE VIEW {name}\nAS {resource['view']['query']};"
    columns = ",\n".join(
        f"  {f['name']} {_data_type(f)}{' NOT NULL' if f['mode'] == 'REQUIRED' else ''}" for f in fields_of(resource)
    )
    text = f"CREATE TABLE {name}\n(\n{columns}\n)"
    if resource.get("timePartitioning"):
        text += f"\nPARTITION BY {partition_column(resource)}"
    if resource.get("clustering"):
        text += f"\nCLUSTER BY {', '.join(resource['clustering']['fields'])}"
    return text + ";"


def _data_type(field: FieldSchema) -> str:
    return str(type_of(field))


def _columns(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    for ref, resource in _each(names, dataset):
        clustered = [c.lower() for c in (resource.get("clustering") or {}).get("fields") or ()]
        partition = partition_column(resource).lower()
        for position, field in enumerate(fields_of(resource), 1):
            lower = field["name"].lower()
            yield {
                **_base(ref), "column_name": field["name"], "ordinal_position": position,
                "is_nullable": "NO" if field["mode"] == "REQUIRED" else "YES", "data_type": _data_type(field),
                "is_generated": "NEVER", "is_hidden": "NO", "is_system_defined": "NO",
                "is_partitioning_column": "YES" if lower == partition else "NO",
                "clustering_ordinal_position": clustered.index(lower) + 1 if lower in clustered else None,
                "column_default": field.get("defaultValueExpression") or "NULL",
            }  # fmt: skip


def _field_paths(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    def walk(column: str, path: str, field: FieldSchema) -> Iterable[_Row]:
        yield {
            "column_name": column, "field_path": path, "data_type": _data_type(field),
            "description": field.get("description"),
        }  # fmt: skip
        for inner in field.get("fields") or ():
            yield from walk(column, f"{path}.{inner['name']}", inner)

    for ref, resource in _each(names, dataset):
        for field in fields_of(resource):
            for row in walk(field["name"], field["name"], field):
                yield {**_base(ref), **row}


def _table_options(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    for ref, resource in _each(names, dataset):
        for option, key, type_ in (
            ("description", "description", "STRING"),
            ("friendly_name", "friendlyName", "STRING"),
            ("labels", "labels", "ARRAY<STRUCT<STRING, STRING>>"),
            ("expiration_timestamp", "expirationTime", "TIMESTAMP"),
        ):
            value = resource.get(key)
            if value is None:
                continue
            shown = json.dumps(str(value))
            if key == "labels":
                shown = "[" + ", ".join(f'STRUCT("{k}", "{v}")' for k, v in value.items()) + "]"
            elif key == "expirationTime":
                moment = datetime.datetime.fromtimestamp(int(value) / 1000, datetime.UTC)
                shown = f'TIMESTAMP "{moment.isoformat()}"'
            yield {**_base(ref), "option_name": option, "option_type": type_, "option_value": shown}


def _views(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    for ref, resource in _each(names, dataset):
        if resource["type"] == "VIEW":
            yield {**_base(ref), "view_definition": resource["view"]["query"], "use_standard_sql": "YES"}


def _partitions(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    for ref, resource in _each(names, dataset):
        if resource["type"] == "VIEW" or not fields_of(resource):
            continue
        rows, size = names.tables.size(ref)
        counted: list[tuple[Any, int]] = [(None, rows)]
        if partition_column(resource):
            cursor = names.tables.database.cursor()
            try:
                sql = f"SELECT {partition_id(resource)}, count(*) FROM {ref.duckdb} GROUP BY 1 ORDER BY 1"
                counted = cursor.execute(sql).fetchall()
            finally:
                cursor.close()
        for partition, count in counted:
            share = size * count // rows if rows else 0
            yield {
                **_base(ref), "partition_id": partition, "total_rows": count, "total_logical_bytes": share,
                "last_modified_time": resource["lastModifiedTime"], "storage_tier": "ACTIVE",
            }  # fmt: skip


def _routines(names: Names, dataset: DatasetRef) -> Iterable[_Row]:
    for resource in names.tables.list_routines(dataset):
        ref = TableRef.of(resource["routineReference"])
        parts = {"catalog": ref.project, "schema": ref.dataset, "name": ref.table}
        yield {
            **{f"specific_{k}": v for k, v in parts.items()}, **{f"routine_{k}": v for k, v in parts.items()},
            "routine_type": "FUNCTION", "data_type": (resource.get("returnType") or {}).get("typeKind"),
            "routine_body": resource.get("language", "SQL"), "routine_definition": resource.get("definitionBody"),
        }  # fmt: skip


def _job(resource: dict[str, Any]) -> _Row:
    statistics, reference = resource.get("statistics") or {}, resource.get("jobReference") or {}
    query = statistics.get("query") or {}
    configuration = resource.get("configuration") or {}
    return {
        "creation_time": statistics.get("creationTime"), "project_id": reference.get("projectId"),
        "user_email": resource.get("user_email"), "job_id": reference.get("jobId"),
        "job_type": configuration.get("jobType"), "statement_type": query.get("statementType"),
        "start_time": statistics.get("startTime"), "end_time": statistics.get("endTime"),
        "query": (configuration.get("query") or {}).get("query"), "state": (resource.get("status") or {}).get("state"),
        "total_bytes_processed": query.get("totalBytesProcessed"),
        "error_result": (resource.get("status") or {}).get("errorResult"),
    }  # fmt: skip
