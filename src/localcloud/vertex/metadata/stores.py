"""MetadataService: metadata stores and schemas.

What is in a store is localcloud.vertex.metadata.nodes' business.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from localcloud.errors import FailedPrecondition
from localcloud.vertex.common import Vertex, generic_metadata, invalid, parent_of, v1
from localcloud.vertex.metadata.edges import Edges

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_CONTENT = ("Artifact", "Execution", "Context", "MetadataSchema")


class MetadataService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#metadataservice, the stores.

    Args:
        vertex: The shared facilities.
        edges: The edges between the contents of stores, which go with them.
    """

    def __init__(self, vertex: Vertex, edges: Edges) -> None:
        self._vertex = vertex
        self._edges = edges

    def create_metadata_store(self, request: Any) -> Any:
        """Make a store; the SDK makes the one called `default` where there is none."""
        parent = self._vertex.parent(request.parent)
        name = f"{parent}/metadataStores/{new_id(request.metadata_store_id, 'metadata_store_id')}"
        store = self._vertex.store.create(name, v1.MetadataStore(description=request.metadata_store.description))
        metadata = generic_metadata(v1.CreateMetadataStoreOperationMetadata)
        return self._vertex.operations.done(parent, store, metadata)

    def get_metadata_store(self, request: Any) -> Any:
        """The store."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.MetadataStore)

    def list_metadata_stores(self, request: Any) -> Any:
        """The stores of a location."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.MetadataStore,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListMetadataStoresResponse(metadata_stores=page, next_page_token=page.next_page_token)

    def delete_metadata_store(self, request: Any) -> Any:
        """Delete a store with all that is in it."""
        name = self._vertex.name(request.name)
        self._vertex.store.get(name, v1.MetadataStore)
        for kind in _CONTENT:
            message = getattr(v1, kind)
            for node in self._vertex.store.all(name, message):
                self._edges.forget(node.name)
                self._vertex.store.delete(node.name, message)
        self._vertex.store.delete(name, v1.MetadataStore)
        metadata = generic_metadata(v1.DeleteMetadataStoreOperationMetadata)
        return self._vertex.operations.done(parent_of(name), metadata=metadata)

    def create_metadata_schema(self, request: Any) -> Any:
        """Keep a schema; one cannot be changed or deleted."""
        given = request.metadata_schema
        if not given.schema:
            raise invalid("metadata_schema.schema", "Required field is not set.")
        parent = self._parent(request.parent)
        name = f"{parent}/metadataSchemas/{new_id(request.metadata_schema_id, 'metadata_schema_id')}"
        return self._vertex.store.create(name, given)

    def get_metadata_schema(self, request: Any) -> Any:
        """The schema."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.MetadataSchema)

    def list_metadata_schemas(self, request: Any) -> Any:
        """The schemas that were put into a store."""
        page = self._vertex.store.list(
            self._parent(request.parent),
            v1.MetadataSchema,
            filter=request.filter,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListMetadataSchemasResponse(metadata_schemas=page, next_page_token=page.next_page_token)

    def _parent(self, parent: str) -> str:
        return check_store(self._vertex, parent)


def check_store(vertex: Vertex, parent: str) -> str:
    """The name of a metadata store as it is stored; it must be there.

    Raises:
        InvalidArgument: It is no name of a store.
        NotFound: There is no such store.
    """
    if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/metadataStores/[^/]+", parent):
        raise invalid("parent", f"Must be projects/PROJECT/locations/LOCATION/metadataStores/STORE, not `{parent}`.")
    name = vertex.name(parent)
    vertex.store.get(name, v1.MetadataStore)
    return name


def new_id(given: str, field: str) -> str:
    """The id that was asked for, or a new one.

    Raises:
        InvalidArgument: It has other characters than Vertex AI allows.
    """
    if given and not _ID.fullmatch(given):
        raise invalid(field, f"Must be at most 128 characters out of [a-z0-9-], not `{given}`.")
    return given or str(uuid.uuid4())


def check_empty(what: str, name: str, count: int) -> None:
    """Refuse to delete what still has parts, unless forced.

    Raises:
        FailedPrecondition: It has.
    """
    if count:
        raise FailedPrecondition(f"{what} `{name}` has {count} children. Delete them first, or set `force`.")
