"""One subscription at work: its queue brought together with disk, clock and whoever waits for messages.

All of it happens on the event loop. What a stream, a pull or a push makes of deliveries is theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import CloudError, InvalidArgument
from localcloud.pubsub import journal
from localcloud.pubsub.database import Database
from localcloud.pubsub.filters import Matches
from localcloud.pubsub.leases import Answer, Holder, Item, Lease, Rules
from localcloud.pubsub.queue import WINDOW_BYTES, Queue

v1 = Package("google.pubsub.v1")
log = logging.getLogger(__name__)

_READ_PATIENCE = 5.0


@dataclass(frozen=True)
class Delivery:
    """A message on its way to a subscriber."""

    ack_id: str
    body: bytes
    """The serialized PubsubMessage, message_id and publish_time filled in."""
    attempt: int
    """1 for the first delivery."""
    lease: Lease


class Backlog:
    """The messages of one subscription.

    Args:
        database: Where they lie.
        consumer: The subscription's row there.
        resource: The Subscription message; replaced as a whole when it is updated.
        rules: What of it decides about delivery.
        matches: Its filter.
        forward: Called with messages that are dead, in place of delivering them again.
    """

    def __init__(
        self,
        database: Database,
        consumer: journal.Consumer,
        resource: Any,
        rules: Rules,
        matches: Matches | None,
        forward: Callable[[Backlog, list[Item]], None],
    ) -> None:
        self._database = database
        self.consumer = consumer
        self.resource = resource
        self.matches = matches
        self.queue = Queue(rules)
        self.sweep = True
        """Whether what nobody wants any more is deleted (the topic itself keeps nothing)."""
        self.used = False
        """Whether it was used since the last look."""
        self.active = consumer.active
        """When it was last used, in microseconds since 1970."""
        self.failure: CloudError | None = None
        """Why nothing can be received any more: deleted or detached."""
        self._forward = forward
        self._listeners: list[Callable[[], None]] = []
        self._loading = False
        self._late: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    # Those who wait for messages

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever there may be something to take; messages are only read ahead meanwhile."""
        self._listeners.append(wake)
        self._supply()

    def unlisten(self, wake: Callable[[], None]) -> None:
        """The end of listen()."""
        self._listeners.remove(wake)

    @property
    def listened(self) -> bool:
        """Whether anybody waits."""
        return bool(self._listeners)

    @property
    def shared(self) -> bool:
        """Whether several wait for the same messages."""
        return len(self._listeners) > 1

    def idle(self) -> None:
        """Give back memory if nobody listens."""
        if not self._listeners:
            self.queue.trim()

    def close(self, failure: CloudError) -> None:
        """Tell those who wait that no message will come."""
        self.failure = failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def _wake(self) -> None:
        for wake in self._listeners:
            wake()

    # Messages in

    def offer(self, items: list[Item]) -> None:
        """Messages that were just committed."""
        if not self._listeners:
            self.queue.unread = True
            return
        self.queue.offer(items)
        self._supply()
        self._wake()

    def restart(self) -> None:
        """Begin anew after a seek: what lies on disk is the truth, leases are void."""
        self.queue.reset()
        self._supply()
        self._wake()

    def _supply(self) -> None:
        room = self.queue.wants()
        if self._loading or not room or not self._listeners or self.failure is not None:
            return
        self._loading = True
        self._late.clear()
        work = partial(
            journal.load,
            consumer=self.consumer.id,
            after=self.queue.cursor,
            messages=room,
            size=WINDOW_BYTES,
        )
        loading = self._database.submit(work, partial(self._loaded, self.queue.epoch))
        loading.add_done_callback(self._load_done)

    def _loaded(self, epoch: int, found: tuple[list[tuple[int, int, bytes]], bool]) -> None:
        rows, complete = found
        self._loading = False
        if epoch == self.queue.epoch:
            items = [self._item(*row) for row in rows if row[0] not in self._late]
            self.queue.loaded(items, complete=complete)
            if rows:
                self.queue.cursor = rows[-1][0]
        self._supply()
        self._wake()

    def _load_done(self, loading: asyncio.Future[Any]) -> None:
        if not loading.cancelled() and (error := loading.exception()) is not None:
            self._loading = False
            log.error("%s: %s", self.consumer.name, error)
            self._wake()

    def wants(self, body: bytes) -> bool:
        """Whether a message passes the filter."""
        return self.matches is None or self.matches(v1.PubsubMessage.FromString(body).attributes)

    def _item(self, id: int, attempts: int, body: bytes) -> Item:
        key = v1.PubsubMessage.FromString(body).ordering_key if self.queue.rules.ordered else ""
        return Item(id, key, len(body), body, attempts)

    # Messages out

    async def take(self, holder: Holder, messages: int, size: int, seconds: float) -> list[Delivery]:
        """Lease what is there; see Queue.take. An empty list means: listen.

        Raises:
            CloudError: The subscription is gone, or a message could not be read.
        """
        if self.failure is not None:
            raise self.failure
        self.used = True
        now = asyncio.get_running_loop().time()
        taken = self.queue.take(holder, messages, size, now, seconds)
        self._supply()
        self._arm()
        missing = [lease.item.id for lease, body in taken if body is None]
        read: dict[int, bytes] = {}
        if missing:
            read = await self._database.submit(lambda db: journal.bodies(db, missing))
        deliveries = []
        for lease, body in taken:
            content = body if body is not None else read.get(lease.item.id)
            if content is None:  # past its retention meanwhile
                self.queue.ack(lease.item.id, lease.serial)
                continue
            ack_id = f"{self.consumer.id}-{lease.item.id}-{lease.serial}"
            deliveries.append(Delivery(ack_id, content, lease.item.attempts, lease))
        if len(deliveries) < len(taken):
            self.apply()
        return deliveries

    async def wait(self, holder: Holder, messages: int, timeout: float) -> list[Delivery]:
        """Lease what is there or comes within `timeout` seconds."""
        loop = asyncio.get_running_loop()
        seconds = self.resource.ack_deadline_seconds
        deadline = loop.time() + timeout
        woken = asyncio.Event()
        self.listen(woken.set)
        try:
            while True:
                woken.clear()
                found = await self.take(holder, messages, 1 << 62, seconds)
                left = deadline - loop.time()
                if self._loading:  # what lies on disk is not to be missed for a short timeout
                    left = max(left, _READ_PATIENCE)
                if found or left <= 0:
                    return found
                try:
                    await asyncio.wait_for(woken.wait(), left)
                except TimeoutError:
                    return []
        finally:
            self.unlisten(woken.set)

    # Answers

    def ack(self, ack_ids: Iterable[str]) -> tuple[dict[str, Answer], asyncio.Future[Any] | None]:
        """Acknowledge.

        Returns:
            What became of each ack id, and what is done when all of it is durable.
        """
        answers = {ack_id: self._answer(ack_id, self.queue.ack) for ack_id in ack_ids}
        return answers, self.apply()

    def modify(self, changes: Iterable[tuple[str, float]]) -> dict[str, Answer]:
        """Move the deadlines of leases: (ack id, seconds from now), 0 gives the message back at once."""
        now = asyncio.get_running_loop().time()
        answers = {
            ack_id: self._answer(ack_id, partial(self.queue.modify, seconds=seconds, now=now))
            for ack_id, seconds in changes
        }
        self.apply()
        return answers

    def _answer(self, ack_id: str, act: Callable[[int, int], Answer]) -> Answer:
        parts = ack_id.split("-")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise InvalidArgument(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")
        consumer, message, serial = map(int, parts)
        return act(message, serial) if consumer == self.consumer.id else Answer.INVALID

    def apply(self) -> asyncio.Future[Any] | None:
        """Make durable what the queue decided, let the next ones go on; returns what is done when it is durable."""
        effects = self.queue.effects
        done: asyncio.Future[Any] | None = None
        self.used = True
        if effects:
            self.queue.effects = type(effects)()
            if effects.dead:
                self._forward(self, effects.dead)
            if self._loading:
                self._late.update(effects.settled)
            if effects.settled or effects.failed:
                done = self._database.submit(partial(self._write, effects.settled, effects.failed))
                done.add_done_callback(_report)
        self._supply()
        self._arm()
        if self.queue.ready:
            self._wake()
        return done

    def _write(self, settled: list[int], failed: list[Item], db: Any) -> None:
        if settled:
            self.settle(db, settled)
        if failed:
            journal.count_attempts(db, self.consumer.id, [(item.id, item.attempts) for item in failed])

    def settle(self, db: Any, ids: list[int]) -> None:
        """The acknowledgement of messages as database work."""
        retain = self.resource.retain_acked_messages
        journal.settle(db, self.consumer.id, ids, retain=retain)
        if self.sweep and not retain:
            journal.drop_unwanted(db, ids)

    def _arm(self) -> None:
        """Set the timer to the queue's next event, if there is none that comes earlier."""
        event = self.queue.next_event()
        if event is None or self.failure is not None:
            return
        if self._timer is not None:
            if self._timer.when() <= event:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(event, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.queue.tick(asyncio.get_running_loop().time())
        self.apply()


def _report(done: asyncio.Future[Any]) -> None:
    """Errors of writes that nobody waits for."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("%s", error)
