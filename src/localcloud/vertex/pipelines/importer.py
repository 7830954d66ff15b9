"""Tasks that find artifacts instead of making them: importers (by URI) and resolvers (by a query)."""

from __future__ import annotations

import json
from typing import Any

from localcloud.errors import CloudError, Code
from localcloud.vertex.pipelines.graph import Outcome, State, TaskFailure, Values
from localcloud.vertex.pipelines.leaf import Leaf, schema_of
from localcloud.vertex.pipelines.placeholders import Resolver, UnknownPlaceholder
from localcloud.vertex.pipelines.values import as_text, from_legacy, from_proto, from_struct


def run_importer(leaf: Leaf) -> Outcome:
    """Register an artifact that lies at a URI, or find the one that was registered before.

    Raises:
        TaskFailure: No URI, or a placeholder that names nothing.
    """
    task, lineage, importer = leaf.task, leaf.run.lineage, leaf.executor.importer
    task.execution = lineage.begin(task, "system.ImporterExecution")
    leaf.run.records.started(task)
    parameters = task.inputs.parameters
    resolver = Resolver({"inputs": {"parameterValues": parameters}, "outputs": {}}, leaf.names)
    try:
        # The compiler hands the URI over as the input `uri` as well, and there with its placeholders.
        uri = (
            as_text(parameters["uri"])
            if "uri" in parameters
            else resolver.text(_uri(importer.artifact_uri, parameters))
        )
        metadata = resolver.value(from_struct(importer.metadata))
    except UnknownPlaceholder as error:
        lineage.end(task.execution, "FAILED", Values())
        raise TaskFailure(Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: {error}.") from None
    if not uri:
        lineage.end(task.execution, "FAILED", Values())
        raise TaskFailure(Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: the importer has no artifact URI.")
    schema = schema_of(importer.type_schema)
    output = next(iter(task.component.output_definitions.artifacts), "artifact")
    artifact = None if importer.reimport else _registered(leaf, uri, schema[0], metadata)
    if artifact is None:
        artifact = lineage.artifact(lineage.artifact_name(), output, schema, uri, metadata)
    outputs = Values(artifacts={output: [artifact]})
    return Outcome(State.SUCCEEDED, outputs, execution=lineage.end(task.execution, "COMPLETE", outputs))


def run_resolver(leaf: Leaf) -> Outcome:
    """Find the newest artifacts that the queries of a resolver ask for.

    Raises:
        TaskFailure: A query that does not parse.
    """
    task, lineage = leaf.task, leaf.run.lineage
    task.execution = lineage.begin(task, "system.ResolverExecution")
    leaf.run.records.started(task)
    outputs = Values()
    for name, query in leaf.executor.resolver.output_artifact_queries.items():
        try:
            outputs.artifacts[name] = lineage.artifacts(query.filter, query.limit or 1)
        except CloudError as error:
            lineage.end(task.execution, "FAILED", Values())
            raise TaskFailure(error.code, f"Task `{task.unique_name}`: output `{name}`: {error.message}") from None
    return Outcome(State.SUCCEEDED, outputs, execution=lineage.end(task.execution, "COMPLETE", outputs))


def _uri(source: Any, parameters: dict[str, Any]) -> str:
    kind = source.WhichOneof("value")
    if kind == "constant":
        return as_text(from_proto(source.constant))
    if kind == "constant_value":
        return as_text(from_legacy(source.constant_value))
    if kind == "runtime_parameter":
        return as_text(parameters.get(source.runtime_parameter, ""))
    return ""


def _registered(leaf: Leaf, uri: str, title: str, metadata: dict[str, Any]) -> Any | None:
    """The newest artifact with this URI, type and metadata."""
    for artifact in leaf.run.lineage.artifacts(f"uri={json.dumps(uri)} AND schema_title={json.dumps(title)}", 100):
        if from_struct(artifact.metadata) == metadata:
            return artifact
    return None
