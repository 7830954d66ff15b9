"""The XML API's paths, BUCKET/OBJECT: what signed URLs, public links and parallel uploads use.

Source: cloud.google.com/storage/docs/xml-api/reference-methods. Listing and managing buckets is left to the
JSON API.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from localcloud.storage import errors, signed
from localcloud.storage.content import Content
from localcloud.storage.database import StoredObject
from localcloud.storage.downloads import content_headers, download
from localcloud.storage.http import body_stream, error_response, in_thread, number, read_small
from localcloud.storage.parts import PartUploads
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.resources import object_properties
from localcloud.storage.store import Store
from localcloud.storage.uploads import Uploads

_HEADERS = {
    "content-type": "contentType",
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "x-goog-storage-class": "storageClass",
    "x-goog-custom-time": "customTime",
}
_VIRTUAL = ".storage.googleapis.com"
_UNSUPPORTED = ("acl", "cors", "lifecycle", "tagging", "retention", "versions", "uploads")


class XmlApi:
    """Objects under their paths.

    Args:
        store: Where they are kept.
        uploads: How content is taken in.
    """

    def __init__(self, store: Store, uploads: Uploads) -> None:
        self._store = store
        self._uploads = uploads
        self._parts = PartUploads(store)

    async def answer(self, request: Request, parts: list[str]) -> Response:
        """Answer a request on BUCKET/OBJECT; errors are XML."""
        try:
            bucket, name = _place(request, parts)
            signed.check(request.query_params)
            if not name:
                raise errors.unimplemented(f"The XML API's {request.method} on a bucket")
            return await self._answer(request, bucket, name)
        except Exception as error:
            return error_response(error, xml=True)

    async def _answer(self, request: Request, bucket: str, name: str) -> Response:
        query = request.query_params
        upload_id = query.get("uploadId")
        match request.method:
            case "POST" if "uploads" in query:
                identity = await in_thread(self._parts.begin, bucket, name, _properties(request))
                return _document("InitiateMultipartUploadResult", Bucket=bucket, Key=name, UploadId=identity)
            case "POST" if upload_id:
                body = await read_small(request)
                version = await in_thread(self._parts.complete, bucket, name, upload_id, body)
                return _document("CompleteMultipartUploadResult", Bucket=bucket, Key=name, ETag=_etag(version))
            case "PUT" if upload_id:
                part = number(request, "partNumber") or 0
                content = await self._parts.receive(request, bucket, name, upload_id, part)
                return Response(headers={"etag": f'"{content.md5_hex}"', **_hash_header(content)})
            case "DELETE" if upload_id:
                await in_thread(self._parts.abort, bucket, name, upload_id)
                return Response(status_code=204)
            case "GET" | "HEAD" if not any(name in query for name in _UNSUPPORTED):
                return await self._get(request, bucket, name)
            case "PUT" if "x-goog-copy-source" not in request.headers:
                return await self._put(request, bucket, name)
            case "DELETE":
                generation = number(request, "generation")
                await in_thread(self._store.delete, bucket, name, generation, _conditions(request))
                return Response(status_code=204)
            case "POST" if request.headers.get("x-goog-resumable") == "start":
                location = await self._uploads.begin(request, bucket, name, _properties(request), {}, {}, None)
                return Response(status_code=201, headers={"location": location})
        raise errors.unimplemented(f"The XML API's {request.method} {request.url.path}?{request.url.query}")

    async def _get(self, request: Request, bucket: str, name: str) -> Response:
        generation = number(request, "generation")
        conditions = _conditions(request)
        version, descriptor = await in_thread(self._store.open, bucket, name, generation, conditions)
        response = await download(self._store, request, version, descriptor)
        response.headers["etag"] = _etag(version)
        response.headers["last-modified"] = formatdate(version.updated / 1e6, usegmt=True)
        for key, value in version.properties.get("metadata", {}).items():
            if key.isascii() and key.isprintable() and value.isascii() and value.isprintable():
                response.headers[f"x-goog-meta-{key}"] = value
        for key in ("content-disposition", "content-type"):
            if f"response-{key}" in request.query_params:
                response.headers[key] = request.query_params[f"response-{key}"]
        return response

    async def _put(self, request: Request, bucket: str, name: str) -> Response:
        resource = await self._uploads.receive(
            request, bucket, name, body_stream(request), _properties(request), {}, _conditions(request)
        )
        version = await in_thread(self._store.get, bucket, name, int(resource["generation"]))
        described = content_headers(version)
        kept = {key: value for key, value in described.items() if key.startswith("x-goog-")}
        return Response(headers={**kept, "etag": _etag(version)})


def _place(request: Request, parts: list[str]) -> tuple[str, str]:
    host = request.headers.get("host", "").partition(":")[0]
    if host.endswith(_VIRTUAL):
        return host.removesuffix(_VIRTUAL), "/".join(parts)
    return parts[0], "/".join(parts[1:])


def _conditions(request: Request) -> Preconditions:
    headers = request.headers
    return Preconditions.of(
        {
            "ifGenerationMatch": headers.get("x-goog-if-generation-match", ""),
            "ifMetagenerationMatch": headers.get("x-goog-if-metageneration-match", ""),
        }
    )


def _properties(request: Request) -> dict[str, Any]:
    headers = request.headers
    body: dict[str, Any] = {field: headers[header] for header, field in _HEADERS.items() if header in headers}
    body.setdefault("contentType", "application/octet-stream")
    prefix = "x-goog-meta-"
    metadata = {key[len(prefix) :]: unquote(headers[key]) for key in headers if key.startswith(prefix)}
    if metadata:
        body["metadata"] = metadata
    return object_properties(body)


def _etag(version: StoredObject) -> str:
    return f'"{Content("", version.size, version.md5, version.crc32c).md5_hex or version.generation}"'


def _hash_header(content: Content) -> dict[str, str]:
    return {"x-goog-hash": f"crc32c={content.crc32c},md5={content.md5}"}


def _document(root: str, **fields: str) -> Response:
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<{root} xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{inside}</{root}>"
    )
    return Response(text, media_type="application/xml; charset=UTF-8")
