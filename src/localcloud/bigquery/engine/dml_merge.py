"""MERGE: rows matched, not matched, and not matched by the source."""

from __future__ import annotations

from sqlglot import exp

from .dml_target import (
    Target,
    affected,
    assigned,
    assignments,
    columns_of,
    default_of,
    is_default,
    match_once,
    start,
    target_of,
    touch,
)
from .execution import Execution, used
from .expressions import analyze, condition
from .from_clause import item
from .result import Result
from .scope import Scope, Source, Statement


def merge(execution: Execution, tree: exp.Merge, statement: Statement) -> Result:
    """Runs a MERGE."""
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
        return affected("MERGE")
    sql = f"MERGE INTO {target.physical} AS {physical} USING {using} ON {on} {' '.join(clauses)} RETURNING merge_action"
    with execution.session.writing() as transaction:
        start(execution, target, transaction)
        if updates:
            matches = f"{on} AND ({' OR '.join(updates)})"
            match_once(
                execution,
                transaction,
                f"{target.physical} AS {physical}, {using}",
                matches,
                physical,
                statement,
            )
        with execution.running(transaction.connection) as connection:
            done = [row[0] for row in connection.execute(sql, used(statement.bound, sql) or None).fetchall()]
        touch(execution, target, transaction)
    return affected("MERGE", inserted=done.count("INSERT"), updated=done.count("UPDATE"), deleted=done.count("DELETE"))


def _action(when: exp.Expr, target: Target, scope: Scope, source: Source, physical: str) -> str:
    then = when.args["then"]
    if isinstance(then, exp.Update):
        return f"UPDATE SET {assignments(then.expressions, target, scope, physical)}"
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
            default_of(f, scope) if is_default(n) else assigned(analyze(n, scope), f, target.shown, scope.statement, n)
            for n, f in zip(nodes, fields, strict=True)
        ]
    columns, extra = columns_of(target, fields, scope)
    return f"INSERT ({', '.join(columns)}) VALUES ({', '.join([*values, *extra])})"
