"""Datasets, tables, views and routines: their REST resources and their rows, in one DuckDB file.

SQL is the business of `engine/`; HTTP, jobs and file formats that of the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from .failures import Refused
from .refs import DatasetRef, TableRef

Resource = dict[str, Any]


class Tables:
    """Everything that BigQuery keeps. Thread safe; one process owns the file.

    Resources are REST v2 dicts (Dataset, Table, Routine) with every output field filled in except
    `selfLink`, which the REST layer adds. Numbers are strings, as in JSON answers.

    Args:
        root: The folder of the DuckDB file; created when missing.
    """

    def __init__(self, root: Path) -> None:
        raise Refused("being written")

    def close(self) -> None:
        """Writes everything into the file and lets go of it."""

    # datasets
    def insert_dataset(self, project: str, resource: Mapping[str, Any]) -> Resource:
        """Creates a dataset from `datasetReference`, location, labels …; Duplicate when it is there."""
        raise Refused("being written")

    def get_dataset(self, ref: DatasetRef) -> Resource:
        """The Dataset resource; Missing `Not found: Dataset p:d`."""
        raise Refused("being written")

    def list_datasets(self, project: str) -> list[Resource]:
        """All datasets of a project by id, as full resources; filters and pages are the caller's."""
        raise Refused("being written")

    def patch_dataset(self, ref: DatasetRef, changes: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Merges the given fields (None removes one; label by label in `labels`)."""
        raise Refused("being written")

    def update_dataset(self, ref: DatasetRef, resource: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Replaces the writable fields."""
        raise Refused("being written")

    def delete_dataset(self, ref: DatasetRef, *, delete_contents: bool = False, etag: str = "") -> None:
        """Deletes it; InUse when it has tables and `delete_contents` is not set."""
        raise Refused("being written")

    # tables and views
    def insert_table(self, ref: TableRef, resource: Mapping[str, Any]) -> Resource:
        """Creates an empty table (`schema`) or a view (`view.query`)."""
        raise Refused("being written")

    def get_table(self, ref: TableRef) -> Resource:
        """The Table resource, with numRows, numBytes, lastModifiedTime and etag as they are now."""
        raise Refused("being written")

    def list_tables(self, ref: DatasetRef) -> list[Resource]:
        """All tables, views and so on of a dataset by id, without row counts."""
        raise Refused("being written")

    def patch_table(self, ref: TableRef, changes: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Merges the given fields; a new `schema` must be a permitted change of the old one."""
        raise Refused("being written")

    def update_table(self, ref: TableRef, resource: Mapping[str, Any], *, etag: str = "") -> Resource:
        """Replaces the writable fields; the same rules for `schema`."""
        raise Refused("being written")

    def delete_table(self, ref: TableRef, *, etag: str = "") -> None:
        """Deletes a table or view with its rows."""
        raise Refused("being written")

    # routines
    def insert_routine(self, ref: TableRef, resource: Mapping[str, Any], *, replace: bool = False) -> Resource:
        """Keeps a Routine resource (its checking is the engine's)."""
        raise Refused("being written")

    def get_routine(self, ref: TableRef) -> Resource:
        """The Routine resource."""
        raise Refused("being written")

    def list_routines(self, ref: DatasetRef) -> list[Resource]:
        """All routines of a dataset by id."""
        raise Refused("being written")

    def delete_routine(self, ref: TableRef) -> None:
        """Deletes a routine."""
        raise Refused("being written")

    # rows
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
        raise Refused("being written")

    def read(
        self, ref: TableRef, columns: Sequence[str] | None = None, row_restriction: str = ""
    ) -> pa.RecordBatchReader:
        """The rows, streamed, in `types.arrow_schema` of the selected columns (`a.b` selects a subfield).

        The snapshot is that of the call. Exhaust or close the reader.
        """
        raise Refused("being written")

    def copy(
        self,
        sources: Sequence[TableRef],
        destination: TableRef,
        *,
        write_disposition: str = "WRITE_EMPTY",
        create_disposition: str = "CREATE_IF_NEEDED",
    ) -> int:
        """Copies whole tables into one (copy jobs, CREATE TABLE COPY and CLONE); returns the rows."""
        raise Refused("being written")
