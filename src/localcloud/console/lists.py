"""Lists of resources of Vertex AI that have no pages of their own: name, state, age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.console import urls
from localcloud.console.reader import Reader
from localcloud.console.values import last_of, location_of, moment


@dataclass(frozen=True)
class Kind:
    """One kind of resources.

    Args:
        title: As the console calls it.
        method: The RPC that lists it.
        field: Where its answer has them.
        states: The enum of their states; empty where they have none.
    """

    title: str
    method: str
    field: str
    states: str = ""


KINDS: Mapping[str, Kind] = {
    "custom-jobs": Kind("Custom jobs", "JobService.ListCustomJobs", "custom_jobs", "JobState"),
    "hyperparameter-tuning-jobs": Kind(
        "Tuning jobs", "JobService.ListHyperparameterTuningJobs", "hyperparameter_tuning_jobs", "JobState"
    ),
    "batch-predictions": Kind(
        "Batch predictions", "JobService.ListBatchPredictionJobs", "batch_prediction_jobs", "JobState"
    ),
    "models": Kind("Models", "ModelService.ListModels", "models"),
    "endpoints": Kind("Endpoints", "EndpointService.ListEndpoints", "endpoints"),
    "datasets": Kind("Datasets", "DatasetService.ListDatasets", "datasets"),
}
"""By the last part of their addresses."""


def page(reader: Reader, kind: str, project: str, token: str) -> dict[str, Any]:
    """What the list of one kind shows."""
    listed = KINDS[kind]
    found, next_token = reader.listed(listed.method, listed.field, project, token)
    return {
        "kind": kind,
        "title": listed.title,
        "stateful": bool(listed.states),
        "project": project,
        "rows": [_row(reader, kind, listed, resource) for resource in found],
        "next_token": next_token,
    }


def _row(reader: Reader, kind: str, listed: Kind, resource: Any) -> dict[str, Any]:
    project = reader.project_of(resource.name)
    return {
        "title": resource.display_name or last_of(resource.name),
        "id": last_of(resource.name),
        "url": urls.job_url(project, resource.name) if kind == "custom-jobs" else "",
        "project": project,
        "location": location_of(resource.name),
        "created": moment(resource.create_time),
        "labels": dict(resource.labels),
        "word": reader.word(listed.states, resource.state) if listed.states else "",
    }
