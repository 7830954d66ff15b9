"""The JSON API's methods on objects, but for uploads.

Source: cloud.google.com/storage/docs/json_api/v1/objects. Keeping them is left to the store.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from localcloud.storage import copies, errors, partial
from localcloud.storage.database import StoredObject
from localcloud.storage.downloads import download
from localcloud.storage.http import Answer, Routes, flag, in_thread, media_url, number, read_json
from localcloud.storage.listing import MAX_RESULTS, Page, Query, list_objects
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.resources import object_properties, object_resource
from localcloud.storage.store import Store


class ObjectMethods:
    """Methods on objects.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_to(self, routes: Routes) -> None:
        """Give the methods their paths."""
        routes.add("GET", "b/{}/o", self.list)
        routes.add("GET", "b/{}/o/{}", self.get)
        routes.add("PATCH", "b/{}/o/{}", self.patch)
        routes.add("PUT", "b/{}/o/{}", self.update)
        routes.add("DELETE", "b/{}/o/{}", self.delete)
        routes.add("POST", "b/{}/o/{}/compose", self.compose)
        routes.add("POST", "b/{}/o/{}/copyTo/b/{}/o/{}", self.copy)
        routes.add("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", self.rewrite)
        routes.add("POST", "b/{}/o/{}/moveTo/o/{}", self.move)

    async def list(self, request: Request, bucket: str) -> Answer:
        """objects.list."""
        if flag(request, "softDeleted"):
            raise errors.invalid("The bucket has no soft delete policy.", "softDeleted")
        if request.query_params.get("filter"):
            raise errors.unimplemented("The parameter 'filter' of objects.list")
        query = _query(request)
        mask = partial.parse(request.query_params.get("fields") or "*")
        with_hashes = any(partial.wants(mask, "items", name) for name in ("md5Hash", "crc32c"))
        page = await in_thread(self._list, bucket, query, with_hashes)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.next_page:
            answer["nextPageToken"] = page.next_page
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.items:
            answer["items"] = [object_resource(version, media_url(request)) for version in page.items]
        return answer

    def _list(self, bucket: str, query: Query, with_hashes: bool) -> Page:
        page = list_objects(self._store, bucket, query)
        if with_hashes:
            page.items = [self._store.hashed(version) for version in page.items]
        return page

    async def get(self, request: Request, bucket: str, name: str) -> Answer:
        """objects.get: the resource, or with alt=media the content."""
        conditions = Preconditions.of(request.query_params)
        generation = number(request, "generation")
        if request.query_params.get("alt") == "media":
            return await self.media(request, bucket, name)
        version = await in_thread(self._store.get, bucket, name, generation, conditions)
        if flag(request, "softDeleted"):
            raise errors.no_object(bucket, name)
        return object_resource(await self._hashed(version), media_url(request))

    async def media(self, request: Request, bucket: str, name: str) -> Answer:
        """The content of an object, also under /download."""
        conditions = Preconditions.of(request.query_params)
        generation = number(request, "generation")
        version, descriptor = await in_thread(self._store.open, bucket, name, generation, conditions)
        return await download(self._store, request, version, descriptor)

    async def patch(self, request: Request, bucket: str, name: str) -> Answer:
        """objects.patch: a JSON merge patch."""
        body = await read_json(request)
        return await self._change(request, bucket, name, lambda old: _patched(body, old))

    async def update(self, request: Request, bucket: str, name: str) -> Answer:
        """objects.update: what the body does not name goes."""
        body = await read_json(request)
        return await self._change(request, bucket, name, lambda old: _updated(body, old))

    async def _change(self, request: Request, bucket: str, name: str, change: Any) -> Answer:
        conditions = Preconditions.of(request.query_params)
        generation = number(request, "generation")
        version = await in_thread(self._store.change, bucket, name, generation, conditions, change)
        return object_resource(await self._hashed(version), media_url(request))

    async def delete(self, request: Request, bucket: str, name: str) -> Answer:
        """objects.delete."""
        conditions = Preconditions.of(request.query_params)
        await in_thread(self._store.delete, bucket, name, number(request, "generation"), conditions)
        return None

    async def compose(self, request: Request, bucket: str, name: str) -> Answer:
        """objects.compose."""
        body = await read_json(request)
        conditions = Preconditions.of(request.query_params)
        version = await in_thread(copies.compose, self._store, bucket, name, body, conditions)
        return object_resource(version, media_url(request))

    async def copy(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        """objects.copy."""
        body = await read_json(request)
        source, target = (bucket, name), (to_bucket, to_name)
        version = await in_thread(copies.copy, self._store, source, target, body, request.query_params)
        return object_resource(version, media_url(request))

    async def rewrite(self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        """objects.rewrite."""
        if request.query_params.get("destinationKmsKeyName"):
            raise errors.unimplemented("Encryption with customer-managed keys")
        body = await read_json(request)
        source, target = (bucket, name), (to_bucket, to_name)
        written, size, token, version = await in_thread(
            copies.rewrite, self._store, source, target, body, dict(request.query_params)
        )
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(written),
            "objectSize": str(size),
            "done": version is not None,
        }
        if token:
            answer["rewriteToken"] = token
        if version:
            answer["resource"] = object_resource(version, media_url(request))
        return answer

    async def move(self, request: Request, bucket: str, name: str, to_name: str) -> Answer:
        """objects.move."""
        parameters = dict(request.query_params)
        version = await in_thread(copies.move, self._store, bucket, name, to_name, parameters)
        return object_resource(version, media_url(request))

    async def _hashed(self, version: StoredObject) -> StoredObject:
        return version if version.crc32c else await in_thread(self._store.hashed, version)


def _query(request: Request) -> Query:
    get = request.query_params.get
    return Query(
        prefix=get("prefix", ""),
        delimiter=get("delimiter", ""),
        include_trailing_delimiter=flag(request, "includeTrailingDelimiter"),
        glob=get("matchGlob", ""),
        start=get("startOffset", ""),
        end=get("endOffset", ""),
        versions=flag(request, "versions"),
        size=min(number(request, "maxResults") or MAX_RESULTS, MAX_RESULTS),
        page=get("pageToken", ""),
    )


def _patched(body: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    _check_class(body, old)
    return object_properties(body, old)


def _updated(body: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    _check_class(body, old)
    kept: dict[str, Any] = {name: old[name] for name in ("componentCount", "storageClass", "customTime") if name in old}
    return object_properties(body, kept)


def _check_class(body: dict[str, Any], old: dict[str, Any]) -> None:
    wanted, current = body.get("storageClass"), old.get("storageClass", "STANDARD")
    if wanted and wanted != current:
        raise errors.invalid(
            f"The storage class of an object cannot be changed from '{current}' to '{wanted}' "
            "by its metadata: rewrite the object.",
            "storageClass",
        )
