"""A pipeline run as a drawing: boxes with their places, arrows as paths, groups with what is inside of them.

A loop shows one of its iterations: the one that was chosen, else the first that failed or runs. How boxes look is the
template's (templates/run.svg).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from localcloud.console.layout import Point, layered
from localcloud.console.tree import GROUPS, Node
from localcloud.console.values import duration

_CHARACTER = 7.9
"""The width of a character of 13 pixels in bold, on average."""
_LEAST, _MOST = 150.0, 280.0
_LEAF_HEIGHT = 50.0
_HEAD, _SWITCH, _PADDING = 50.0, 28.0, 18.0


@dataclass
class Box:
    """A task as it is drawn; places are relative to what it is in."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    title: str
    """Its name, shortened to its width."""
    note: str
    """Its state, time and whatever else there is to say in few words."""
    chosen: bool = False
    inside: Drawing | None = None
    inside_at: Point = (0.0, 0.0)
    shown: Node | None = None
    """The iteration of a loop that is drawn."""
    before: Node | None = None
    after: Node | None = None
    """Its neighbours among the iterations."""


@dataclass
class Drawing:
    """The tasks of one DAG."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Box] = field(default_factory=list)
    arrows: list[tuple[str, bool]] = field(default_factory=list)
    """SVG paths, and whether what they lead to was ever started."""


def draw(root: Node, chosen: Node | None) -> Drawing:
    """The drawing of a run.

    Args:
        root: The run.
        chosen: The task that is marked, and whose iterations are shown.
    """
    return _dag(root, chosen, frozenset(node.id for node in chosen.above()) if chosen is not None else frozenset())


def shown_iteration(loop: Node, open_: frozenset[str]) -> Node | None:
    """The iteration of a loop that is drawn; None where there is none yet."""
    for wanted in ("chosen", "FAILED", "RUNNING"):
        for iteration in loop.children:
            if iteration.id in open_ if wanted == "chosen" else iteration.state == wanted:
                return iteration
    return loop.children[0] if loop.children else None


def _dag(owner: Node, chosen: Node | None, open_: frozenset[str]) -> Drawing:
    boxes = {node.name: _box(node, chosen, open_) for node in owner.children}
    layout = layered(
        {name: (box.width, box.height) for name, box in boxes.items()},
        {name: box.node.waits for name, box in boxes.items()},
    )
    drawing = Drawing(layout.width, layout.height, list(boxes.values()))
    for name, box in boxes.items():
        box.x, box.y = layout.places[name]
    for _, target, points in layout.edges:
        reached = boxes[target].node.word not in ("waiting", "not triggered")
        drawing.arrows.append((_path(points), reached))
    return drawing


def _box(node: Node, chosen: Node | None, open_: frozenset[str]) -> Box:
    note = _note(node)
    width = min(_MOST, max(_LEAST, (max(len(node.title), len(note)) + 4) * _CHARACTER))
    box = Box(node, 0.0, 0.0, width, _LEAF_HEIGHT, "", note, chosen is not None and chosen is node)
    if node.kind in GROUPS:
        _fill(box, chosen, open_)
    box.title = shortened(node.title, box.width)
    return box


def _fill(box: Box, chosen: Node | None, open_: frozenset[str]) -> None:
    """Draw what is inside of a group."""
    node, head = box.node, _HEAD
    inner: Node | None = node
    if node.kind == "loop":
        inner = shown_iteration(node, open_)
        if inner is not None:
            box.shown, head = inner, _HEAD + _SWITCH
            number = node.children.index(inner)
            box.before = node.children[number - 1] if number else None
            box.after = node.children[number + 1] if number + 1 < len(node.children) else None
            box.width = max(box.width, 230.0)
    if inner is None or not inner.children:
        return
    inside = _dag(inner, chosen, open_)
    box.inside = inside
    box.width = max(box.width, inside.width + 2 * _PADDING)
    box.height = head + inside.height + _PADDING
    box.inside_at = ((box.width - inside.width) / 2, head)


def _note(node: Node) -> str:
    parts = [node.word]
    if node.seconds is not None:
        parts.append(duration(node.seconds))
    if node.kind == "loop" and node.summary:
        parts = [node.summary, *parts[1:]]
    elif node.attempts > 1:
        parts.append(f"{node.attempts} attempts")
    if node.kind != "task":
        parts.insert(0, node.kind)
    return " · ".join(parts)


def shortened(text: str, width: float) -> str:
    """Text cut to a width in pixels, less what the sign before it takes."""
    most = max(4, int(width / _CHARACTER) - 3)
    return text if len(text) <= most else text[: most - 1] + "…"


def _path(points: Sequence[Point]) -> str:
    """A smooth line through points: each piece leaves and arrives straight from above."""
    x, y = points[0]
    parts = [f"M{x:.1f} {y:.1f}"]
    for next_x, next_y in points[1:]:
        if abs(next_x - x) < 0.5:
            parts.append(f"L{next_x:.1f} {next_y:.1f}")
        else:
            middle = (y + next_y) / 2
            parts.append(f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return " ".join(parts)
