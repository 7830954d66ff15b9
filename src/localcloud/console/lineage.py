"""What the pages of artifacts, executions and contexts show: what made what, and out of what."""

from __future__ import annotations

from typing import Any

from localcloud.console import urls
from localcloud.console.artifacts import view
from localcloud.console.reader import Reader, v1
from localcloud.console.values import last_of, location_of, plain

_BINDING = "vertex-ai-pipelines-artifact-argument-binding"
_INPUT = 1
"""Event.Type.INPUT: the artifact was read."""


def node_page(reader: Reader, kind: str, name: str) -> dict[str, Any]:
    """The page of a node.

    Args:
        reader: Reads it.
        kind: `Artifact`, `Execution` or `Context`.
        name: Its resource name.
    """
    node = reader.node(kind, name)
    project, location = reader.project_of(node.name), location_of(node.name)
    groups, run = _AROUND[kind](reader, node)
    return {
        "project": project,
        "kind": kind,
        "node": node,
        "word": getattr(v1, kind).State.Name(node.state).lower().replace("_", " ") if kind != "Context" else "",
        "metadata": plain(node.metadata),
        "parents": node.parent_contexts if kind == "Context" else [],
        "view": view(node, reader) if kind == "Artifact" else None,
        "groups": groups,
        "run": run,
        "run_url": lambda id: urls.run_url(project, location, id),
    }


def _artifact(reader: Reader, node: Any) -> tuple[list[Any], str]:
    graph = reader.around_artifact(node.name)
    executions = {execution.name: execution for execution in graph.executions}
    made: list[Any] = []
    used: list[Any] = []
    for event in graph.events:
        execution = executions.get(event.execution)
        if execution is not None and event.artifact == node.name:
            row = {"node": execution, "binding": event.labels[_BINDING], "run": reader.run_of(execution)}
            (used if event.type_ == _INPUT else made).append(row)
    return [("Made by", "Execution", made), ("Used by", "Execution", used)], ""


def _execution(reader: Reader, node: Any) -> tuple[list[Any], str]:
    graph = reader.around_execution(node.name)
    artifacts = {artifact.name: artifact for artifact in graph.artifacts}
    read: list[Any] = []
    written: list[Any] = []
    for event in graph.events:
        if event.artifact in artifacts:
            row = {"node": artifacts[event.artifact], "binding": event.labels[_BINDING], "run": ""}
            (read if event.type_ == _INPUT else written).append(row)
    return [("Inputs", "Artifact", read), ("Outputs", "Artifact", written)], reader.run_of(node)


def _context(reader: Reader, node: Any) -> tuple[list[Any], str]:
    graph = reader.in_context(node.name)
    executions = [{"node": execution, "binding": "", "run": ""} for execution in graph.executions]
    artifacts = [{"node": artifact, "binding": "", "run": ""} for artifact in graph.artifacts]
    run = last_of(node.name) if node.schema_title == "system.PipelineRun" else ""
    return [("Executions", "Execution", executions), ("Artifacts", "Artifact", artifacts)], run


_AROUND = {"Artifact": _artifact, "Execution": _execution, "Context": _context}
