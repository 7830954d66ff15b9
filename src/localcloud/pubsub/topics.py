"""How topics are made, changed and deleted; the messages themselves are `broker`'s business."""

from __future__ import annotations

import asyncio
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import CloudError
from localcloud.fields import apply_mask
from localcloud.pubsub import journal, names, settings
from localcloud.pubsub.broker import Broker, Topic, duration

v1 = Package("google.pubsub.v1")


async def create(broker: Broker, request: Any) -> Any:
    """A new topic."""
    names.check_name(request.name, "topics")
    settings.complete_topic(request)
    async with broker.changing:
        if request.name in broker.topics:
            raise names.already_exists(request.name)
        id = await broker.database.submit(lambda db: journal.add_topic(db, request.name))
        try:
            stored = await asyncio.to_thread(broker.store.create, request.name, request)
        except CloudError:
            await broker.database.submit(lambda db: journal.remove_topic(db, id))
            raise
        broker.topics[request.name] = Topic(id, request.name, duration(request.message_retention_duration))
    return stored


async def update(broker: Broker, request: Any) -> Any:
    """Change what an update mask names."""
    paths = list(request.update_mask.paths)
    async with broker.changing:
        topic = broker.topic(request.topic.name)
        settings.check_mask(paths, settings.MUTABLE_TOPIC, v1.Topic)

        def change(stored: Any) -> None:
            apply_mask(stored, request.topic, paths)
            settings.complete_topic(stored)

        stored = await asyncio.to_thread(broker.store.modify, topic.name, v1.Topic, change)
        topic.retention = duration(stored.message_retention_duration)
        for backlog in topic.consumers.values():
            if backlog is not None:
                backlog.sweep = not topic.retention
    return stored


async def delete(broker: Broker, name: str) -> None:
    """Delete a topic; its subscriptions keep what they have, and have the topic `_deleted-topic_`."""
    async with broker.changing:
        topic = broker.topic(name)
        await asyncio.to_thread(broker.store.delete, name, v1.Topic)
        del broker.topics[name]
        for backlog in [backlog for backlog in broker.subscriptions.values() if backlog.resource.topic == name]:
            await lose_topic(broker, backlog.consumer.name, v1.Subscription)
            backlog.resource = broker.store.get(backlog.consumer.name, v1.Subscription)
            backlog.sweep = True
        for snapshot, consumer in broker.snapshots.items():
            if consumer.topic == topic.id:
                await lose_topic(broker, snapshot, v1.Snapshot)
        await broker.database.submit(lambda db: journal.remove_topic(db, topic.id))


async def lose_topic(broker: Broker, name: str, type: Any) -> None:
    """Note in a subscription or snapshot that its topic is gone."""

    def change(stored: Any) -> None:
        stored.topic = names.DELETED_TOPIC

    await asyncio.to_thread(broker.store.modify, name, type, change)
