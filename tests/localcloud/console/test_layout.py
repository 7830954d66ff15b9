"""Layouts of graphs: no two boxes overlap, and every arrow leads down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.console.layout import GAP_X, layered


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[dict[str, tuple[float, float]], dict[str, set[str]]]:
    count = draw(st.integers(1, 14))
    side = st.floats(10, 300)
    sizes = {str(number): (draw(side), draw(side)) for number in range(count)}
    waits = {
        str(number): {str(other) for other in draw(st.sets(st.integers(0, number - 1), max_size=4))}
        for number in range(1, count)
    }
    return sizes, waits


@settings(max_examples=200, deadline=None)
@given(_graphs())
def test_boxes_do_not_overlap_and_arrows_lead_down(
    graph: tuple[dict[str, tuple[float, float]], dict[str, set[str]]],
) -> None:
    sizes, waits = graph
    layout = layered(sizes, waits)
    assert set(layout.places) == set(sizes)
    for name, (x, y) in layout.places.items():
        assert -0.01 <= x <= layout.width - sizes[name][0] + 0.01
        assert -0.01 <= y <= layout.height - sizes[name][1] + 0.01
        for other, (x2, y2) in layout.places.items():
            if other != name:
                beside = x + sizes[name][0] <= x2 + 0.01 or x2 + sizes[other][0] <= x + 0.01
                assert beside or y + sizes[name][1] <= y2 or y2 + sizes[other][1] <= y
    assert {(source, target) for source, target, _ in layout.edges} == {
        (other, name) for name, others in waits.items() for other in others
    }
    for source, target, points in layout.edges:
        heights = [y for _, y in points]
        assert heights == sorted(heights)
        assert heights[0] == layout.places[source][1] + sizes[source][1]
        assert heights[-1] == layout.places[target][1]


def test_a_chain_is_straight_and_brothers_stand_side_by_side() -> None:
    size = (100.0, 40.0)
    layout = layered(dict.fromkeys("abcd", size), {"b": {"a"}, "c": {"a"}, "d": {"b", "c"}})
    (a, b, c, d) = (layout.places[name] for name in "abcd")
    assert a[0] == d[0] == (b[0] + c[0]) / 2
    assert b[1] == c[1]
    assert c[0] - b[0] == 100 + GAP_X


def test_a_wide_layer_becomes_several_rows() -> None:
    many = [f"m{number}" for number in range(24)]
    sizes = dict.fromkeys(["first", *many, "last"], (200.0, 50.0))
    layout = layered(sizes, {"last": set(many), **{name: {"first"} for name in many}})
    assert layout.width < 1300
    assert len({y for _, y in layout.places.values()}) == 2 + 6  # four in a row
    assert len(layout.edges) == 48


def test_names_that_are_no_boxes_and_cycles_do_no_harm() -> None:
    size = (10.0, 10.0)
    layout = layered({"a": size, "b": size, "c": size}, {"a": {"b", "elsewhere"}, "b": {"a"}, "c": {"c"}})
    assert set(layout.places) == {"a", "b", "c"}
    assert layered({}, {}).places == {}
