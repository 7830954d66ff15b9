"""Google's Pub/Sub clients and a way to wait for what comes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient as GapicPublisherClient


@pytest.fixture(scope="session")
def publisher(cloud: Any) -> Iterator[Any]:
    """A publisher client on the session's local cloud, by TLS through the port."""
    client = pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True))
    yield client
    client.stop()
    client.transport.close()


@pytest.fixture(scope="session")
def raw(cloud: Any) -> Iterator[Any]:
    """The generated publisher client, which sends requests as they are."""
    with GapicPublisherClient() as client:
        yield client


@pytest.fixture(scope="session")
def subscriber(cloud: Any) -> Iterator[Any]:
    """A subscriber client on the session's local cloud."""
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def topic(publisher: Any, project: str) -> str:
    """A new topic."""
    name = f"projects/{project}/topics/topic-{uuid.uuid4().hex[:8]}"
    publisher.create_topic(name=name)
    return name


Subscribe = Callable[..., str]


@pytest.fixture
def subscribe(subscriber: Any, topic: str) -> Subscribe:
    """Makes subscriptions to the topic: `subscribe(ack_deadline_seconds=10, …)` returns the name."""

    def make(**fields: Any) -> str:
        name = f"{topic.rpartition('/topics/')[0]}/subscriptions/sub-{uuid.uuid4().hex[:8]}"
        subscriber.create_subscription(request={"name": name, "topic": topic, **fields})
        return name

    return make


def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """What `check` returns as soon as that is true; the test fails if it never is."""
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def pull(client: Any, subscription: str, messages: int = 100, timeout: float = 10) -> list[Any]:
    """One pull's messages, with patience for the first."""
    request = {"subscription": subscription, "max_messages": messages}
    return list(client.pull(request=request, timeout=timeout, retry=None).received_messages)


def pull_none(client: Any, subscription: str) -> bool:
    """Whether nothing is there to be pulled."""
    request = {"subscription": subscription, "max_messages": 100, "return_immediately": True}
    with pytest.warns(DeprecationWarning, match="return_immediately"):
        response = client.pull(request=request)
    return not response.received_messages
