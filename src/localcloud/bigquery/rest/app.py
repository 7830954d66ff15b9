"""BigQuery's REST API v2 as an ASGI application.

Routes and handlers are in the modules beside this one; hosts and TLS are the gateway's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.bigquery.failures import Invalid, Missing
from localcloud.bigquery.problems import http_error
from localcloud.bigquery.warehouse import Warehouse
from localcloud.errors import Unimplemented

from . import datasets, discovery, jobs, tabledata, tables
from .routing import Call, Chosen, Method, Raw, json_body
from .uploads import Uploads

METHODS: tuple[Method, ...] = (*datasets.METHODS, *tabledata.METHODS, *tables.METHODS, *jobs.METHODS)
PATHS = ("/bigquery/v2/", "/upload/bigquery/v2/", "/resumable/upload/bigquery/v2/", "/discovery/v1/apis/bigquery/")
"""Where the API answers on a host that it shares with others."""

_THREADS = 128
"""Calls at once: those that wait for a query hold a thread."""


class _App:
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._uploads = Uploads(warehouse.root / "uploads")
        self._uploads.purge()
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._routes = [(method, method.pattern) for method in METHODS]

    async def api(self, request: Request) -> Response:
        """Any method without an upload."""
        verb = request.headers.get("x-http-method-override", request.method).upper()
        path = request.path_params["path"]
        query = dict(request.query_params)
        if verb == "GET" and request.method == "POST":
            # googleapiclient puts a query that is too long for a URL into the body of an overridden POST.
            query |= {key: str(value) for key, value in (await request.form()).items()}
        states = request.query_params.getlist("stateFilter")
        if states:
            query["stateFilter"] = ",".join(states)
        method, variables = self._find(verb, path)
        body = await json_body(request) if verb in ("POST", "PUT", "PATCH") else {}
        call = Call(self._warehouse, variables, query, request.headers, body, _base(request))
        return await self._answer(request, partial(method.handler, call))

    def _find(self, verb: str, path: str) -> tuple[Method, dict[str, str]]:
        known = False
        for method, pattern in reversed(self._routes):
            match = pattern.fullmatch(path)
            if match is not None:
                if method.verb == verb:
                    return method, match.groupdict()
                known = True
        what = f"{verb} /bigquery/v2/{path}"
        if known or re.match(r"projects/[^/]+/(datasets|jobs|queries)\b", path):
            raise Unimplemented(f"The local BigQuery does not implement {what}")
        raise Missing(f"The requested URL was not found: {what}")

    async def upload(self, request: Request) -> Response:
        """jobs.insert with a file: multipart, or the beginning and the chunks of a resumable upload."""
        kind = request.query_params.get("uploadType", "")
        session = request.query_params.get("upload_id", "")
        if session:
            return await self._chunk(request, session)
        if kind == "multipart":
            resource, file = await self._uploads.multipart(request.headers.get("content-type", ""), request.stream())
            return await self._answer(request, partial(self._load, request, resource, file))
        if kind == "resumable":
            name = self._uploads.begin(await json_body(request))
            location = f"{_base(request)}{request.url.path}?uploadType=resumable&upload_id={name}"
            return Response(headers={"location": location, "x-guploader-uploadid": name})
        raise Invalid(f"Invalid uploadType {kind!r}: a load job needs multipart or resumable", location="uploadType")

    async def _chunk(self, request: Request, session: str) -> Response:
        have, complete = await self._uploads.receive(
            session, request.headers.get("content-range", ""), request.stream()
        )
        if complete is None:
            return Response(status_code=308, headers={"range": f"bytes=0-{have - 1}"} if have else {})
        return await self._answer(request, partial(self._load, request, *complete))

    def _load(self, request: Request, resource: dict[str, Any], file: Any) -> Any:
        call = Call(self._warehouse, request.path_params, {}, request.headers, resource, _base(request))
        try:
            job = self._warehouse.jobs.insert(call.project, resource, upload=file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        return jobs.started(call, job)

    async def discovery(self, request: Request) -> Response:
        """The discovery document."""
        version = request.query_params.get("version", "v2")
        if version != "v2":
            raise Missing(f"There is no discovery document of version {version}: the API has v2")
        return _json(request, discovery.document(METHODS, _base(request)))

    async def _answer(self, request: Request, handler: Callable[[], Any]) -> Response:
        answer = await anyio.to_thread.run_sync(handler, limiter=self._threads, abandon_on_cancel=True)
        if answer is None:
            return Response(status_code=204)
        return await anyio.to_thread.run_sync(partial(_json, request, answer), limiter=self._threads)


def application(warehouse: Warehouse) -> Starlette:
    """The API over a warehouse."""
    app = _App(warehouse)
    verbs = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    upload = _guarded(app.upload)
    return Starlette(
        routes=[
            Route("/bigquery/v2/{path:path}", _guarded(app.api), methods=verbs),
            Route("/upload/bigquery/v2/projects/{projectId}/jobs", upload, methods=["POST", "PUT"]),
            Route("/resumable/upload/bigquery/v2/projects/{projectId}/jobs", upload, methods=["POST", "PUT"]),
            Route("/$discovery/rest", _guarded(app.discovery)),
            Route("/discovery/v1/apis/bigquery/v2/rest", _guarded(app.discovery)),
            Route("/{path:path}", _guarded(_unknown), methods=verbs),
        ]
    )


async def _unknown(request: Request) -> Response:
    raise Unimplemented(f"The local BigQuery does not implement {request.method} {request.url.path}")


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with errors in BigQuery's form."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:
            status, body = http_error(error)
            return _json(request, Chosen(body, status))

    return guarded


def _json(request: Request, answer: Any) -> Response:
    """The answer as JSON; over loopback compressing it would only cost time."""
    status, headers = 200, {}
    if isinstance(answer, Chosen):
        status, headers, answer = answer.status, dict(answer.headers), answer.content
    content = answer.content if isinstance(answer, Raw) else _dumped(request, answer)
    if isinstance(answer, dict) and isinstance(answer.get("etag"), str):
        headers["etag"] = answer["etag"]
    return Response(content, status, headers, media_type="application/json; charset=UTF-8")


def _dumped(request: Request, answer: Any) -> bytes:
    if request.query_params.get("prettyPrint") == "true":
        return json.dumps(answer, indent=2).encode()
    return orjson.dumps(answer)


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
