"""What a run writes into the metadata store, as Vertex AI Pipelines does: contexts, executions, artifacts, events.

Schemas and names are those that the SDK looks for
(https://cloud.google.com/vertex-ai/docs/ml-metadata/system-schemas); the store itself is MetadataService's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from localcloud.errors import AlreadyExists, NotFound
from localcloud.vertex.common import Vertex, id_of, parent_of, v1
from localcloud.vertex.pipelines.graph import Task, Values

_SERVICE = "google.cloud.aiplatform.v1.MetadataService"
_VERSION = "0.0.1"
_CONTEXT_ID = re.compile(r"[^a-z0-9-]+")


class Lineage:
    """The metadata of one run.

    Args:
        vertex: The shared facilities.
        job: The PipelineJob.
        pipeline: The pipeline's name.
    """

    def __init__(self, vertex: Vertex, job: Any, pipeline: str) -> None:
        self._cloud = vertex.cloud
        self._new_id = vertex.store.new_id
        self._operations = vertex.operations
        self._job = job
        self._pipeline = pipeline
        self.store = f"{parent_of(job.name)}/metadataStores/default"
        self.pipeline_context: Any = None
        self.run_context: Any = None

    def open(self) -> None:
        """Make the contexts of the pipeline and of this run."""
        try:
            self._call("GetMetadataStore", name=self.store)
        except NotFound:
            parent = parent_of(self.store)
            made = self._call("CreateMetadataStore", parent=parent, metadata_store={}, metadata_store_id="default")
            self._operations.wait(made.name)
        pipeline = _CONTEXT_ID.sub("-", self._pipeline.lower())
        self.pipeline_context = self._context(pipeline, self._pipeline, "system.Pipeline", ())
        self.run_context = self._context(
            id_of(self._job.name), id_of(self._job.name), "system.PipelineRun", [self.pipeline_context.name]
        )

    def artifact_name(self) -> str:
        """The resource name of an artifact to be."""
        return f"{self.store}/artifacts/{self._new_id()}"

    def artifact(
        self, name: str, display_name: str, schema: tuple[str, str], uri: str, metadata: dict[str, Any]
    ) -> Any:
        """Store an artifact.

        Args:
            name: Its resource name.
            display_name: The output's name.
            schema: (schema title, schema version).
            uri: Where its content is.
            metadata: What the component said of it.
        """
        artifact = v1.Artifact(
            display_name=display_name,
            uri=uri,
            state=v1.Artifact.State.LIVE,
            schema_title=schema[0],
            schema_version=schema[1] or _VERSION,
        )
        json_format.ParseDict(metadata, artifact.metadata)
        return self._call("CreateArtifact", parent=self.store, artifact=artifact, artifact_id=id_of(name))

    def get_artifact(self, name: str) -> Any:
        """The artifact of this name.

        Raises:
            NotFound: There is none.
        """
        return self._call("GetArtifact", name=name)

    def artifacts(self, filter: str, limit: int) -> list[Any]:
        """The newest artifacts that a filter lets through."""
        response = self._call(
            "ListArtifacts", parent=self.store, filter=filter, page_size=limit, order_by="create_time desc"
        )
        return list(response.artifacts)

    def has_execution(self, name: str) -> bool:
        """Whether the execution is still in the store."""
        try:
            self._call("GetExecution", name=name)
        except NotFound:
            return False
        return True

    def begin(self, task: Task, schema: str, state: str = "RUNNING") -> Any:
        """Store the execution of a task that starts, with its inputs, in the run's context."""
        execution = v1.Execution(
            display_name=task.display_name,
            state=v1.Execution.State.Value(state),
            schema_title=schema,
            schema_version=_VERSION,
        )
        self._describe(execution, "input", task.inputs)
        stored = self._call("CreateExecution", parent=self.store, execution=execution, execution_id=self._new_id())
        contexts = [self.run_context] if task.parent is not None else [self.run_context, self.pipeline_context]
        for context in contexts:
            self._call("AddContextArtifactsAndExecutions", context=context.name, executions=[stored.name])
        self._events(stored.name, task.inputs, v1.Event.Type.INPUT)
        return stored

    def end(self, execution: Any, state: str, outputs: Values) -> Any:
        """Store how a task ended, with what it produced."""
        changed = v1.Execution()
        changed.CopyFrom(execution)
        changed.state = v1.Execution.State.Value(state)
        changed.etag = ""
        self._describe(changed, "output", outputs)
        stored = self._call("UpdateExecution", execution=changed, update_mask={"paths": ["state", "metadata"]})
        self._events(stored.name, outputs, v1.Event.Type.OUTPUT)
        names = [artifact.name for artifacts in outputs.artifacts.values() for artifact in artifacts]
        if names:
            self._call("AddContextArtifactsAndExecutions", context=self.run_context.name, artifacts=names)
        return stored

    def _context(self, id: str, display_name: str, schema: str, parents: Iterable[str]) -> Any:
        context = v1.Context(display_name=display_name, schema_title=schema, schema_version=_VERSION)
        try:
            stored = self._call("CreateContext", parent=self.store, context=context, context_id=id)
        except AlreadyExists:
            stored = self._call("GetContext", name=f"{self.store}/contexts/{id}")
        for parent in parents:
            if parent not in stored.parent_contexts:
                self._call("AddContextChildren", context=parent, child_contexts=[stored.name])
                stored = self._call("GetContext", name=stored.name)
        return stored

    def _describe(self, execution: Any, side: str, values: Values) -> None:
        """The parameters, as the SDK's data frames of pipelines read them."""
        for name, value in values.parameters.items():
            if value is not None:
                json_format.ParseDict(value, execution.metadata.fields[f"{side}:{name}"])

    def _events(self, execution: str, values: Values, kind: Any) -> None:
        events = [
            v1.Event(artifact=artifact.name, type_=kind, labels={"vertex-ai-pipelines-artifact-argument-binding": name})
            for name, artifacts in values.artifacts.items()
            for artifact in artifacts
        ]
        if events:
            self._call("AddExecutionEvents", execution=execution, events=events)

    def _call(self, method: str, **fields: Any) -> Any:
        return self._cloud.call(f"{_SERVICE}.{method}", getattr(v1, f"{method}Request")(**fields))
