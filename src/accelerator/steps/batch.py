"""Batch prediction: the champion on a whole table, its answers appended to the project's table of predictions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from accelerator.config import Config
from accelerator.errors import AcceleratorError, ConfigError
from accelerator.steps.data import location

BATCH_SIZE = 4096
"""Rows a request: large enough that the model's own work is most of the time."""


class BatchPredictionError(AcceleratorError):
    """The job did not succeed, or left no predictions."""


@dataclass(frozen=True)
class Predicted:
    """A finished batch prediction.

    Args:
        job: The BatchPredictionJob's resource name.
        source: The table that was read.
        table: The table that the predictions were appended to.
        rows: How many.
        failed: Rows that the model refused; they stand in `errors`.
        errors: The table of the refused rows; empty where there are none.
    """

    job: str
    source: str
    table: str
    rows: int
    failed: int
    errors: str


def predict(config: Config, model: Any, run: str, source: str = "") -> Predicted:
    """Predict every row of a table.

    Args:
        config: The project, with a `batch_prediction` section.
        model: The google.cloud.aiplatform.Model version.
        run: The name of the run, kept in each row.
        source: The table to read; `batch_prediction.from`, else `data.table`, where it is empty.

    Raises:
        ConfigError: There is no such section.
        BatchPredictionError: The job failed.
    """
    from google.cloud import bigquery
    from google.cloud.aiplatform_v1 import JobServiceClient, types

    settings = config.batch_prediction
    if settings is None:
        raise ConfigError(
            "There is no batch_prediction section",
            place=config.place("batch_prediction"),
            next_step="add batch_prediction: {to: dataset.table}",
        )
    table = _full(config, source or settings.source or config.data.table or "")
    target = _full(config, settings.to)
    client = bigquery.Client(project=config.project, location=location(config))
    columns = [field.name for field in client.get_table(table).schema]
    client.create_dataset(target.rpartition(".")[0], exists_ok=True)
    jobs = JobServiceClient(client_options={"api_endpoint": f"{config.region}-aiplatform.googleapis.com"})
    job = jobs.create_batch_prediction_job(
        parent=f"projects/{config.project}/locations/{config.region}",
        batch_prediction_job=types.BatchPredictionJob(
            display_name=f"{run}-predict",
            model=f"{model.resource_name}@{model.version_id}",
            input_config={"instances_format": "bigquery", "bigquery_source": {"input_uri": f"bq://{table}"}},
            instance_config={"instance_type": "object", "excluded_fields": _excluded(config, columns)},
            output_config={
                "predictions_format": "bigquery",
                "bigquery_destination": {"output_uri": f"bq://{target.rpartition('.')[0]}"},
            },
            dedicated_resources={
                "machine_spec": {"machine_type": settings.machine},
                "starting_replica_count": settings.replicas,
                "max_replica_count": settings.replicas,
            },
            manual_batch_tuning_parameters={"batch_size": BATCH_SIZE},
            labels={"model": config.model.name},
        ),
    )
    job = _wait(jobs, job)
    output = f"{job.output_info.bigquery_output_dataset.removeprefix('bq://')}.{job.output_info.bigquery_output_table}"
    stats = job.completion_stats
    _append(client, output, target, model, run)
    return Predicted(
        job=job.name,
        source=table,
        table=target,
        rows=stats.successful_count,
        failed=stats.failed_count,
        errors=output.replace(".predictions_", ".errors_") if stats.failed_count else "",
    )


def _wait(jobs: Any, job: Any) -> Any:
    from google.cloud.aiplatform_v1.types import JobState

    began = time.monotonic()
    while job.state not in (
        JobState.JOB_STATE_SUCCEEDED,
        JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
        JobState.JOB_STATE_FAILED,
        JobState.JOB_STATE_CANCELLED,
        JobState.JOB_STATE_EXPIRED,
    ):
        # the longer it takes, the less often it is looked at
        time.sleep(min(15.0, max(0.5, (time.monotonic() - began) / 20)))
        job = jobs.get_batch_prediction_job(name=job.name)
    if job.state not in (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_PARTIALLY_SUCCEEDED):
        raise BatchPredictionError(
            f"The batch prediction ended as {job.state.name}: {job.error.message}",
            place=job.name,
            next_step=f"`mlops logs {job.name.rpartition('/')[2]}` shows what the model's container wrote",
        )
    return job


def _append(client: Any, output: str, target: str, model: Any, run: str) -> None:
    """Put the job's predictions, with who made them and when, behind those that are there."""
    from google.cloud import bigquery

    job = bigquery.QueryJobConfig(
        destination=target,
        write_disposition="WRITE_APPEND",
        schema_update_options=["ALLOW_FIELD_ADDITION"],
        time_partitioning=bigquery.TimePartitioning(field="predicted_at"),
        query_parameters=[
            bigquery.ScalarQueryParameter("version", "STRING", model.version_id),
            bigquery.ScalarQueryParameter("run", "STRING", run),
            bigquery.ScalarQueryParameter("at", "TIMESTAMP", datetime.now(UTC)),
        ],
    )
    query = f"SELECT *, @version AS model_version, @run AS run, @at AS predicted_at FROM `{output}`"
    client.query_and_wait(query, job_config=job)
    client.delete_table(output)


def _excluded(config: Config, columns: list[str]) -> list[str]:
    """What the model has not learned from."""
    data = config.data
    if data.features:
        return [name for name in columns if name not in data.features]
    split = data.split.column if data.split is not None else None
    return [name for name in columns if name in {data.label, data.time, data.key, split, *data.ignore}]


def _full(config: Config, table: str) -> str:
    return table if table.count(".") > 1 else f"{config.project}.{table}"
