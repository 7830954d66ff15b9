"""A dataset's splits written out for a job: tables in a new BigQuery dataset, or CSV files in a new folder.

Names are those of https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcloud.errors import CloudError, FailedPrecondition
from localcloud.vertex.bigquery import BigQuery
from localcloud.vertex.common import Vertex, id_of, invalid, project_of
from localcloud.vertex.datasets.source import TabularSource, columns
from localcloud.vertex.datasets.splits import COLUMN, NAMES, Split

ANNOTATION_TYPE = "tables"
"""What stands for the annotation type in the names of tabular exports."""


@dataclass(frozen=True)
class Materialized:
    """Splits as a job reads them.

    Args:
        form: AIP_DATA_FORMAT.
        uris: By split, what its AIP_…_DATA_URI says.
        rows: By split.
    """

    form: str
    uris: dict[str, str]
    rows: dict[str, int]

    def environment(self) -> dict[str, str]:
        """The variables of the job's containers."""
        return {
            "AIP_DATA_FORMAT": self.form,
            **{f"AIP_{name.upper()}_DATA_URI": uri for name, uri in self.uris.items()},
        }


class Materializer:
    """Writes one dataset out.

    Args:
        vertex: The shared facilities.
        dataset: The Dataset.
        bigquery: Whose jobs do the work.
    """

    def __init__(self, vertex: Vertex, dataset: Any, bigquery: BigQuery) -> None:
        self._objects = vertex.cloud.objects
        self._bigquery = bigquery
        self._dataset = dataset
        self._project = vertex.projects.id(project_of(dataset.name))
        self._source = TabularSource.of(dataset.metadata)
        self._stamp = datetime.now(UTC)

    def to_tables(self, split: Split, destination: str) -> Materialized:
        """Write the splits into tables `training`, `validation` and `test`.

        Args:
            split: How rows are divided.
            destination: `bq://project`.

        Raises:
            CloudError: It cannot be done; no dataset is left behind then.
        """
        project = destination.removeprefix("bq://")
        if not destination.startswith("bq://") or not project or "/" in project:
            raise invalid(
                "training_pipeline.input_data_config.bigquery_destination.output_uri",
                f"Must be bq://project, not `{destination}`.",
            )
        if not self._source.table:
            raise FailedPrecondition(
                "Only a tabular Dataset with a BigQuery source can be exported to BigQuery: name a gcs_destination."
            )
        stamp = f"{self._stamp:%Y_%m_%dT%H_%M_%S}_{self._stamp.microsecond // 1000:03d}Z"
        name = f"dataset_{id_of(self._dataset.name)}_{ANNOTATION_TYPE}_{stamp}"
        rows = self._split(split, project, name)
        return Materialized("bigquery", {part: f"bq://{project}.{name}.{part}" for part in NAMES}, rows)

    def to_files(self, split: Split, destination: str) -> Materialized:
        """Write the splits into `training-*.csv`, `validation-*.csv` and `test-*.csv`.

        Args:
            split: How rows are divided.
            destination: `gs://bucket/folder`.

        Raises:
            CloudError: It cannot be done.
        """
        stamp = f"{self._stamp:%Y-%m-%dT%H:%M:%S}.{self._stamp.microsecond // 1000:03d}Z"
        folder = f"dataset-{id_of(self._dataset.name)}-{ANNOTATION_TYPE}-{stamp}"
        uri = f"{destination.rstrip('/')}/{folder}"
        scratch = f"vertex_ai_export_{id_of(self._dataset.name)}_{self._stamp:%Y%m%d%H%M%S%f}"
        rows = self._split(split, self._project, scratch)
        try:
            for part in NAMES:
                self._bigquery.extract_csv(f"{self._project}.{scratch}.{part}", f"{uri}/{part}-*.csv")
        finally:
            self._bigquery.delete_dataset(self._project, scratch)
        return Materialized("csv", {part: f"{uri}/{part}-*.csv" for part in NAMES}, rows)

    def _split(self, split: Split, project: str, dataset: str) -> dict[str, int]:
        """Make a BigQuery dataset with a table a split; gives their rows."""
        if self._source.table:
            there = [field["name"] for field in self._bigquery.table(self._source.table)["schema"]["fields"]]
            files = []
        else:
            files = self._source.objects(self._objects)
            there = columns(self._objects, files)
        split.check(there)
        self._bigquery.create_dataset(project, dataset)
        try:
            source, rows = self._source.table, f"{project}.{dataset}._rows"
            if not source:
                source = f"{project}.{dataset}._files"
                self._bigquery.load_csv(files, there, source)
            total = self._bigquery.query(split.sql(source), rows)
            if not total:
                raise FailedPrecondition(
                    f"No row of the Dataset `{self._dataset.name}` is in any split: there is nothing to train on."
                )
            counts = {
                part: self._bigquery.query(
                    f"SELECT * EXCEPT ({COLUMN}) FROM `{rows}` WHERE {COLUMN} = '{part}'", f"{project}.{dataset}.{part}"
                )
                for part in NAMES
            }
            for table in (rows, *([source] if files else [])):
                self._bigquery.delete_table(table)
        except CloudError:
            with suppress(CloudError):
                self._bigquery.delete_dataset(project, dataset)
            raise
        if not counts["training"]:
            self._bigquery.delete_dataset(project, dataset)
            raise FailedPrecondition(f"The training split of the Dataset `{self._dataset.name}` has no rows.")
        return counts
