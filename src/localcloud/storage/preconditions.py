"""Generation and metageneration preconditions: how a request names them and when they hold.

Source: cloud.google.com/storage/docs/request-preconditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from localcloud.storage import errors


class Versioned(Protocol):
    """What preconditions look at: an object, or a bucket (whose generation is not looked at)."""

    @property
    def generation(self) -> int:
        """When the content was written, in microseconds since 1970."""

    @property
    def metageneration(self) -> int:
        """How many times the metadata was written since."""


@dataclass(frozen=True)
class Preconditions:
    """What must hold of the live version; None where nothing is asked."""

    generation: int | None = None
    """The generation it must have; 0: there must be none."""
    not_generation: int | None = None
    """The generation it must not have; 0: there must be one."""
    metageneration: int | None = None
    not_metageneration: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str], kind: str = "") -> Preconditions:
        """Read them off the query parameters.

        Args:
            parameters: The query, such as {"ifGenerationMatch": "0"}.
            kind: `Source` for the preconditions on the source of a copy.
        """

        def number(name: str) -> int | None:
            text = parameters.get(name)
            if text is None or text == "":
                return None
            try:
                return int(text)
            except ValueError:
                raise errors.invalid(f"Invalid value for '{name}': '{text}' is no integer.", name) from None

        return cls(
            number(f"if{kind}GenerationMatch"),
            number(f"if{kind}GenerationNotMatch"),
            number(f"if{kind}MetagenerationMatch"),
            number(f"if{kind}MetagenerationNotMatch"),
        )

    def __bool__(self) -> bool:
        return self != Preconditions()

    def check(self, current: Versioned | None, reading: bool = False) -> None:
        """Raise 412, or 304 for a negative precondition of a read, unless all hold.

        Args:
            current: The version asked about; None if there is no such object.
            reading: Whether the request only reads.
        """
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else None
        if self.generation not in (None, generation):
            raise errors.precondition()
        if self.metageneration not in (None, metageneration):
            raise errors.precondition()
        if self.not_generation == generation or (
            self.not_metageneration is not None and self.not_metageneration == metageneration
        ):
            raise errors.not_modified() if reading else errors.precondition()
