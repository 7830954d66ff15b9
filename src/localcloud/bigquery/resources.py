"""Datasets, tables, views and routines as REST resources: created, listed, changed and deleted.

Rows are the business of `tables.py`, which builds on this.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import schema
from .database import Database, Resource, Transaction
from .failures import Duplicate, EtagMismatch, InUse, Invalid, Missing, Refused
from .layout import check_layout, fields_of
from .partitions import PARTITION_TIME
from .refs import DatasetRef, TableRef
from .types import FieldSchema, duckdb_columns, normalize

_FIXED = {
    "kind", "id", "etag", "creationTime", "lastModifiedTime", "datasetReference", "tableReference",
    "routineReference", "type", "numRows", "numBytes", "selfLink", "location", "numLongTermBytes",
}  # fmt: skip
_Ref = TypeVar("_Ref", DatasetRef, TableRef)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def stamp(resource: Resource, *, created: bool = False) -> Resource:
    """The resource with a new etag and lastModifiedTime (and creationTime, when created)."""
    moment = str(now_ms())
    resource["etag"] = base64.b64encode(os.urandom(16)).decode()
    resource["lastModifiedTime"] = moment
    if created:
        resource["creationTime"] = moment
    return resource


def ingestion_time(resource: Mapping[str, Any]) -> bool:
    """Whether the table is partitioned by the time at which rows arrive."""
    partitioning = resource.get("timePartitioning") or {}
    return bool(partitioning) and not partitioning.get("field")


class Resources:
    """The resources of all datasets. See `tables.Tables`, which is this with rows.

    Args:
        root: The folder of the DuckDB file; created when missing.
    """

    def __init__(self, root: Path) -> None:
        self.database = Database(root / "bigquery.duckdb")
        self.describe_view: Callable[[str, str], list[FieldSchema]] = lambda query, project: []
        """Gives the schema of a view's query in a project and raises where the query is wrong; set by Engine."""

    # datasets

    def insert_dataset(self, project: str, resource: Mapping[str, Any]) -> Resource:
        """Creates a dataset from `datasetReference`, location, labels …; Duplicate when it is there."""
        ref = DatasetRef.of(resource.get("datasetReference") or {}, project)
        ref.check()
        location = str(resource.get("location") or "US")
        answer: Resource = {
            "access": [
                {"role": "WRITER", "specialGroup": "projectWriters"},
                {"role": "OWNER", "specialGroup": "projectOwners"},
                {"role": "READER", "specialGroup": "projectReaders"},
            ],
            "type": "DEFAULT",
            **{k: v for k, v in resource.items() if v is not None and k not in _FIXED},
            "kind": "bigquery#dataset",
            "id": str(ref),
            "datasetReference": ref.resource,
            "location": location if "-" in location else location.upper(),
        }
        with self.database.transaction() as transaction:
            transaction.lock("dataset", ref)
            if transaction.find("dataset", ref) is not None:
                raise Duplicate(f"Already Exists: Dataset {ref}")
            transaction.connection.execute(f"CREATE SCHEMA {ref.duckdb}")
            transaction.put("dataset", ref, stamp(answer, created=True))
        return answer

    def get_dataset(self, ref: DatasetRef) -> Resource:
        """The Dataset resource; Missing `Not found: Dataset p:d`."""
        found = self.database.find("dataset", ref)
        if found is None:
            raise Missing(f"Not found: Dataset {ref}")
        return dict(found)

    def list_datasets(self, project: str) -> list[Resource]:
        """All datasets of a project by id, as full resources; filters and pages are the caller's."""
        found = [(ref.dataset, dict(r)) for ref, r in self.database.all("dataset") if ref.project == project]
        return [resource for _, resource in sorted(found, key=lambda pair: pair[0])]

    def patch_dataset(self, ref: DatasetRef, changes: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Merges the given fields (None removes one; label by label in `labels`)."""
        return self._change_dataset(ref, lambda old: _patched(old, changes), etag)

    def update_dataset(self, ref: DatasetRef, resource: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Replaces the writable fields."""
        return self._change_dataset(ref, lambda old: _replaced(old, resource), etag)

    def _change_dataset(self, ref: DatasetRef, change: Callable[[Resource], Resource], etag: str) -> Resource:
        with self.database.transaction() as transaction:
            transaction.lock("dataset", ref)
            old = _found(transaction, "dataset", ref)
            check_etag(old, etag)
            answer = stamp(change(old))
            transaction.put("dataset", ref, answer)
        return dict(answer)

    def delete_dataset(self, ref: DatasetRef, *, delete_contents: bool = False, etag: str = "") -> None:
        """Deletes it; InUse when it has tables and `delete_contents` is not set."""
        with self.database.transaction() as transaction:
            transaction.lock("dataset", ref)
            check_etag(_found(transaction, "dataset", ref), etag)
            tables = [t for t, r in self.database.all("table") if t.parent == ref and not expired(r)]
            if tables and not delete_contents:
                raise InUse(f"Dataset {ref} is still in use")
            for kind in ("table", "routine"):
                for item, _ in self.database.all(kind):
                    if item.parent == ref:
                        transaction.lock(kind, item)
                        transaction.remove(kind, item)
            transaction.connection.execute(f"DROP SCHEMA IF EXISTS {ref.duckdb} CASCADE")
            transaction.remove("dataset", ref)

    # tables and views

    def insert_table(self, ref: TableRef, resource: Mapping[str, Any]) -> Resource:
        """Creates an empty table (`schema`) or a view (`view.query`)."""
        with self.database.transaction() as transaction:
            self.create_table(transaction, ref, resource)
        return self.get_table(ref)

    def create_table(
        self,
        transaction: Transaction,
        ref: TableRef,
        resource: Mapping[str, Any],
        *,
        replace: bool = False,
    ) -> Resource:
        """The same within a transaction; `replace` drops what has the name."""
        ref.check()
        answer = self._new_table(transaction, ref, resource)
        transaction.lock("table", ref)
        existing = transaction.find("table", ref)
        if existing is not None:
            if not replace and not expired(existing):
                raise Duplicate(f"Already Exists: Table {ref}")
            self.drop_rows(transaction, ref)
        if answer["type"] != "VIEW" and fields_of(answer):
            columns = duckdb_columns(fields_of(answer))
            if ingestion_time(answer):
                columns += f', "{PARTITION_TIME}" TIMESTAMP WITH TIME ZONE'
            transaction.connection.execute(f"CREATE TABLE {ref.duckdb} ({columns})")
        transaction.put("table", ref, stamp(answer, created=True))
        return answer

    def drop_rows(self, transaction: Transaction, ref: TableRef) -> None:
        """Drops the DuckDB table, where there is one (views have none)."""
        transaction.connection.execute(f"DROP TABLE IF EXISTS {ref.duckdb}")

    def _new_table(self, transaction: Transaction, ref: TableRef, given: Mapping[str, Any]) -> Resource:
        dataset = transaction.find("dataset", ref.parent)
        if dataset is None:
            raise Missing(f"Not found: Dataset {ref.parent}")
        for unsupported in (
            "externalDataConfiguration",
            "materializedView",
            "biglakeConfiguration",
        ):
            if given.get(unsupported):
                raise Refused(f"The local BigQuery has no {unsupported}; load the data into a table instead")
        answer = {k: v for k, v in given.items() if v is not None and k not in _FIXED}
        answer |= {
            "kind": "bigquery#table",
            "id": f"{ref.parent}.{ref.table}",
            "tableReference": ref.resource,
            "type": str(given.get("type") or "TABLE"),
            "location": dataset["location"],
        }
        fields = normalize(fields_of(given))
        if given.get("view"):
            answer["type"] = "VIEW"
            view = {"useLegacySql": False, **given["view"]}
            if view["useLegacySql"] in (True, "true"):
                raise Invalid("Legacy SQL views are not carried over; set useLegacySql to false")
            answer["view"] = view
            described = self.describe_view(str(view.get("query", "")), ref.project)
            fields = _with_descriptions(described, fields)
        if fields:
            answer["schema"] = {**(given.get("schema") or {}), "fields": fields}
        check_layout(answer)
        moment = now_ms()
        if not answer.get("expirationTime") and dataset.get("defaultTableExpirationMs"):
            answer["expirationTime"] = str(moment + int(dataset["defaultTableExpirationMs"]))
        if answer.get("expirationTime") and int(answer["expirationTime"]) <= moment:
            raise Invalid("Invalid value for expirationTime: it is in the past")
        partitioning = answer.get("timePartitioning")
        if partitioning and not partitioning.get("expirationMs") and dataset.get("defaultPartitionExpirationMs"):
            partitioning["expirationMs"] = str(dataset["defaultPartitionExpirationMs"])
        return answer

    def get_table(self, ref: TableRef) -> Resource:
        """The Table resource, with numRows, numBytes, lastModifiedTime and etag as they are now."""
        return dict(self.require_table(ref))

    def require_table(self, ref: TableRef, transaction: Transaction | None = None) -> Resource:
        """The resource as it is kept (do not change it), without row counts."""
        found = (transaction or self.database).find("table", ref)
        if found is not None and expired(found):
            if transaction is None:
                self.delete_table(ref)
            found = None
        if found is None:
            if (transaction or self.database).find("dataset", ref.parent) is None:
                raise Missing(f"Not found: Dataset {ref.parent}")
            raise Missing(f"Not found: Table {ref}")
        return found

    def list_tables(self, ref: DatasetRef) -> list[Resource]:
        """All tables, views and so on of a dataset by id, without row counts."""
        self.get_dataset(ref)
        found = [
            (item.table, dict(resource))
            for item, resource in self.database.all("table")
            if item.parent == ref and not expired(resource)
        ]
        return [resource for _, resource in sorted(found, key=lambda pair: pair[0])]

    def patch_table(self, ref: TableRef, changes: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Merges the given fields; a new `schema` must be a permitted change of the old one."""
        return self._change_table(ref, lambda old: _patched(old, changes), etag)

    def update_table(self, ref: TableRef, resource: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Replaces the writable fields; the same rules for `schema`."""
        return self._change_table(ref, lambda old: _replaced(old, resource), etag)

    def _change_table(self, ref: TableRef, change: Callable[[Resource], Resource], etag: str) -> Resource:
        self.require_table(ref)
        with self.database.transaction() as transaction:
            transaction.lock("table", ref)
            old = self.require_table(ref, transaction)
            check_etag(old, etag)
            self.alter_table(transaction, ref, change(old))
        return self.get_table(ref)

    def alter_table(self, transaction: Transaction, ref: TableRef, new: Resource) -> Resource:
        """Makes `new` the table's resource and its schema that of the DuckDB table."""
        old = self.require_table(ref, transaction)
        if new["type"] == "VIEW":
            if new.get("view") != old.get("view"):
                described = self.describe_view(str(new["view"].get("query", "")), ref.project)
                new["schema"] = {"fields": _with_descriptions(described, fields_of(new))}
        else:
            fields = normalize(fields_of(new))
            self._alter_columns(transaction, ref, fields_of(old), fields, new)
            if fields:
                new["schema"] = {**(new.get("schema") or {}), "fields": fields}
            partition_kinds = [
                {k: v for k, v in (r.get("timePartitioning") or {}).items() if k in ("type", "field")}
                for r in (old, new)
            ]
            if partition_kinds[0] != partition_kinds[1] and old.get("schema"):
                raise Invalid(f"Cannot change partitioning/clustering spec for table {ref}")
            check_layout(new)
        transaction.put("table", ref, stamp(new))
        return new

    def replace_schema(self, transaction: Transaction, ref: TableRef, fields: Sequence[FieldSchema]) -> None:
        """Notes the schema of a table whose DuckDB columns have been changed already."""
        if not fields:
            raise Invalid(f"Table {ref} must keep at least one column")
        new = dict(self.require_table(ref, transaction))
        new["schema"] = {**(new.get("schema") or {}), "fields": normalize(fields)}
        check_layout(new)
        transaction.put("table", ref, stamp(new))

    def _alter_columns(
        self,
        transaction: Transaction,
        ref: TableRef,
        old: Sequence[FieldSchema],
        new: Sequence[FieldSchema],
        resource: Resource,
    ) -> None:
        if not old and new:
            columns = duckdb_columns(new)
            if ingestion_time(resource):
                columns += f', "{PARTITION_TIME}" TIMESTAMP WITH TIME ZONE'
            transaction.connection.execute(f"CREATE TABLE {ref.duckdb} ({columns})")
            return
        for ending in schema.changes(str(ref), old, new):
            transaction.connection.execute(f"ALTER TABLE {ref.duckdb} {ending}")

    def delete_table(self, ref: TableRef, *, etag: str = "") -> None:
        """Deletes a table or view with its rows."""
        with self.database.transaction() as transaction:
            transaction.lock("table", ref)
            found = transaction.find("table", ref)
            if found is None:
                raise Missing(f"Not found: Table {ref}")
            check_etag(found, etag)
            self.drop_rows(transaction, ref)
            transaction.remove("table", ref)

    # routines

    def insert_routine(self, ref: TableRef, resource: Mapping[str, Any], *, replace: bool = False) -> Resource:
        """Keeps a Routine resource (its checking is the engine's)."""
        answer = {k: v for k, v in resource.items() if v is not None and k not in _FIXED}
        answer["routineReference"] = {
            "projectId": ref.project,
            "datasetId": ref.dataset,
            "routineId": ref.table,
        }
        self.get_dataset(ref.parent)
        with self.database.transaction() as transaction:
            transaction.lock("routine", ref)
            old = transaction.find("routine", ref)
            if old is not None and not replace:
                raise Duplicate(f"Already Exists: Routine {ref}")
            transaction.put("routine", ref, stamp(answer, created=True))
        return dict(answer)

    def get_routine(self, ref: TableRef) -> Resource:
        """The Routine resource."""
        found = self.database.find("routine", ref)
        if found is None:
            raise Missing(f"Not found: Routine {ref}")
        return dict(found)

    def list_routines(self, ref: DatasetRef) -> list[Resource]:
        """All routines of a dataset by id."""
        self.get_dataset(ref)
        found = [(item.table, dict(r)) for item, r in self.database.all("routine") if item.parent == ref]
        return [resource for _, resource in sorted(found, key=lambda pair: pair[0])]

    def delete_routine(self, ref: TableRef) -> None:
        """Deletes a routine."""
        with self.database.transaction() as transaction:
            transaction.lock("routine", ref)
            if transaction.find("routine", ref) is None:
                raise Missing(f"Not found: Routine {ref}")
            transaction.remove("routine", ref)


def expired(resource: Mapping[str, Any]) -> bool:
    """Whether a table's expirationTime has passed."""
    return bool(resource.get("expirationTime")) and int(resource["expirationTime"]) <= now_ms()


def check_etag(resource: Mapping[str, Any], etag: str) -> None:
    """Raises EtagMismatch when `etag` is given and is not the resource's."""
    if etag and etag not in ("*", resource["etag"]):
        raise EtagMismatch("Precondition check failed. The resource was changed since its etag was read.")


def _found(transaction: Transaction, kind: str, ref: _Ref) -> Resource:
    found = transaction.find(kind, ref)
    if found is None:
        raise Missing(f"Not found: {kind.capitalize()} {ref}")
    return found


def _patched(old: Resource, changes: Mapping[str, Any]) -> Resource:
    answer = dict(old)
    for key, value in changes.items():
        if key in _FIXED:
            continue
        if value is None:
            answer.pop(key, None)
        elif key == "labels":
            labels = {**(old.get("labels") or {}), **value}
            answer["labels"] = {k: v for k, v in labels.items() if v is not None}
        else:
            answer[key] = value
    return answer


def _replaced(old: Resource, resource: Mapping[str, Any]) -> Resource:
    kept = {key: old[key] for key in _FIXED if key in old}
    if "access" in old:
        kept["access"] = old["access"]
    return {
        **kept,
        **{k: v for k, v in resource.items() if k not in _FIXED and v is not None},
    }


def _with_descriptions(described: list[FieldSchema], given: Sequence[FieldSchema]) -> list[FieldSchema]:
    """A view's own schema, with the descriptions that the request gives its columns."""
    texts = {name: f.get("description") for name, f in schema.by_name(given).items()}
    return [{**f, "description": texts[f["name"].lower()]} if texts.get(f["name"].lower()) else f for f in described]
