"""The run-metadata table: one row a pipeline run, written at its end, also when a step failed.

What the run did is read from Vertex AI Pipelines itself: the tasks with their states, times and outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from accelerator.config import Config
from accelerator.steps.data import location

_SCHEMA = (
    ("run", "STRING"),
    ("pipeline", "STRING"),
    ("pipeline_version", "STRING"),
    ("model", "STRING"),
    ("state", "STRING"),
    ("failed_task", "STRING"),
    ("error", "STRING"),
    ("started", "TIMESTAMP"),
    ("ended", "TIMESTAMP"),
    ("seconds", "FLOAT"),
    ("data_window", "JSON"),
    ("rows", "JSON"),
    ("hyperparameters", "JSON"),
    ("metrics", "JSON"),
    ("valid", "BOOLEAN"),
    ("reasons", "JSON"),
    ("model_version", "STRING"),
    ("predictions", "INTEGER"),
    ("durations", "JSON"),
)
"""Columns in the order of their use: which run, how it ended, on what, with what, and what came of it."""


def record(
    config: Config, job: str, status: Mapping[str, Any], failure: tuple[str, str], version: str
) -> dict[str, Any]:
    """Write a run's row.

    Args:
        config: The project; `runs` names the table.
        job: The PipelineJob's resource name.
        status: The PipelineTaskFinalStatus of what the run did before this.
        failure: The step that failed and its own message; empty where none has left one.
        version: Of the pipeline: the tag of its images.

    Returns:
        The row.
    """
    from google.cloud import bigquery
    from google.cloud.aiplatform_v1 import PipelineServiceClient

    client = PipelineServiceClient(client_options={"api_endpoint": f"{config.region}-aiplatform.googleapis.com"})
    made = row(config, client.get_pipeline_job(name=job), status, failure, version)
    warehouse = bigquery.Client(project=config.project, location=location(config))
    table = config.runs if config.runs.count(".") > 1 else f"{config.project}.{config.runs}"
    warehouse.create_dataset(table.rpartition(".")[0], exists_ok=True)
    settings = bigquery.LoadJobConfig(
        schema=[bigquery.SchemaField(name, kind) for name, kind in _SCHEMA],
        source_format="NEWLINE_DELIMITED_JSON",
        write_disposition="WRITE_APPEND",
        schema_update_options=["ALLOW_FIELD_ADDITION"],
        time_partitioning=bigquery.TimePartitioning(field="started"),
    )
    warehouse.load_table_from_json([made], table, job_config=settings).result()
    return made


def find(config: Config, run: str) -> dict[str, Any] | None:
    """The row of a run, its JSON columns as values; None if there is none."""
    from google.cloud import bigquery

    warehouse = bigquery.Client(project=config.project, location=location(config))
    job = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("run", "STRING", run)])
    table = config.runs if config.runs.count(".") > 1 else f"{config.project}.{config.runs}"
    found = list(warehouse.query_and_wait(f"SELECT * FROM `{table}` WHERE run = @run", job_config=job))
    return dict(found[0]) if found else None


def row(config: Config, job: Any, status: Mapping[str, Any], failure: tuple[str, str], version: str) -> dict[str, Any]:
    """A run's row, of what its tasks have given.

    Args:
        config: The project.
        job: The aiplatform_v1.PipelineJob.
        status: The PipelineTaskFinalStatus.
        failure: As in `record`.
        version: Of the pipeline.
    """
    outputs: dict[str, Any] = {}
    durations: dict[str, float] = {}
    failed = ""
    for task in job.job_detail.task_details:
        metadata = dict(task.execution.metadata) if task.execution else {}
        outputs |= {key.removeprefix("output:"): value for key, value in metadata.items() if key.startswith("output:")}
        if task.start_time and task.end_time and task.executor_detail:
            durations[task.task_name] = round((task.end_time - task.start_time).total_seconds(), 3)
        if task.state.name == "FAILED" and task.executor_detail and not failed:
            failed = task.task_name
    now = datetime.now(UTC)
    started = job.start_time or job.create_time
    error = status.get("error") or {}
    return {
        "run": job.name.rpartition("/")[2],
        "pipeline": job.display_name,
        "pipeline_version": version,
        "model": config.model.name,
        "state": status.get("state", ""),
        "failed_task": failure[0] or failed or None,
        "error": failure[1] or error.get("message") or None,
        "started": started.isoformat(),
        "ended": now.isoformat(),
        "seconds": round((now - started).total_seconds(), 3),
        "data_window": _windows(job),
        "rows": _plain(outputs.get("rows")),
        "hyperparameters": _plain(outputs.get("hyperparameters")),
        "metrics": _plain(outputs.get("metrics")),
        "valid": outputs.get("valid"),
        "reasons": _plain(outputs.get("reasons")),
        "model_version": outputs.get("version"),
        "predictions": int(outputs["predictions"]) if "predictions" in outputs else None,
        "durations": durations,
    }


def _windows(job: Any) -> dict[str, Any]:
    """The splits that the run was given."""
    values = job.runtime_config.parameter_values
    return {name: values[name] for name in ("train", "validation", "test") if name in values}


def _plain(value: Any) -> Any:
    """Structs and lists of an execution's metadata, which may be JSON text, as plain values."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "__iter__"):
        return [_plain(part) for part in value]
    return value
