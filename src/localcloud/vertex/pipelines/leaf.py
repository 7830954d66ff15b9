"""What all leaf tasks share: what they are given, and the artifacts they leave.

The kinds of leaves are localcloud.vertex.pipelines.container, .importer and .resolver.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from localcloud.vertex.common import Vertex
from localcloud.vertex.pipelines.cache import TaskCache
from localcloud.vertex.pipelines.graph import Task
from localcloud.vertex.pipelines.lineage import Lineage
from localcloud.vertex.pipelines.records import Records


@dataclass
class RunContext:
    """What the tasks of one run share."""

    vertex: Vertex
    jobs: Any
    """The JobService, whose custom jobs the containers are."""
    job: Any
    """The PipelineJob as it was stored."""
    records: Records
    lineage: Lineage
    cache: TaskCache
    root: str
    """`gs://bucket/root/<project number>/<job id>`: where this run's outputs go."""


@dataclass
class Leaf:
    """A leaf task that is to run."""

    run: RunContext
    task: Task
    executor: Any
    """Its ExecutorSpec."""
    names: Mapping[str, str]
    """The placeholders without a path."""
    cancelled: threading.Event
    """Set when the run is cancelled."""


def schema_of(artifact_type: Any) -> tuple[str, str]:
    """(schema title, version) of an ArtifactTypeSchema; older compilers wrote the schema itself, as YAML."""
    kind = artifact_type.WhichOneof("kind")
    if kind == "schema_title":
        return artifact_type.schema_title, artifact_type.schema_version
    if kind == "instance_schema":
        try:
            schema = yaml.safe_load(artifact_type.instance_schema)
        except yaml.YAMLError:
            schema = None
        if isinstance(schema, dict) and isinstance(schema.get("title"), str):
            title = schema["title"]
            known = title if "." in title else f"system.{title.removeprefix('kfp.')}"
            return known, artifact_type.schema_version
    return "system.Artifact", artifact_type.schema_version


def artifact_json(artifact: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    """A stored artifact as an executor input has it (ml_pipelines.RuntimeArtifact)."""
    return {
        "name": artifact.name,
        "type": {"schemaTitle": artifact.schema_title, "schemaVersion": artifact.schema_version},
        "uri": artifact.uri,
        "metadata": metadata,
    }
