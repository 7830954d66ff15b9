"""The queue of a subscription against a model: nothing lost, nothing twice at a time, order kept."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from localcloud.pubsub.leases import Answer, Holder, Item, Rules
from localcloud.pubsub.queue import WINDOW, Queue

KEYS = ("", "a", "b")
BIG = 1 << 40


@dataclass
class Handed:
    """A lease as a subscriber sees it."""

    id: int
    serial: int
    holder: Holder


class QueueMachine(RuleBasedStateMachine):
    """Publishes, takes, acknowledges, gives back, waits, forgets: in any order.

    The disk is `stored` (every message in order) and `unsettled` (what is not durably acknowledged).
    """

    @initialize(
        ordered=st.booleans(),
        exactly_once=st.booleans(),
        backoff=st.sampled_from([None, (10.0, 40.0)]),
        max_attempts=st.sampled_from([0, 5]),
    )
    def begin(self, ordered: bool, exactly_once: bool, backoff: tuple[float, float] | None, max_attempts: int) -> None:
        self.rules_ = Rules(ordered, exactly_once, backoff, max_attempts)
        self.queue = Queue(self.rules_)
        self.now = 0.0
        self.stored: list[tuple[int, str]] = []
        self.unsettled: dict[int, str] = {}
        self.dead: set[int] = set()
        self.holders = [Holder(), Holder(), Holder(pipelines=False)]
        self.leases: dict[int, Handed] = {}
        self.past: list[Handed] = []
        self.early: set[int] = set()

    def settle(self) -> None:
        effects, self.queue.effects = self.queue.effects, type(self.queue.effects)()
        for id in effects.settled:
            self.unsettled.pop(id, None)
            self.early.discard(id)
            self.leases.pop(id, None)
        for item in effects.dead:
            assert self.rules_.max_attempts <= item.attempts
            self.dead.add(item.id)
            del self.unsettled[item.id]
            self.leases.pop(item.id, None)

    def drop(self, id: int) -> None:
        """A lease ended without success: with order, those of later messages of its key end too."""
        key = self.unsettled[id]
        ended = [id]
        if self.rules_.ordered and key:
            ended += [other for other in self.leases if other > id and self.unsettled[other] == key]
        for other in ended:
            self.past.append(self.leases.pop(other))
            self.early.discard(other)

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5))
    def publish(self, keys: list[str]) -> None:
        items = []
        for key in keys:
            id = len(self.stored) + 1
            self.stored.append((id, key))
            self.unsettled[id] = key
            items.append(Item(id, key, 10, b"0123456789"))
        self.queue.offer(items)

    def load(self, limit: int) -> None:
        if not limit or not self.queue.wants():
            return
        behind = [(id, key) for id, key in self.unsettled.items() if id > self.queue.cursor]
        items = [Item(id, key, 10, b"0123456789") for id, key in sorted(behind)[:limit]]
        self.queue.loaded(items, complete=len(behind) <= limit)

    @rule(
        holder=st.integers(0, 2),
        messages=st.integers(1, 4),
        seconds=st.sampled_from([10, 60]),
        read=st.sampled_from([0, 2, 5, 5]),
    )
    def take(self, holder: int, messages: int, seconds: int, read: int) -> None:
        self.load(read)
        self.take_with(self.holders[holder], messages, seconds)

    def take_with(self, holder: Holder, messages: int, seconds: float) -> list[Handed]:
        taken = self.queue.take(holder, messages, BIG, self.now, seconds)
        assert len(taken) <= messages
        handed = []
        for lease, _ in taken:
            id = lease.item.id
            assert id in self.unsettled, "an acknowledged or dead message came again"
            assert id not in self.leases, "a message is out twice at a time"
            key = self.unsettled[id]
            if self.rules_.ordered and key:
                for other in [other for other, its_key in self.unsettled.items() if its_key == key and other < id]:
                    assert other in self.leases, "a message overtook another of its key"
                    if other not in self.early:
                        assert self.leases[other].holder is holder, "a key is with two holders"
                        assert holder.pipelines, "a message followed one that is not acknowledged"
            self.leases[id] = Handed(id, lease.serial, holder)
            handed.append(self.leases[id])
        return handed

    @rule(pick=st.integers(0, 50))
    def ack(self, pick: int) -> None:
        if self.leases:
            self.ack_lease(sorted(self.leases.values(), key=lambda handed: handed.id)[pick % len(self.leases)])

    def ack_lease(self, handed: Handed) -> None:
        key = self.unsettled[handed.id]
        ordered = self.rules_.ordered and key
        first = not any(other < handed.id and self.unsettled[other] == key for other in self.leases)
        answer = self.queue.ack(handed.id, handed.serial)
        if self.rules_.exactly_once and handed.id not in self.early and ordered and not first:
            assert answer is Answer.UNORDERED
            return
        assert answer is Answer.DONE
        if ordered and not first:
            self.early.add(handed.id)
            assert handed.id not in self.queue.effects.settled, "settled before an earlier one of its key"
        else:
            assert handed.id in self.queue.effects.settled
        self.settle()

    @rule(pick=st.integers(0, 50))
    def ack_again_or_late(self, pick: int) -> None:
        if not self.past:
            return
        old = self.past[pick % len(self.past)]
        current = self.leases.get(old.id)
        if current is not None and not self.rules_.exactly_once:
            return
        answer = self.queue.ack(old.id, old.serial)
        if self.rules_.exactly_once:
            assert answer is Answer.INVALID
            assert not self.queue.effects
        self.settle()

    @rule(pick=st.integers(0, 50))
    def give_back(self, pick: int) -> None:
        open_leases = [handed for id, handed in sorted(self.leases.items()) if id not in self.early]
        if open_leases:
            handed = open_leases[pick % len(open_leases)]
            assert self.queue.modify(handed.id, handed.serial, 0, self.now) is Answer.DONE
            self.drop(handed.id)
            self.settle()

    @rule(pick=st.integers(0, 50))
    def extend(self, pick: int) -> None:
        open_leases = [handed for id, handed in sorted(self.leases.items()) if id not in self.early]
        if open_leases:
            handed = open_leases[pick % len(open_leases)]
            assert self.queue.modify(handed.id, handed.serial, 600, self.now) is Answer.DONE

    @rule(seconds=st.sampled_from([1, 15, 45, 700]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.queue.tick(self.now)
        live = {id: lease.serial for id, lease in self.queue._leases.items()}
        for id in [id for id, handed in self.leases.items() if live.get(id) != handed.serial]:
            self.past.append(self.leases.pop(id))
            self.early.discard(id)
        self.settle()
        event = self.queue.next_event()
        assert event is None or event > self.now

    @rule()
    def trim(self) -> None:
        self.queue.trim()

    @rule()
    def crash(self) -> None:
        self.queue.reset()
        self.past += self.leases.values()
        self.leases.clear()
        self.early.clear()
        assert all(holder.messages == 0 and holder.bytes == 0 for holder in self.holders)

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.queue.leased == len(self.leases)
        for holder in self.holders:
            out = [h for h in self.leases.values() if h.holder is holder and h.id not in self.early]
            assert holder.messages == len(out)
            assert holder.bytes == 10 * len(out)

    def teardown(self) -> None:
        """Nothing is lost: whoever goes on taking and acknowledging gets everything."""
        if not hasattr(self, "queue"):
            return
        rounds = 0
        while self.unsettled:
            rounds += 1
            assert rounds < 500, f"never delivered: {self.unsettled}"
            self.wait(700)
            self.load(100)
            for handed in self.take_with(Holder(), 100, 10):
                if handed.id in self.leases:
                    self.ack_lease(handed)


QueueMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestQueue = QueueMachine.TestCase


def items(count: int, size: int = 10, key: str = "") -> list[Item]:
    return [Item(id, key, size, b"x" * size) for id in range(1, count + 1)]


def ready(rules: Rules | None = None) -> Queue:
    queue = Queue(rules or Rules())
    queue.loaded([], complete=True)
    return queue


def test_memory_is_bounded_and_the_rest_stays_unread() -> None:
    queue = ready()
    queue.offer(items(WINDOW + 500))
    assert queue.unread
    assert queue.cursor == WINDOW
    taken = queue.take(Holder(), 10_000, BIG, 0, 10)
    assert len(taken) == WINDOW
    assert queue.wants() == WINDOW


def test_large_messages_fill_the_window_by_their_size() -> None:
    queue = ready()
    queue.offer(items(20, size=1 << 20))
    assert queue.unread
    assert queue.cursor < 10


def test_flow_control_counts_bytes_but_lets_one_large_message_through() -> None:
    queue, holder = ready(), Holder()
    queue.offer(items(3, size=100))
    assert len(queue.take(holder, 10, 50, 0, 10)) == 1
    assert queue.take(holder, 10, 50, 0, 10) == []
    assert holder.bytes == 100


def test_back_off_grows_with_each_attempt_up_to_the_maximum() -> None:
    queue, holder, now = ready(Rules(backoff=(10, 60))), Holder(), 0.0
    queue.offer(items(1))
    pauses = []
    for _ in range(5):
        ((lease, _),) = queue.take(holder, 1, BIG, now, 10)
        queue.modify(lease.item.id, lease.serial, 0, now)
        pauses.append(min(due for due, _, _ in queue._delayed) - now)
        now += pauses[-1]
        queue.tick(now)
    assert pauses == [10, 20, 40, 60, 60]


def test_a_message_dies_after_its_attempts() -> None:
    queue, holder = ready(Rules(max_attempts=5)), Holder()
    queue.offer(items(1))
    for attempt in range(1, 6):
        ((lease, _),) = queue.take(holder, 1, BIG, 0, 10)
        assert lease.item.attempts == attempt
        queue.modify(lease.item.id, lease.serial, 0, 0)
    assert [item.id for item in queue.effects.dead] == [1]
    assert queue.take(holder, 1, BIG, 0, 10) == []


def test_an_ordered_message_that_comes_again_brings_the_later_ones() -> None:
    queue, holder = ready(Rules(ordered=True)), Holder()
    queue.offer(items(3, key="k"))
    first, second, third = [lease for lease, _ in queue.take(holder, 3, BIG, 0, 10)]
    assert queue.ack(second.item.id, second.serial) is Answer.DONE
    assert queue.effects.settled == []
    queue.modify(first.item.id, first.serial, 0, 0)
    again = [lease.item.id for lease, _ in queue.take(holder, 3, BIG, 0, 10)]
    assert again == [1, 2, 3]
    assert queue.modify(third.item.id, third.serial, 60, 0) is Answer.INVALID


@pytest.mark.parametrize("exactly_once", [False, True])
def test_an_acknowledgement_after_the_deadline(exactly_once: bool) -> None:
    queue, holder = ready(Rules(exactly_once=exactly_once)), Holder()
    queue.offer(items(1))
    ((lease, _),) = queue.take(holder, 1, BIG, 0, 10)
    queue.tick(11)
    answer = queue.ack(lease.item.id, lease.serial)
    assert answer is (Answer.INVALID if exactly_once else Answer.DONE)
    assert len(queue.take(holder, 1, BIG, 11, 10)) == (1 if exactly_once else 0)
