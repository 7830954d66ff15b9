"""The console as an ASGI application: for now one page of status, and the same as JSON for scripts.

It shows what the local cloud is made of; the services' own pages come with them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from html import escape

import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from localcloud.gateway.rpc import Registry
from localcloud.service import Api, Cloud

_STYLE = (
    "body{font:16px/1.5 system-ui;margin:3rem auto;max-width:46rem;padding:0 1rem;color:#202124}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #dadce0}code{background:#f1f3f4;padding:.1rem .3rem;border-radius:3px}"
    "@media(prefers-color-scheme:dark){body{background:#202124;color:#e8eaed}code{background:#3c4043}}"
)


def app(cloud: Cloud, apis: Sequence[Api], registry: Registry) -> Starlette:
    """The console of a running server."""
    began = time.time()

    def status() -> dict[str, object]:
        return {
            "port": cloud.port,
            "pid": os.getpid(),
            "state": str(cloud.root),
            "uptime_seconds": round(time.time() - began, 1),
            "memory_bytes": psutil.Process().memory_info().rss,
            "apis": [_api(api, registry) for api in apis if api.hosts],
        }

    async def page(request: Request) -> Response:
        return HTMLResponse(_page(status()))

    async def as_json(request: Request) -> Response:
        return JSONResponse(status())

    async def coverage(request: Request) -> Response:
        return JSONResponse({api.name: _coverage(api, registry) for api in apis if api.services})

    return Starlette(routes=[Route("/", page), Route("/status", as_json), Route("/coverage", coverage)])


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


def _page(status: dict[str, object]) -> str:
    apis = status["apis"]
    assert isinstance(apis, list)
    rows = "".join(
        f"<tr><td>{escape(api['name'])}</td><td><code>{escape(api['host'])}</code></td>"
        f"<td>{'{implemented} of {methods} RPCs'.format(**api) if api['methods'] else 'HTTP'}</td></tr>"
        for api in apis
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Local cloud</title><style>{_STYLE}</style><h1>Local cloud</h1>"
        f"<p>Google's APIs on <code>127.0.0.1:{status['port']}</code>, process {status['pid']}, "
        f"up {status['uptime_seconds']:.0f} s, {int(str(status['memory_bytes'])) / 2**20:.0f} MB; "
        f"its state is in <code>{escape(str(status['state']))}</code>.</p>"
        f"<table><tr><th>API<th>host<th>served{rows}</table>"
        "<p>Run any program of Google's against it: <code>mlops exec -- python your_script.py</code></p></html>"
    )
