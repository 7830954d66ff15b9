"""How subscriptions are made, changed, detached and deleted; receiving from them is `backlog`'s and `streams`' work."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import CloudError
from localcloud.fields import apply_mask
from localcloud.pubsub import journal, names, settings
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.broker import Broker, detached

v1 = Package("google.pubsub.v1")


async def create(broker: Broker, request: Any) -> Any:
    """A new subscription: it gets what is published from now on."""
    names.check_name(request.name, "subscriptions")
    settings.complete_subscription(request)
    request.ClearField("detached")
    async with broker.changing:
        if request.name in broker.subscriptions:
            raise names.already_exists(request.name)
        topic = broker.topic(request.topic)
        _check_dead_letter_topic(broker, request)
        now = time.time_ns() // 1000
        id = await broker.database.submit(lambda db: journal.add_consumer(db, request.name, topic.id, now))
        try:
            stored = await asyncio.to_thread(broker.store.create, request.name, request)
        except CloudError:
            await broker.database.submit(lambda db: journal.remove_consumer(db, id, sweep=False))
            raise
        consumer = journal.Consumer(id, request.name, topic.id, now)
        broker.push(broker.add_subscription(consumer, stored, topic))
    return show(broker, stored)


def show(broker: Broker, resource: Any) -> Any:
    """A Subscription as clients see it: with the topic's retention."""
    shown = v1.Subscription()
    shown.CopyFrom(resource)
    topic = broker.topics.get(resource.topic)
    if topic is not None and topic.retention:
        shown.topic_message_retention_duration.FromMicroseconds(topic.retention)
    return shown


async def update(broker: Broker, given: Any, paths: list[str]) -> Any:
    """Change what an update mask names, at once for open streams too."""
    async with broker.changing:
        backlog = broker.subscription(given.name)
        settings.check_mask(paths, settings.MUTABLE_SUBSCRIPTION, v1.Subscription)

        def change(stored: Any) -> None:
            apply_mask(stored, given, paths)
            settings.complete_subscription(stored)
            if any(path.partition(".")[0] in ("dead_letter_policy", "deadLetterPolicy") for path in paths):
                _check_dead_letter_topic(broker, stored)

        stored = await asyncio.to_thread(broker.store.modify, given.name, v1.Subscription, change)
        backlog.resource = stored
        backlog.queue.rules = broker.rules(stored)
        broker.push(backlog)
    return show(broker, stored)


async def delete(broker: Broker, name: str) -> None:
    """Delete a subscription with its backlog; its streams end."""
    async with broker.changing:
        backlog = broker.subscription(name)
        await asyncio.to_thread(broker.store.delete, name, v1.Subscription)
        del broker.subscriptions[name]
        await _end(broker, backlog, names.not_found(name))
        sweep = backlog.sweep
        await broker.database.submit(lambda db: journal.remove_consumer(db, backlog.consumer.id, sweep=sweep))


async def detach(broker: Broker, name: str) -> None:
    """Cut a subscription from its topic: its messages are gone, receiving fails."""

    def change(stored: Any) -> None:
        stored.detached = True

    async with broker.changing:
        backlog = broker.subscription(name)
        backlog.resource = await asyncio.to_thread(broker.store.modify, name, v1.Subscription, change)
        await _end(broker, backlog, detached(name))
        await broker.database.submit(lambda db: journal.clear(db, backlog.consumer.id))


async def _end(broker: Broker, backlog: Backlog, failure: CloudError) -> None:
    backlog.close(failure)
    broker.push(backlog)
    topic = broker.topics.get(backlog.resource.topic)
    if topic is not None:
        topic.consumers.pop(backlog.consumer.id, None)


def _check_dead_letter_topic(broker: Broker, resource: Any) -> None:
    if resource.HasField("dead_letter_policy"):
        broker.topic(resource.dead_letter_policy.dead_letter_topic)
