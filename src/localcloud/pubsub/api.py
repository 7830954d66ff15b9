"""Pub/Sub as a service of the local cloud."""

from __future__ import annotations

from localcloud.pubsub import retention
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.subscriber import Subscriber
from localcloud.service import Api, Cloud


def api(cloud: Cloud) -> Api:
    """The API; to be called on the event loop that will serve it, or else its start is."""
    broker = Broker(cloud.root / "pubsub", cloud.store, cloud.environment, retention.sweep)
    return Api(
        name="pubsub",
        hosts=("pubsub.googleapis.com", "*-pubsub.googleapis.com"),
        services=(Publisher(broker), Subscriber(broker)),
        packages=("google.pubsub.v1",),
        start=broker.start,
        stop=broker.stop,
    )
