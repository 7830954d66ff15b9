"""Data into BigQuery: files into tables, and SQL that makes further tables of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from accelerator.config import Config
from accelerator.errors import DataError


def load(config: Config, files: dict[str, Path]) -> dict[str, int]:
    """Load Parquet files into tables, whole: each table is replaced.

    Args:
        config: The project.
        files: `dataset.table` to the file.

    Returns:
        Rows by table.
    """
    from google.cloud import bigquery

    client = bigquery.Client(project=config.project, location=location(config))
    for dataset in {table.partition(".")[0] for table in files}:
        client.create_dataset(dataset, exists_ok=True)
    replace = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE
    )
    jobs: dict[str, Any] = {}
    for table, path in files.items():
        with path.open("rb") as file:
            jobs[table] = client.load_table_from_file(file, f"{config.project}.{table}", job_config=replace)
    return {table: job.result().output_rows for table, job in jobs.items()}


def run_sql(config: Config, path: Path) -> int:
    """Run a SQL file; gives the rows of the table that it made, where it made one.

    Raises:
        DataError: The query failed.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import bigquery

    client = bigquery.Client(project=config.project, location=location(config))
    try:
        job = client.query(path.read_text())
        job.result()
    except GoogleAPICallError as error:
        raise DataError(
            f"The SQL failed: {error.message}", place=str(path), next_step="correct it, or the tables it reads"
        ) from error
    made = job.ddl_target_table
    return int(client.get_table(made).num_rows) if made is not None else 0


def location(config: Config) -> str:
    """BigQuery's location for a region: the multi-region around it, which every team's data is in by default."""
    return "EU" if re.match(r"europe-", config.region) else "US"
