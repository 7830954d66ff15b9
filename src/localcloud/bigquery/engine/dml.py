"""INSERT, UPDATE, DELETE and TRUNCATE.

https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax has the rules; MERGE is in `dml_merge.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from ..types import FieldSchema
from .dml_merge import merge
from .dml_target import (
    Target,
    affected,
    assigned,
    assignments,
    columns_of,
    count_of,
    default_of,
    is_default,
    match_once,
    start,
    target_of,
    touch,
)
from .execution import Execution
from .expressions import analyze, condition
from .from_clause import item, join
from .query import relation
from .result import Result
from .scope import Scope, Statement
from .values import Expr


def run(execution: Execution, tree: exp.Expr, sql: str) -> Result | None:
    """Runs a DML statement; None for a tree that is none."""
    handlers: dict[type[exp.Expr], Any] = {
        exp.Insert: _insert,
        exp.Update: _update,
        exp.Delete: _delete,
        exp.Merge: merge,
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
        given = [
            Expr(f"q.c{i}", found.literals.get(i, type_), i in found.literals)
            for i, (_, type_) in enumerate(found.columns, 1)
        ]
        values = [
            assigned(value, field, target.shown, statement, tree) for value, field in zip(given, fields, strict=True)
        ]
        source = f"SELECT {', '.join(values)} FROM ({found.sql}) q"
    columns, extra = columns_of(target, fields, scope)
    if execution.dry_run:
        return affected("INSERT")
    named = ", ".join(f"v{i}" for i in range(len(fields)))
    listed = ", ".join([*(f"i.v{i}" for i in range(len(fields))), *extra])
    insert = f"INSERT INTO {target.physical} ({', '.join(columns)}) SELECT {listed} FROM ({source}) i({named})"
    with execution.session.writing() as transaction:
        start(execution, target, transaction)
        count = count_of(execution, transaction, insert, statement.bound)
        touch(execution, target, transaction)
    return affected("INSERT", inserted=count)


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
            if is_default(value):
                made.append(default_of(field, scope))
            else:
                made.append(assigned(analyze(value, scope), field, target.shown, scope.statement, value))
        rows.append(f"SELECT {', '.join(made)}")
    return " UNION ALL ".join(rows)


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
    sets = assignments(tree.expressions, target, scope, physical)
    test = condition(where.this, scope, "WHERE clause")
    if execution.dry_run:
        return affected("UPDATE")
    update = f"UPDATE {target.physical} AS {physical} SET {sets}{' FROM ' + joined if joined else ''} WHERE {test}"
    with execution.session.writing() as transaction:
        start(execution, target, transaction)
        if joined:
            match_once(
                execution,
                transaction,
                f"{target.physical} AS {physical}, {joined}",
                test,
                physical,
                statement,
            )
        count = count_of(execution, transaction, update, statement.bound)
        touch(execution, target, transaction)
    return affected("UPDATE", updated=count)


def _from(node: exp.Expr, scope: Scope) -> str:
    sql, source = item(node.this, scope, lateral=False)
    scope.sources.append(source)
    for each in node.this.args.get("joins") or ():
        sql = join(sql, each, scope)
    return sql


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
        return affected("DELETE")
    with execution.session.writing() as transaction:
        start(execution, target, transaction)
        delete = f"DELETE FROM {target.physical} AS {physical} WHERE {test}"
        count = count_of(execution, transaction, delete, statement.bound)
        touch(execution, target, transaction)
    return affected("DELETE", deleted=count)


def _truncate(execution: Execution, tree: exp.TruncateTable, statement: Statement) -> Result:
    target = target_of(tree.expressions[0], execution, statement)
    if execution.dry_run:
        return affected("TRUNCATE_TABLE")
    with execution.session.writing() as transaction:
        start(execution, target, transaction)
        count = count_of(execution, transaction, f"DELETE FROM {target.physical}", {})
        touch(execution, target, transaction)
    return affected("TRUNCATE_TABLE", deleted=count)
