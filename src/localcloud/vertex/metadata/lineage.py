"""MetadataService: edges are added here, and followed: what a context holds, what an artifact came from and went into.

The nodes themselves are localcloud.vertex.metadata.nodes'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localcloud.errors import FailedPrecondition, InvalidArgument
from localcloud.filters import compile_filter
from localcloud.vertex.common import Vertex, invalid, v1
from localcloud.vertex.metadata.edges import Edges

_MOST_PARENTS = 10
"""https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#context."""


class MetadataService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#metadataservice, the edges.

    Args:
        vertex: The shared facilities.
        edges: The edges between nodes.
    """

    def __init__(self, vertex: Vertex, edges: Edges) -> None:
        self._vertex = vertex
        self._edges = edges

    def add_context_artifacts_and_executions(self, request: Any) -> Any:
        """Put artifacts and executions into a context."""
        context = self._there(request.context, v1.Context)
        artifacts = [self._there(name, v1.Artifact) for name in request.artifacts]
        executions = [self._there(name, v1.Execution) for name in request.executions]
        self._edges.hold(context, [*artifacts, *executions])
        return v1.AddContextArtifactsAndExecutionsResponse()

    def add_context_children(self, request: Any) -> Any:
        """Put contexts below a context; they may have ten parents at the most, and no cycle may come of it."""
        parent = self._there(request.context, v1.Context)
        children = [self._there(name, v1.Context) for name in request.child_contexts]
        above = self._above(parent)
        for child in children:
            if child in above:
                raise InvalidArgument(f"Context `{child}` cannot be below `{parent}`: it is above it already.")
            others = [name for name in self._edges.parents(child) if name != parent]
            if len(others) >= _MOST_PARENTS:
                raise FailedPrecondition(f"Context `{child}` has {_MOST_PARENTS} parents, which is the most.")
        self._edges.add_children(parent, children)
        return v1.AddContextChildrenResponse()

    def remove_context_children(self, request: Any) -> Any:
        """Take contexts out from below a context."""
        parent = self._there(request.context, v1.Context)
        children = [self._there(name, v1.Context) for name in request.child_contexts]
        self._edges.remove_children(parent, children)
        return v1.RemoveContextChildrenResponse()

    def add_execution_events(self, request: Any) -> Any:
        """Record which artifacts an execution read and wrote."""
        execution = self._there(request.execution, v1.Execution)
        events = []
        for number, given in enumerate(request.events):
            event = v1.Event()
            event.CopyFrom(given)
            event.artifact = self._there(given.artifact, v1.Artifact)
            if not event.type_:
                raise invalid(f"events[{number}].type", "Must be INPUT or OUTPUT.")
            events.append(event)
        self._edges.add_events(execution, events)
        return v1.AddExecutionEventsResponse()

    def query_execution_inputs_and_outputs(self, request: Any) -> Any:
        """An execution with the artifacts that it read and wrote."""
        execution = self._there(request.execution, v1.Execution)
        events = self._edges.events_of_executions([execution])
        return self._subgraph((event.artifact for event in events), [execution], events)

    def query_context_lineage_subgraph(self, request: Any) -> Any:
        """What a context holds, and the events between its parts."""
        held = self._edges.held(self._there(request.context, v1.Context))
        executions = [name for name in held if _kind(name) == "executions"]
        artifacts = {name for name in held if _kind(name) == "artifacts"}
        events = [event for event in self._edges.events_of_executions(executions) if event.artifact in artifacts]
        return self._subgraph(artifacts, executions, events)

    def query_artifact_lineage_subgraph(self, request: Any) -> Any:
        """What an artifact came from and went into, as far as `max_hops` steps; 0 for all of it."""
        if request.max_hops < 0:
            raise invalid("max_hops", f"Must not be negative, it is {request.max_hops}.")
        matches = compile_filter(request.filter, v1.Artifact.DESCRIPTOR)
        artifacts = {self._there(request.artifact, v1.Artifact)}
        executions: set[str] = set()
        events: dict[tuple[str, str, int], Any] = {}
        fresh, hops = list(artifacts), 0
        while fresh and (not request.max_hops or hops < request.max_hops):
            from_artifacts = hops % 2 == 0
            look = self._edges.events_of_artifacts if from_artifacts else self._edges.events_of_executions
            found = look(fresh)
            known = executions if from_artifacts else artifacts
            fresh = []
            for event in found:
                other = event.execution if from_artifacts else event.artifact
                if other not in known:
                    if not from_artifacts and not matches(self._vertex.store.get(other, v1.Artifact)):
                        continue
                    known.add(other)
                    fresh.append(other)
                events[event.execution, event.artifact, event.type_] = event
            hops += 1
        return self._subgraph(artifacts, executions, events.values())

    def _subgraph(self, artifacts: Iterable[str], executions: Iterable[str], events: Iterable[Any]) -> Any:
        store = self._vertex.store
        found = [store.find(name, v1.Artifact) for name in dict.fromkeys(artifacts)]
        ran = [store.find(name, v1.Execution) for name in dict.fromkeys(executions)]
        return v1.LineageSubgraph(
            artifacts=[node for node in found if node is not None],
            executions=[node for node in ran if node is not None],
            events=list(events),
        )

    def _there(self, name: str, kind: Any) -> str:
        """The name of a node as it is stored; it must be there."""
        full = self._vertex.name(name)
        self._vertex.store.get(full, kind)
        return full

    def _above(self, context: str) -> set[str]:
        """A context and all above it."""
        found, fresh = {context}, [context]
        while fresh:
            fresh = [parent for name in fresh for parent in self._edges.parents(name) if parent not in found]
            found.update(fresh)
        return found


def _kind(name: str) -> str:
    return name.rsplit("/", 2)[1]
