"""RPCs bound to methods: versions, required fields, and what exceptions become."""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from localcloud import catalog
from localcloud.errors import CloudError, Code, InvalidArgument, NotFound, Unimplemented
from localcloud.gateway.rpc import Registry, Rpc
from localcloud.service import CURRENT_CALL, Api, Call

pubsub = catalog.Package("google.pubsub.v1")
v1 = catalog.Package("google.cloud.aiplatform.v1")


class Publisher:
    """google.pubsub.v1.Publisher, of which each method fails in its way."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def get_topic(self, request: Any) -> Any:
        if self.error is not None:
            raise self.error
        return pubsub.Topic(name=request.topic)

    async def create_topic(self, request: Any, call: Call) -> Any:
        assert CURRENT_CALL.get() is call
        return request


class Subscriber:
    """google.pubsub.v1.Subscriber, streaming."""

    async def streaming_pull(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        async for request in requests:
            yield pubsub.StreamingPullResponse(received_messages=[pubsub.ReceivedMessage(ack_id=request.subscription)])


class PredictionService:
    """google.cloud.aiplatform.v1.PredictionService, a server stream from a plain generator."""

    def stream_raw_predict(self, request: Any) -> Iterator[Any]:
        yield from ()
        raise NotFound("after nothing")


def _registry(*services: object) -> Registry:
    apis = [
        Api("pubsub", hosts=("pubsub.googleapis.com",), services=services, packages=("google.pubsub.v1",)),
        Api(
            "aiplatform",
            hosts=("aiplatform.googleapis.com",),
            services=services,
            packages=("google.cloud.aiplatform.v1", "google.cloud.aiplatform.v1beta1"),
        ),
    ]
    return Registry(catalog.load(), apis)


def _rpc(registry: Registry, path: str) -> Rpc:
    return registry.by_path[path]


def _unary(registry: Registry, path: str, request: Any) -> Any:
    rpc = _rpc(registry, path)
    return asyncio.run(registry.unary(rpc, request, rpc.call(transport="grpc")))


def test_methods_run_in_threads_and_on_the_loop() -> None:
    registry = _registry(Publisher())
    assert _unary(registry, "/google.pubsub.v1.Publisher/GetTopic", pubsub.GetTopicRequest(topic="t")).name == "t"
    assert _unary(registry, "/google.pubsub.v1.Publisher/CreateTopic", pubsub.Topic(name="t")).name == "t"


def test_missing_required_fields_are_named_with_their_place() -> None:
    registry = _registry(Publisher())
    with pytest.raises(InvalidArgument, match="1.Field: topic; Message: Required field is not set.") as raised:
        _unary(registry, "/google.pubsub.v1.Publisher/GetTopic", pubsub.GetTopicRequest())
    assert raised.value.details[0].field_violations[0].field == "topic"


def test_nothing_implements_it() -> None:
    with pytest.raises(Unimplemented, match="google.pubsub.v1.Publisher.DeleteTopic"):
        _unary(_registry(Publisher()), "/google.pubsub.v1.Publisher/DeleteTopic", pubsub.DeleteTopicRequest(topic="t"))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NotFound("gone"), Code.NOT_FOUND, "gone"),
        (OSError(errno.ENOSPC, "No space left on device"), Code.RESOURCE_EXHAUSTED, "No space is left on the disk"),
        (sqlite3.OperationalError("database or disk is full"), Code.RESOURCE_EXHAUSTED, "No space is left on the disk"),
        (ValueError("a bug"), Code.INTERNAL, "ValueError: a bug"),
    ],
)
def test_what_exceptions_become(error: Exception, code: Code, words: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL), pytest.raises(CloudError, match=words) as raised:
        _unary(_registry(Publisher(error)), "/google.pubsub.v1.Publisher/GetTopic", pubsub.GetTopicRequest(topic="t"))
    assert raised.value.code is code


def test_v1beta1_is_served_by_v1() -> None:
    registry = _registry(PredictionService())
    rpc = _rpc(registry, "/google.cloud.aiplatform.v1beta1.PredictionService/StreamRawPredict")
    assert rpc.implementation is not None
    assert rpc.request_class is v1.StreamRawPredictRequest
    call = rpc.call(transport="grpc")
    assert call.type_url("google.cloud.aiplatform.v1.Model").endswith("/google.cloud.aiplatform.v1beta1.Model")
    assert call.type_url("google.protobuf.Empty").endswith("/google.protobuf.Empty")


def test_streams_of_both_kinds() -> None:
    registry = _registry(Subscriber(), PredictionService())

    async def both_sides() -> list[str]:
        async def requests() -> AsyncIterator[Any]:
            for name in ("a", "b"):
                yield pubsub.StreamingPullRequest(subscription=name)

        rpc = _rpc(registry, "/google.pubsub.v1.Subscriber/StreamingPull")
        answers = registry.stream(rpc, requests(), rpc.call(transport="grpc"))
        return [answer.received_messages[0].ack_id async for answer in answers]

    assert asyncio.run(both_sides()) == ["a", "b"]

    async def one_side() -> None:
        rpc = _rpc(registry, "/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict")
        request = v1.StreamRawPredictRequest(endpoint="projects/p/locations/l/endpoints/1")
        async for _ in registry.stream(rpc, request, rpc.call(transport="grpc")):
            pass

    with pytest.raises(NotFound, match="after nothing"):
        asyncio.run(one_side())
