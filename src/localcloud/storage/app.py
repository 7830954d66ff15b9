"""The ASGI application of Cloud Storage: which API a path belongs to.

/storage/v1, /upload, /download and /batch are the JSON API; other paths are the XML API's BUCKET/OBJECT.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud.storage import errors
from localcloud.storage.batch import Batch
from localcloud.storage.bucket_methods import BucketMethods
from localcloud.storage.http import Method, Routes, answer, error_response, raw_parts
from localcloud.storage.notifications import Notifications
from localcloud.storage.object_methods import ObjectMethods
from localcloud.storage.store import Store
from localcloud.storage.uploads import Uploads
from localcloud.storage.xml import XmlApi

PATHS = (
    "/storage/v1/",
    "/upload/storage/v1/",
    "/resumable/upload/storage/v1/",
    "/download/storage/v1/",
    "/batch/storage/v1",
)


class StorageApp:
    """ASGI: the JSON API and the object paths of the XML API.

    Args:
        store: The buckets and objects.
        notifications: The buckets' notification configurations.
    """

    def __init__(self, store: Store, notifications: Notifications) -> None:
        uploads = Uploads(store)
        objects = ObjectMethods(store)
        self._methods = Routes()
        objects.add_to(self._methods)
        BucketMethods(store, notifications).add_to(self._methods)
        self._uploads = Routes()
        self._uploads.add("POST", "b/{}/o", uploads.insert)
        self._uploads.add("PUT", "b/{}/o", uploads.resume)
        self._uploads.add("DELETE", "b/{}/o", uploads.cancel)
        self._downloads = Routes()
        self._downloads.add("GET", "b/{}/o/{}", objects.media)
        self._batch = Batch(self)
        self._xml = XmlApi(store, uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            parts = raw_parts(request)
            for header in request.headers:
                if header.startswith(("x-goog-encryption-", "x-goog-copy-source-encryption-")):
                    raise errors.unimplemented("Encryption with customer-supplied keys")
            found = self._find(request, parts)
        except errors.StorageError as error:
            return error_response(error)
        if found is None:
            return await self._xml.answer(request, parts)
        return await answer(request, found[0], *found[1])

    def _find(self, request: Request, parts: list[str]) -> tuple[Method, list[str]] | None:
        verb = request.method
        match parts:
            case ["storage", "v1", *rest]:
                return self._methods.find(verb, rest)
            # apitools' resumable uploads (gcloud, gsutil, Beam) come under a path of their own
            case ["upload", "storage", "v1", *rest] | ["resumable", "upload", "storage", "v1", *rest]:
                return self._uploads.find(verb, rest)
            case ["download", "storage", "v1", *rest]:
                return self._downloads.find(verb, rest)
            case ["batch", "storage", "v1"] | ["batch"] if verb == "POST":
                return self._batch.run, []
        return None
