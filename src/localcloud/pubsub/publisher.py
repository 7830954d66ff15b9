"""The RPCs of google.pubsub.v1.Publisher."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.catalog import Package
from localcloud.pages import clamp_page_size, decode_token, encode_token
from localcloud.pubsub import names, settings, subscriptions, topics
from localcloud.pubsub.broker import Broker

v1 = Package("google.pubsub.v1")


class Publisher:
    """Topics, and publishing to them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_topic(self, request: Any) -> Any:
        """Topic -> Topic."""
        return await topics.create(self._broker, request)

    async def update_topic(self, request: Any) -> Any:
        """UpdateTopicRequest -> Topic."""
        return await topics.update(self._broker, request)

    async def publish(self, request: Any) -> Any:
        """PublishRequest -> PublishResponse, once the messages are durable."""
        topic = self._broker.topic(request.topic)
        settings.check_publish(request)
        ids = await self._broker.publish(topic, request.messages)
        return v1.PublishResponse(message_ids=map(str, ids))

    async def get_topic(self, request: Any) -> Any:
        """GetTopicRequest -> Topic."""
        name = self._broker.topic(request.topic).name
        return self._broker.store.get(name, v1.Topic)

    async def list_topics(self, request: Any) -> Any:
        """ListTopicsRequest -> ListTopicsResponse."""
        names.check_project(request.project)
        page = self._broker.store.list(
            request.project, v1.Topic, page_size=request.page_size, page_token=request.page_token
        )
        return v1.ListTopicsResponse(topics=page.items, next_page_token=page.next_page_token)

    async def list_topic_subscriptions(self, request: Any) -> Any:
        """ListTopicSubscriptionsRequest -> ListTopicSubscriptionsResponse: names of what is attached."""
        topic = self._broker.topic(request.topic)
        attached = [(id, backlog.consumer.name) for id, backlog in topic.consumers.items() if backlog is not None]
        found, token = _page(request, attached)
        return v1.ListTopicSubscriptionsResponse(subscriptions=found, next_page_token=token)

    async def list_topic_snapshots(self, request: Any) -> Any:
        """ListTopicSnapshotsRequest -> ListTopicSnapshotsResponse: names."""
        topic = self._broker.topic(request.topic)
        kept = [(consumer.id, name) for name, consumer in self._broker.snapshots.items() if consumer.topic == topic.id]
        found, token = _page(request, kept)
        return v1.ListTopicSnapshotsResponse(snapshots=found, next_page_token=token)

    async def delete_topic(self, request: Any) -> Any:
        """DeleteTopicRequest -> Empty."""
        await topics.delete(self._broker, request.topic)
        return Empty()

    async def detach_subscription(self, request: Any) -> Any:
        """DetachSubscriptionRequest -> DetachSubscriptionResponse."""
        await subscriptions.detach(self._broker, request.subscription)
        return v1.DetachSubscriptionResponse()


def _page(request: Any, entries: list[tuple[int, str]]) -> tuple[list[str], str]:
    """One page of names, in order of the numbers beside them."""
    size = clamp_page_size(request.page_size, 100, 1000)
    after = int(decode_token(request.page_token, [request.topic], 1)[0]) if request.page_token else 0
    rest = sorted(entry for entry in entries if entry[0] > after)
    token = encode_token([request.topic], [rest[size - 1][0]]) if len(rest) > size else ""
    return [name for _, name in rest[:size]], token
