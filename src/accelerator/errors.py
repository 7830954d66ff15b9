"""The accelerator's errors: what is wrong (headline), where (place) and what to do next.

Every error a user is meant to see is one of these and is printed by `render`; a stack trace of ours is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A position in a file of the user's: `mlops.yaml, line 7, column 3`."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        text = self.file
        if self.line is not None:
            text += f", line {self.line}"
        if self.column is not None:
            text += f", column {self.column}"
        return text


class AcceleratorError(Exception):
    """The base of the family.

    Args:
        headline: One sentence: what is wrong, with the names at fault.
        place: Where: a file and line of the user's, a table, a uri.
        next_step: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, headline: str, *, place: Place | str | None = None, next_step: str = "") -> None:
        super().__init__(headline)
        self.headline = headline
        self.place = place
        self.next_step = next_step

    def render(self) -> str:
        """The message as plain text, for a log or a terminal."""
        lines = [self.headline]
        if self.place is not None:
            lines.append(f"  at:   {self.place}")
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


class ConfigError(AcceleratorError):
    """mlops.yaml, a flag or an environment variable says something that cannot be used."""


class CodeError(AcceleratorError):
    """The plugged-in code does not import, does not fit the contract, or raised."""


class DataError(AcceleratorError):
    """The data are not there, not of the form declared, or cannot be learned from."""


class ModelError(AcceleratorError):
    """A model artifact is missing, incomplete or cannot be loaded."""


class StorageError(AcceleratorError):
    """A place in Cloud Storage or on disk cannot be read or written."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be; None if none is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to do about a wrong name: `Did you mean 'x'?`, else the names there are."""
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"Did you mean '{close}'?"
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"Use one of: {shown}." if names else ""
