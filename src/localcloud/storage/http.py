"""Requests and answers of the API's methods: routes, JSON bodies, errors, parameters.

What the methods do is left to them; which hosts lead here is api.py's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from localcloud.storage import errors, partial

P = ParamSpec("P")
T = TypeVar("T")

Answer = Response | dict[str, Any] | None
"""A ready response, or a resource to be shown as JSON, or nothing (204)."""
Method = Callable[..., Awaitable[Answer]]

MAX_JSON = 8 << 20
"""Bytes of a JSON body: batches of metadata are small."""

logger = logging.getLogger(__name__)
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="storage")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what touches files or the database beside the loop."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, lambda: function(*args, **kwargs))


def raw_parts(request: Request) -> list[str]:
    """The path's parts, decoded one by one: an encoded slash belongs to a name."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return [decode_part(part) for part in path.split(b"?")[0].decode("latin-1").split("/")[1:]]


def decode_part(part: str) -> str:
    """A percent-encoded part of a path; 400 if it is not UTF-8."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise errors.invalid(f"The path is not valid UTF-8: '{part}'.") from None


class Routes:
    """Which method answers a path.

    A pattern such as `b/{}/o/{}` is matched part by part; each `{}` is passed to the method. The more exact
    pattern comes first.
    """

    def __init__(self) -> None:
        self._routes: list[tuple[list[str], str, Method]] = []

    def add(self, verb: str, pattern: str, method: Method) -> None:
        """Let a method answer a verb and pattern."""
        self._routes.append((pattern.split("/"), verb, method))

    def find(self, verb: str, parts: list[str]) -> tuple[Method, list[str]]:
        """The method and its arguments; 404 or 405 as Google's front end answers."""
        known = False
        for pattern, allowed, method in self._routes:
            if len(pattern) == len(parts) and all(a in ("{}", b) for a, b in zip(pattern, parts, strict=True)):
                known = True
                if allowed == verb:
                    return method, [b for a, b in zip(pattern, parts, strict=True) if a == "{}"]
        path = "/".join(parts)
        if known:
            raise errors.StorageError(405, "methodNotAllowed", f"{verb} is not allowed on '{path}'.")
        raise errors.unimplemented(f"The Cloud Storage method {verb} {path}")


async def answer(request: Request, method: Method, *args: str) -> Response:
    """Call a method and put its result, or its error, into a response."""
    try:
        result = await method(request, *args)
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=204)
        mask = request.query_params.get("fields")
        return json_response(partial.project(result, partial.parse(mask)) if mask else result)
    except Exception as error:
        return error_response(error)


def error_response(error: Exception, xml: bool = False) -> Response:
    """The response to an error; one that is the server's own fault is logged."""
    known = errors.of(error)
    if known is None:
        if isinstance(error, ClientDisconnect):
            return Response(status_code=499)
        logger.error("Cloud Storage failed on a request", exc_info=error)
        known = errors.StorageError(
            500, "backendError", "The local cloud failed on this request: its log has the reason."
        )
    if known.status == 304:
        return Response(status_code=304)
    if xml:
        return Response(known.xml(), known.status, known.headers, "application/xml; charset=UTF-8")
    return json_response(known.json(), known.status, known.headers)


def json_response(resource: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A resource as JSON, with its entity tag as a header where it has one."""
    headers = headers or {}
    if isinstance(resource, dict) and "etag" in resource:
        headers["etag"] = resource["etag"]
    return Response(orjson.dumps(resource), status, headers, "application/json; charset=UTF-8")


async def read_json(request: Request) -> dict[str, Any]:
    """The request's body as an object, {} if it is empty; 400 if it is anything else."""
    return parse_json(await read_small(request))


async def read_small(request: Request) -> bytes:
    """The whole body; 413 if it is larger than any JSON body needs to be."""
    body = bytearray()
    async for data in request.stream():
        body += data
        if len(body) > MAX_JSON:
            raise errors.StorageError(413, "uploadTooLarge", f"The body is larger than {MAX_JSON} bytes.")
    return bytes(body)


def parse_json(body: bytes) -> dict[str, Any]:
    """An object from its JSON text, {} if it is empty; 400 if it is anything else."""
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.StorageError(400, "parseError", f"Parse Error: {error}") from None
    if not isinstance(value, dict):
        raise errors.StorageError(400, "parseError", "Parse Error: the body must be a JSON object.")
    return value


def flag(request: Request, name: str) -> bool:
    """A boolean query parameter."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false"):
        raise errors.invalid(f"Invalid value for '{name}': '{text}' is neither true nor false.", name)
    return text == "true"


def number(request: Request, name: str) -> int | None:
    """An integer query parameter, None where it is not given."""
    text = request.query_params.get(name)
    if not text:
        return None
    if not re.fullmatch(r"\d{1,19}", text):
        raise errors.invalid(f"Invalid value for '{name}': '{text}' is no integer from 0 on.", name)
    return int(text)


def base_url(request: Request) -> str:
    """The scheme, host and port under which the client reached us."""
    return f"{request.url.scheme}://{request.headers.get('host', 'storage.googleapis.com')}"


def media_url(request: Request) -> str:
    """Scheme and host for links to content: Google's, or the endpoint that a client was given instead."""
    base = base_url(request)
    return "https://storage.googleapis.com" if base.endswith("googleapis.com") else base


async def body_stream(request: Request) -> AsyncIterator[bytes]:
    """The body's pieces as they arrive, none of them empty."""
    async for data in request.stream():
        if data:
            yield data
