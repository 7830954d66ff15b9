"""The cache of tasks: an earlier task of the same pipeline that did the same with the same lends its outputs.

What counts is what Vertex AI documents (https://cloud.google.com/vertex-ai/docs/pipelines/configure-caching):
inputs, outputs' names, image, command, arguments and variables. Deleting the metadata ends the loan.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from google.protobuf import json_format

from localcloud.errors import NotFound
from localcloud.vertex.common import Vertex, parent_of, v1
from localcloud.vertex.pipelines.graph import Task, Values
from localcloud.vertex.pipelines.lineage import Lineage
from localcloud.vertex.pipelines.values import from_proto


class TaskCache:
    """The cached tasks of a project's location.

    Args:
        vertex: The shared facilities.
        job: A run's resource name.
        pipeline: Its pipeline's name.
    """

    def __init__(self, vertex: Vertex, job: str, pipeline: str) -> None:
        self._store = vertex.store
        self._parent = parent_of(job)
        self._pipeline = pipeline

    def key(self, task: Task, executor: Any) -> str:
        """What the task's outputs depend on, as one name."""
        outputs = task.component.output_definitions
        content = {
            "pipeline": self._pipeline,
            "parameters": task.inputs.parameters,
            "artifacts": {
                name: [artifact.name for artifact in artifacts] for name, artifacts in task.inputs.artifacts.items()
            },
            "outputs": [sorted(outputs.parameters), sorted(outputs.artifacts)],
            "executor": json_format.MessageToDict(executor),
            "key": task.spec.caching_options.cache_key,
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self._parent}/pipelineTaskCache/{digest}"

    def find(self, key: str, lineage: Lineage) -> Values | None:
        """The outputs of the task that was stored under a key, where its metadata are still there."""
        kept = self._store.find(key, v1.PipelineTaskDetail)
        if kept is None or not lineage.has_execution(kept.execution.name):
            return None
        try:
            artifacts = {
                name: [lineage.get_artifact(artifact.name) for artifact in entry.artifacts]
                for name, entry in kept.outputs.items()
            }
        except NotFound:
            return None
        parameters = {
            name.removeprefix("output:"): from_proto(value)
            for name, value in kept.execution.metadata.fields.items()
            if name.startswith("output:")
        }
        return Values(parameters, artifacts)

    def keep(self, key: str, execution: Any, outputs: Values) -> None:
        """Store what a task has produced."""
        detail = v1.PipelineTaskDetail(execution=execution)
        for name, artifacts in outputs.artifacts.items():
            detail.outputs[name].artifacts.extend(artifacts)
        with self._store.transaction():
            if self._store.find(key, v1.PipelineTaskDetail) is None:
                self._store.create(key, detail)
            else:
                self._store.modify(key, v1.PipelineTaskDetail, lambda stored: stored.CopyFrom(detail))
