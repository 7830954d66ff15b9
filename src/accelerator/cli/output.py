"""How the command line speaks: steps with their time, tables, and words for errors of Google's clients."""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """For scripts: nothing but JSON on stdout."""
    json_module.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


class Steps:
    """What was done, how long each step took and what came of it."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """One step: shown while it runs, then kept with its time. The yielded function says what came of it."""
        said: list[str] = []
        began = time.monotonic()
        with console.status(f"{title} …"):
            yield said.append
        seconds = time.monotonic() - began
        self.taken.append((title, seconds))
        line = Text.assemble(("✓ ", "green"), (title, "bold"), (f"  {seconds:.1f} s", "dim"))
        console.print(line)
        for text in said:
            console.print(Text(f"  {text}"))


def explain(error: Exception) -> str:
    """An unexpected error in the accelerator's form: headline, place, next step."""
    from accelerator.errors import AcceleratorError

    kind = type(error)
    headline = str(getattr(error, "message", "") or error) or kind.__name__
    if kind.__module__.startswith("google.api_core"):
        code = getattr(getattr(error, "grpc_status_code", None), "name", None) or kind.__name__
        return AcceleratorError(
            headline, place=f"Google Cloud API ({code})", next_step="`mlops doctor` checks the surroundings"
        ).render()
    return AcceleratorError(
        f"{kind.__name__}: {headline}", next_step="`mlops --debug …` shows where this came from"
    ).render()
