"""RPCs over HTTP/JSON: routes by the catalog's HTTP rules, errors in the form of Google's front ends.

It is an ASGI application for the RPC side of one host; the APIs that are HTTP by birth have applications of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from localcloud.catalog import message_class
from localcloud.errors import CloudError, NotFound, ResourceExhausted
from localcloud.gateway import transcoding
from localcloud.gateway.rpc import Registry, Rpc
from localcloud.service import Call

MAXIMUM_BODY = 128 * 2**20
"""Bytes: the largest request of any API served here is far below; uploads do not come this way."""


class RestRoutes:
    """The routes of some RPCs, most specific first."""

    def __init__(self, rpcs: Iterable[Rpc]) -> None:
        by_verb: dict[str, list[tuple[transcoding.Route, Rpc]]] = {}
        for rpc in rpcs:
            for rule in rpc.method.http:
                by_verb.setdefault(rule.verb, []).append((transcoding.Route.of(rule), rpc))
        self._by_verb = {verb: sorted(found, key=lambda pair: pair[0].weight) for verb, found in by_verb.items()}

    def match(self, verb: str, path: str) -> tuple[transcoding.Route, Rpc, dict[str, str]] | None:
        """The route for a request, with the fields that its path fills; one that is implemented wins."""
        first = None
        for route, rpc in self._by_verb.get(verb, ()):
            fields = route.match(path)
            if fields is None:
                continue
            if rpc.implementation is not None:
                return route, rpc, fields
            first = first or (route, rpc, fields)
        return first


class RestApp:
    """ASGI: answers what its routes match, and 404 for what they do not."""

    def __init__(self, registry: Registry, routes: RestRoutes) -> None:
        self._registry = registry
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except CloudError as error:
            response = error_response(error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii")
        matched = self.routes.match(request.method, path)
        if matched is None:
            raise NotFound(f"The requested URL {path} was not found: no method of this API has that path.")
        route, rpc, fields = matched
        self._registry.implementation(rpc)
        message = message_class(rpc.method.request)()
        query = parse_qsl(request.url.query, keep_blank_values=True)
        content_type = request.headers.get("content-type", "")
        transcoding.to_request(route, message, fields, query, await _body(request), content_type)
        call = rpc.call(transport="rest", headers=dict(request.headers))
        watcher = asyncio.create_task(_watch(request, call))
        if rpc.method.server_streaming:
            return await self._stream(rpc, _carried(message, rpc.request_class), call, watcher)
        try:
            answer = await self._registry.unary(rpc, _carried(message, rpc.request_class), call)
        finally:
            watcher.cancel()
        as_integers = any(name.endswith("alt") and "enum-encoding=int" in value for name, value in query)
        return _response(_carried(answer, message_class(rpc.method.response)), call, as_integers)

    async def _stream(self, rpc: Rpc, message: Message, call: Call, watcher: asyncio.Task[None]) -> Response:
        """A JSON array as it grows, or the bytes themselves where the method answers with HttpBody."""
        answers = self._registry.stream(rpc, message, call)
        try:
            # an error before the first answer still has its status; later ones can only break the stream
            first = await anext(answers, None)
        except BaseException:
            watcher.cancel()
            raise
        raw = rpc.method.response == transcoding.HTTP_BODY

        async def chunks() -> Any:
            try:
                answer, opening = first, b"["
                while answer is not None:
                    if raw:
                        yield answer.data
                    else:
                        yield opening + transcoding.to_json(_carried(answer, message_class(rpc.method.response)))
                        opening = b",\n"
                    answer = await anext(answers, None)
                if not raw:
                    yield b"]" if first is not None else b"[]"
            finally:
                watcher.cancel()
                await answers.aclose()

        media_type = first.content_type if raw and first is not None else "application/json"
        return StreamingResponse(chunks(), media_type=media_type, headers=call.response_headers)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAXIMUM_BODY:
            raise ResourceExhausted(f"Request payload size exceeds the limit: {MAXIMUM_BODY} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


async def _watch(request: Request, call: Call) -> None:
    """Tells the method when its client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.cancelled.set()


def _carried(message: Message, target: Any) -> Message:
    """The same message in another version of its API: they share field numbers."""
    if message.DESCRIPTOR.full_name == target.DESCRIPTOR.full_name:
        return message
    carried: Message = target.FromString(message.SerializeToString())
    return carried


def _response(message: Message, call: Call, as_integers: bool) -> Response:
    if message.DESCRIPTOR.full_name == transcoding.HTTP_BODY:
        body: Any = message
        return Response(body.data, media_type=body.content_type, headers=call.response_headers)
    content = transcoding.to_json(message, enums_as_integers=as_integers)
    return Response(content, media_type="application/json; charset=UTF-8", headers=call.response_headers)


def error_response(error: CloudError) -> Response:
    """The JSON form of an error (https://google.aip.dev/193)."""
    body: dict[str, Any] = {"code": error.code.http, "message": error.message, "status": error.code.name}
    if error.details:
        body["details"] = [
            {
                "@type": f"type.googleapis.com/{detail.DESCRIPTOR.full_name}",
                **json_format.MessageToDict(detail),
            }
            for detail in error.details
        ]
    return Response(
        orjson.dumps({"error": body}),
        status_code=error.code.http,
        media_type="application/json; charset=UTF-8",
    )
