"""What a kill -9 leaves: every message that was acknowledged to its publisher, none that was acknowledged to us."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import psutil
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from .conftest import eventually

TOPIC = "projects/crash/topics/events"
SUBSCRIPTION = "projects/crash/subscriptions/worker"


@contextmanager
def clients(cloud: Any) -> Iterator[tuple[PublisherClient, SubscriberClient]]:
    """Clients of this cloud, whatever the environment says."""
    target = f"127.0.0.1:{cloud.port}"
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options=options) as channel:
        yield (
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )


def publish(publisher: PublisherClient, start: int, count: int = 20) -> list[str]:
    messages = [{"data": f"{start + number}".encode(), "ordering_key": "k"} for number in range(count)]
    request = {"topic": TOPIC, "messages": messages}
    return list(publisher.publish(request=request, retry=None, timeout=10).message_ids)


def drain(subscriber: SubscriberClient, subscription: str = SUBSCRIPTION) -> dict[str, str]:
    """Everything that is there, acknowledged: content by message id."""
    found: dict[str, str] = {}
    while True:
        request = {"subscription": subscription, "max_messages": 1000}
        received = subscriber.pull(request=request, timeout=1.5, retry=None).received_messages
        if not received:
            return found
        found |= {entry.message.message_id: entry.message.data.decode() for entry in received}
        ids = [entry.ack_id for entry in received]
        subscriber.acknowledge(request={"subscription": subscription, "ack_ids": ids})


def test_a_kill_loses_nothing_and_brings_nothing_back(own_cloud: Any) -> None:
    published: set[str] = set()
    acknowledged: set[str] = set()
    uncertain: set[str] = set()

    def produce(publisher: PublisherClient, offset: int) -> None:
        for start in range(offset, offset + 10**6, 20):
            try:
                published.update(publish(publisher, start))
            except GoogleAPICallError:
                return

    def consume(subscriber: SubscriberClient) -> None:
        while True:
            request = {"subscription": SUBSCRIPTION, "max_messages": 7}
            try:
                received = subscriber.pull(request=request, timeout=10, retry=None).received_messages
                ids = {entry.message.message_id for entry in received}
                uncertain.update(ids)
                ack_ids = [entry.ack_id for entry in received]
                request = {"subscription": SUBSCRIPTION, "ack_ids": ack_ids}
                subscriber.acknowledge(request=request, retry=None, timeout=10)
            except GoogleAPICallError:
                return
            acknowledged.update(ids)
            uncertain.difference_update(ids)

    with clients(own_cloud) as (publisher, subscriber):
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        work = [threading.Thread(target=produce, args=(publisher, n * 10**6)) for n in range(3)]
        work.append(threading.Thread(target=consume, args=(subscriber,)))
        for thread in work:
            thread.start()
        eventually(lambda: len(published) > 2000 and len(acknowledged) > 100)
        own_cloud.kill()
        for thread in work:
            thread.join(timeout=30)
    own_cloud.start()
    with clients(own_cloud) as (publisher, subscriber):
        again = drain(subscriber)
        assert not acknowledged & again.keys(), "acknowledged messages came back"
        assert not published - acknowledged - uncertain - again.keys(), "messages are lost"
        later = publish(publisher, 0, 1)
        assert int(later[0]) > max(map(int, published)), "ids went backwards"
        assert list(drain(subscriber)) == later


def test_resources_leases_and_retained_messages_survive(own_cloud: Any) -> None:
    with clients(own_cloud) as (publisher, subscriber):
        publisher.create_topic(name=TOPIC)
        ordered = {"name": SUBSCRIPTION, "topic": TOPIC, "enable_message_ordering": True, "filter": "NOT attributes:no"}
        subscriber.create_subscription(request=ordered)
        orphan = "projects/crash/topics/orphan"
        publisher.create_topic(name=orphan)
        subscriber.create_subscription(name="projects/crash/subscriptions/orphan", topic=orphan)
        publisher.delete_topic(topic=orphan)
        ids = publish(publisher, 0, 5)
        pulled = subscriber.pull(request={"subscription": SUBSCRIPTION, "max_messages": 2}).received_messages
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[pulled[0].ack_id])
        subscriber.create_snapshot(name="projects/crash/snapshots/snap", subscription=SUBSCRIPTION)
        own_cloud.kill()
    own_cloud.start()
    with clients(own_cloud) as (publisher, subscriber):
        found = subscriber.get_subscription(subscription=SUBSCRIPTION)
        assert (found.enable_message_ordering, found.filter) == (True, "NOT attributes:no")
        found = subscriber.get_subscription(subscription="projects/crash/subscriptions/orphan")
        assert found.topic == "_deleted-topic_"
        # A lease does not outlive the server, but a receiver that does may still acknowledge.
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[pulled[1].ack_id])
        assert list(drain(subscriber)) == ids[2:]
        publish(publisher, 5, 1)
        drain(subscriber)
        subscriber.seek(request={"subscription": SUBSCRIPTION, "snapshot": "projects/crash/snapshots/snap"})
        assert list(drain(subscriber).values()) == ["1", "2", "3", "4", "5"]


def test_a_large_backlog_stays_on_disk(own_cloud: Any) -> None:
    with clients(own_cloud) as (publisher, subscriber):
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        process = psutil.Process(own_cloud.process.pid)
        publish(publisher, 0, 1)
        before = process.memory_info().rss
        for _ in range(40):
            publisher.publish(topic=TOPIC, messages=[{"data": b"x" * 400_000}] * 20)
        grown = process.memory_info().rss - before
        assert grown < 150 << 20, f"{grown >> 20} MB for a backlog of 320 MB"
        assert len(drain(subscriber)) == 801
