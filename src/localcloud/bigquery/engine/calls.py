"""One function call while it is analysed, and the table of the functions that are known by name.

The functions themselves are in the modules `functions_*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from ..failures import InvalidQuery
from ..types import Type, array, scalar
from .scope import Analyze, Scope
from .values import Expr, coerce, coercible, supertype

Function = Callable[["Call"], Expr]
FUNCTIONS: dict[str, Function] = {}
"""Scalar functions by upper-case name."""
SIGNATURES: dict[str, list[Signature]] = {}
"""Functions that a template describes, by upper-case name."""

_WEEKDAYS = {
    day: number
    for number, day in enumerate(("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"), 1)
}


@dataclass(frozen=True)
class Signature:
    """`NAME(STRING, INT64...) -> STRING` and the DuckDB template that does it.

    T stands for any type, the same everywhere; `...` after the last lets it repeat.
    """

    arguments: tuple[str, ...]
    answer: str
    template: str
    variadic: bool = False

    def text(self, name: str) -> str:
        """The signature as messages show it."""
        return f"{name}({', '.join(self.arguments)}{', ...' if self.variadic else ''})"


_LINE = re.compile(r"(?P<name>[A-Z0-9_.]+)\((?P<arguments>[^)]*)\)\s*->\s*(?P<answer>\S+)\s*=\s*(?P<template>.*)")


def signatures(table: str) -> None:
    """Registers a table of lines `NAME(A, B) -> C = template`, `{0}` being the first argument."""
    for line in table.strip().splitlines():
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        assert match is not None, line
        arguments = [a.strip() for a in match["arguments"].split(",") if a.strip()]
        variadic = bool(arguments) and arguments[-1].endswith("...")
        clean = tuple(a.removesuffix("...") for a in arguments)
        signature = Signature(clean, match["answer"], match["template"], variadic)
        SIGNATURES.setdefault(match["name"], []).append(signature)


def function(*names: str) -> Callable[[Function], Function]:
    """Registers a function under its names."""

    def register(implementation: Function) -> Function:
        for name in names:
            FUNCTIONS[name] = implementation
        return implementation

    return register


@dataclass
class Call:
    """A call: its arguments are analysed when they are asked for.

    Args:
        name: Upper-case, with its namespace (`NET.HOST`).
        nodes: The arguments as they were written.
        scope: Where it stands.
        node: The call.
        analyze: The expression analyzer.
        distinct: DISTINCT within an aggregate.
        order: ORDER BY within an aggregate.
        limit: LIMIT within an aggregate.
        nulls: "IGNORE", "RESPECT" or "".
        having: HAVING MAX | MIN within ANY_VALUE and others.
        window: The OVER clause.
    """

    name: str
    nodes: Sequence[exp.Expr]
    scope: Scope
    node: exp.Expr
    analyze: Analyze
    distinct: bool = False
    order: list[exp.Expr] = field(default_factory=list)
    limit: exp.Expr | None = None
    nulls: str = ""
    having: exp.Expr | None = None
    window: exp.Expr | None = None
    _arguments: dict[int, Expr] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nodes)

    def arg(self, index: int) -> Expr:
        """The analysed argument."""
        if index not in self._arguments:
            if index >= len(self.nodes):
                raise self.mismatch()
            self._arguments[index] = self.analyze(self.nodes[index], self.scope)
        return self._arguments[index]

    def args(self) -> list[Expr]:
        """All arguments."""
        return [self.arg(i) for i in range(len(self.nodes))]

    def take(self, index: int, *types: Type) -> Expr:
        """The argument as the first of the types that it can be."""
        given = self.arg(index)
        for type_ in types:
            if given.type == type_:
                return given
        for type_ in types:
            if coercible(given, type_):
                return coerce(given, type_)
        raise self.mismatch()

    def expect(self, low: int, high: int | None = None) -> None:
        """Raises unless the number of arguments is right."""
        if not low <= len(self.nodes) <= (low if high is None else high):
            raise self.mismatch()

    def constant_text(self, index: int) -> str:
        """The value of a STRING literal or parameter."""
        given = self.arg(index)
        if not isinstance(given.value, str):
            raise self.scope.statement.refuse(
                f"{self.name} with an argument {index + 1} that is not a literal or parameter", self.node
            )
        if not isinstance(self.nodes[index], exp.Literal):
            self.scope.statement.cacheable = False
        return given.value

    def part(self, index: int) -> tuple[str, int]:
        """A date part: its upper-case name and, for WEEK, the weekday that starts it (Monday 1 … Sunday 7)."""
        if index >= len(self.nodes):
            raise self.mismatch()
        return date_part(self.nodes[index], self.scope)

    def error(self, message: str) -> InvalidQuery:
        """The message with the place of the call."""
        return self.scope.statement.error(message, self.node)

    def mismatch(self, known: Sequence[str] = ()) -> InvalidQuery:
        """`No matching signature for function F …`."""
        types = ", ".join(str(self.arg(i).type) for i in range(len(self.nodes)))
        shown = [s.text(self.name) for s in SIGNATURES.get(self.name, ())] or list(known)
        supported = f". Supported signature{'s' * (len(shown) > 1)}: {'; '.join(shown)}" if shown else ""
        given = f" for argument types: {types}" if types else " with no arguments"
        return self.error(f"No matching signature for function {self.name}{given}{supported}")


def date_part(node: exp.Expr, scope: Scope) -> tuple[str, int]:
    """A date part as it is written: DAY, WEEK(MONDAY) …"""
    if isinstance(node, exp.Anonymous):
        day = node.expressions[0].name.upper() if node.expressions else ""
        if node.name.upper() == "WEEK" and day in _WEEKDAYS:
            return "WEEK", _WEEKDAYS[day]
    elif isinstance(node, (exp.Column, exp.Var, exp.Identifier)) or node.name:
        name = node.name.upper()
        if name == "ISOWEEK":
            return "WEEK", 1
        return name, 7
    raise scope.statement.error("A valid date part name is required", node)


def call_signature(call: Call) -> Expr | None:
    """The call by the first signature that its arguments fit; None when none does."""
    arguments = call.args()
    best: tuple[int, Signature, list[Type], Type] | None = None
    for signature in SIGNATURES[call.name]:
        fitted = _fit(signature, arguments)
        if fitted is None:
            continue
        types, answer = fitted
        cost = sum(a.type != t for a, t in zip(arguments, types, strict=True))
        if best is None or cost < best[0]:
            best = (cost, signature, types, answer)
    if best is None:
        return None
    _, signature, types, answer = best
    values = [coerce(a, t).sql for a, t in zip(arguments, types, strict=True)]
    if signature.variadic:
        return Expr(signature.template.replace("{*}", ", ".join(values)), answer)
    return Expr(signature.template.format(*values), answer)


def _fit(signature: Signature, arguments: Sequence[Expr]) -> tuple[list[Type], Type] | None:
    wanted = list(signature.arguments)
    if signature.variadic:
        if len(arguments) < len(wanted):
            return None
        wanted += [wanted[-1]] * (len(arguments) - len(wanted))
    if len(wanted) != len(arguments):
        return None
    any_type: Type | None = None
    generic = [
        a if w == "T" or a.type.element is None else Expr("", a.type.element)
        for w, a in zip(wanted, arguments, strict=True)
        if w == "T" or (w == "ARRAY<T>" and a.type.element is not None)
    ]
    if generic:
        any_type = supertype(generic)
        if any_type is None:
            return None
        if any_type.kind == "NULL":
            any_type = scalar("INT64")
    types = []
    for name, argument in zip(wanted, arguments, strict=True):
        type_ = _type(name, any_type)
        if type_ is None or not coercible(argument, type_):
            return None
        types.append(type_)
    answer = _type(signature.answer, any_type)
    return None if answer is None else (types, answer)


def _type(name: str, any_type: Type | None) -> Type | None:
    if name == "T":
        return any_type
    if name.startswith("ARRAY<"):
        inner = _type(name[6:-1], any_type)
        return None if inner is None else array(inner)
    return scalar(name)
