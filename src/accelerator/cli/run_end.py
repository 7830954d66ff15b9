"""What is said of a run that is over: state, time, outputs, metrics, where to look, and what went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from accelerator.cli import targets
from accelerator.cli.output import console
from accelerator.cli.run_tree import Node, time_of, whole
from accelerator.cli.run_view import duration
from accelerator.cli.vertex import ApiError, Vertex

SUCCEEDED = "PIPELINE_STATE_SUCCEEDED"
CANCELLED = "PIPELINE_STATE_CANCELLED"
_LAST_LINES = 10
_FAILURES = 5
"""How many failed tasks are told of in full."""
_METRICS = 12
"""How many tasks' metrics are printed; `--json` has all."""


def summary(vertex: Vertex, job: Mapping[str, Any], root: Node) -> dict[str, Any]:
    """All that there is to say of a run, as `--json` prints it."""
    began = time_of(job.get("startTime") or job["createTime"])
    end = time_of(job["endTime"]) if "endTime" in job else datetime.now(UTC)
    failed = [node for node in root.leaves() if node.state == "FAILED"]
    # a group or loop may fail by itself: what it loops over is no list, say
    failed = failed or [node for node in root.walk() if node.state == "FAILED" and node is not root]
    return {
        "name": job["name"],
        "pipeline": job.get("pipelineSpec", {}).get("pipelineInfo", {}).get("name", ""),
        "state": job["state"],
        "start_time": job.get("startTime"),
        "end_time": job.get("endTime"),
        "seconds": round((end - began).total_seconds(), 3),
        "outputs": {**root.values("output"), **_uris(root)},
        "metrics": {node.path: metrics for node in root.leaves() if (metrics := _metrics(node))},
        "tasks": {node.path: node.state for node in root.walk() if node is not root},
        "error": job.get("error", {}).get("message"),
        "failures": [
            {"task": node.path, "error": node.error, "log": _last_lines(vertex, node) if number < _FAILURES else []}
            for number, node in enumerate(failed)
        ],
        "console": page(vertex, job["name"]),
        "logs": hint(vertex, "logs", job["name"]),
    }


def print_summary(said: Mapping[str, Any]) -> None:
    """The same for a person."""
    sign, style, word = {
        SUCCEEDED: ("✓", "green", "succeeded"),
        CANCELLED: ("■", "yellow", "was cancelled"),
    }.get(said["state"], ("✗", "red", "failed"))
    name = said["name"].rpartition("/")[2]
    time = duration(said["seconds"])
    console.print(Text.assemble((f"{sign} ", style), (name, "bold"), f" {word} after {time}"))
    for failure in said["failures"]:
        console.print(Text.assemble(("  ✗ ", "red"), (failure["task"], "bold")))
        lines = failure["error"].splitlines()
        for line in lines:
            console.print(Text(f"      {line}"))
        told = {line.strip() for line in lines}
        for line in failure["log"]:
            if line.strip() and line.strip() not in told:
                console.print(Text(f"    | {line}", "dim"))
    if word == "failed" and not said["failures"]:
        console.print(Text(f"    {said['error'] or ''}"))
    for output, value in said["outputs"].items():
        _row("output", f"{output}: {_text(value)}")
    for task, metrics in list(said["metrics"].items())[:_METRICS]:
        _row("metrics", f"{task}: " + ", ".join(f"{key} {_text(value)}" for key, value in metrics.items()))
    if len(said["metrics"]) > _METRICS:
        _row("metrics", f"… of {len(said['metrics'])} tasks in all; --json prints them")
    print_where(said)


def print_where(said: Mapping[str, Any]) -> None:
    """Where there is more to see."""
    _row("page", said["console"])
    _row("logs", said["logs"])


def page(vertex: Vertex, name: str) -> str:
    """The page of a run in the console: Google's, or the local cloud's, which has the same addresses."""
    path = f"vertex-ai/locations/{vertex.location}/pipelines/runs/{name.rpartition('/')[2]}"
    return f"{targets.console(vertex.target)}/{path}?project={vertex.project}"


def hint(vertex: Vertex, command: str, name: str) -> str:
    """A command on a run, as the user would type it."""
    flags = "" if vertex.target == "local" else f" --target {vertex.target}"
    return f"mlops {command} projects/{vertex.project}/{'/'.join(name.split('/')[2:])}{flags}"


def _last_lines(vertex: Vertex, node: Node) -> list[str]:
    """What the last attempt of a task has written last."""
    if not node.jobs:
        return []
    job = node.jobs[-1].rpartition("/")[2]
    began = node.detail.get("startTime", "1970-01-01T00:00:00Z")
    body = {
        "resourceNames": [f"projects/{vertex.project}"],
        "filter": f'resource.type="ml_job" AND resource.labels.job_id="{job}" AND timestamp>="{began}"',
        "orderBy": "timestamp desc",
        "pageSize": _LAST_LINES,
    }
    try:
        entries = vertex.ask("POST", "https://logging.googleapis.com/v2/entries:list", json=body).get("entries", [])
    except ApiError:
        return []  # the run is what was asked for; who may see it may not see its logs
    return [_payload(entry) for entry in reversed(entries)]


def _payload(entry: Mapping[str, Any]) -> str:
    structured = entry.get("jsonPayload", {})
    return str(entry.get("textPayload") or structured.get("message") or json.dumps(structured))


def _metrics(node: Node) -> dict[str, Any]:
    """The single figures among a task's output artifacts of metrics."""
    found: dict[str, Any] = {}
    for artifacts in node.artifacts("outputs").values():
        for artifact in artifacts:
            if artifact.get("schemaTitle", "").endswith("Metrics"):
                metadata = artifact.get("metadata", {})
                found |= {k: whole(v) for k, v in metadata.items() if isinstance(v, int | float | str)}
    return found


def _uris(root: Node) -> dict[str, Any]:
    """Where the artifacts lie that the pipeline as a whole gives."""
    return {
        name: [artifact.get("uri", "") for artifact in found] if len(found) > 1 else found[0].get("uri", "")
        for name, found in root.artifacts("outputs").items()
        if found
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def _row(title: str, text: str) -> None:
    console.print(Text.assemble((f"  {title:8}", "dim"), text))
