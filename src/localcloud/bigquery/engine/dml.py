"""INSERT, UPDATE, DELETE, MERGE and TRUNCATE.

https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from ..database import Transaction
from ..partitions import PARTITION_TIME
from ..refs import TableRef
from ..resources import fields_of, ingestion_time
from ..schema import by_name
from ..storage import missing, stored
from ..tables import Resource
from ..types import FieldSchema, Type, quote, type_of
from .execution import Execution, used
from .expressions import analyze, condition
from .from_clause import item
from .query import relation
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


def run(execution: Execution, tree: exp.Expr, sql: str) -> Result | None:
    """Runs a DML statement; None for a tree that is none."""
    handlers: dict[type[exp.Expr], Any] = {
        exp.Insert: _insert,
        exp.Update: _update,
        exp.Delete: _delete,
        exp.Merge: _merge,
        exp.TruncateTable: _truncate,
    }
    handler = handlers.get(type(tree))
    if handler is None:
        return None
    statement = execution.statement(sql)
    answer: Result = handler(execution, tree, statement)
    answer.referenced_tables = list(statement.referenced)
    if any(answer.dml_stats or ()):
        counts = {k: str(v) for k, v in (answer.dml_stats or {}).items()}
        answer.dml_stats = counts
        answer.num_dml_affected_rows = sum(int(v) for v in counts.values())
    return answer


def _result(kind: str, *, inserted: int = 0, updated: int = 0, deleted: int = 0) -> Result:
    stats = {
        "insertedRowCount": str(inserted),
        "updatedRowCount": str(updated),
        "deletedRowCount": str(deleted),
    }
    return Result(kind, dml_stats=stats)


def _start(execution: Execution, target: Target, transaction: Transaction) -> None:
    transaction.begin() if target.ref is None else transaction.lock("table", target.ref)


def _touch(execution: Execution, target: Target, transaction: Transaction) -> None:
    if target.ref is not None:
        execution.tables.touch(transaction, target.ref)


def _count(execution: Execution, transaction: Transaction, sql: str, bound: Mapping[str, Any]) -> int:
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


# INSERT


def _insert(execution: Execution, tree: exp.Insert, statement: Statement) -> Result:
    into = tree.this
    names: list[str] = []
    if isinstance(into, exp.Schema):
        names = [column.name for column in into.expressions]
        into = into.this
    target = target_of(into, execution, statement)
    fields = [target.field(n, statement, tree) for n in names] if names else target.fields
    if len({f["name"].lower() for f in fields}) != len(fields):
        raise statement.error("INSERT has columns with duplicate name", tree)
    scope = Scope(statement)
    if isinstance(tree.expression, exp.Values):
        source = _rows(tree.expression, fields, target, scope)
    else:
        with_ = tree.args.get("with_")
        if with_ is not None:
            tree.expression.set("with_", with_)
        found = relation(tree.expression, scope)
        if len(found.columns) != len(fields):
            raise statement.error(
                f"Inserted row has wrong column count; Has {len(found.columns)}, expected {len(fields)}", tree
            )
        values = [
            assigned(Expr(f"q.c{i}", type_, type_.kind == "NULL"), f, target.shown, statement, tree)
            for i, ((_, type_), f) in enumerate(zip(found.columns, fields, strict=True), 1)
        ]
        source = f"SELECT {', '.join(values)} FROM ({found.sql}) q"
    columns, extra = _columns(target, fields, scope)
    if execution.dry_run:
        return _result("INSERT")
    named = ", ".join(f"v{i}" for i in range(len(fields)))
    listed = ", ".join([*(f"i.v{i}" for i in range(len(fields))), *extra])
    insert = f"INSERT INTO {target.physical} ({', '.join(columns)}) SELECT {listed} FROM ({source}) i({named})"
    with execution.session.writing() as transaction:
        _start(execution, target, transaction)
        count = _count(execution, transaction, insert, statement.bound)
        _touch(execution, target, transaction)
    return _result("INSERT", inserted=count)


def _columns(target: Target, given: Sequence[FieldSchema], scope: Scope) -> tuple[list[str], list[str]]:
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
    from .dialect import parse

    given = field.get("defaultValueExpression")
    if not given:
        return missing(field)
    tree = parse(f"SELECT {given}").expressions[0]
    return assigned(analyze(tree, scope), field, "default", scope.statement, tree)


def _rows(node: exp.Values, fields: Sequence[FieldSchema], target: Target, scope: Scope) -> str:
    rows = []
    for row in node.expressions:
        values = row.expressions if isinstance(row, exp.Tuple) else [row]
        if len(values) != len(fields):
            raise scope.statement.error(
                f"Inserted row has wrong column count; Has {len(values)}, expected {len(fields)}", row
            )
        made = []
        for value, field in zip(values, fields, strict=True):
            if _is_default(value):
                made.append(default_of(field, scope))
            else:
                made.append(assigned(analyze(value, scope), field, target.shown, scope.statement, value))
        rows.append(f"SELECT {', '.join(made)}")
    return " UNION ALL ".join(rows)


def _is_default(node: exp.Expr) -> bool:
    return isinstance(node, (exp.Column, exp.Var)) and node.name.upper() == "DEFAULT" and not node.args.get("table")


# UPDATE, DELETE, TRUNCATE


def _update(execution: Execution, tree: exp.Update, statement: Statement) -> Result:
    target = target_of(tree.this, execution, statement)
    where = tree.args.get("where")
    if where is None:
        raise statement.error("UPDATE must have a WHERE clause", tree)
    physical = statement.fresh("s")
    scope = Scope(statement, sources=[target.source(physical, tree.this.alias or tree.this.name)])
    from_ = tree.args.get("from_") or tree.args.get("from")
    joined = _from(from_, scope) if from_ is not None else ""
    sets = _assignments(tree.expressions, target, scope, physical)
    test = condition(where.this, scope, "WHERE clause")
    if execution.dry_run:
        return _result("UPDATE")
    update = f"UPDATE {target.physical} AS {physical} SET {sets}{' FROM ' + joined if joined else ''} WHERE {test}"
    with execution.session.writing() as transaction:
        _start(execution, target, transaction)
        if joined:
            _once(
                execution,
                transaction,
                f"{target.physical} AS {physical}, {joined}",
                test,
                physical,
                statement,
            )
        count = _count(execution, transaction, update, statement.bound)
        _touch(execution, target, transaction)
    return _result("UPDATE", updated=count)


def _from(node: exp.Expr, scope: Scope) -> str:
    from .from_clause import _join

    sql, source = item(node.this, scope, lateral=False)
    scope.sources.append(source)
    for join in node.this.args.get("joins") or ():
        sql = _join(sql, join, scope)
    return sql


def _once(
    execution: Execution, transaction: Transaction, from_: str, test: str, physical: str, statement: Statement
) -> None:
    twice = f"SELECT count(*) FROM (SELECT 1 FROM {from_} WHERE {test} GROUP BY {physical}.rowid HAVING count(*) > 1)"
    if _count(execution, transaction, twice, statement.bound):
        raise statement.error(_MANY)


def _assignments(nodes: Sequence[exp.Expr], target: Target, scope: Scope, physical: str) -> str:
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
        if _is_default(node):
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


def _delete(execution: Execution, tree: exp.Delete, statement: Statement) -> Result:
    table = tree.this if isinstance(tree.this, exp.Expr) else tree.args["tables"][0]
    target = target_of(table, execution, statement)
    where = tree.args.get("where")
    if where is None:
        raise statement.error("DELETE must have a WHERE clause", tree)
    physical = statement.fresh("s")
    scope = Scope(statement, sources=[target.source(physical, table.alias or table.name)])
    test = condition(where.this, scope, "WHERE clause")
    if execution.dry_run:
        return _result("DELETE")
    with execution.session.writing() as transaction:
        _start(execution, target, transaction)
        delete = f"DELETE FROM {target.physical} AS {physical} WHERE {test}"
        count = _count(execution, transaction, delete, statement.bound)
        _touch(execution, target, transaction)
    return _result("DELETE", deleted=count)


def _truncate(execution: Execution, tree: exp.TruncateTable, statement: Statement) -> Result:
    target = target_of(tree.expressions[0], execution, statement)
    if execution.dry_run:
        return _result("TRUNCATE_TABLE")
    with execution.session.writing() as transaction:
        _start(execution, target, transaction)
        count = _count(execution, transaction, f"DELETE FROM {target.physical}", {})
        _touch(execution, target, transaction)
    return _result("TRUNCATE_TABLE", deleted=count)


# MERGE


def _merge(execution: Execution, tree: exp.Merge, statement: Statement) -> Result:
    target = target_of(tree.this, execution, statement)
    physical = statement.fresh("s")
    own = target.source(physical, tree.this.alias or tree.this.name)
    scope = Scope(statement)
    using, source = item(tree.args["using"], scope, lateral=False)
    both = Scope(statement, sources=[own, source])
    on = condition(tree.args["on"], both, "MERGE ON clause")
    alone = {"source": Scope(statement, sources=[source]), "target": Scope(statement, sources=[own])}
    clauses, updates = [], []
    for when in tree.args["whens"].expressions:
        matched, by_source = bool(when.args.get("matched")), bool(when.args.get("source"))
        seen = both if matched else alone["target" if by_source else "source"]
        test = when.args.get("condition")
        extra = condition(test, seen, "MERGE WHEN clause") if test is not None else ""
        head = "WHEN MATCHED" if matched else f"WHEN NOT MATCHED{' BY SOURCE' if by_source else ''}"
        clauses.append(f"{head}{' AND ' + extra if extra else ''} THEN {_action(when, target, seen, source, physical)}")
        if matched:
            updates.append(extra or "TRUE")
    if execution.dry_run:
        return _result("MERGE")
    sql = f"MERGE INTO {target.physical} AS {physical} USING {using} ON {on} {' '.join(clauses)} RETURNING merge_action"
    with execution.session.writing() as transaction:
        _start(execution, target, transaction)
        if updates:
            matches = f"{on} AND ({' OR '.join(updates)})"
            _once(
                execution,
                transaction,
                f"{target.physical} AS {physical}, {using}",
                matches,
                physical,
                statement,
            )
        with execution.running(transaction.connection) as connection:
            done = [row[0] for row in connection.execute(sql, used(statement.bound, sql) or None).fetchall()]
        _touch(execution, target, transaction)
    return _result("MERGE", inserted=done.count("INSERT"), updated=done.count("UPDATE"), deleted=done.count("DELETE"))


def _action(when: exp.Expr, target: Target, scope: Scope, source: Source, physical: str) -> str:
    then = when.args["then"]
    if isinstance(then, exp.Update):
        return f"UPDATE SET {_assignments(then.expressions, target, scope, physical)}"
    if isinstance(then, exp.Insert):
        return _merge_insert(then, target, scope, source)
    if str(then.name or then.this).upper() == "DELETE":
        return "DELETE"
    raise scope.statement.refuse("This action of MERGE", when)


def _merge_insert(then: exp.Insert, target: Target, scope: Scope, source: Source) -> str:
    columns_node, values_node = then.this, then.args.get("expression")
    if not isinstance(values_node, exp.Expr) and isinstance(columns_node, exp.Tuple):
        # `INSERT VALUES (…)`: the parser takes VALUES for a function.
        first = columns_node.expressions[0]
        if isinstance(first, exp.Anonymous) and first.name.upper() == "VALUES":
            columns_node, values_node = None, exp.Tuple(expressions=first.expressions)
    if not isinstance(values_node, exp.Expr):
        visible = [c for c in source.columns if not c.hidden]
        if len(visible) != len(target.fields):
            raise scope.statement.error("INSERT ROW needs a source with the columns of the table", then)
        fields = target.fields
        values = [
            assigned(c.expr, f, target.shown, scope.statement, then) for c, f in zip(visible, fields, strict=True)
        ]
    else:
        names = [n.name for n in columns_node.expressions] if isinstance(columns_node, (exp.Tuple, exp.Schema)) else []
        fields = [target.field(n, scope.statement, then) for n in names] if names else target.fields
        nodes = values_node.expressions if isinstance(values_node, exp.Tuple) else [values_node]
        if isinstance(values_node, exp.Values):
            nodes = values_node.expressions[0].expressions
        if len(nodes) != len(fields):
            raise scope.statement.error(
                f"Inserted row has wrong column count; Has {len(nodes)}, expected {len(fields)}", then
            )
        values = [
            default_of(f, scope) if _is_default(n) else assigned(analyze(n, scope), f, target.shown, scope.statement, n)
            for n, f in zip(nodes, fields, strict=True)
        ]
    columns, extra = _columns(target, fields, scope)
    return f"INSERT ({', '.join(columns)}) VALUES ({', '.join([*values, *extra])})"
