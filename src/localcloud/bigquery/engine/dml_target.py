"""What DML statements share: the table they change, the values they assign, the rows they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from ..database import Transaction
from ..layout import fields_of
from ..partitions import PARTITION_TIME
from ..refs import TableRef
from ..resources import ingestion_time
from ..schema import by_name
from ..storage import missing, stored
from ..tables import Resource
from ..types import FieldSchema, Type, quote, type_of
from .dialect import parse
from .execution import Execution, used
from .expressions import analyze
from .result import Result
from .scope import Column, Scope, Source, Statement
from .values import Expr, coerce, coercible

_MANY = "UPDATE/MERGE must match at most one source row for each target row"


@dataclass(frozen=True, slots=True)
class Target:
    """The table that a statement changes, temporary ones included."""

    ref: TableRef | None
    physical: str
    resource: Resource
    shown: str

    @property
    def fields(self) -> list[FieldSchema]:
        """Its columns."""
        return fields_of(self.resource)

    def field(self, name: str, statement: Statement, node: exp.Expr) -> FieldSchema:
        """A column by name without case."""
        found = by_name(self.fields).get(name.lower())
        if found is None:
            raise statement.error(f"Column {name} is not present in table {self.shown}", node)
        return dict(found)

    def source(self, physical: str, name: str) -> Source:
        """The table as something to read from, called `physical` in DuckDB."""
        columns = [Column(f["name"], Expr(f"{physical}.{quote(f['name'])}", type_of(f))) for f in self.fields]
        if ingestion_time(self.resource):
            columns.append(Column(PARTITION_TIME, Expr(f'{physical}."{PARTITION_TIME}"', Type("TIMESTAMP")), True))
        return Source(name, columns)


def target_of(node: exp.Expr, execution: Execution, statement: Statement) -> Target:
    """The table that a DML statement names."""
    path = [part.name for part in node.parts] if isinstance(node, exp.Table) else [node.name]
    names = execution.names()
    found = names.temporary(path)
    if found is not None:
        return Target(None, *found, path[-1])
    ref = names.ref(path)
    resource = names.resource(ref)
    if resource["type"] == "VIEW":
        raise statement.error(f"Table {ref} is a view: it cannot be changed by DML", node)
    statement.referenced[ref] = None
    return Target(ref, ref.duckdb, resource, str(ref))


def affected(kind: str, *, inserted: int = 0, updated: int = 0, deleted: int = 0) -> Result:
    """The result of a statement that changed so many rows."""
    stats = {
        "insertedRowCount": str(inserted),
        "updatedRowCount": str(updated),
        "deletedRowCount": str(deleted),
    }
    return Result(kind, dml_stats=stats)


def start(execution: Execution, target: Target, transaction: Transaction) -> None:
    """Keeps other writers off the target."""
    transaction.begin() if target.ref is None else transaction.lock("table", target.ref)


def touch(execution: Execution, target: Target, transaction: Transaction) -> None:
    """Notes that the target's rows have changed."""
    if target.ref is not None:
        execution.tables.touch(transaction, target.ref)


def count_of(execution: Execution, transaction: Transaction, sql: str, bound: Mapping[str, Any]) -> int:
    """Runs a statement of DuckDB and gives the one number it answers."""
    with execution.running(transaction.connection) as connection:
        row = connection.execute(sql, used(bound, sql) or None).fetchone()
    return int(row[0]) if row else 0


def assigned(value: Expr, field: FieldSchema, table: str, statement: Statement, node: exp.Expr) -> str:
    """The DuckDB expression of a value that is put into a column."""
    type_ = type_of(field)
    if value.type.kind == "NULL":
        value = coerce(value, type_)
    if not coercible(value, type_):
        raise statement.error(
            f"Value of type {value.type} cannot be assigned to {field['name']}, which has type {type_}", node
        )
    return stored(coerce(value, type_).sql, type_, field, table)


def columns_of(target: Target, given: Sequence[FieldSchema], scope: Scope) -> tuple[list[str], list[str]]:
    """The columns that are inserted, and the expressions of those that the statement leaves out."""
    columns = [quote(f["name"]) for f in given]
    named = {f["name"].lower() for f in given}
    extra = []
    for field in target.fields:
        if field["name"].lower() in named:
            continue
        columns.append(quote(field["name"]))
        extra.append(default_of(field, scope))
    if ingestion_time(target.resource) and PARTITION_TIME.lower() not in named:
        unit = target.resource["timePartitioning"]["type"].lower()
        columns.append(quote(PARTITION_TIME))
        extra.append(f"date_trunc('{unit}', now())")
    return columns, extra


def default_of(field: FieldSchema, scope: Scope) -> str:
    """A column's default: its expression, NULL or no elements."""
    given = field.get("defaultValueExpression")
    if not given:
        return missing(field)
    tree = parse(f"SELECT {given}").expressions[0]
    return assigned(analyze(tree, scope), field, "default", scope.statement, tree)


def is_default(node: exp.Expr) -> bool:
    """Whether a value is the keyword DEFAULT."""
    return isinstance(node, (exp.Column, exp.Var)) and node.name.upper() == "DEFAULT" and not node.args.get("table")


def match_once(
    execution: Execution, transaction: Transaction, from_: str, test: str, physical: str, statement: Statement
) -> None:
    """Raises where a row of the target has two rows of the source."""
    twice = f"SELECT count(*) FROM (SELECT 1 FROM {from_} WHERE {test} GROUP BY {physical}.rowid HAVING count(*) > 1)"
    if count_of(execution, transaction, twice, statement.bound):
        raise statement.error(_MANY)


def assignments(nodes: Sequence[exp.Expr], target: Target, scope: Scope, physical: str) -> str:
    """`column = value, …` of SET; assigning a field within a record makes the record anew."""
    changes: dict[str, list[tuple[list[str], exp.Expr]]] = {}
    names = {source.name.lower() for source in scope.sources[:1]}
    for node in nodes:
        left = node.this
        path = [part.name for part in left.parts] if isinstance(left, exp.Column) else _dotted(left)
        if len(path) > 1 and path[0].lower() in names and path[0].lower() not in by_name(target.fields):
            path = path[1:]
        field = target.field(path[0], scope.statement, left)
        entry = changes.setdefault(field["name"], [])
        if any(previous == path[1:] for previous, _ in entry):
            raise scope.statement.error(f"Update item {'.'.join(path)} assigned more than once", left)
        entry.append((path[1:], node.expression))
    parts = []
    for name, entries in changes.items():
        field = target.field(name, scope.statement, nodes[0])
        current = Expr(f"{physical}.{quote(name)}", type_of(field))
        value = current.sql
        for path, node in entries:
            value = _replaced(Expr(value, current.type), field, path, node, target, scope)
        parts.append(f"{quote(name)} = {value}")
    return ", ".join(parts)


def _dotted(node: exp.Expr) -> list[str]:
    if isinstance(node, exp.Dot):
        return [*_dotted(node.this), node.expression.name]
    return [part.name for part in node.parts] if isinstance(node, exp.Column) else [node.name]


def _replaced(current: Expr, field: FieldSchema, path: list[str], node: exp.Expr, target: Target, scope: Scope) -> str:
    """A column's new value where only a field within it is assigned."""
    if not path:
        if is_default(node):
            return default_of(field, scope)
        return assigned(analyze(node, scope), field, target.shown, scope.statement, node)
    inner = by_name(field.get("fields") or []).get(path[0].lower())
    if inner is None or field.get("mode") == "REPEATED":
        raise scope.statement.error(f"Field {path[0]} cannot be assigned within {field['name']}", node)
    parts = []
    for each in field["fields"]:
        value = scope.field(current, each["name"], node)
        same = each["name"].lower() == path[0].lower()
        sql = _replaced(value, dict(each), path[1:], node, target, scope) if same else value.sql
        parts.append(f"{quote(each['name'])} := {sql}")
    return f"struct_pack({', '.join(parts)})"
