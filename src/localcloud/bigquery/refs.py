"""Names of BigQuery's things: datasets and tables as clients write them and as DuckDB stores them.

What a name stands for is the business of `tables.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .failures import Invalid
from .types import quote

_DATASET_ID = re.compile(r"^\w{1,1024}$", re.ASCII)
_TABLE_ID = re.compile(r"^[\w \-\u00a0-\U0010ffff]{1,1024}$")


def _physical(name: str) -> str:
    """A name that stays apart from its other spellings: DuckDB compares names without case."""
    return re.sub(r"[A-Z^]", lambda letter: "^" + letter[0].lower(), name)


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A dataset of a project."""

    project: str
    dataset: str

    @classmethod
    def of(cls, resource: Mapping[str, Any], project: str = "") -> DatasetRef:
        """From a DatasetReference of the REST API; `project` where it names none."""
        return cls(
            str(resource.get("projectId") or project),
            str(resource.get("datasetId", "")),
        )

    def check(self) -> None:
        """Raises Invalid unless the id may be a dataset's."""
        if not _DATASET_ID.match(self.dataset):
            raise Invalid(
                f'Invalid dataset ID "{self.dataset}". Dataset IDs must be alphanumeric '
                "(plus underscores) and must be at most 1024 characters long."
            )

    @property
    def resource(self) -> dict[str, str]:
        """The DatasetReference of the REST API."""
        return {"datasetId": self.dataset, "projectId": self.project}

    @property
    def duckdb(self) -> str:
        """The DuckDB schema, quoted."""
        return quote(_physical(f"{self.project}.{self.dataset}"))

    def table(self, table: str) -> TableRef:
        """A table of this dataset."""
        return TableRef(self.project, self.dataset, table)

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}"


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table, view or routine of a dataset."""

    project: str
    dataset: str
    table: str

    @classmethod
    def of(cls, resource: Mapping[str, Any], project: str = "") -> TableRef:
        """From a TableReference of the REST API; `project` where it names none.

        Raises:
            Invalid: It is no such object.
        """
        if not isinstance(resource, Mapping):
            raise Invalid(f"Invalid value for a table reference: {resource!r} is no object with projectId, datasetId …")
        return cls(
            str(resource.get("projectId") or project),
            str(resource.get("datasetId", "")),
            str(resource.get("tableId") or resource.get("routineId") or ""),
        )

    @classmethod
    def parse(cls, text: str, project: str = "") -> TableRef:
        """From `project.dataset.table`, `project:dataset.table` or `dataset.table`.

        Raises:
            Invalid: The text names no table.
        """
        match = re.fullmatch(r"(?:((?:[a-z0-9.\-]+:)?[^:.]+)[:.])?([^:.]+)\.([^:.]+)", text)
        if match is None or not (match[1] or project):
            raise Invalid(f"Invalid table name: {text}; write project.dataset.table")
        return cls(match[1] or project, match[2], match[3])

    def check(self) -> None:
        """Raises Invalid unless the id may be a table's."""
        if not _TABLE_ID.match(self.table):
            raise Invalid(
                f'Invalid table ID "{self.table}". Table IDs must be alphanumeric (plus underscores, '
                "dashes and spaces) and must be at most 1024 characters long. Also, Table decorators "
                "cannot be used."
            )

    def split(self) -> tuple[TableRef, str]:
        """The table without its partition decorator, and the decorator: `t$20130101` gives `20130101`."""
        table, _, partition = self.table.partition("$")
        return TableRef(self.project, self.dataset, table), partition

    @property
    def parent(self) -> DatasetRef:
        """The dataset it is in."""
        return DatasetRef(self.project, self.dataset)

    @property
    def resource(self) -> dict[str, str]:
        """The TableReference of the REST API."""
        return {
            "projectId": self.project,
            "datasetId": self.dataset,
            "tableId": self.table,
        }

    @property
    def duckdb(self) -> str:
        """The DuckDB table, quoted and with its schema."""
        return f"{self.parent.duckdb}.{self.duckdb_name}"

    @property
    def duckdb_name(self) -> str:
        """The DuckDB table within its schema, quoted."""
        return quote(_physical(self.table))

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"
