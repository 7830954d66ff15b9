"""The passing of time, on a broker of our own so that the clock's look can be had at once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.catalog import Package
from localcloud.errors import NotFound
from localcloud.pubsub import retention
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.subscriber import Subscriber
from localcloud.resources import ResourceStore
from localcloud.service import Call

v1 = Package("google.pubsub.v1")
TOPIC, SUBSCRIPTION, SNAPSHOT = "projects/p/topics/ttt", "projects/p/subscriptions/sss", "projects/p/snapshots/nnn"
HOUR = 3600 * 1_000_000

Work = Callable[[Broker, Publisher, Subscriber], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Work], None]:
    """Runs work on a broker with a topic and a subscription; a second run finds what the first left."""

    def run(work: Work) -> None:
        store = ResourceStore(tmp_path / "resources.db")

        async def main() -> None:
            broker = Broker(tmp_path / "pubsub", store, dict, retention.sweep)
            broker.start()
            publisher, subscriber = Publisher(broker), Subscriber(broker)
            if not broker.subscriptions:
                await publisher.create_topic(v1.Topic(name=TOPIC))
                await subscriber.create_subscription(v1.Subscription(name=SUBSCRIPTION, topic=TOPIC))
            try:
                await work(broker, publisher, subscriber)
            finally:
                await asyncio.to_thread(broker.stop)

        asyncio.run(main())
        store.close()

    return run


async def publish(publisher: Publisher, *contents: bytes) -> list[str]:
    messages = [v1.PubsubMessage(data=content) for content in contents]
    return list((await publisher.publish(v1.PublishRequest(topic=TOPIC, messages=messages))).message_ids)


async def pull(subscriber: Subscriber) -> list[Any]:
    request = v1.PullRequest(subscription=SUBSCRIPTION, max_messages=100, return_immediately=True)
    call = Call("google.pubsub.v1.Subscriber.Pull", "internal")
    return list((await subscriber.pull(request, call)).received_messages)


def on_disk(broker: Broker) -> int:
    with sqlite3.connect(broker.database.path) as db:
        return int(db.execute("SELECT count(*) FROM messages").fetchone()[0])


def travel(monkeypatch: pytest.MonkeyPatch, microseconds: int) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + microseconds * 1000)


def test_acknowledged_messages_leave_the_disk(run: Callable[[Work], None]) -> None:
    async def work(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"a", b"b")
        received = await pull(subscriber)
        assert on_disk(broker) == 2
        ids = [entry.ack_id for entry in received]
        await subscriber.acknowledge(v1.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=ids))
        assert on_disk(broker) == 0

    run(work)


def test_messages_past_their_retention_are_gone(run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"old")
        travel(monkeypatch, 8 * 24 * HOUR)
        await publish(publisher, b"new")
        await retention.sweep(broker)
        assert [entry.message.data for entry in await pull(subscriber)] == [b"new"]
        assert on_disk(broker) == 1

    run(work)


def test_a_snapshot_keeps_messages_until_it_expires(
    run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"a")
        await subscriber.create_snapshot(v1.CreateSnapshotRequest(name=SNAPSHOT, subscription=SUBSCRIPTION))
        ids = [entry.ack_id for entry in await pull(subscriber)]
        await subscriber.acknowledge(v1.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=ids))
        await retention.sweep(broker)
        assert on_disk(broker) == 1
        travel(monkeypatch, 7 * 24 * HOUR + HOUR)
        await retention.sweep(broker)
        with pytest.raises(NotFound):
            await subscriber.get_snapshot(v1.GetSnapshotRequest(snapshot=SNAPSHOT))
        assert on_disk(broker) == 0

    run(work)


def test_a_subscription_that_nobody_uses_expires(run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"a")
        await retention.sweep(broker)
        travel(monkeypatch, 32 * 24 * HOUR)
        await retention.sweep(broker)
        with pytest.raises(NotFound):
            await subscriber.get_subscription(v1.GetSubscriptionRequest(subscription=SUBSCRIPTION))
        assert on_disk(broker) == 0

    run(work)


def test_a_stop_halfway_is_put_right_at_the_start(run: Callable[[Work], None]) -> None:
    async def leave_halves(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"a")
        await subscriber.create_snapshot(v1.CreateSnapshotRequest(name=SNAPSHOT, subscription=SUBSCRIPTION))
        broker.store.delete(TOPIC, v1.Topic)
        broker.store.delete(SNAPSHOT, v1.Snapshot)

    async def look(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        request = v1.GetSubscriptionRequest(subscription=SUBSCRIPTION)
        assert (await subscriber.get_subscription(request)).topic == "_deleted-topic_"
        assert not broker.snapshots
        assert [entry.message.data for entry in await pull(subscriber)] == [b"a"]

    run(leave_halves)
    run(look)


def test_ids_go_on_when_the_clock_goes_back(run: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    async def work(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        seen.extend(map(int, await publish(publisher, b"a", b"b")))
        travel(monkeypatch, -HOUR)

    for _ in range(3):
        run(work)
    assert seen == sorted(set(seen))


def test_without_its_journal_it_starts_empty(run: Callable[[Work], None], tmp_path: Path) -> None:
    async def fill(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"a")
        await subscriber.create_snapshot(v1.CreateSnapshotRequest(name=SNAPSHOT, subscription=SUBSCRIPTION))

    async def look(broker: Broker, publisher: Publisher, subscriber: Subscriber) -> None:
        await publish(publisher, b"b")
        assert [entry.message.data for entry in await pull(subscriber)] == [b"b"]
        assert not (await subscriber.list_snapshots(v1.ListSnapshotsRequest(project="projects/p"))).snapshots

    run(fill)
    for file in (tmp_path / "pubsub").glob("messages.sqlite*"):
        file.unlink()
    run(look)
