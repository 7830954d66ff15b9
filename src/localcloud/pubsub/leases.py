"""What passes through a subscription's queue: waiting messages, leases, who holds them, and the rules for them.

What is done with them stands in `queue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Item:
    """A message that is not leased: its content is dropped when it has to wait for long.

    Args:
        id: The message id, increasing with time.
        key: The ordering key, empty where order does not matter.
        size: Bytes of the content.
        body: The serialized PubsubMessage; None has to be read again.
        attempts: How often it was delivered so far.
    """

    __slots__ = ("attempts", "body", "due", "gone", "id", "key", "size")

    def __init__(self, id: int, key: str, size: int, body: bytes | None, attempts: int = 0) -> None:
        self.id = id
        self.key = key
        self.size = size
        self.body = body
        self.attempts = attempts
        self.due = 0.0
        self.gone = False


class Holder:
    """Whoever messages are leased to: an open stream, one pull, or the pusher.

    Args:
        pipelines: Whether a message may follow an unacknowledged one of the same ordering key.
    """

    def __init__(self, *, pipelines: bool = True) -> None:
        self.pipelines = pipelines
        self.messages = 0
        self.bytes = 0


class Lease:
    """A message handed out, until its deadline or an answer."""

    __slots__ = ("acked", "deadline", "holder", "item", "serial")

    def __init__(self, item: Item, serial: int, deadline: float, holder: Holder) -> None:
        self.item = item
        self.serial = serial
        self.deadline = deadline
        self.holder: Holder | None = holder
        self.acked = False

    def let_go(self) -> None:
        """The holder is rid of the message, by whatever way."""
        if self.holder is not None:
            self.holder.messages -= 1
            self.holder.bytes -= self.item.size
            self.holder = None


@dataclass(frozen=True)
class Rules:
    """The settings of a subscription that decide about delivery (durations in seconds)."""

    ordered: bool = False
    exactly_once: bool = False
    backoff: tuple[float, float] | None = None
    """(minimum, maximum) of a retry policy."""
    max_attempts: int = 0
    """After so many failed deliveries a message is dead; 0 for never."""


class Answer(Enum):
    """What became of an acknowledgement or a change of deadline."""

    DONE = "done"
    INVALID = "PERMANENT_FAILURE_INVALID_ACK_ID"
    UNORDERED = "TRANSIENT_FAILURE_UNORDERED_ACK_ID"


@dataclass
class Effects:
    """What has to be made durable."""

    settled: list[int] = field(default_factory=list)
    """Ids of messages that are acknowledged."""
    dead: list[Item] = field(default_factory=list)
    """Messages that failed max_attempts times."""
    failed: list[Item] = field(default_factory=list)
    """Messages whose count of attempts is to be kept (only where it matters)."""

    def __bool__(self) -> bool:
        return bool(self.settled or self.dead or self.failed)
