"""Streaming pull as it goes over the wire: acknowledgements and deadlines on the stream, and their confirmations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.catalog import Package
from localcloud.errors import FailedPrecondition, InvalidArgument, NotFound
from localcloud.pubsub import retention
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.subscriber import Subscriber
from localcloud.resources import ResourceStore
from localcloud.service import Call

v1 = Package("google.pubsub.v1")
TOPIC, SUBSCRIPTION = "projects/p/topics/ttt", "projects/p/subscriptions/sss"
CALL = Call("google.pubsub.v1.Subscriber.StreamingPull", "internal")


class Stream:
    """A client's side of a stream."""

    def __init__(self, subscriber: Subscriber, **first: Any) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self.send(**{"subscription": SUBSCRIPTION, "stream_ack_deadline_seconds": 60, **first})
        self._responses = subscriber.streaming_pull(self._sent(), CALL)

    async def _sent(self) -> AsyncIterator[Any]:
        while True:
            yield await self._requests.get()

    def send(self, **fields: Any) -> None:
        self._requests.put_nowait(v1.StreamingPullRequest(**fields))

    async def next(self) -> Any:
        return await asyncio.wait_for(anext(self._responses), 20)

    async def messages(self) -> list[Any]:
        return list((await self.next()).received_messages)

    async def close(self) -> None:
        await self._responses.aclose()


Work = Callable[[Publisher, Subscriber], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Runs work on a broker with a topic and a subscription made with the fields given."""

    def run(work: Work, **fields: Any) -> None:
        store = ResourceStore(tmp_path / "resources.db")

        async def main() -> None:
            broker = Broker(tmp_path / "pubsub", store, dict, retention.sweep)
            broker.start()
            publisher, subscriber = Publisher(broker), Subscriber(broker)
            await publisher.create_topic(v1.Topic(name=TOPIC))
            await subscriber.create_subscription(v1.Subscription(name=SUBSCRIPTION, topic=TOPIC, **fields))
            try:
                await work(publisher, subscriber)
            finally:
                await asyncio.to_thread(broker.stop)

        asyncio.run(main())
        store.close()

    return run


async def publish(publisher: Publisher, *contents: bytes, key: str = "") -> None:
    messages = [v1.PubsubMessage(data=content, ordering_key=key) for content in contents]
    await publisher.publish(v1.PublishRequest(topic=TOPIC, messages=messages))


def test_acknowledging_and_giving_back_on_the_stream(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        stream = Stream(subscriber, max_outstanding_messages=2)
        await publish(publisher, b"a", b"b", b"c")
        one, two = await stream.messages()
        stream.send(modify_deadline_ack_ids=[two.ack_id], modify_deadline_seconds=[0])
        (again,) = await stream.messages()
        assert again.message.data == b"b"
        stream.send(ack_ids=[one.ack_id, again.ack_id])
        (three,) = await stream.messages()
        assert three.message.data == b"c"
        await stream.close()

    run(work)


def test_bytes_are_held_back(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        stream = Stream(subscriber, max_outstanding_bytes=1000)
        await publish(publisher, b"x" * 600, b"y" * 600)
        (one,) = await stream.messages()
        waiting = asyncio.ensure_future(stream.messages())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        stream.send(ack_ids=[one.ack_id])
        (two,) = await waiting
        assert two.message.data.startswith(b"y")
        await stream.close()

    run(work)


def test_exactly_once_confirms_on_the_stream(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        stream = Stream(subscriber)
        await publish(publisher, b"1", b"2", key="k")
        response = await stream.next()
        assert response.subscription_properties.exactly_once_delivery_enabled
        assert response.subscription_properties.message_ordering_enabled
        one, two = response.received_messages
        stream.send(modify_deadline_ack_ids=[one.ack_id], modify_deadline_seconds=[60])
        assert list((await stream.next()).modify_ack_deadline_confirmation.ack_ids) == [one.ack_id]
        stream.send(ack_ids=[two.ack_id])
        assert list((await stream.next()).acknowledge_confirmation.unordered_ack_ids) == [two.ack_id]
        stream.send(ack_ids=[one.ack_id])
        assert list((await stream.next()).acknowledge_confirmation.ack_ids) == [one.ack_id]
        stream.send(ack_ids=[one.ack_id])
        assert list((await stream.next()).acknowledge_confirmation.invalid_ack_ids) == [one.ack_id]
        stream.send(ack_ids=[two.ack_id])
        assert list((await stream.next()).acknowledge_confirmation.ack_ids) == [two.ack_id]
        await stream.close()

    run(work, enable_exactly_once_delivery=True, enable_message_ordering=True)


def test_a_key_stays_with_its_stream(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        first, second = Stream(subscriber, max_outstanding_messages=1), Stream(subscriber)
        await publish(publisher, b"1", key="k")
        (one,) = await first.messages()
        waiting = asyncio.ensure_future(second.messages())
        await publish(publisher, b"2", key="k")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        first.send(ack_ids=[one.ack_id])
        taken = [asyncio.ensure_future(first.messages()), waiting]
        done, rest = await asyncio.wait(taken, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert [message.message.data for task in done for message in task.result()] == [b"2"]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await first.close()
        await second.close()

    run(work, enable_message_ordering=True)


def test_a_seek_reaches_an_open_stream(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        stream = Stream(subscriber)
        await publish(publisher, b"a")
        (one,) = await stream.messages()
        await subscriber.acknowledge(v1.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[one.ack_id]))
        await subscriber.seek(v1.SeekRequest(subscription=SUBSCRIPTION, time=one.message.publish_time))
        (again,) = await stream.messages()
        assert again.message.message_id == one.message.message_id
        await stream.close()

    run(work, retain_acked_messages=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"subscription": SUBSCRIPTION},
        {"max_outstanding_messages": 5},
        {"ack_ids": ["nonsense"]},
        {"modify_deadline_ack_ids": ["1-1-1"]},
        {"modify_deadline_ack_ids": ["1-1-1"], "modify_deadline_seconds": [601]},
        {"stream_ack_deadline_seconds": 5},
    ],
)
def test_a_wrong_request_ends_the_stream(run: Callable[..., None], fields: dict[str, Any]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        stream = Stream(subscriber)
        stream.send(**fields)
        with pytest.raises(InvalidArgument):
            await stream.next()

    run(work)


def test_streams_that_cannot_be(run: Callable[..., None]) -> None:
    async def work(publisher: Publisher, subscriber: Subscriber) -> None:
        with pytest.raises(NotFound, match=r"resource=nothing"):
            await Stream(subscriber, subscription="projects/p/subscriptions/nothing").next()
        with pytest.raises(InvalidArgument, match="stream_ack_deadline_seconds is too small"):
            await Stream(subscriber, stream_ack_deadline_seconds=0).next()
        config = v1.PushConfig(push_endpoint="http://127.0.0.1:9/")
        await subscriber.modify_push_config(v1.ModifyPushConfigRequest(subscription=SUBSCRIPTION, push_config=config))
        with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
            await Stream(subscriber).next()

    run(work)
