"""What a BatchPredictionJob must look like, and the plan that is made of one.

Documented at https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions and in the API reference of
BatchPredictionJob; whether tables and files are there is found out when the job runs.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from google.protobuf import json_format

from localcloud.errors import Unimplemented
from localcloud.objects import split_uri
from localcloud.vertex.batch.plan import Plan
from localcloud.vertex.common import check_display_name, check_labels, invalid, machine_memory

INPUTS = ("jsonl", "csv", "bigquery")
OUTPUTS = ("jsonl", "csv", "bigquery")
NOT_HERE = ("tf-record", "tf-record-gzip", "file-list")
DEFAULT_BATCH = 64
"""ManualBatchTuningParameters.batch_size where none is given."""
_TABLE = re.compile(r"bq://([^./]+)\.([A-Za-z0-9_-]+)\.([^./]+)")
_DESTINATION = re.compile(r"bq://([^./]+)(?:\.([A-Za-z0-9_]+))?(?:\.([^./]+))?")
_AT = "batch_prediction_job"


def check(job: Any) -> None:
    """Refuse a job that Vertex AI would not take, or that is not done here.

    Raises:
        InvalidArgument: Naming the field.
        Unimplemented: Naming the field.
    """
    check_display_name(job.display_name, f"{_AT}.display_name")
    check_labels(job.labels, f"{_AT}.labels")
    if bool(job.model) == job.HasField("unmanaged_container_model"):
        raise invalid(f"{_AT}.model", "Exactly one of model and unmanaged_container_model must be set.")
    if job.HasField("unmanaged_container_model") and not job.unmanaged_container_model.container_spec.image_uri:
        raise invalid(f"{_AT}.unmanaged_container_model.container_spec.image_uri", "Required field is not set.")
    if job.generate_explanation or job.HasField("explanation_spec"):
        raise Unimplemented(f"{_AT}.generate_explanation: the local cloud does not compute explanations.")
    _check_input(job.input_config)
    _check_output(job.output_config)
    _check_instances(job.instance_config, job.input_config.instances_format)
    _check_resources(job)


def _check_input(config: Any) -> None:
    at = f"{_AT}.input_config"
    _check_format(config.instances_format, INPUTS, f"{at}.instances_format")
    if config.instances_format == "bigquery":
        if not _TABLE.fullmatch(config.bigquery_source.input_uri):
            raise invalid(
                f"{at}.bigquery_source.input_uri",
                f"Must be bq://PROJECT.DATASET.TABLE, not `{config.bigquery_source.input_uri}`.",
            )
        return
    if not config.gcs_source.uris:
        raise invalid(f"{at}.gcs_source.uris", f"Required for instances_format `{config.instances_format}`.")
    for index, uri in enumerate(config.gcs_source.uris):
        _check_uri(uri, f"{at}.gcs_source.uris[{index}]")


def _check_output(config: Any) -> None:
    at = f"{_AT}.output_config"
    _check_format(config.predictions_format, OUTPUTS, f"{at}.predictions_format")
    if config.predictions_format == "bigquery":
        uri = config.bigquery_destination.output_uri
        if not _DESTINATION.fullmatch(uri):
            raise invalid(
                f"{at}.bigquery_destination.output_uri",
                f"Must be bq://PROJECT, bq://PROJECT.DATASET or bq://PROJECT.DATASET.TABLE, not `{uri}`.",
            )
        return
    _check_uri(config.gcs_destination.output_uri_prefix, f"{at}.gcs_destination.output_uri_prefix")


def _check_format(given: str, known: tuple[str, ...], field: str) -> None:
    if given in NOT_HERE:
        raise Unimplemented(f"{field}: the local cloud does not read `{given}`. Use one of {', '.join(known)}.")
    if given not in known:
        raise invalid(field, f"Must be one of {', '.join(known)}, not `{given}`.")


def _check_uri(uri: str, field: str) -> None:
    if not uri.startswith("gs://") or len(uri) == len("gs://"):
        raise invalid(field, f"Must be a Cloud Storage URI such as gs://BUCKET/NAME, not `{uri}`.")
    split_uri(uri)


def _check_instances(config: Any, instances_format: str) -> None:
    at = f"{_AT}.instance_config"
    if config.instance_type not in ("", "object", "array"):
        raise invalid(f"{at}.instance_type", f"Must be `object` or `array`, not `{config.instance_type}`.")
    if config.included_fields and config.excluded_fields:
        raise invalid(f"{at}.included_fields", "Must be empty where excluded_fields is populated.")
    if config.key_field and config.key_field in config.included_fields:
        raise invalid(f"{at}.key_field", f"`{config.key_field}` is in included_fields, but a key is never sent.")
    if instances_format == "csv":
        for name in ("included_fields", "excluded_fields"):
            if getattr(config, name):
                raise invalid(f"{at}.{name}", "The input must be JSONL with objects at each line, or BigQuery.")


def _check_resources(job: Any) -> None:
    at = f"{_AT}.dedicated_resources"
    if not job.dedicated_resources.machine_spec.machine_type:
        raise invalid(
            f"{at}.machine_spec.machine_type",
            "Required: the model supports DEDICATED_RESOURCES alone.",
        )
    machine_memory(job.dedicated_resources.machine_spec.machine_type, f"{at}.machine_spec.machine_type")
    start, most = job.dedicated_resources.starting_replica_count, job.dedicated_resources.max_replica_count
    if start < 0 or most < 0:
        raise invalid(f"{at}.starting_replica_count", "Must not be negative.")
    if most and start > most:
        raise invalid(f"{at}.starting_replica_count", f"Must not be greater than max_replica_count, {most}.")
    if job.manual_batch_tuning_parameters.batch_size < 0:
        raise invalid(f"{_AT}.manual_batch_tuning_parameters.batch_size", "Must not be negative.")


def replica_count(job: Any) -> int:
    """How many containers serve a job: starting_replica_count, which is what is used where it is given."""
    return int(job.dedicated_resources.starting_replica_count or 1)


def stamp(created: datetime) -> str:
    """`2021_03_23T12_05_07_282Z`, as outputs are named."""
    return created.strftime("%Y_%m_%dT%H_%M_%S_") + f"{created.microsecond // 1000:03}Z"


def table_of(uri: str) -> str:
    """`project.dataset.table` of `bq://project.dataset.table`."""
    return uri.removeprefix("bq://")


def destination(job: Any, display_name: str) -> tuple[str, bool]:
    """Where a job writes: the gs:// folder, or the BigQuery dataset or table; and whether its dataset is made anew."""
    config, suffix = job.output_config, stamp(job.create_time.ToDatetime())
    if config.predictions_format != "bigquery":
        prefix = config.gcs_destination.output_uri_prefix.rstrip("/")
        return f"{prefix}/prediction-{display_name.replace('/', '_')}-{suffix}", False
    found = _DESTINATION.fullmatch(config.bigquery_destination.output_uri)
    assert found is not None
    project, dataset, table = found.groups()
    if dataset is None:
        name = re.sub(r"\W", "_", display_name, flags=re.ASCII)
        return f"{project}.prediction_{name}_{suffix}", True
    return f"{project}.{dataset}" + (f".{table}" if table else ""), False


def plan(
    job: Any, display_name: str, *, predict_route: str, project: str, location: str, root: str, scratch: str
) -> Plan:
    """The worker's part of a checked job."""
    where, new_dataset = destination(job, display_name)
    sources = (
        (table_of(job.input_config.bigquery_source.input_uri),)
        if job.input_config.instances_format == "bigquery"
        else tuple(job.input_config.gcs_source.uris)
    )
    config = job.instance_config
    parameters = json_format.MessageToDict(job.model_parameters) if job.HasField("model_parameters") else None
    return Plan(
        project=project,
        root=root,
        scratch=scratch,
        instances_format=job.input_config.instances_format,
        sources=sources,
        instance_type=config.instance_type,
        key_field=config.key_field,
        included=tuple(config.included_fields),
        excluded=tuple(config.excluded_fields),
        predictions_format=job.output_config.predictions_format,
        destination=where,
        new_dataset=new_dataset,
        location=location,
        suffix=stamp(job.create_time.ToDatetime()),
        batch_size=job.manual_batch_tuning_parameters.batch_size or DEFAULT_BATCH,
        replicas=replica_count(job),
        parameters=parameters,
        predict_route=predict_route,
    )
