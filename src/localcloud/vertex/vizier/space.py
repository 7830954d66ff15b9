"""The search space of a StudySpec: what its parameters may be, which of them a trial has, and the points of its grid.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ParameterSpec; choosing among the points is
localcloud.vertex.vizier.suggesting's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from localcloud.errors import InvalidArgument
from localcloud.values import fill
from localcloud.vertex.common import invalid, v1

Value = float | int | str
Scale = Literal["linear", "log", "reverse_log"]

EPSILON = 1e-10
"""Values of a DISCRETE parameter that are nearer to each other than this are the same."""
MOST_DISCRETE_VALUES = 1000
_EXACT = 2**53
"""Whole numbers up to here are exact as the double that `number_value` is."""
_MOST_PARENT_VALUES = 100_000
"""Of an INTEGER parameter with conditional ones, in a grid: each value is looked at."""
_SCALES: dict[str, Scale] = {
    "SCALE_TYPE_UNSPECIFIED": "linear",
    "UNIT_LINEAR_SCALE": "linear",
    "UNIT_LOG_SCALE": "log",
    "UNIT_REVERSE_LOG_SCALE": "reverse_log",
}


@dataclass(frozen=True)
class Node:
    """One parameter.

    Args:
        path: Tells it from a namesake under another condition: `model[1].depth`.
        id: The parameter's id.
        kind: As in the API: `double`, `integer`, `categorical` or `discrete`.
        low: The least value of a number.
        high: The greatest.
        values: All values of a categorical or discrete one.
        scale: How its values are spread.
        default: A good starting point, where one is known.
        children: What is a parameter too where this one has certain values.
    """

    path: str
    id: str
    kind: Literal["double", "integer", "categorical", "discrete"]
    low: float | int = 0
    high: float | int = 0
    values: tuple[Value, ...] = ()
    scale: Scale = "linear"
    default: Value | None = None
    children: tuple[Condition, ...] = ()

    def under(self, value: Value) -> list[Node]:
        """The parameters that this one's value brings along."""
        return [child.node for child in self.children if any(_same(value, one) for one in child.values)]

    def read(self, given: Any) -> Value | None:
        """The value that a google.protobuf.Value stands for; None where it is none of this parameter's."""
        kind = given.WhichOneof("kind")
        if self.kind == "categorical":
            return given.string_value if kind == "string_value" and given.string_value in self.values else None
        if kind != "number_value" or not math.isfinite(given.number_value):
            return None
        number: float = given.number_value
        if self.kind == "discrete":
            return next((value for value in self.values if _same(value, number)), None)
        if not self.low <= number <= self.high or (self.kind == "integer" and not number.is_integer()):
            return None
        return int(number) if self.kind == "integer" else number

    def __str__(self) -> str:
        if self.values:
            return f"one of {', '.join(map(str, self.values[:20]))}{', …' if len(self.values) > 20 else ''}"
        return f"{'a whole number' if self.kind == 'integer' else 'a number'} from {self.low} to {self.high}"


@dataclass(frozen=True)
class Condition:
    """A parameter that there is where its parent has one of certain values."""

    values: tuple[Value, ...]
    node: Node


@dataclass(frozen=True)
class Space:
    """All parameters of a study."""

    roots: tuple[Node, ...]

    def walk(self, choose: Callable[[Node], Value]) -> dict[str, Value]:
        """Choose a value for each parameter that there is, parents first; gives them by id."""
        chosen: dict[str, Value] = {}

        def visit(nodes: Iterable[Node]) -> None:
            for node in nodes:
                chosen[node.id] = choose(node)
                visit(node.under(chosen[node.id]))

        visit(self.roots)
        return chosen

    def read(self, parameters: Iterable[Any], field: str, *, partial: bool = False) -> dict[str, Value]:
        """Values out of Trial.Parameter messages.

        Args:
            parameters: The messages.
            field: Where they came from, for an error.
            partial: Whether some may be left out.

        Raises:
            InvalidArgument: One is missing, too many, given twice, or has a value outside the search space.
        """
        given: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.parameter_id in given:
                raise invalid(field, f"Parameter `{parameter.parameter_id}` is given twice.")
            given[parameter.parameter_id] = parameter.value
        found: dict[str, Value] = {}

        def visit(nodes: Iterable[Node]) -> None:
            for node in nodes:
                if node.id not in given:
                    if not partial:
                        raise invalid(field, f"Parameter `{node.id}` has no value.")
                    continue
                value = node.read(given[node.id])
                if value is None:
                    raise invalid(field, f"Parameter `{node.id}` must be {node}.")
                found[node.id] = value
                visit(node.under(value))

        visit(self.roots)
        unknown = [name for name in given if name not in found]
        if unknown:
            raise invalid(
                field,
                f"There is no parameter `{unknown[0]}` in the study, or none under the values of the others. "
                f"Parameters: {', '.join(self.ids())}.",
            )
        return found

    def is_whole(self, values: Mapping[str, Value]) -> bool:
        """Whether every parameter that there is has a value."""

        def whole(nodes: Iterable[Node]) -> bool:
            return all(node.id in values and whole(node.under(values[node.id])) for node in nodes)

        return whole(self.roots)

    def ids(self) -> list[str]:
        """The ids of all parameters, conditional ones too."""
        return list(dict.fromkeys(node.id for node in _all(self.roots)))

    def has_doubles(self) -> bool:
        """Whether a parameter is a real number, so that there are no end of points."""
        return any(node.kind == "double" for node in _all(self.roots))

    def size(self) -> int:
        """How many points the grid has; there must be no real numbers."""
        return _size(self.roots)

    def point(self, number: int) -> dict[str, Value]:
        """One of the grid's points, from 0 to size() - 1; the last parameter varies fastest."""
        found: dict[str, Value] = {}
        _point(self.roots, number, found)
        return found


def read_space(spec: Any, field: str) -> Space:
    """The search space of a StudySpec.

    Args:
        spec: The StudySpec.
        field: Where it came from, for an error.

    Raises:
        InvalidArgument: Naming the field that is wrong.
    """
    place = f"{field}.parameters"
    if not spec.parameters:
        raise invalid(place, "At least one parameter is required.")
    space = Space(tuple(_node(each, f"{place}[{i}]", each.parameter_id) for i, each in enumerate(spec.parameters)))
    _check_ids(space.roots, place)
    if v1.StudySpec.Algorithm.Name(spec.algorithm) == "GRID_SEARCH":
        for node in _all(space.roots):
            if node.kind == "double":
                raise invalid(
                    place,
                    f"GRID_SEARCH needs parameters of type INTEGER, CATEGORICAL or DISCRETE; `{node.id}` is DOUBLE.",
                )
            if node.kind == "integer" and node.children and node.high - node.low > _MOST_PARENT_VALUES:
                raise invalid(
                    place, f"`{node.id}` has conditional parameters and too many values for GRID_SEARCH: {node}."
                )
    return space


def fill_parameters(trial: Any, values: Mapping[str, Value]) -> None:
    """Put values into a Trial's parameters."""
    del trial.parameters[:]
    for name, value in values.items():
        fill(trial.parameters.add(parameter_id=name).value, value)


# Reading


def _node(spec: Any, place: str, path: str) -> Node:
    name = spec.parameter_id
    if any(char.isspace() for char in name):
        raise invalid(f"{place}.parameter_id", f"Must not contain whitespace: `{name}`.")
    kind = spec.WhichOneof("parameter_value_spec")
    if kind is None:
        raise invalid(
            place,
            f"Parameter `{name}` needs one of double_value_spec, integer_value_spec, categorical_value_spec and "
            "discrete_value_spec.",
        )
    given = getattr(spec, kind)
    here = f"{place}.{kind}"
    fields: dict[str, Any] = {"path": path, "id": name, "kind": kind.removesuffix("_value_spec")}
    fields["scale"] = _SCALES[v1.StudySpec.ParameterSpec.ScaleType.Name(spec.scale_type)]
    if kind in ("double_value_spec", "integer_value_spec"):
        fields |= {"low": given.min_value, "high": given.max_value}
        _check_range(given.min_value, given.max_value, here)
    else:
        fields["values"] = tuple(given.values)
        _check_values(fields["kind"], given.values, here)
    node = Node(**fields)
    if node.scale != "linear":
        if node.kind == "categorical":
            raise invalid(f"{place}.scale_type", f"Leave it unset for `{name}`, which is CATEGORICAL.")
        if any(number <= 0 for number in (node.values or (node.low,)) if not isinstance(number, str)):
            raise invalid(f"{place}.scale_type", f"The values of `{name}` must be greater than 0 for this scale.")
    default = _default(node, given, here)
    children = tuple(
        _child(
            node, child, f"{place}.conditional_parameter_specs[{i}]", f"{path}[{i}].{child.parameter_spec.parameter_id}"
        )
        for i, child in enumerate(spec.conditional_parameter_specs)
    )
    return Node(**fields, default=default, children=children)


def _default(node: Node, given: Any, place: str) -> Value | None:
    if not given.HasField("default_value"):
        return None
    default: Value = given.default_value
    if node.kind == "discrete":
        return min(node.values, key=lambda value: abs(float(value) - float(default)))
    fits = default in node.values if node.kind == "categorical" else node.low <= default <= node.high  # type: ignore[operator]
    if not fits:
        raise invalid(f"{place}.default_value", f"Must be {node}.")
    return default


def _child(parent: Node, spec: Any, place: str, path: str) -> Condition:
    kind = spec.WhichOneof("parent_value_condition")
    wanted = {
        "integer": "parent_int_values",
        "categorical": "parent_categorical_values",
        "discrete": "parent_discrete_values",
    }.get(parent.kind)
    if wanted is None:
        raise invalid(place, f"`{parent.id}` is DOUBLE: no parameters can be conditional on it.")
    if kind != wanted:
        raise invalid(place, f"`{parent.id}` is {parent.kind.upper()}: its conditional parameters need {wanted}.")
    values = getattr(spec, kind).values
    if not values:
        raise invalid(f"{place}.{kind}.values", "Required field is not set.")
    for value in values:
        inside = (
            parent.low <= value <= parent.high
            if parent.kind == "integer"
            else any(_same(value, one) for one in parent.values)
        )
        if not inside:
            raise invalid(f"{place}.{kind}.values", f"{value} is no value of `{parent.id}`, which is {parent}.")
    return Condition(tuple(values), _node(spec.parameter_spec, f"{place}.parameter_spec", path))


def _check_range(low: float, high: float, place: str) -> None:
    for name, value in (("min_value", low), ("max_value", high)):
        if not math.isfinite(value) or abs(value) > (_EXACT if isinstance(value, int) else math.inf):
            raise invalid(f"{place}.{name}", f"{value} is out of range.")
    if low > high:
        raise invalid(f"{place}.max_value", f"Must not be less than min_value: {high} < {low}.")


def _check_values(kind: str, values: Sequence[Any], place: str) -> None:
    if not values:
        raise invalid(f"{place}.values", "Required field is not set.")
    if kind == "categorical":
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise invalid(f"{place}.values", f"`{twice}` is there twice.")
        return
    if len(values) > MOST_DISCRETE_VALUES:
        raise invalid(f"{place}.values", f"At most {MOST_DISCRETE_VALUES} values are allowed, there are {len(values)}.")
    if not all(math.isfinite(value) for value in values):
        raise invalid(f"{place}.values", "Values must be finite numbers.")
    if any(after - before < EPSILON for before, after in pairwise(values)):
        raise invalid(f"{place}.values", "Values must be in increasing order and at least 1e-10 apart.")


def _check_ids(nodes: Sequence[Node], place: str) -> set[str]:
    """The ids below, none of which may stand for two parameters of one trial."""
    taken: set[str] = set()
    for node in nodes:
        below: list[tuple[Condition, set[str]]] = []
        for child in node.children:
            ids = _check_ids([child.node], place)
            for other, others in below:
                both = ids & others
                if both and any(_same(one, two) for one in child.values for two in other.values):
                    raise _twice(both.pop(), place)
            below.append((child, ids))
        ids = set().union(*(ids for _, ids in below))
        for clash in ({node.id} & ids, ({node.id} | ids) & taken):
            if clash:
                raise _twice(clash.pop(), place)
        taken |= {node.id} | ids
    return taken


def _twice(name: str, place: str) -> InvalidArgument:
    return invalid(
        place,
        f"Parameter id `{name}` is there twice: ids must be unique, except under conditions that exclude each other.",
    )


def _same(one: Value, two: Value) -> bool:
    if isinstance(one, float) or isinstance(two, float):
        return not isinstance(one, str) and not isinstance(two, str) and abs(one - two) <= EPSILON
    return one == two


# The grid


def _all(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        yield from _all(child.node for child in node.children)


def _values(node: Node) -> Sequence[Value]:
    return node.values or range(int(node.low), int(node.high) + 1)


def _size(nodes: Sequence[Node]) -> int:
    return math.prod(
        sum(_size(node.under(value)) for value in _values(node)) if node.children else _count(node) for node in nodes
    )


def _count(node: Node) -> int:
    return len(node.values) or int(node.high) - int(node.low) + 1


def _point(nodes: Sequence[Node], number: int, found: dict[str, Value]) -> None:
    for index, node in enumerate(nodes):
        rest = _size(nodes[index + 1 :])
        here, number = divmod(number, rest)
        if not node.children:
            found[node.id] = _values(node)[here]
            continue
        for value in _values(node):
            below = node.under(value)
            size = _size(below)
            if here < size:
                found[node.id] = value
                _point(below, here, found)
                break
            here -= size
