"""The console as an ASGI application: pages for a person to look at, and the status as JSON for scripts.

Endpoints are plain functions, so that they run in threads: the APIs are called from there. Nothing here changes
anything. What HTML artifacts hold has an origin of its own, without a network (`_SANDBOX`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psutil
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from localcloud.console import lineage, lists, runs, urls
from localcloud.console.artifacts import HTML_LIMIT
from localcloud.console.reader import Reader
from localcloud.console.render import HERE, Pages
from localcloud.console.values import seconds_of
from localcloud.errors import CloudError, InvalidArgument, NotFound
from localcloud.gateway.rpc import Registry
from localcloud.service import Api, Cloud

_log = logging.getLogger(__name__)
_SANDBOX = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data:; frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
    "cache-control": "no-store",
}
"""Scripts of a HTML artifact run in an origin of their own: they see neither the console nor anything on a network."""
_RECENT = 10
_OVER = ("succeeded", "failed", "cancelled", "expired", "partially succeeded")


def app(cloud: Cloud, apis: Sequence[Api], registry: Registry) -> Starlette:
    """The console of a running server."""
    began = time.time()
    reader = Reader(cloud)
    pages = Pages(reader)

    def status() -> dict[str, Any]:
        return {
            "port": cloud.port,
            "pid": os.getpid(),
            "state": str(cloud.root),
            "uptime_seconds": round(time.time() - began, 1),
            "memory_bytes": psutil.Process().memory_info().rss,
            "apis": [_api(api, registry) for api in apis if api.hosts],
        }

    def as_json(request: Request) -> Response:
        return JSONResponse(status())

    def coverage(request: Request) -> Response:
        return JSONResponse({api.name: _coverage(api, registry) for api in apis if api.services})

    def any_project(request: Request) -> str:
        project = request.query_params.get("project") or urls.EVERYWHERE
        reader.check_project(project)
        return project

    def one_project(request: Request) -> str:
        project = any_project(request)
        if project == urls.EVERYWHERE:
            raise InvalidArgument("Which project? The address must have ?project=PROJECT.")
        return project

    def home(request: Request) -> dict[str, Any]:
        found, _ = reader.runs(urls.EVERYWHERE, urls.EVERYWHERE, size=_RECENT)
        recent = [runs.described(reader, job) for job in found]
        return {"status": status(), "projects": reader.projects(), "runs": recent}

    def list_runs(request: Request) -> dict[str, Any]:
        query = request.query_params
        state = query.get("state", "")
        if state not in runs.STATES:
            raise InvalidArgument(f"There is no state {state}.")
        location = query.get("location") or urls.EVERYWHERE
        return runs.list_page(reader, any_project(request), location, state, query.get("token", ""))

    def run(request: Request) -> dict[str, Any]:
        path = request.path_params
        task = request.query_params.get("task", "")
        return runs.run_page(reader, one_project(request), path["location"], path["id"], task)

    def job(request: Request) -> dict[str, Any]:
        path = request.path_params
        found = reader.job(one_project(request), path["location"], path["id"])
        word = reader.word("JobState", found.state)
        end = seconds_of(found.end_time) if found.HasField("end_time") else time.time()
        project = reader.project_of(found.name)
        return {
            "project": project,
            "location": path["location"],
            "job": found,
            "word": word,
            "seconds": max(0.0, end - seconds_of(found.start_time)) if found.HasField("start_time") else None,
            "spec": json_format.MessageToJson(found.job_spec, ensure_ascii=False),
            "lines": reader.log(project, [found.name]),
            "refresh": word not in _OVER,
        }

    def listed(request: Request) -> dict[str, Any]:
        kind = request.path_params["kind"]
        if kind not in lists.KINDS:
            raise NotFound(f"There is no page {request.url.path}.")
        return lists.page(reader, kind, any_project(request), request.query_params.get("token", ""))

    def node(request: Request) -> dict[str, Any]:
        return lineage.node_page(reader, *urls.node_name(one_project(request), **request.path_params))

    def content(request: Request) -> Response:
        kind, name = urls.node_name(one_project(request), **request.path_params, collection="artifacts")
        artifact = reader.node(kind, name)
        if artifact.schema_title.rpartition(".")[2] != "HTML":
            raise NotFound(f"The artifact {name} is no HTML.")
        found, _ = reader.content(artifact.uri, HTML_LIMIT)
        return HTMLResponse(found, headers=_SANDBOX)

    def page(template: str, build: Callable[[Request], Mapping[str, Any]]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            return HTMLResponse(pages(template, build(request)), headers={"cache-control": "no-store"})

        return answer

    def problem(request: Request, code: int, message: str) -> Response:
        title = HTTPStatus(code).phrase if code != 499 else "Cancelled"
        return HTMLResponse(pages("message.html", {"title": title, "message": message}), status_code=code)

    def of_an_api(request: Request, error: Exception) -> Response:
        assert isinstance(error, CloudError)
        return problem(request, error.code.http, error.message)

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"There is no page {request.url.path}." if error.status_code == 404 else error.detail
        return problem(request, error.status_code, message)

    def of_ours(request: Request, error: Exception) -> Response:
        return problem(request, 500, f"The console is at fault. What happened is in {cloud.root / 'server.log'}.")

    where = "/vertex-ai/locations/{location}"
    nodes = where + "/metadata-stores/{store}"
    return Starlette(
        routes=[
            Route("/", page("home.html", home)),
            Route("/status", as_json),
            Route("/coverage", coverage),
            Route("/vertex-ai/pipelines/runs", page("runs.html", list_runs)),
            Route(where + "/pipelines/runs/{id}", page("run.html", run)),
            Route(where + "/training/{id}", page("job.html", job)),
            Route(nodes + "/artifacts/{id}/content", content),
            Route(nodes + "/{collection}/{id}", page("lineage.html", node)),
            Route("/vertex-ai/{kind}", page("list.html", listed)),
            Mount("/console", StaticFiles(directory=HERE / "static")),
        ],
        exception_handlers={CloudError: of_an_api, HTTPException: of_http, Exception: of_ours},
    )


def _api(api: Api, registry: Registry) -> dict[str, object]:
    rpcs = [rpc for rpc in registry.by_path.values() if rpc.method.package in api.packages[:1]]
    return {
        "name": api.name,
        "host": api.hosts[0],
        "methods": len(rpcs),
        "implemented": sum(rpc.implementation is not None for rpc in rpcs),
    }


def _coverage(api: Api, registry: Registry) -> dict[str, dict[str, bool]]:
    """For each gRPC service of an API, in the version it is written in: which RPCs are implemented."""
    found: dict[str, dict[str, bool]] = {}
    for rpc in registry.by_path.values():
        if rpc.method.package in api.packages and rpc.method.package == rpc.native:
            service = f"{rpc.method.package}.{rpc.method.service}"
            found.setdefault(service, {})[rpc.method.name] = rpc.implementation is not None
    return found
