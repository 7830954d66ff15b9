"""The HTTP addresses of models on peered endpoints: bodies go to the container, and its answers back, as they are.

https://cloud.google.com/vertex-ai/docs/predictions/using-private-endpoints. There is no API in between, so no tokens,
no traffic split and no PredictResponse.
"""

from __future__ import annotations

import re

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud.errors import CloudError, InvalidArgument, NotFound
from localcloud.gateway.rest import error_response
from localcloud.vertex.access import PEERED_PATH, Access
from localcloud.vertex.deployment import Deployment
from localcloud.vertex.routing import Fleet, Route

_ADDRESS = re.compile(
    re.escape(PEERED_PATH)
    + r"(?P<endpoint>projects/[^/]+/locations/[^/]+/endpoints/[^/]+)/v1/models/(?P<deployed>[0-9]+)(?P<verb>:predict)?"
)


class PeeredApp:
    """ASGI: `POST …:predict` is a prediction, `GET` without the verb the container's health."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

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
        found = _ADDRESS.fullmatch(request.url.path)
        if found is None or request.method != ("POST" if found["verb"] else "GET"):
            raise NotFound(f"The requested URL {request.url.path} was not found: no method of this API has that path.")
        route = self._fleet.route(found["endpoint"])
        deployment = _deployment(route, found["deployed"])
        serving = deployment.serving
        if found["verb"]:
            body = await _body(request, route)
            content_type = request.headers.get("content-type", "application/json")
            answer = await deployment.request("POST", serving.predict_route, content_type, body, route.timeout)
        else:
            answer = await deployment.request("GET", serving.health_route, "application/json", b"", route.timeout)
        return Response(answer.body, answer.status, media_type=answer.headers.get("content-type"))


def _deployment(route: Route, deployed_id: str) -> Deployment:
    for deployment in route.deployments if route.access is Access.PEERED else ():
        if deployment.serving.deployed.id == deployed_id:
            return deployment
    raise NotFound(f"Endpoint `{route.endpoint}` is not peered with a network or has no DeployedModel `{deployed_id}`.")


async def _body(request: Request, route: Route) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > route.access.limit:
            raise InvalidArgument(f"Request payload size exceeds the limit: {route.access.limit} bytes.")
    return body
