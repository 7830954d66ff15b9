"""Google's prebuilt components that Vertex AI Pipelines carries out itself, without their containers.

All others run their launchers; those are clients of the API like any other, and nothing here knows them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from localcloud.errors import Code
from localcloud.vertex.common import location_of, project_of, v1
from localcloud.vertex.pipelines.graph import TaskFailure
from localcloud.vertex.pipelines.leaf import Leaf
from localcloud.vertex.pipelines.placeholders import Resolver

_LAUNCHERS = "google_cloud_pipeline_components.container.v1"
_CUSTOM_JOB = f"{_LAUNCHERS}.custom_job.launcher"
_REFUSED = {
    f"{_LAUNCHERS}.vertex_notification_email.executor": "the local cloud sends no e-mail, so nobody was told. "
    "On Google Cloud, Vertex AI Pipelines sends it",
    f"{_LAUNCHERS}.dataflow.dataflow_launcher": "the local cloud has no Dataflow service. "
    "Run the Beam pipeline with the DirectRunner in a component of your own",
}
"""Those whose containers could not say why they fail here."""


@dataclass(frozen=True)
class CustomJobTask:
    """A task of CustomTrainingJobOp, or of a component made a custom job.

    Args:
        parent: Where the job runs, `projects/P/locations/L`.
        job: The CustomJob.
        resources: The path of the output parameter `gcp_resources`.
    """

    parent: str
    job: Any
    resources: str


def custom_job_task(leaf: Leaf, resolver: Resolver) -> CustomJobTask | None:
    """The custom job that a prebuilt component asks for; None for all that run as containers.

    The service makes it from the payload as JSON, so that its fields may be in snake or camel case and numbers in
    quotes, which the launcher in the container would not take.

    Raises:
        TaskFailure: A component that cannot be carried out here, or a payload that is no CustomJob.
    """
    task, container = leaf.task, leaf.executor.container
    for word in container.command:
        if word in _REFUSED:
            raise TaskFailure(Code.UNIMPLEMENTED, f"Task `{task.unique_name}`: {_REFUSED[word]}.")
    if _CUSTOM_JOB not in container.command:
        return None
    words = resolver.words(container.args)
    given = dict(zip(words[::2], words[1::2], strict=False))
    try:
        content = json.loads(given["--payload"], strict=False)
        job = json_format.ParseDict(_without_empty(content), v1.CustomJob())
        parent = f"projects/{given['--project']}/locations/{given['--location']}"
        resources = given["--gcp_resources"]
    except KeyError as error:
        raise creation_failure(leaf, Code.INVALID_ARGUMENT, f"the argument {error} is missing") from None
    except (ValueError, json_format.ParseError) as error:
        raise creation_failure(leaf, Code.INVALID_ARGUMENT, str(error)) from None
    scheduling = job.job_spec.scheduling
    if v1.Scheduling.Strategy.Name(scheduling.strategy) != "FLEX_START":
        scheduling.ClearField("max_wait_duration")
    labels = dict(leaf.run.job.labels) | dict(job.labels)
    job.labels.update(labels)
    return CustomJobTask(parent, job, resources)


def write_resources(leaf: Leaf, path: str, name: str) -> None:
    """Write the `gcp_resources` of a custom job, as the launcher writes it.

    Args:
        leaf: The task.
        path: Where its container would find the output parameter, `/gcs/BUCKET/…`.
        name: The job's resource name.
    """
    uri = f"https://{location_of(name)}-aiplatform.googleapis.com/v1/{name}"
    content = {"resources": [{"resourceType": "CustomJob", "resourceUri": uri}]}
    leaf.run.vertex.cloud.objects.write_bytes(f"gs://{path.removeprefix('/gcs/')}", json.dumps(content).encode())


def creation_failure(leaf: Leaf, code: Code, message: str) -> TaskFailure:
    """The failure of a task whose custom job was refused, in Vertex AI's words."""
    task = leaf.task
    return TaskFailure(
        code,
        f"{message}; Failed to create custom job for the task. Task: Project number: {project_of(leaf.run.job.name)}, "
        f"Job id: {leaf.names['pipeline_job_uuid']}, Task id: {task.id}, Task name: {task.name}",
    )


def _without_empty(value: Any) -> Any:
    """A payload without its empty fields, which stand for arguments that were not given."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item}
    if isinstance(value, list):
        kept_items = [_without_empty(item) for item in value]
        return [item for item in kept_items if item or not isinstance(item, dict | list)]
    return value
