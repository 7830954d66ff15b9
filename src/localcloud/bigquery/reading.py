"""Rows of whatever a table reference names: a stored table, a view, or the anonymous result of a query.

Anonymous results are not in DuckDB: they are Arrow files, read as they lie, and become stored tables only when
SQL or a copy job asks for one.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .failures import Duplicate, Invalid, Missing
from .refs import DatasetRef, TableRef
from .snapshots import Snapshot, Snapshots
from .tables import Resource, Tables
from .types import FieldSchema

_TAKEN = 1000
_ENOUGH = 3 * 3600.0
"""Seconds that a shared snapshot must still last."""
_ANONYMOUS = re.compile(r"\banon[0-9a-f]{64}\b")


def anonymous_dataset(project: str) -> DatasetRef:
    """The hidden dataset that a project's query results are in."""
    return DatasetRef(project, "_" + hashlib.sha1(f"anonymous/{project}".encode()).hexdigest())


@dataclass
class Reading:
    """Reads tables of every kind.

    Args:
        tables: The stored ones.
        results: The results of queries without a destination.
        snapshots: Where rows are set aside while they are being paged or streamed.
    """

    tables: Tables
    results: Snapshots
    snapshots: Snapshots
    _taken: dict[Hashable, str] = field(default_factory=dict)

    def keep_result(
        self,
        project: str,
        reader: pa.RecordBatchReader,
        fields: Sequence[FieldSchema],
        check: Callable[[], None],
    ) -> tuple[TableRef, Snapshot]:
        """Makes the rows of a query an anonymous table that is there for 24 hours."""
        name = f"anon{secrets.token_hex(32)}"
        snapshot = self.results.write(reader, fields, name=name, check=check)
        return anonymous_dataset(project).table(name), snapshot

    def result(self, ref: TableRef) -> Snapshot | None:
        """The query result of that name; None for a table that is none."""
        if ref.parent != anonymous_dataset(ref.project):
            return None
        return self.results.get(ref.table)

    def resource(self, ref: TableRef) -> Resource:
        """The Table resource.

        Raises:
            Missing: No such table.
        """
        snapshot = self.result(ref)
        return self.tables.get_table(ref) if snapshot is None else _result_resource(ref, snapshot)

    def read(
        self,
        ref: TableRef,
        columns: Sequence[str] | None = None,
        row_restriction: str = "",
    ) -> pa.RecordBatchReader:
        """The rows, streamed; see Tables.read."""
        snapshot = self.result(ref)
        if snapshot is not None and (columns or row_restriction):
            self.store_result(ref, snapshot)
        elif snapshot is not None:
            return snapshot.table.to_reader()
        return self.tables.read(ref, columns, row_restriction)

    def snapshot(
        self,
        ref: TableRef,
        columns: Sequence[str] | None = None,
        row_restriction: str = "",
        *,
        check: Callable[[], None] = lambda: None,
    ) -> Snapshot:
        """The rows as they are now, set aside; a query's result is that already.

        While a table does not change, its readers share one snapshot.
        """
        found = self.result(ref)
        if found is not None and not columns and not row_restriction:
            return found
        resource = self.resource(ref.split()[0])
        key = (ref, resource["etag"], tuple(columns or ()), row_restriction)
        known = self.snapshots.get(self._taken.get(key, ""))
        if known is not None and known.expires > time.time() + _ENOUGH:
            return known
        fields = select_fields((resource.get("schema") or {}).get("fields") or [], columns)
        snapshot = self.snapshots.write(self.read(ref, columns, row_restriction), fields, check=check)
        # The table may have changed since its etag was read; it has another one then, and nobody finds this.
        if len(self._taken) > _TAKEN:
            self._taken.clear()
        self._taken[key] = snapshot.id
        return snapshot

    def store_named_results(self, sql: str, project: str) -> None:
        """Makes stored tables of the query results that the SQL names, so that the engine finds them."""
        for name in set(_ANONYMOUS.findall(sql)):
            ref = anonymous_dataset(project).table(name)
            snapshot = self.result(ref)
            if snapshot is not None:
                self.store_result(ref, snapshot)

    def store_result(self, ref: TableRef, snapshot: Snapshot) -> None:
        """Makes a stored table of a query result, in the hidden dataset and with its expiration."""
        try:
            self.tables.get_table(ref)
            return
        except Missing:
            pass
        with contextlib.suppress(Duplicate):
            self.tables.insert_dataset(ref.project, {"datasetReference": ref.parent.resource})
        resource = {
            "tableReference": ref.resource,
            "schema": {"fields": snapshot.fields},
            "expirationTime": str(int(snapshot.expires * 1000)),
        }
        self.tables.append(
            ref,
            snapshot.table.to_reader(),
            create_disposition="CREATE_IF_NEEDED",
            write_disposition="WRITE_TRUNCATE",
            resource=resource,
        )


def select_fields(fields: Sequence[FieldSchema], columns: Sequence[str] | None) -> list[FieldSchema]:
    """The REST schema of the selected columns, in the schema's order; `a.b` selects a subfield.

    Raises:
        Invalid: A column that is not there.
    """
    if not columns:
        return list(fields)
    wanted: dict[str, list[str]] = {}
    for column in columns:
        head, _, rest = column.strip().partition(".")
        wanted.setdefault(head.lower(), []).append(rest)
    unknown = wanted.keys() - {f["name"].lower() for f in fields}
    if unknown:
        raise Invalid(
            "request failed: The following selected fields do not exist in the table schema: "
            + ", ".join(sorted(unknown))
        )
    selected = []
    for item in fields:
        parts = wanted.get(item["name"].lower())
        if parts is not None:
            whole = "" in parts or "fields" not in item
            selected.append(item if whole else {**item, "fields": select_fields(item["fields"], parts)})
    return selected


def _result_resource(ref: TableRef, snapshot: Snapshot) -> dict[str, Any]:
    created = str(int(snapshot.created * 1000))
    size = str(snapshot.num_bytes)
    return {
        "kind": "bigquery#table",
        "etag": snapshot.id[4:28],
        "id": str(ref),
        "tableReference": ref.resource,
        "schema": {"fields": snapshot.fields},
        "numBytes": size,
        "numLongTermBytes": "0",
        "numActiveLogicalBytes": size,
        "numTotalLogicalBytes": size,
        "numRows": str(snapshot.num_rows),
        "creationTime": created,
        "lastModifiedTime": created,
        "expirationTime": str(int(snapshot.expires * 1000)),
        "type": "TABLE",
        "location": "US",
    }
