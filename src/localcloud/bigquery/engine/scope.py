"""What names stand for while a statement is analysed: sources, columns, aliases, CTEs, parameters.

The walk over queries is in `query.py`, that over expressions in `expressions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlglot import exp

from ..failures import InvalidQuery, Refused
from ..refs import DatasetRef, TableRef
from ..storage import literal
from ..types import JSON, Type, quote, struct
from .dialect import place
from .values import Expr, field_access


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a name can stand for; `hidden` ones are not part of `*`."""

    name: str
    expr: Expr
    hidden: bool = False


@dataclass(slots=True)
class Source:
    """Something in FROM: its alias and its columns; `row` is the element of a value table (UNNEST)."""

    name: str
    columns: list[Column]
    row: Expr | None = None

    def find(self, name: str) -> Column | None:
        """The column of this name, compared without case."""
        lower = name.lower()
        return next((c for c in self.columns if c.name.lower() == lower), None)

    def whole(self) -> Expr:
        """The row as one value."""
        if self.row is not None:
            return self.row
        visible = [c for c in self.columns if not c.hidden]
        packed = ", ".join(f"{quote(c.name or f'_field_{i}')} := {c.expr.sql}" for i, c in enumerate(visible, 1))
        return Expr(f"struct_pack({packed})", struct((c.name, c.expr.type) for c in visible))


@dataclass(slots=True)
class Relation:
    """A query as DuckDB SQL: its columns are `c1`, `c2` … in order; `value_table` has one, without a name."""

    sql: str
    columns: list[tuple[str, Type]]
    value_table: bool = False
    literals: dict[int, Type] = field(default_factory=dict)
    """The columns, from 1, that are literals, with what they were: these coerce further in a set operation."""


class Environment(Protocol):
    """What the analyzer asks of the engine."""

    project: str
    default_dataset: DatasetRef | None

    def table(self, path: Sequence[str], statement: Statement, node: exp.Expr) -> Relation | Source:
        """What a table path names, views and temporary tables included."""
        ...

    def function(self, path: Sequence[str]) -> Mapping[str, Any] | None:
        """The Routine resource of a SQL function, or None."""
        ...

    def variable(self, name: str) -> tuple[Type, Any] | None:
        """A script variable's type and value."""
        ...

    def system_variable(self, name: str) -> tuple[Type, Any] | None:
        """A system variable (`@@project_id`)."""
        ...


@dataclass
class Statement:
    """What holds for a whole statement while it is analysed."""

    sql: str
    environment: Environment
    parameters: Mapping[str, tuple[Type, Any]] = field(default_factory=dict)
    """Declared query parameters: by lower-case name, or "1", "2" … for positional ones."""
    bound: dict[str, Any] = field(default_factory=dict)
    """Values of `$name` in the DuckDB SQL."""
    referenced: dict[TableRef, None] = field(default_factory=dict)
    cacheable: bool = True
    """Whether the SQL holds for other parameter values too."""
    _counter: int = 0
    _positional: int = 0
    depth: int = 0
    """How many views and functions deep the analysis is."""

    def fresh(self, prefix: str) -> str:
        """A name that nothing else in the statement has."""
        self._counter += 1
        return f"{prefix}{self._counter}"

    def next_position(self) -> str:
        """The name of the next positional parameter."""
        self._positional += 1
        return str(self._positional)

    def error(self, message: str, node: exp.Expr | None = None) -> InvalidQuery:
        """`message at [line:column]`."""
        return InvalidQuery(message + (place(self.sql, node) if node is not None else ""))

    def refuse(self, construct: str, node: exp.Expr | None = None) -> Refused:
        """The error of SQL that BigQuery has and this engine has not."""
        where = place(self.sql, node) if node is not None else ""
        return Refused(f"{construct} is not carried over to the local BigQuery{where}")


@dataclass
class Scope:
    """The names that an expression can use."""

    statement: Statement
    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    merged: dict[str, Expr] = field(default_factory=dict)
    """Columns that USING made one of two."""
    merged_from: set[str] = field(default_factory=set)
    ctes: dict[str, Relation] = field(default_factory=dict)
    aliases: dict[str, Expr] = field(default_factory=dict)
    """SELECT-list aliases, where the clause may use them."""
    locals: dict[str, Expr] = field(default_factory=dict)
    """Arguments of a SQL function."""
    windows: dict[str, exp.Expr] = field(default_factory=dict)
    in_aggregate: bool = False
    barrier: bool = False
    """Whether the parent's columns are out of reach (functions, views)."""

    def child(self, **changes: Any) -> Scope:
        """A scope of a subquery, which sees this one's names."""
        return Scope(self.statement, parent=self, **changes)

    def cte(self, name: str) -> Relation | None:
        """The common table expression of this name."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.ctes.get(name.lower())
            if found is not None:
                return found
            scope = scope.parent
        return None

    def window(self, name: str) -> exp.Expr | None:
        """The named window."""
        scope: Scope | None = self
        while scope is not None:
            if name.lower() in scope.windows:
                return scope.windows[name.lower()]
            scope = scope.parent
        return None

    def resolve(self, path: Sequence[str], node: exp.Expr) -> Expr:
        """What `a.b.c` stands for.

        Raises:
            InvalidQuery: `Unrecognized name: a at [1:8]`, or an ambiguous one.
        """
        scope: Scope | None = self
        in_aggregate = False
        while scope is not None:
            in_aggregate |= scope.in_aggregate
            found = scope._here(path, node, in_aggregate)
            if found is not None:
                return found
            scope = None if scope.barrier else scope.parent
        variable = self.statement.environment.variable(path[0])
        if variable is not None:
            return self.fields(bind(self.statement, f"v_{path[0].lower()}", *variable), path[1:], node)
        raise self.statement.error(f"Unrecognized name: {path[0]}{self._hint(path[0])}", node)

    def _here(self, path: Sequence[str], node: exp.Expr, in_aggregate: bool) -> Expr | None:
        lower = path[0].lower()
        if self.aliases and not in_aggregate and lower in self.aliases:
            return self.fields(self.aliases[lower], path[1:], node)
        for source in self.sources:
            if source.name.lower() == lower:
                if len(path) == 1:
                    return source.whole()
                column = source.find(path[1])
                if column is not None:
                    return self.fields(column.expr, path[2:], node)
                if source.row is not None:
                    return self.fields(source.row, path[1:], node)
                raise self.statement.error(f"Name {path[1]} not found inside {path[0]}", node)
        if lower in self.merged:
            return self.fields(self.merged[lower], path[1:], node)
        found = [column for source in self.sources if (column := source.find(path[0])) is not None]
        if len(found) > 1:
            raise self.statement.error(f"Column name {path[0]} is ambiguous", node)
        if found:
            return self.fields(found[0].expr, path[1:], node)
        if lower in self.locals:
            return self.fields(self.locals[lower], path[1:], node)
        return None

    def fields(self, expr: Expr, path: Sequence[str], node: exp.Expr) -> Expr:
        """Field by field into a STRUCT or a JSON value."""
        for name in path:
            expr = self.field(expr, name, node)
        return expr

    def field(self, expr: Expr, name: str, node: exp.Expr) -> Expr:
        """`expr.name`."""
        if expr.type == JSON:
            key = name.replace('"', '\\"')
            path = literal(f'$."{key}"')
            return Expr(f"json_extract({expr.sql}, {path})", JSON)
        if expr.type.kind != "STRUCT":
            raise self.statement.error(f"Cannot access field {name} on a value with type {expr.type}", node)
        matches = [
            (physical, type_)
            for (given, type_), (physical, _) in zip(expr.type.fields, expr.type.named_fields(), strict=True)
            if given.lower() == name.lower()
        ]
        if not matches:
            raise self.statement.error(f"Field name {name} does not exist in {expr.type}", node)
        return field_access(expr, *matches[0])

    def _hint(self, name: str) -> str:
        import difflib

        known = [c.name for s in self.sources for c in s.columns if not c.hidden] + [s.name for s in self.sources]
        near = difflib.get_close_matches(name, known, 1)
        return f"; Did you mean {near[0]}?" if near else ""


def bind(statement: Statement, key: str, type_: Type, value: Any) -> Expr:
    """A parameter or variable: its value is bound, never pasted."""
    statement.bound[key] = value
    constant = value if isinstance(value, (int, str, float, bool)) else None
    if type_.kind == "NULL":
        return Expr("NULL", type_, True)
    return Expr(f"CAST(${key} AS {type_.duckdb})", type_, True, constant)


Analyze = Callable[[exp.Expr, Scope], Expr]
