"""Ordering (https://google.aip.dev/132) and page tokens (https://google.aip.dev/158) of lists.

Pages go on from the last item's place, not from an offset: what is inserted or deleted meanwhile neither
repeats nor hides another item. Which items there are is localcloud.resources' work.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from localcloud.comparing import comparable
from localcloud.errors import InvalidArgument
from localcloud.fields import Path, split_path

Place = list[Any]
"""Where an item stands in an order: one value a key, then the sequence number; JSON can hold it."""


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    items: list[Any]
    next_page_token: str
    """Empty on the last page."""
    total_size: int
    """How many items there are on all pages."""

    def __iter__(self) -> Any:
        return iter(self.items)


class Order:
    """An order_by string, such as `create_time desc, display_name`; equal items stay in order of creation.

    Raises:
        InvalidArgument: It does not parse or names an unknown field.
    """

    def __init__(self, text: str, descriptor: Descriptor) -> None:
        self.keys: list[tuple[Path, bool]] = []
        for part in text.split(",") if text.strip() else ():
            words = part.split()
            if not words or len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
                raise InvalidArgument(
                    f"Invalid order_by `{text}` at `{part.strip()}`: write `field` or `field desc`, joined by commas."
                )
            try:
                path = Path(descriptor, split_path(words[0]))
            except InvalidArgument as error:
                raise InvalidArgument(f"Invalid order_by `{text}`: {error.message}") from None
            self.keys.append((path, len(words) == 2 and words[1].lower() == "desc"))
        # Equal items stay in order of creation, in reverse where the last key is descending.
        self.newest_first = bool(self.keys) and self.keys[-1][1]

    def place(self, message: Any, sequence: int) -> Place:
        """The place of an item in this order."""
        return [*(self._key(path, message) for path, _ in self.keys), sequence]

    @staticmethod
    def _key(path: Path, message: Any) -> Any:
        value = next(path.values(message), None)
        key = comparable(value)
        if isinstance(key, (Message, bytes)) or not isinstance(key, (str, int, float, type(None))):
            raise InvalidArgument(f"Invalid order_by: `{path.text}` cannot be ordered by.")
        return key

    def compare(self, one: Place, other: Place) -> int:
        """Negative, zero or positive as `one` stands before, at or after `other`."""
        directions = [descending for _, descending in self.keys] + [self.newest_first]
        for first, second, descending in zip(one, other, directions, strict=True):
            found = _compare(first, second)
            if found:
                return -found if descending else found
        return 0

    @property
    def sort_key(self) -> Callable[[Place], Any]:
        """A key for sorted()."""
        return functools.cmp_to_key(self.compare)


def _compare(first: Any, second: Any) -> int:
    ranked_first, ranked_second = _rank(first), _rank(second)
    return (ranked_first > ranked_second) - (ranked_first < ranked_second)


def _rank(value: Any) -> tuple[int, Any]:
    """Values of a Struct may be of mixed types: unset ones first, then numbers, then text."""
    if value is None:
        return (0, 0)
    return (2, value) if isinstance(value, str) else (1, value)


def clamp_page_size(asked: int, default: int, maximum: int) -> int:
    """How many items a page holds: the default where none is asked for, at most the maximum.

    Raises:
        InvalidArgument: A negative size.
    """
    if asked < 0:
        raise InvalidArgument(f"page_size must not be negative, it is {asked}.")
    return min(asked or default, maximum)


def encode_token(arguments: Iterable[str], place: Place) -> str:
    """A page token: the place of the last item given out, bound to the other arguments of the list."""
    content = json.dumps([_digest(arguments), place], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def decode_token(token: str, arguments: Iterable[str], length: int) -> Place:
    """The place in a page token.

    Args:
        token: As encode_token made it.
        arguments: The other arguments of this list call.
        length: How many values a place has.

    Raises:
        InvalidArgument: The token is none of ours, or belongs to a list with other arguments.
    """
    try:
        digest, place = json.loads(base64.urlsafe_b64decode(token.encode()))
        usable = isinstance(place, list) and len(place) == length and isinstance(place[-1], int)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise InvalidArgument("page_token is not valid: pass the next_page_token of the page before, unchanged.")
    if digest != _digest(arguments):
        raise InvalidArgument(
            "page_token belongs to a list with other arguments: parent, filter and order_by must stay the same."
        )
    return list(place)


def _digest(arguments: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:16]
