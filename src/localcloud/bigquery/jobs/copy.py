"""Copy jobs: one or more tables into another.

Rows are copied inside DuckDB by `tables.py`; restoring and expiring snapshots is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from localcloud.bigquery.failures import Invalid, Refused
from localcloud.bigquery.reading import Reading
from localcloud.bigquery.refs import TableRef
from localcloud.bigquery.tables import Tables

from .runner import Job


@dataclass
class CopyWork:
    """Runs copy jobs.

    Args:
        tables: Where the tables are.
        reading: Where query results are, which can be copied too.
    """

    tables: Tables
    reading: Reading

    def __call__(self, job: Job) -> None:
        """Runs the job and fills in `statistics.copy`."""
        configuration = job.configuration
        kind = str(configuration.get("operationType") or "COPY").upper()
        if kind not in ("COPY", "CLONE", "OPERATION_TYPE_UNSPECIFIED"):
            raise Refused(f"copy.operationType {kind} is not carried over to the local BigQuery: copy the table")
        given = configuration.get("sourceTables") or [configuration.get("sourceTable")]
        if not all(given):
            raise Invalid("Required parameter is missing: sourceTable")
        if not configuration.get("destinationTable"):
            raise Invalid("Required parameter is missing: destinationTable")
        sources = [TableRef.of(resource, job.ref.project) for resource in given]
        for source in sources:
            result = self.reading.result(source)
            if result is not None:
                self.reading.store_result(source, result)
        rows = self.tables.copy(
            sources,
            TableRef.of(configuration["destinationTable"], job.ref.project),
            write_disposition=configuration.setdefault("writeDisposition", "WRITE_EMPTY"),
            create_disposition=configuration.setdefault("createDisposition", "CREATE_IF_NEEDED"),
        )
        job.statistics["copy"] = {"copiedRows": str(rows)}
