"""What happens by itself as time passes: messages past their retention, snapshots and subscriptions that expire."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import NotFound
from localcloud.pubsub import journal, snapshots, subscriptions
from localcloud.pubsub.broker import Broker, duration

v1 = Package("google.pubsub.v1")


async def sweep(broker: Broker) -> None:
    """Have one look."""
    now = time.time_ns() // 1000
    kept, used = [], []
    for name, backlog in list(broker.subscriptions.items()):
        before = now - duration(backlog.resource.message_retention_duration)
        kept.append((backlog.consumer.id, before))
        backlog.queue.forget(before)
        backlog.idle()
        if backlog.used:
            used.append(backlog.consumer.id)
            backlog.active = now
            backlog.used = backlog.listened
        policy = backlog.resource.expiration_policy
        if policy.HasField("ttl") and now - backlog.active > duration(policy.ttl):
            await _gone(subscriptions.delete(broker, name))
    for name in list(broker.snapshots):
        snapshot = broker.store.find(name, v1.Snapshot)
        if snapshot is not None and snapshot.expire_time.ToMicroseconds() < now:
            await _gone(snapshots.delete(broker, name))
    topics = [(topic.id, now - topic.retention, bool(topic.retention)) for topic in broker.topics.values()]
    if kept or topics:
        await broker.database.submit(partial(journal.expire, consumers=kept, topics=topics))
    if used:
        await broker.database.submit(partial(journal.touch, consumers=used, now=now))


async def _gone(deletion: Coroutine[Any, Any, None]) -> None:
    """Await a deletion; somebody else may have been first."""
    try:
        await deletion
    except NotFound:
        return
