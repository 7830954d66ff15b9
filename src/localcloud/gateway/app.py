"""The HTTP side of the port as one ASGI application: which host is asked decides who answers.

On Google's hosts the API of that host; on the loopback address the console and, below their path prefixes, the APIs
for clients that were given an endpoint instead of a proxy. A page in the user's browser can drive none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localcloud.errors import NotFound, PermissionDenied, Unimplemented
from localcloud.gateway import hosts
from localcloud.gateway.rest import RestApp, RestRoutes, error_response
from localcloud.gateway.rpc import Registry, Rpc
from localcloud.service import Api

SHARED_HOST = "www.googleapis.com"
"""Google's older clients reach many APIs here, each below its own path."""
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_CONSOLE_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Gateway:
    """ASGI: one application over all hosts.

    Args:
        registry: The RPCs.
        apis: The installed APIs.
        console: Answers on the loopback address outside the APIs' paths.
    """

    def __init__(self, registry: Registry, apis: Sequence[Api], console: ASGIApp) -> None:
        self._apis = apis
        self._console = console
        everywhere = [api for api in apis if not api.hosts]
        mixins = [rpc for rpc in registry.by_path.values() if any(_in(api, rpc) for api in everywhere)]
        self._rest = {
            api.name: RestApp(registry, RestRoutes([*(r for r in registry.by_path.values() if _in(api, r)), *mixins]))
            for api in apis
        }
        self._paths = sorted(
            ((path, api) for api in apis for path in api.paths), key=lambda pair: len(pair[0]), reverse=True
        )
        self._everything = RestApp(registry, RestRoutes(registry.by_path.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "").strip()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        loopback = name in _LOOPBACK_NAMES
        if not loopback and not hosts.is_google(name):
            await PlainTextResponse(f"This is the local cloud; it does not answer as {name!r}.", 421)(
                scope, receive, send
            )
            return
        if _comes_from_a_page(headers, host):
            refused = PermissionDenied("The local cloud takes no requests from web pages of other origins.")
            await error_response(refused)(scope, receive, send)
            return
        shared = loopback or name.lower() == SHARED_HOST
        answer = self._by_path(scope) if shared else self._by_host(name, scope)
        await answer(scope, receive, send)

    def _by_host(self, host: str, scope: Scope) -> ASGIApp:
        api = hosts.find(host, self._apis)
        if api is None:
            return error_response(
                Unimplemented(
                    f"The local cloud has no API on {host} ({scope['method']} {scope['path']}). "
                    "Google's hosts are never reached from the local target; docs/coverage.md lists what is served."
                )
            )
        rest = self._rest[api.name]
        if api.http is not None and rest.routes.match(scope["method"], _raw_path(scope)) is None:
            return api.http
        return rest

    def _by_path(self, scope: Scope) -> ASGIApp:
        path = scope["path"]
        for prefix, api in self._paths:
            if path.startswith(prefix) and api.http is not None:
                return api.http
        if self._everything.routes.match(scope["method"], _raw_path(scope)) is not None:
            return self._everything
        if path.startswith(("/v1/", "/v1beta1/", "/v2/", "/v3/")):
            return error_response(NotFound(f"The requested URL {path} was not found on the local cloud."))
        return _hardened(self._console)


def _in(api: Api, rpc: Rpc) -> bool:
    return rpc.method.package in api.packages


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope["raw_path"]
    return raw.decode("ascii", "replace")


def _comes_from_a_page(headers: Headers, host: str) -> bool:
    """Browsers name the origin of a page's requests; Google's clients never do."""
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return True
    return headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _hardened(app: ASGIApp) -> ASGIApp:
    """Adds the headers that keep the console from being framed or fed with scripts, where it does not set its own."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers}
                headers += [(name, value) for name, value in _CONSOLE_HEADERS if name not in given]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, with_headers)

    return wrapped
