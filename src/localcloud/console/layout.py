"""Where the boxes and arrows of a directed acyclic graph go: in layers from above, with few crossings.

The method of Sugiyama (https://doi.org/10.1109/TSMC.1981.4308636): layers by the longest way from a source, long
edges cut by invisible nodes, order by barycentres, and then places as near to the neighbours as the order allows.
What the boxes are is the caller's; sizes and places are in pixels.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

GAP_X, GAP_Y = 28.0, 44.0
_SWEEPS = 8
_WIDEST = 900.0
"""The width of a layer from which on it becomes several."""
_EDGE_WIDTH = 8.0
"""The width that a long edge needs where it goes between boxes."""

Size = tuple[float, float]
Point = tuple[float, float]


@dataclass
class Layout:
    """A drawn graph."""

    width: float = 0.0
    height: float = 0.0
    places: dict[str, Point] = field(default_factory=dict)
    """The upper left corner of each box."""
    edges: list[tuple[str, str, list[Point]]] = field(default_factory=list)
    """From, to, and the points that the edge goes through."""


@dataclass(eq=False)
class _Item:
    """A box, or the place where a long edge crosses a layer."""

    name: str
    layer: int
    width: float
    height: float
    center: float = 0.0
    before: list[_Item] = field(default_factory=list)
    after: list[_Item] = field(default_factory=list)


def layered(sizes: Mapping[str, Size], waits: Mapping[str, Collection[str]]) -> Layout:
    """Lay out a graph.

    Args:
        sizes: Width and height of each box, in the order in which boxes without a better place stand.
        waits: For each box the boxes that come before it; names that are no boxes count for nothing.
    """
    if not sizes:
        return Layout()
    depths = _rows(sizes, _depths(sizes, waits))
    items = {name: _Item(name, depths[name], *size) for name, size in sizes.items()}
    layers: list[list[_Item]] = [[] for _ in range(max(depths.values()) + 1)]
    for item in items.values():
        layers[item.layer].append(item)
    chains = _connect(items, layers, waits)
    _order(layers)
    _place(layers)
    return _finish(items, layers, chains)


def _depths(sizes: Mapping[str, Size], waits: Mapping[str, Collection[str]]) -> dict[str, int]:
    """The layer of each box; boxes on a cycle, which a pipeline has not, end up in some layer."""
    depths: dict[str, int] = {}
    for start in sizes:
        stack, open_ = [start], set()
        while stack:
            name = stack[-1]
            open_.add(name)
            missing = [other for other in waits.get(name, ()) if other in sizes and other not in depths]
            missing = [other for other in missing if other not in open_]
            if missing and name not in depths:
                stack.extend(missing)
                continue
            stack.pop()
            depths[name] = 1 + max((depths.get(other, -1) for other in waits.get(name, ())), default=-1)
    return depths


def _rows(sizes: Mapping[str, Size], depths: Mapping[str, int]) -> dict[str, int]:
    """The same with layers that would be too wide as several, one below the other."""
    layers: list[list[str]] = [[] for _ in range(max(depths.values()) + 1)]
    for name, depth in depths.items():
        layers[depth].append(name)
    found, row = {}, -1
    for layer in layers:
        used = _WIDEST + 1.0
        row_of_layer = row
        for name in layer:
            width = sizes[name][0] + GAP_X
            if used + width > _WIDEST + GAP_X:
                row_of_layer, used = row_of_layer + 1, 0.0
            found[name] = row_of_layer
            used += width
        row = row_of_layer
    return found


def _connect(
    items: Mapping[str, _Item], layers: list[list[_Item]], waits: Mapping[str, Collection[str]]
) -> list[list[_Item]]:
    """The edges as chains of items, one in each layer that they pass.

    Long edges that leave one box, or arrive at one, go together: whichever of the two has more of them.
    """
    chains = []
    leaving = Counter(other for others in waits.values() for other in others)
    bends: dict[tuple[str, bool, int], _Item] = {}
    for name, target in items.items():
        for other in sorted(waits.get(name, ())):
            source = items.get(other)
            if source is None or source.layer >= target.layer:
                continue
            chain = [source]
            fans_out = leaving[other] >= len(waits[name])
            for layer in range(source.layer + 1, target.layer):
                key = (other if fans_out else name, fans_out, layer)
                if key not in bends:
                    bends[key] = _Item("", layer, _EDGE_WIDTH, 0.0)
                    # among equals in the middle: what hangs on it then stays below what it came from
                    layers[layer].insert(len(layers[layer]) // 2, bends[key])
                chain.append(bends[key])
            chain.append(target)
            for upper, lower in itertools.pairwise(chain):
                if lower not in upper.after:
                    upper.after.append(lower)
                    lower.before.append(upper)
            chains.append(chain)
    return chains


def _order(layers: Sequence[list[_Item]]) -> None:
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            ranks = {item: rank for rank, item in enumerate(layer)}
            for item in layer:
                others = item.before if down else item.after
                item.center = sum(other.center for other in others) / len(others) if others else ranks[item]
            layer.sort(key=lambda item: (item.center, ranks[item]))
            for rank, item in enumerate(layer):
                item.center = rank


def _place(layers: Sequence[list[_Item]]) -> None:
    for layer in layers:
        _pack(layer, [0.0] * len(layer))
    widest = max(sum(item.width + GAP_X for item in layer) - GAP_X for layer in layers)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = []
            for item in layer:
                others = (item.before if down else item.after) or item.before or item.after
                wanted.append(sum(other.center for other in others) / len(others) if others else item.center)
            _pack(layer, wanted)
            _keep_within(layer, widest / 2)


def _keep_within(layer: Sequence[_Item], half: float) -> None:
    """Shift a layer so that it is between -half and half, where it fits."""
    left = layer[0].center - layer[0].width / 2
    right = layer[-1].center + layer[-1].width / 2
    shift = max(0.0, -half - left) - max(0.0, right - half)
    for item in layer:
        item.center += shift


def _pack(layer: Sequence[_Item], wanted: Sequence[float]) -> None:
    """Put the items of a layer, in order and without overlap, as near as can be to where they would like to be.

    The least squares under an order: pool adjacent violators (isotonic regression).
    """
    offsets, offset = [], 0.0
    for number, item in enumerate(layer):
        if number:
            offset += layer[number - 1].width / 2 + GAP_X + item.width / 2
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        total, count = want - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    number = 0
    for total, count in pools:
        for _ in range(count):
            layer[number].center = total / count + offsets[number]
            number += 1


def _finish(items: Mapping[str, _Item], layers: Sequence[list[_Item]], chains: Sequence[list[_Item]]) -> Layout:
    left = min(item.center - item.width / 2 for layer in layers for item in layer)
    right = max(item.center + item.width / 2 for layer in layers for item in layer)
    tops, y = [], 0.0
    for layer in layers:
        tops.append(y)
        y += max(item.height for item in layer) + GAP_Y
    layout = Layout(width=right - left, height=y - GAP_Y)
    for name, item in items.items():
        layout.places[name] = (item.center - item.width / 2 - left, tops[item.layer])
    bottoms = [top + max(item.height for item in layer) for top, layer in zip(tops, layers, strict=True)]
    for chain in chains:
        first, last = chain[0], chain[-1]
        points = [(first.center - left, tops[first.layer] + first.height)]
        if bottoms[first.layer] > points[0][1]:
            points.append((first.center - left, bottoms[first.layer]))  # straight down beside its taller neighbours
        for bend in chain[1:-1]:
            points += [(bend.center - left, tops[bend.layer]), (bend.center - left, bottoms[bend.layer])]
        points.append((last.center - left, tops[last.layer]))
        layout.edges.append((first.name, last.name, points))
    return layout
