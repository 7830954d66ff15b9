"""How snapshots are made, changed and deleted, and seeking to one or to a time.

In the journal a snapshot is a consumer that nobody receives from: a copy of a backlog that goes on growing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import CloudError, FailedPrecondition, InvalidArgument
from localcloud.fields import apply_mask
from localcloud.pubsub import journal, names, settings
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.broker import Broker

v1 = Package("google.pubsub.v1")

_LIFETIME = 7 * 86_400 * 1_000_000
_LEAST = 3600 * 1_000_000


async def create(broker: Broker, request: Any) -> Any:
    """Keep the state of a subscription; it lives seven days from its oldest message on."""
    names.check_name(request.name, "snapshots")
    if request.tags:
        raise InvalidArgument("CreateSnapshotRequest.tags cannot be set: the local cloud has no tags.")
    async with broker.changing:
        backlog = broker.subscription(request.subscription)
        if backlog.failure is not None:
            raise backlog.failure
        if request.name in broker.snapshots:
            raise names.already_exists(request.name)
        now = time.time_ns() // 1000
        source = backlog.consumer
        oldest = await broker.database.submit(lambda db: journal.oldest(db, source.id))
        expires = min(now, oldest or now) + _LIFETIME
        if expires - now < _LEAST:
            raise FailedPrecondition(
                f"The backlog of the subscription is too old (resource={request.subscription.rpartition('/')[2]}): "
                "the snapshot would expire in less than an hour."
            )
        id = await broker.database.submit(lambda db: journal.add_consumer(db, request.name, source.topic, now))
        topic = broker.topics.get(backlog.resource.topic)
        if topic is not None:  # from here on it gets what is published; then what was there before
            topic.consumers[id] = None
        try:
            await broker.database.submit(lambda db: journal.copy_backlog(db, source.id, id))
            snapshot = v1.Snapshot(name=request.name, topic=backlog.resource.topic, labels=request.labels)
            snapshot.expire_time.FromMicroseconds(expires)
            stored = await asyncio.to_thread(broker.store.create, request.name, snapshot)
        except CloudError:
            if topic is not None:
                del topic.consumers[id]
            await broker.database.submit(lambda db: journal.remove_consumer(db, id, sweep=True))
            raise
        broker.snapshots[request.name] = journal.Consumer(id, request.name, source.topic, now)
    return stored


async def update(broker: Broker, request: Any) -> Any:
    """Change labels or expiry."""
    paths = list(request.update_mask.paths)
    async with broker.changing:
        find(broker, request.snapshot.name)
        settings.check_mask(paths, settings.MUTABLE_SNAPSHOT, v1.Snapshot)
        return await asyncio.to_thread(
            broker.store.modify,
            request.snapshot.name,
            v1.Snapshot,
            lambda stored: apply_mask(stored, request.snapshot, paths),
        )


async def delete(broker: Broker, name: str) -> None:
    """Delete a snapshot and the messages that only it kept."""
    async with broker.changing:
        consumer = find(broker, name)
        await asyncio.to_thread(broker.store.delete, name, v1.Snapshot)
        del broker.snapshots[name]
        topic = next((topic for topic in broker.topics.values() if topic.id == consumer.topic), None)
        if topic is not None:
            topic.consumers.pop(consumer.id, None)
        sweep = topic is None or not topic.retention
        await broker.database.submit(lambda db: journal.remove_consumer(db, consumer.id, sweep=sweep))


def find(broker: Broker, name: str) -> journal.Consumer:
    """The snapshot of this name.

    Raises:
        NotFound: There is none.
    """
    found = broker.snapshots.get(name)
    if found is None:
        names.check_name(name, "snapshots", "snapshot")
        raise names.not_found(name)
    return found


async def seek(broker: Broker, request: Any) -> None:
    """Set a subscription back (or on) to a time or a snapshot; leases end."""
    async with broker.changing:
        backlog = broker.subscription(request.subscription)
        if backlog.failure is not None:
            raise backlog.failure
        target = request.WhichOneof("target")
        if target == "snapshot":
            snapshot = find(broker, request.snapshot)
            if snapshot.topic != backlog.consumer.topic:
                raise InvalidArgument(
                    f"The snapshot and the subscription are of different topics (snapshot={request.snapshot})."
                )
            await _seek_snapshot(broker, backlog, snapshot)
        elif target == "time":
            await _seek_time(broker, backlog, request.time.ToMicroseconds())
        else:
            raise InvalidArgument("A seek needs a target: set time or snapshot.")


async def _seek_snapshot(broker: Broker, backlog: Backlog, snapshot: journal.Consumer) -> None:
    def work(db: Any) -> None:
        journal.seek_snapshot(
            db,
            backlog.consumer,
            snapshot.id,
            retain=backlog.resource.retain_acked_messages,
            wanted=backlog.wants,
        )

    await broker.database.submit(work, lambda _: backlog.restart())


async def _seek_time(broker: Broker, backlog: Backlog, to: int) -> None:
    topic = broker.topics.get(backlog.resource.topic)
    since = time.time_ns() // 1000 - topic.retention if topic is not None and topic.retention else None

    def work(db: Any) -> None:
        journal.seek_time(
            db,
            backlog.consumer,
            to,
            retain=backlog.resource.retain_acked_messages,
            topic_since=since,
            wanted=backlog.wants,
        )

    await broker.database.submit(work, lambda _: backlog.restart())
