"""What a subscription's messages go through: waiting, leased, acknowledged or given back; order and back-off.

Pure state without clock, disk or network, so that it can be tested as a model; `backlog` gives it all three.
"""

from __future__ import annotations

import heapq
from collections import deque

from localcloud.pubsub.leases import Answer, Effects, Holder, Item, Lease, Rules

WINDOW = 1000
"""Messages that are held in memory ahead of delivery, at most."""
WINDOW_BYTES = 4 << 20
"""Their size in bytes, at most (one message is held however large)."""
BATCH_BYTES = 15 << 18
"""Bytes in a batch, at most (one message is given however large): gRPC clients take 4 MiB unless told otherwise."""
HELD = 50_000
"""Ids of messages that wait in memory for their ordering key or their back-off, at most."""


class _Key:
    """The state of one ordering key while something of it is leased or waits."""

    __slots__ = ("delayed", "holder", "leased", "waiting")

    def __init__(self) -> None:
        self.leased: dict[int, Lease] = {}
        self.holder: Holder | None = None
        self.delayed: Item | None = None
        self.waiting: list[Item] = []

    def blocks(self, item: Item, holder: Holder) -> bool:
        if self.waiting or (self.delayed is not None and self.delayed is not item):
            return True
        return bool(self.leased) and not (self.holder is holder and holder.pipelines)


class Queue:
    """One subscription's messages, as far as they are in memory.

    The rest lies on disk, behind `cursor`; `unread` says whether there may be any.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._serial = 0
        self.epoch = 0
        """Changes whenever `cursor` moves back: what was read for another epoch is not to be taken."""
        self.reset()

    def reset(self) -> None:
        """Forget everything: what is on disk is to be read from its beginning."""
        for lease in getattr(self, "_leases", {}).values():
            lease.let_go()
        self.cursor = 0
        self.epoch += 1
        self.unread = True
        self.effects = Effects()
        self._fresh: deque[Item] = deque()
        self._fresh_bytes = 0
        self._returned: list[tuple[int, Item]] = []
        self._delayed: list[tuple[float, int, Item]] = []
        self._leases: dict[int, Lease] = {}
        self._deadlines: list[tuple[float, int, int]] = []
        self._known: dict[int, Item] = {}
        self._keys: dict[str, _Key] = {}

    # Supply

    def offer(self, items: list[Item]) -> None:
        """Take messages that follow all earlier ones; what does not fit stays unread."""
        for item in items:
            if self.unread or self._full():
                self.unread = True
                return
            self._append(item)

    def wants(self) -> int:
        """How many messages to read from behind the cursor; 0 for none now."""
        if not self.unread or len(self._known) >= HELD or self._fresh_bytes > WINDOW_BYTES // 2:
            return 0
        room = WINDOW - len(self._fresh)
        return room if room >= WINDOW // 2 else 0

    def loaded(self, items: list[Item], *, complete: bool) -> None:
        """Take what was read behind the cursor; `complete` if nothing was left there."""
        for item in items:
            self._append(item)
        self.unread = not complete

    def trim(self) -> None:
        """Give back the memory of messages that nobody is there to receive: they are unread again."""
        if self._fresh:
            self.cursor = self._fresh[0].id - 1
            self.epoch += 1
            self.unread = True
            for item in self._fresh:
                self._known.pop(item.id, None)
            self._fresh.clear()
            self._fresh_bytes = 0
        for item in self._known.values():
            item.body = None

    def forget(self, before: int) -> None:
        """Drop unleased messages with ids below `before`: their retention is over."""
        for item in [item for item in self._known.values() if item.id < before]:
            self._discard(item)

    def restore(self, item: Item) -> None:
        """Take back a dead message that could not be forwarded."""
        item.body = None
        self._return(item)

    def _append(self, item: Item) -> None:
        self.cursor = item.id
        self._known[item.id] = item
        self._fresh.append(item)
        self._fresh_bytes += item.size

    def _full(self) -> bool:
        crowded = len(self._fresh) >= WINDOW or len(self._known) >= HELD
        return crowded or self._fresh_bytes > WINDOW_BYTES

    # Demand

    def take(
        self, holder: Holder, messages: int, size: int, now: float, seconds: float
    ) -> list[tuple[Lease, bytes | None]]:
        """Lease messages.

        Args:
            holder: Who gets them.
            messages: At most so many.
            size: At most so many bytes, though one message is given however large if the holder has none.
                A batch has at most BATCH_BYTES anyway.
            now: The time in seconds.
            seconds: How long the leases run.

        Returns:
            Leases with the content, None where it has to be read (at most `messages` of them).
        """
        taken: list[tuple[Lease, bytes | None]] = []
        batch = 0
        while len(taken) < messages:
            item = self._first()
            if item is None:
                break
            key = self._key_of(item)
            if key is not None and key.blocks(item, holder):
                self._pop()
                item.body = None
                key.waiting.append(item)
                continue
            if (item.size > size and holder.messages) or (taken and batch + item.size > BATCH_BYTES):
                break
            self._pop()
            size -= item.size
            batch += item.size
            taken.append((self._lease(item, holder, now + seconds), item.body))
            item.body = None
        return taken

    def _lease(self, item: Item, holder: Holder, deadline: float) -> Lease:
        self._known.pop(item.id, None)
        self._serial += 1
        item.attempts += 1
        lease = Lease(item, self._serial, deadline, holder)
        holder.messages += 1
        holder.bytes += item.size
        self._leases[item.id] = lease
        if self.rules.ordered and item.key:
            key = self._keys.setdefault(item.key, _Key())
            key.leased[item.id] = lease
            key.holder = holder
        self._schedule(lease)
        return lease

    def _first(self) -> Item | None:
        while self._returned and self._returned[0][1].gone:
            heapq.heappop(self._returned)
        while self._fresh and self._fresh[0].gone:
            self._fresh_bytes -= self._fresh.popleft().size
        if self._returned:
            return self._returned[0][1]
        return self._fresh[0] if self._fresh else None

    def _pop(self) -> None:
        if self._returned:
            heapq.heappop(self._returned)
        else:
            self._fresh_bytes -= self._fresh.popleft().size

    @property
    def ready(self) -> bool:
        """Whether something may be there to take."""
        return self._first() is not None

    # Answers

    def ack(self, message: int, serial: int) -> Answer:
        """Acknowledge a message; its id comes out in `effects.settled` when it may be made durable.

        An ordered message that is acknowledged before an earlier one of its key is settled together with that: if
        the earlier one is delivered again, so is this.
        """
        lease = self._leases.get(message)
        if self.rules.exactly_once:
            if lease is None or lease.serial != serial or lease.acked:
                return Answer.INVALID
        elif lease is None:
            return self._ack_late(message)
        key = self._key_of(lease.item)
        if key is None:
            self._unlease(lease)
            self.effects.settled.append(message)
            return Answer.DONE
        if self.rules.exactly_once and next(iter(key.leased)) != message:
            return Answer.UNORDERED
        lease.acked = True
        lease.let_go()
        while key.leased and (first := next(iter(key.leased.values()))).acked:
            self._unlease(first)
            self.effects.settled.append(first.item.id)
        self._advance(lease.item.key, key)
        return Answer.DONE

    def _ack_late(self, message: int) -> Answer:
        """An acknowledgement after the deadline still counts, as long as order does not speak against it."""
        item = self._known.get(message)
        if item is not None and self.rules.ordered and item.key:
            return Answer.INVALID
        if item is not None:
            self._discard(item)
        self.effects.settled.append(message)
        return Answer.DONE

    def modify(self, message: int, serial: int, seconds: float, now: float) -> Answer:
        """Move the deadline of a lease to `seconds` from now; 0 gives the message back."""
        lease = self._leases.get(message)
        if lease is None or lease.serial != serial or lease.acked:
            return Answer.INVALID
        if seconds <= 0:
            self._fail(lease, now)
        else:
            lease.deadline = now + seconds
            self._schedule(lease)
        return Answer.DONE

    def tick(self, now: float) -> None:
        """Let leases run out and back-offs end."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, message, serial = heapq.heappop(self._deadlines)
            lease = self._leases.get(message)
            current = lease is not None and lease.serial == serial and lease.deadline == deadline
            if lease is not None and current and not lease.acked:
                self._fail(lease, now)
        while self._delayed and self._delayed[0][0] <= now:
            due, _, item = heapq.heappop(self._delayed)
            if item.due != due or item.gone:
                continue
            item.due = 0.0
            self._return(item)
            key = self._key_of(item)
            if key is not None and key.delayed is item:
                key.delayed = None
                self._advance(item.key, key)

    def next_event(self) -> float | None:
        """When tick() has to be called next, None for never."""
        times = [entries[0][0] for entries in (self._deadlines, self._delayed) if entries]
        return min(times, default=None)

    @property
    def leased(self) -> int:
        """How many messages are out."""
        return len(self._leases)

    def _schedule(self, lease: Lease) -> None:
        if len(self._deadlines) > 64 + 4 * len(self._leases):
            self._deadlines = [(kept.deadline, kept.item.id, kept.serial) for kept in self._leases.values()]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (lease.deadline, lease.item.id, lease.serial))

    def _unlease(self, lease: Lease) -> None:
        del self._leases[lease.item.id]
        lease.let_go()
        key = self._key_of(lease.item)
        if key is not None:
            key.leased.pop(lease.item.id, None)

    def _fail(self, lease: Lease, now: float) -> None:
        """A delivery came to nothing: give the message back, and the later ones of its key with it."""
        item = lease.item
        key = self._key_of(item)
        self._unlease(lease)
        if key is not None:
            for later in [other for id, other in key.leased.items() if id > item.id]:
                self._unlease(later)
                self._known[later.item.id] = later.item
                key.waiting.append(later.item)
            if key.delayed is not None:
                key.delayed.due = 0.0
                key.waiting.append(key.delayed)
                key.delayed = None
        if self.rules.max_attempts and item.attempts >= self.rules.max_attempts:
            self.effects.dead.append(item)
        else:
            self._delay(item, key, now)
            if self.rules.max_attempts:
                self.effects.failed.append(item)
        if key is not None:
            self._advance(item.key, key)

    def _delay(self, item: Item, key: _Key | None, now: float) -> None:
        if self.rules.backoff is None:
            self._return(item)
            return
        minimum, maximum = self.rules.backoff
        # Beyond 2^32 times the minimum every maximum is reached: no overflow after many attempts.
        item.due = now + min(maximum, minimum * 2.0 ** min(item.attempts - 1, 32))
        self._known[item.id] = item
        heapq.heappush(self._delayed, (item.due, item.id, item))
        if key is not None:
            key.delayed = item

    def _advance(self, name: str, key: _Key) -> None:
        """Let the waiting messages of a key go on once nothing holds them."""
        if key.delayed is not None or key.leased:
            return
        for item in key.waiting:
            if not item.gone:
                heapq.heappush(self._returned, (item.id, item))
        self._keys.pop(name, None)

    def _return(self, item: Item) -> None:
        self._known[item.id] = item
        heapq.heappush(self._returned, (item.id, item))

    def _discard(self, item: Item) -> None:
        item.gone = True
        item.body = None
        self._known.pop(item.id, None)
        key = self._keys.get(item.key) if item.key else None
        if key is not None:
            key.waiting = [other for other in key.waiting if other is not item]
            if key.delayed is item:
                key.delayed = None
            self._advance(item.key, key)

    def _key_of(self, item: Item) -> _Key | None:
        return self._keys.get(item.key) if self.rules.ordered and item.key else None
