"""PredictionService: requests for predictions, carried to the replicas of an endpoint's deployed models.

The replicas are localcloud.vertex.deployment's; nothing about an answer is made up here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from localcloud.errors import (
    CloudError,
    Code,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Unimplemented,
    of,
)
from localcloud.service import Call
from localcloud.values import fill, to_python
from localcloud.vertex.access import Access
from localcloud.vertex.common import id_of, v1
from localcloud.vertex.deployment import Deployment
from localcloud.vertex.routing import Fleet, Route

_JSON = "application/json"
_SHARED_HOST = "aiplatform.googleapis.com"


class PredictionService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#predictionservice."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def predict(self, request: Any, call: Call) -> Any:
        """Have the instances predicted by a model that the traffic split picks."""
        route = self._route(request.endpoint, call)
        deployment = route.pick()
        body = _predict_body(request)
        _check_size(len(body), route)
        serving = deployment.serving
        answer = await deployment.request("POST", serving.predict_route, _JSON, body, call.remaining(route.timeout))
        if answer.status != 200:
            raise container_error(answer.status, answer.body)
        return _response(deployment, answer.body)

    async def raw_predict(self, request: Any, call: Call) -> Any:
        """Pass any body to the container, and its answer back as it is."""
        route = self._route(request.endpoint, call)
        deployment = route.pick()
        content_type, body = _raw(request, route)
        path = deployment.serving.predict_route
        answer = await deployment.request("POST", path, content_type, body, call.remaining(route.timeout))
        if answer.status >= 400:
            raise container_error(answer.status, answer.body)
        call.response_headers.update(_headers(deployment))
        return HttpBody(content_type=answer.headers.get("content-type", ""), data=answer.body)

    async def stream_raw_predict(self, request: Any, call: Call) -> AsyncIterator[Any]:
        """The same, with the answer passed on piece by piece as the container writes it."""
        route = self._route(request.endpoint, call)
        deployment = route.pick()
        content_type, body = _raw(request, route)
        path = deployment.serving.predict_route
        status, headers, pieces = await deployment.stream(
            "POST", path, content_type, body, call.remaining(route.timeout)
        )
        if status >= 400:
            raise container_error(status, b"".join([piece async for piece in pieces]))
        call.response_headers.update(_headers(deployment))
        answered_type = headers.get("content-type", "")
        async for piece in pieces:
            yield HttpBody(content_type=answered_type, data=piece)

    def explain(self, request: Any) -> Any:
        """Refused: there are no explanations here."""
        raise Unimplemented(
            "The local cloud does not do Vertex Explainable AI (explain). Call predict, or ask a container of your "
            "own that explains through raw_predict."
        )

    def _route(self, endpoint: str, call: Call) -> Route:
        route = self._fleet.route(endpoint)
        host = call.headers.get("host", "").partition(":")[0]
        if route.access is Access.PEERED:
            raise FailedPrecondition(
                f"Endpoint `{route.endpoint}` is a {route.access.value}: it is not accessible here, only on its "
                "DeployedModel's private_endpoints.predict_http_uri (`PrivateEndpoint` in the client library)."
            )
        if route.access is Access.CONNECTED and host != route.host:
            raise FailedPrecondition(
                f"Endpoint `{route.endpoint}` is a {route.access.value}: it answers over HTTP on {route.host} alone "
                "(`endpoint_override` of PrivateEndpoint.predict in the client library)."
            )
        if route.access is Access.DEDICATED and call.transport == "rest" and host.endswith(_SHARED_HOST):
            raise FailedPrecondition(
                f"Endpoint `{route.endpoint}` is a dedicated endpoint: it does not answer on {host}, only on its "
                "dedicated_endpoint_dns (`use_dedicated_endpoint=True` in the client library)."
            )
        return route


def container_error(status: int, body: bytes) -> CloudError:
    """A container's refusal as the client of the endpoint sees it: its status as a code, its body as the message."""
    text = body.decode("utf-8", "replace")
    code = Code.INVALID_ARGUMENT if status == 422 else Code.of_http(status)
    return of(code, text or f"The model server answered {status} without a body.")


def _predict_body(request: Any) -> bytes:
    """The JSON that a prediction container is sent."""
    content: dict[str, Any] = {"instances": [to_python(instance) for instance in request.instances]}
    if request.HasField("parameters"):
        content["parameters"] = to_python(request.parameters)
    return orjson.dumps(content)


def _raw(request: Any, route: Route) -> tuple[str, bytes]:
    content_type = request.http_body.content_type or _JSON
    if any(char in content_type for char in "\r\n") or not content_type.isascii():
        raise InvalidArgument(f"http_body.content_type is not a media type: {content_type!r}.")
    body: bytes = request.http_body.data
    _check_size(len(body), route)
    return content_type, body


def _check_size(size: int, route: Route) -> None:
    limit = route.access.limit
    if size > limit:
        hint = " A dedicated endpoint takes 10 MB." if route.access is Access.SHARED else ""
        raise InvalidArgument(
            f"Request payload size exceeds the limit: {limit} bytes; it has {size}. Send fewer instances a "
            f"request, or use batch prediction.{hint}"
        )


def _response(deployment: Deployment, body: bytes) -> Any:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Internal(f"The model server's answer is not JSON ({error}): {body[:200]!r}") from None
    if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
        raise Internal(f'The model server\'s answer has no list of "predictions": {body[:200]!r}')
    serving = deployment.serving
    response = v1.PredictResponse(
        deployed_model_id=serving.deployed.id,
        model=serving.model.name,
        model_version_id=serving.model.version_id,
        model_display_name=serving.model.display_name,
    )
    predictions = response.predictions
    for prediction in content["predictions"]:
        fill(predictions.add(), prediction)
    if "metadata" in content:
        fill(response.metadata, content["metadata"])
    return response


def _headers(deployment: Deployment) -> dict[str, str]:
    serving = deployment.serving
    return {
        "X-Vertex-AI-Endpoint-Id": id_of(serving.endpoint),
        "X-Vertex-AI-Deployed-Model-Id": serving.deployed.id,
        "X-Vertex-AI-Model": serving.model.name,
        "X-Vertex-AI-Model-Version-Id": serving.model.version_id,
    }
