"""Topics and who gets their messages: publishing, dead letters, and what is found again at the start.

The RPCs stand in `publisher` and `subscriber`, how resources are made and changed in `topics`, `subscriptions` and
`snapshots`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.catalog import Package
from localcloud.errors import CloudError, FailedPrecondition, Unavailable
from localcloud.pubsub import journal, names
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.database import Database
from localcloud.pubsub.filters import Matches, compile_filter
from localcloud.pubsub.leases import Item, Rules
from localcloud.pubsub.tokens import Signer
from localcloud.resources import ResourceStore

if TYPE_CHECKING:
    import httpx

v1 = Package("google.pubsub.v1")
log = logging.getLogger(__name__)

_SWEEP_INTERVAL = 60.0


@dataclass
class Topic:
    """A topic at work.

    Args:
        id: Its row in the journal.
        name: `projects/my-project/topics/my-topic`.
        retention: How long it keeps messages whether or not they are acknowledged, in microseconds; 0 for not.
        consumers: Subscriptions and snapshots (None) by their row in the journal.
    """

    id: int
    name: str
    retention: int = 0
    consumers: dict[int, Backlog | None] = field(default_factory=dict)


class Broker:
    """What the RPCs work on. Everything but start() and stop() happens on the event loop.

    Args:
        root: Folder of the message database.
        store: Holds the Topic, Subscription and Snapshot resources.
        environment: The variables that lead a program to the local cloud.
        sweep: What is to be done once a minute (see `retention`).
    """

    def __init__(
        self,
        root: Path,
        store: ResourceStore,
        environment: Callable[[], dict[str, str]],
        sweep: Callable[[Broker], Awaitable[None]],
    ) -> None:
        self.store = store
        self._root = root
        self._environment = environment
        self._loop = _running_loop()
        self._client: httpx.AsyncClient | None = None
        self._signer = Signer(root)
        self._pushers: dict[str, asyncio.Task[None]] = {}
        self._sweep = sweep
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Backlog] = {}
        self.snapshots: dict[str, journal.Consumer] = {}
        self.changing = asyncio.Lock()
        """Held while a resource is made, changed or deleted."""
        self._last_id = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # From start to stop

    def start(self) -> None:
        """Find again what an earlier process left, and put right what it was in the middle of.

        Called on the loop, or in a thread if the broker was made on the loop.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        self.database = Database(self._root / "messages.sqlite", journal.SCHEMA)
        found = self.database.start(self._recover)
        topics, consumers, self._last_id = found
        by_id = {}
        for resource in self.store.all("", v1.Topic, descendants=True):
            topic = Topic(topics[resource.name], resource.name, duration(resource.message_retention_duration))
            self.topics[topic.name] = by_id[topic.id] = topic
        for consumer in consumers:
            topic_of = by_id.get(consumer.topic)
            resource = self.store.find(consumer.name, v1.Subscription)
            if resource is None:
                self.snapshots[consumer.name] = consumer
                if topic_of is not None:
                    topic_of.consumers[consumer.id] = None
            else:
                self.add_subscription(consumer, resource, topic_of)
        loop.call_soon_threadsafe(self.open)

    def _recover(self, db: sqlite3.Connection) -> tuple[dict[str, int], list[journal.Consumer], int]:
        """A resource is entered in the journal before the store and leaves it after: the store is right.

        Without a journal (somebody deleted it) topics and subscriptions are there, but empty, and snapshots are not.
        """
        topics, known, _ = journal.everything(db)
        kept = {resource.name for resource in self.store.all("", v1.Topic, descendants=True)}
        for name in topics.keys() - kept:
            journal.remove_topic(db, topics.pop(name))
        for name in kept - topics.keys():
            topics[name] = journal.add_topic(db, name)
        consumers = {consumer.name: consumer.id for consumer in known}
        for type in (v1.Subscription, v1.Snapshot):
            for resource in self.store.all("", type, descendants=True):
                id = consumers.pop(resource.name, None)
                if id is None and type is v1.Snapshot:
                    self.store.delete(resource.name, type)
                    continue
                if id is None:
                    now = time.time_ns() // 1000
                    journal.add_consumer(db, resource.name, topics.get(resource.topic, 0), now)
                elif type is v1.Subscription and resource.detached:
                    journal.clear(db, id)
                if resource.topic not in kept and resource.topic != names.DELETED_TOPIC:
                    self.store.modify(resource.name, type, _lose_topic)
        for id in consumers.values():
            journal.remove_consumer(db, id, sweep=True)
        return journal.everything(db)

    def stop(self) -> None:
        """End deliveries and the database; in a thread, while the loop still runs."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self.close(), self._loop).result(timeout=10)
        self.database.close()

    def open(self) -> None:
        """Let pushes and the passing of time begin."""
        for backlog in self.subscriptions.values():
            self.push(backlog)
        self._beside(self._watch_time())

    async def close(self) -> None:
        """End everything that happens by itself."""
        for backlog in self.subscriptions.values():
            backlog.close(Unavailable("The local cloud is shutting down."))
        ending = [*self._tasks, *self._pushers.values()]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL)
            try:
                await self._sweep(self)
            except CloudError as error:
                log.error("Pub/Sub could not clean up, it tries again: %s", error)

    def push(self, backlog: Backlog) -> None:
        """Begin, change or end pushing as the subscription says now."""
        running = self._pushers.pop(backlog.consumer.name, None)
        if running is not None:
            running.cancel()
        if backlog.resource.push_config.push_endpoint and backlog.failure is None:
            # an HTTP client is half a second of imports, for those alone who push
            from localcloud.pubsub.push import Pusher, http_client

            self._client = self._client or http_client(self._environment)
            pusher = Pusher(backlog, self._client, self._signer)
            self._pushers[backlog.consumer.name] = self._beside(pusher.run())

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine beside everything else; its errors are logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Pub/Sub: %s", error, exc_info=error)

    # Looking up

    def topic(self, name: str) -> Topic:
        """The topic of this name.

        Raises:
            NotFound: There is none.
        """
        found = self.topics.get(name)
        if found is None:
            names.check_name(name, "topics", "topic")
            raise names.not_found(name)
        return found

    def subscription(self, name: str) -> Backlog:
        """The subscription of this name, detached or not.

        Raises:
            NotFound: There is none.
        """
        found = self.subscriptions.get(name)
        if found is None:
            names.check_name(name, "subscriptions", "subscription")
            raise names.not_found(name)
        return found

    def add_subscription(self, consumer: journal.Consumer, resource: Any, topic: Topic | None) -> Backlog:
        """Put a subscription to work."""
        matches = compile_filter(resource.filter)
        rules = self.rules(resource)
        backlog = Backlog(self.database, consumer, resource, rules, matches, self._forward)
        self.subscriptions[consumer.name] = backlog
        if resource.detached:
            backlog.failure = detached(consumer.name)
        elif topic is not None:
            backlog.sweep = not topic.retention
            topic.consumers[consumer.id] = backlog
        return backlog

    def rules(self, resource: Any) -> Rules:
        """What of a Subscription decides about delivery."""
        backoff = None
        if resource.HasField("retry_policy"):
            policy = resource.retry_policy
            backoff = (seconds(policy.minimum_backoff), seconds(policy.maximum_backoff))
        attempts = resource.dead_letter_policy.max_delivery_attempts
        return Rules(resource.enable_message_ordering, resource.enable_exactly_once_delivery, backoff, attempts)

    # Messages

    def publish(self, topic: Topic, messages: Iterable[Any]) -> asyncio.Future[list[int]]:
        """Store messages and hand them to the topic's consumers.

        Args:
            topic: Where to.
            messages: PubsubMessages, checked; they are left as they are.

        Returns:
            The ids, once the messages are durable.
        """
        return self._publish(topic, messages, None)

    def _publish(
        self, topic: Topic, messages: Iterable[Any], original: tuple[Backlog, list[int]] | None
    ) -> asyncio.Future[list[int]]:
        now = time.time_ns() // 1000
        stored: list[tuple[int, bytes]] = []
        copies: list[Any] = []
        for message in messages:
            self._last_id = id = max(self._last_id + 1, now)
            copy = v1.PubsubMessage()
            copy.CopyFrom(message)
            copy.message_id = str(id)
            copy.publish_time.FromMicroseconds(id)
            stored.append((id, copy.SerializeToString()))
            copies.append(copy)
        wanted: dict[int, list[int]] = {}
        offers: list[tuple[Backlog, list[Item]]] = []
        for consumer, backlog in topic.consumers.items():
            matches = backlog.matches if backlog is not None else None
            chosen = _chosen(matches, copies)
            if chosen:
                wanted[consumer] = [stored[index][0] for index in chosen]
            if chosen and backlog is not None:
                offers.append((backlog, [_item(copies[index], *stored[index]) for index in chosen]))

        def write(db: sqlite3.Connection) -> list[int]:
            if stored and (wanted or topic.retention):
                journal.publish(db, topic.id, stored, wanted)
            if original is not None:
                original[0].settle(db, original[1])
            return [id for id, _ in stored]

        def hand_over(_: list[int]) -> None:
            for backlog, items in offers:
                backlog.offer(items)

        return self.database.submit(write, hand_over)

    # Dead letters

    def _forward(self, backlog: Backlog, items: list[Item]) -> None:
        self._beside(self._forward_dead(backlog, items))

    async def _forward_dead(self, backlog: Backlog, items: list[Item]) -> None:
        """Publish dead messages to the dead-letter topic and acknowledge them, both or neither."""
        policy = backlog.resource.dead_letter_policy
        topic = self.topics.get(policy.dead_letter_topic)
        try:
            if topic is None:
                raise names.not_found(policy.dead_letter_topic)
            ids = [item.id for item in items]
            bodies = await self.database.submit(lambda db: journal.bodies(db, ids))
            letters = [_letter(backlog, item, bodies[item.id]) for item in items if item.id in bodies]
            await self._publish(topic, letters, (backlog, ids))
        except CloudError as error:
            log.warning("%s keeps its dead letters, they are delivered again: %s", backlog.consumer.name, error)
            for item in items:
                backlog.queue.restore(item)
            backlog.apply()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def detached(name: str) -> FailedPrecondition:
    """The error of a subscription that DetachSubscription was called on."""
    return FailedPrecondition(
        f"The subscription is detached from its topic (resource={name.rpartition('/')[2]})."
        " Create a new one to receive messages."
    )


def duration(value: Any) -> int:
    """A google.protobuf.Duration in microseconds."""
    return int(value.ToMicroseconds())


def seconds(value: Any) -> float:
    """A google.protobuf.Duration in seconds."""
    return float(value.ToMicroseconds() / 1e6)


def _lose_topic(resource: Any) -> None:
    resource.topic = names.DELETED_TOPIC


def _chosen(matches: Matches | None, messages: list[Any]) -> list[int]:
    if matches is None:
        return list(range(len(messages)))
    return [index for index, message in enumerate(messages) if matches(message.attributes)]


def _item(message: Any, id: int, body: bytes) -> Item:
    return Item(id, message.ordering_key, len(body), body)


def _letter(backlog: Backlog, item: Item, body: bytes) -> Any:
    letter = v1.PubsubMessage.FromString(body)
    _, project, _, subscription = backlog.consumer.name.split("/")
    letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(item.attempts)
    letter.attributes["CloudPubSubDeadLetterSourceSubscription"] = subscription
    letter.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = project
    letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = letter.publish_time.ToJsonString()
    return letter
