"""ALTER TABLE and ALTER VIEW: columns, options, names.

CREATE and DROP are in `ddl.py`.
"""

from __future__ import annotations

from sqlglot import exp

from ..database import Transaction
from ..failures import Duplicate, Invalid, Missing
from ..layout import fields_of
from ..refs import TableRef
from ..tables import Resource
from ..types import FieldSchema, field_of, quote, type_of
from .ddl_options import path_of, table_options
from .execution import Execution
from .result import Result
from .scope import Statement
from .type_syntax import field_of_definition, type_of_node
from .values import Expr, coercible


def alter(execution: Execution, tree: exp.Alter, statement: Statement) -> Result:
    """Runs ALTER TABLE or ALTER VIEW."""
    kind = str(tree.args.get("kind") or "").upper()
    if kind not in ("TABLE", "VIEW"):
        raise statement.refuse(f"ALTER {kind}", tree)
    ref = execution.names().ref(path_of(tree.this))
    result = Result(f"ALTER_{kind}", ddl_target_table=ref, ddl_operation_performed="ALTER")
    try:
        execution.tables.require_table(ref)
    except Missing:
        if not tree.args.get("exists"):
            raise
        result.ddl_operation_performed = "SKIP"
        return result
    if execution.dry_run:
        return result
    with execution.session.writing() as transaction:
        transaction.lock("table", ref)
        for action in tree.args["actions"]:
            _action(execution, transaction, ref, action, statement)
    return result


def _action(
    execution: Execution, transaction: Transaction, ref: TableRef, action: exp.Expr, statement: Statement
) -> None:
    resource = dict(execution.tables.require_table(ref, transaction))
    fields: list[FieldSchema] = [dict(f) for f in fields_of(resource)]
    known = {f["name"].lower(): f for f in fields}
    run_sql = transaction.connection.execute
    if isinstance(action, exp.ColumnDef):
        field = field_of_definition(action, statement)
        if field["name"].lower() in known:
            if action.args.get("exists"):
                return
            raise Invalid(f"Column already exists: {field['name']}", reason="invalidQuery")
        fields.append(field)
    elif isinstance(action, exp.Drop) and str(action.args.get("kind")).upper() == "COLUMN":
        node = action.args["tables"][0] if action.args.get("tables") else action.this
        if node.name.lower() not in known:
            if action.args.get("exists"):
                return
            raise Invalid(f"Column not found: {node.name}", reason="invalidQuery")
        gone = known[node.name.lower()]
        run_sql(f"ALTER TABLE {ref.duckdb} DROP COLUMN {quote(gone['name'])}")
        fields = [f for f in fields if f is not gone]
        execution.tables.replace_schema(transaction, ref, fields)
        return
    elif isinstance(action, exp.RenameColumn):
        old, new = action.this.name, action.args["to"].name
        if old.lower() not in known:
            raise Invalid(f"Column not found: {old}", reason="invalidQuery")
        run_sql(f"ALTER TABLE {ref.duckdb} RENAME COLUMN {quote(known[old.lower()]['name'])} TO {quote(new)}")
        known[old.lower()]["name"] = new
        execution.tables.replace_schema(transaction, ref, fields)
        return
    elif isinstance(action, exp.AlterColumn):
        if _alter_column(execution, transaction, ref, action, known, statement):
            execution.tables.replace_schema(transaction, ref, fields)
            return
    elif isinstance(action, exp.AlterSet):
        options = [o for p in action.expressions for o in (p.expressions if isinstance(p, exp.Properties) else [p])]
        changes = table_options(options, statement, keep_nulls=True)
        for key, value in changes.items():
            if value is None:
                resource.pop(key, None)
            else:
                resource[key] = value
    elif isinstance(action, exp.AlterRename):
        _rename(execution, transaction, ref, action.this.name, resource)
        return
    else:
        raise statement.refuse(f"ALTER TABLE {action.sql(dialect='bigquery')}", action)
    if fields:
        resource["schema"] = {**(resource.get("schema") or {}), "fields": fields}
    execution.tables.alter_table(transaction, ref, resource)


def _alter_column(
    execution: Execution,
    transaction: Transaction,
    ref: TableRef,
    action: exp.AlterColumn,
    known: dict[str, FieldSchema],
    statement: Statement,
) -> bool:
    """Changes a column in place; whether DuckDB's table has been changed with it."""
    field = known.get(action.name.lower())
    if field is None:
        raise Invalid(f"Column not found: {action.name}", reason="invalidQuery")
    if action.args.get("drop") and action.args.get("allow_null"):
        field["mode"] = "NULLABLE"
        return False
    dtype = action.args.get("dtype")
    if dtype is not None:
        wanted, _ = type_of_node(dtype, statement)
        old = type_of(field)
        if not coercible(Expr("", old), wanted):
            raise Invalid(f"ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type ({old}) is "
                          f"assignable to the new type ({wanted})", reason="invalidQuery")  # fmt: skip
        column = quote(field["name"])
        transaction.connection.execute(f"ALTER TABLE {ref.duckdb} ALTER COLUMN {column} TYPE {wanted.duckdb}")
        field["type"] = field_of("x", wanted)["type"]
        return True
    if action.args.get("default") is not None:
        field["defaultValueExpression"] = action.args["default"].sql(dialect="bigquery")
        return True
    raise statement.refuse(f"ALTER COLUMN {action.sql(dialect='bigquery')}", action)


def _rename(execution: Execution, transaction: Transaction, ref: TableRef, name: str, resource: Resource) -> None:
    new = TableRef(ref.project, ref.dataset, name)
    new.check()
    transaction.lock("table", new)
    if transaction.find("table", new) is not None:
        raise Duplicate(f"Already Exists: Table {new}", location="query")
    moved = {**resource, "tableReference": new.resource, "id": f"{new.parent}.{new.table}"}
    transaction.connection.execute(f"ALTER TABLE {ref.duckdb} RENAME TO {new.duckdb_name}")
    transaction.remove("table", ref)
    transaction.put("table", new, moved)
