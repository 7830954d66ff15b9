"""What the list of pipeline runs and the page of a run show."""

from __future__ import annotations

import itertools
import time
from typing import Any

from localcloud.console import urls
from localcloud.console.artifacts import view
from localcloud.console.drawing import draw
from localcloud.console.reader import Reader
from localcloud.console.tree import Node, Tree
from localcloud.console.values import last_of, location_of, moment, plain, seconds_of

STATES = {
    "": "all",
    "PIPELINE_STATE_RUNNING": "running",
    "PIPELINE_STATE_SUCCEEDED": "succeeded",
    "PIPELINE_STATE_FAILED": "failed",
    "PIPELINE_STATE_CANCELLING": "being cancelled",
    "PIPELINE_STATE_CANCELLED": "cancelled",
}
"""The states that the list can be narrowed to, in words."""
_ROWS = 300
"""Tasks in the table of a run."""
_FAILED = 10
"""Failed tasks at the head of a run's page."""
_ARTIFACTS = 20
_BILLING = "vertex-ai-pipelines-run-billing-id"
"""A label that Vertex AI Pipelines puts on every run."""


def list_page(reader: Reader, project: str, location: str, state: str, token: str) -> dict[str, Any]:
    """The list of runs."""
    jobs, next_token = reader.runs(project, location, state, token)
    runs = [described(reader, job) for job in jobs]
    return {
        "project": project,
        "location": location,
        "states": STATES,
        "chosen": state,
        "runs": runs,
        "token": token,
        "next_token": next_token,
        "refresh": any(run["word"] in ("running", "being cancelled") for run in runs),
    }


def run_page(reader: Reader, project: str, location: str, id: str, task: str) -> dict[str, Any]:
    """The page of a run with one of its tasks; one that the run does not have counts as none."""
    job = reader.run(project, location, id)
    tree = Tree(job)
    node = tree.find(task)
    if node is tree.root:
        node = None
    rows = list(itertools.islice(_rows(tree.root), _ROWS + 1))
    project_id = reader.project_of(job.name)
    failed, failures = tree.failed(_FAILED)
    content: dict[str, Any] = {
        "project": project_id,
        "location": location,
        "run": described(reader, job),
        "failed": failed,
        "failures": failures,
        "picture": draw(tree.root, node),
        "node": node,
        "link": lambda other: urls.run_url(project, location, id, other.id),
        "rows": rows[:_ROWS],
        "hidden": len(rows) > _ROWS or any(row.kind == "loop" for row in rows),
        "refresh": not tree.over,
        "lines": [],
        "views": {},
    }
    if node is not None:
        content["lines"] = reader.log(project_id, node.jobs)
        content["views"] = {
            artifact.name: view(artifact, reader)
            for artifacts in node.artifacts("outputs").values()
            for artifact in artifacts[:_ARTIFACTS]
        }
    return content


def described(reader: Reader, job: Any) -> dict[str, Any]:
    """A run in a row of a table, and at the head of its page."""
    project, location, id = reader.project_of(job.name), location_of(job.name), last_of(job.name)
    end = seconds_of(job.end_time) if job.HasField("end_time") else time.time()
    began = seconds_of(job.start_time if job.HasField("start_time") else job.create_time)
    info = job.pipeline_spec.fields["pipelineInfo"].struct_value.fields
    config, detail = job.runtime_config, job.job_detail
    facts = {
        "Name": job.name,
        "Display name": job.display_name,
        "Pipeline root": config.gcs_output_directory,
        "Service account": job.service_account,
        "Schedule": job.schedule_name,
        "Billing id": job.labels.get(_BILLING, ""),
    }
    contexts = {"Run": detail.pipeline_run_context.name, "Pipeline": detail.pipeline_context.name}
    return {
        "id": id,
        "project": project,
        "location": location,
        "url": urls.run_url(project, location, id),
        "word": reader.word("PipelineState", job.state),
        "pipeline": info["name"].string_value if "name" in info else "",
        "started": moment(job.start_time),
        "ended": moment(job.end_time),
        "seconds": max(0.0, end - began),
        "labels": {key: job.labels[key] for key in sorted(job.labels) if key != _BILLING},
        "parameters": {name: plain(config.parameter_values[name]) for name in sorted(config.parameter_values)},
        "error": job.error.message,
        "facts": {name: fact for name, fact in facts.items() if fact},
        "contexts": {name: urls.node_url(project, context) for name, context in contexts.items() if context},
    }


def _rows(root: Node) -> Any:
    """The tasks as a table has them: a loop is one row, its iterations are listed where it is shown."""
    for child in root.children:
        yield child
        if child.kind != "loop":
            yield from _rows(child)
