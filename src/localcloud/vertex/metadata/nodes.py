"""MetadataService: artifacts, executions and contexts, each created, read, listed, changed, deleted and purged.

Filters know the edges as well (`in_context("…")`); questions about lineage are for localcloud.vertex.metadata.lineage.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from localcloud.errors import InvalidArgument, NotFound
from localcloud.filters import Vocabulary, compile_filter
from localcloud.vertex.common import Vertex, generic_metadata, parent_of, v1
from localcloud.vertex.metadata.edges import Edges
from localcloud.vertex.metadata.stores import check_empty, check_store, new_id

_SAMPLE = 100


class MetadataService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#metadataservice, the nodes.

    Args:
        vertex: The shared facilities.
        edges: The edges between nodes.
    """

    def __init__(self, vertex: Vertex, edges: Edges) -> None:
        self._vertex = vertex
        self._edges = edges

    # Artifacts

    def create_artifact(self, request: Any) -> Any:
        """Store an artifact."""
        return self._create(request.parent, "artifacts", request.artifact, request.artifact_id, "artifact_id")

    def get_artifact(self, request: Any) -> Any:
        """The artifact."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.Artifact)

    def list_artifacts(self, request: Any) -> Any:
        """The artifacts of a store."""
        page = self._list(request, v1.Artifact)
        return v1.ListArtifactsResponse(artifacts=page, next_page_token=page.next_page_token)

    def update_artifact(self, request: Any) -> Any:
        """Change an artifact."""
        return self._update(request, request.artifact)

    def delete_artifact(self, request: Any) -> Any:
        """Delete an artifact and its events."""
        return self._delete(request, v1.Artifact)

    def purge_artifacts(self, request: Any) -> Any:
        """Delete the artifacts that a filter lets through, or count them."""
        return self._purge(request, v1.Artifact)

    # Executions

    def create_execution(self, request: Any) -> Any:
        """Store an execution."""
        return self._create(request.parent, "executions", request.execution, request.execution_id, "execution_id")

    def get_execution(self, request: Any) -> Any:
        """The execution."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.Execution)

    def list_executions(self, request: Any) -> Any:
        """The executions of a store."""
        page = self._list(request, v1.Execution)
        return v1.ListExecutionsResponse(executions=page, next_page_token=page.next_page_token)

    def update_execution(self, request: Any) -> Any:
        """Change an execution."""
        return self._update(request, request.execution)

    def delete_execution(self, request: Any) -> Any:
        """Delete an execution and its events."""
        return self._delete(request, v1.Execution)

    def purge_executions(self, request: Any) -> Any:
        """Delete the executions that a filter lets through, or count them."""
        return self._purge(request, v1.Execution)

    # Contexts

    def create_context(self, request: Any) -> Any:
        """Store a context; its parents are set by AddContextChildren."""
        return self._create(request.parent, "contexts", request.context, request.context_id, "context_id")

    def get_context(self, request: Any) -> Any:
        """The context."""
        return self._with_parents(self._vertex.store.get(self._vertex.name(request.name), v1.Context))

    def list_contexts(self, request: Any) -> Any:
        """The contexts of a store."""
        page = self._list(request, v1.Context)
        contexts = [self._with_parents(context) for context in page]
        return v1.ListContextsResponse(contexts=contexts, next_page_token=page.next_page_token)

    def update_context(self, request: Any) -> Any:
        """Change a context."""
        return self._with_parents(self._update(request, request.context))

    def delete_context(self, request: Any) -> Any:
        """Delete a context; what it holds stays, contexts below it only go with `force`."""
        name = self._vertex.name(request.name)
        if not request.force:
            check_empty("Context", name, len(self._edges.children(name)))
        return self._delete(request, v1.Context)

    def purge_contexts(self, request: Any) -> Any:
        """Delete the contexts that a filter lets through, or count them."""
        return self._purge(request, v1.Context)

    # What they share

    def _create(self, parent: str, collection: str, given: Any, id: str, field: str) -> Any:
        store = check_store(self._vertex, parent)
        node = type(given)()
        node.CopyFrom(given)
        if collection == "contexts":
            node.ClearField("parent_contexts")
        name = node.name = f"{store}/{collection}/{new_id(id, field)}"
        return self._vertex.store.create(name, node)

    def _list(self, request: Any, kind: Any) -> Any:
        return self._vertex.store.list(
            check_store(self._vertex, request.parent),
            kind,
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=self._vocabulary(),
        )

    def _update(self, request: Any, given: Any) -> Any:
        node = type(given)()
        node.CopyFrom(given)
        node.name = self._vertex.name(given.name)
        if isinstance(node, v1.Context):
            node.ClearField("parent_contexts")
        paths = [path for path in request.update_mask.paths if path != "parent_contexts"]
        try:
            return self._vertex.store.update(node, paths)
        except NotFound:
            if not request.allow_missing:
                raise
            return self._vertex.store.create(node.name, node)

    def _delete(self, request: Any, kind: Any) -> Any:
        name = self._vertex.name(request.name)
        self._vertex.store.delete(name, kind, etag=request.etag)
        self._edges.forget(name)
        return self._vertex.operations.done(parent_of(name), metadata=generic_metadata(v1.DeleteOperationMetadata))

    def _purge(self, request: Any, kind: Any) -> Any:
        if not request.filter:
            raise InvalidArgument("List of found errors:\t1.Field: filter; Message: Required field is not set.\t")
        store = check_store(self._vertex, request.parent)
        matches = compile_filter(request.filter, kind.DESCRIPTOR, self._vocabulary())
        names = [node.name for node in self._vertex.store.all(store, kind) if matches(node)]
        if request.force:
            for name in names:
                self._vertex.store.delete(name, kind)
                self._edges.forget(name)
        what = f"Purge{kind.DESCRIPTOR.name}s"
        response = getattr(v1, f"{what}Response")(
            purge_count=len(names), purge_sample=[] if request.force else names[:_SAMPLE]
        )
        return self._vertex.operations.done(store, response, generic_metadata(getattr(v1, f"{what}Metadata")))

    def _with_parents(self, context: Any) -> Any:
        """A context with its parents, which are edges: a new parent leaves the context's etag as it is."""
        context.parent_contexts.extend(self._edges.parents(context.name))
        return context

    def _vocabulary(self) -> Vocabulary:
        """What filters know of the edges: https://cloud.google.com/vertex-ai/docs/ml-metadata/analyzing.

        Each answer is kept for the one request: a filter asks it for every node of the store.
        """
        edges, full = self._edges, self._vertex.name

        @cache
        def held(context: str) -> frozenset[str]:
            return frozenset(edges.held(context))

        @cache
        def around(name: str, by: str) -> frozenset[str]:
            events = edges.events_of_executions([name]) if by == "execution" else edges.events_of_artifacts([name])
            return frozenset(event.artifact if by == "execution" else event.execution for event in events)

        def in_context(node: Any, *contexts: str) -> bool:
            return any(node.name in held(full(context)) for context in contexts)

        def with_execution(node: Any, *executions: str) -> bool:
            return any(node.name in around(full(execution), "execution") for execution in executions)

        def with_artifact(node: Any, *artifacts: str) -> bool:
            return any(node.name in around(full(artifact), "artifact") for artifact in artifacts)

        def child_contexts(node: Any) -> list[str]:
            return edges.children(node.name)

        def parent_contexts(node: Any) -> list[str]:
            return edges.parents(node.name)

        return Vocabulary(
            functions={"in_context": in_context, "with_execution": with_execution, "with_artifact": with_artifact},
            fields={"child_contexts": child_contexts, "parent_contexts": parent_contexts},
        )
