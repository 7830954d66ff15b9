"""How a run looks in a terminal while it goes on: a live tree of its tasks, or a line for each change of a state.

The tree itself is accelerator.cli.run_tree's.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from accelerator.cli.output import console
from accelerator.cli.run_tree import Node

_SIGNS = {
    "PENDING": ("·", "dim"),
    "RUNNING": ("▶", "cyan"),
    "SUCCEEDED": ("✓", "green"),
    "SKIPPED": ("≡", "green"),
    "FAILED": ("✗", "red"),
    "NOT_TRIGGERED": ("○", "dim"),
}
_OTHER = ("■", "yellow")
_ITERATIONS = 4
"""How many of a loop's iterations are shown one by one: those that failed, then those that run."""


class View(Protocol):
    """Shows a run."""

    def show(self, title: str, root: Node) -> None:
        """The run as it stands now."""

    def close(self) -> None:
        """Nothing more will come."""


def view(as_json: bool) -> View:
    """The view that fits where the output goes."""
    if as_json:
        return _Silent()
    return _Live() if console.is_terminal else _Lines()


class _Silent:
    def show(self, title: str, root: Node) -> None:
        """Scripts want the end alone."""

    def close(self) -> None:
        """There is nothing to close."""


class _Lines:
    """One line for each change of a task's state."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def show(self, title: str, root: Node) -> None:
        """Print what has changed."""
        now = datetime.now(UTC)
        for node in root.walk():
            # a loop's rounds are told by their tasks; what waits has not changed yet
            if node is root or node.kind == "iteration" or node.state == "PENDING":
                continue
            if self._states.get(node.path) == node.state:
                continue
            self._states[node.path] = node.state
            seconds = node.seconds(now) if node.over else None
            line = f"{now.astimezone():%H:%M:%S}  {node.path}  {node.word}"
            console.print(line if seconds is None else f"{line}  {duration(seconds)}", markup=False)

    def close(self) -> None:
        """Everything is printed."""


class _Live:
    """A tree that changes in place."""

    def __init__(self) -> None:
        self._live = Live(console=console, refresh_per_second=8, vertical_overflow="ellipsis")
        self._live.start()

    def show(self, title: str, root: Node) -> None:
        """Draw the tree anew."""
        self._live.update(Group(Text(title, "bold"), *render(root)))

    def close(self) -> None:
        """Leave the last tree where it is."""
        with suppress(Exception):
            self._live.stop()


def render(root: Node) -> list[Any]:
    """The trees of a run's tasks, one for each task at the top."""
    now = datetime.now(UTC)
    return [_branch(Tree(_line(node, now), guide_style="dim"), node, now) for node in root.children]


def _branch(tree: Tree, node: Node, now: datetime) -> Tree:
    for child in _shown(node):
        _branch(tree.add(_line(child, now)), child, now)
    return tree


def _shown(node: Node) -> list[Node]:
    """What is drawn below a task: nothing below one that is over and went well."""
    if node.state in ("SUCCEEDED", "SKIPPED", "NOT_TRIGGERED"):
        return []
    if node.kind != "loop":
        return node.children
    failed = [child for child in node.children if child.state == "FAILED"]
    running = [child for child in node.children if child.state == "RUNNING"]
    return (failed + running)[:_ITERATIONS]


def _line(node: Node, now: datetime) -> Text:
    sign, style = _SIGNS.get(node.state, _OTHER)
    line = Text.assemble((f"{sign} ", style), node.name)
    if node.state not in ("SUCCEEDED", "RUNNING"):
        line.append(f"  {node.word}", style)
    if node.kind == "loop" and node.children:
        line.append(f"  {loop_words(node)}", "dim")
    elif node.kind != "task" and node.state == "SUCCEEDED" and node.children:
        line.append(f"  {sum(1 for _ in node.leaves())} tasks", "dim")
    seconds = node.seconds(now)
    if seconds is not None:
        line.append(f"  {duration(seconds)}", "dim")
    return line


def loop_words(loop: Node) -> str:
    """`12 of 200 · 2 running · 1 failed`."""
    counts = loop.counts()
    done = sum(child.over for child in loop.children)
    whole = loop.items if loop.items is not None else len(loop.children)
    rest = [f"{count} {word}" for word, count in counts.items() if word not in ("succeeded", "waiting", "cached")]
    return " · ".join([f"{done} of {whole}", *rest])


def duration(seconds: float) -> str:
    """`0.6 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
