"""CREATE, ALTER and DROP of tables, views, schemas and functions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language has the statements; what
a resource may be is checked by `resources.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from ..database import Transaction
from ..failures import Duplicate, Invalid, Missing
from ..layout import fields_of
from ..refs import DatasetRef, TableRef
from ..tables import Resource
from ..types import duckdb_columns, normalize, type_of
from .ddl_alter import alter
from .ddl_options import clustering, dataset_options, partitioning, path_of, table_options
from .dialect import tokenize
from .execution import Analysed, Execution
from .result import Result
from .routine_types import standard
from .scope import Statement
from .type_syntax import field_of_definition, type_of_node


def run(execution: Execution, tree: exp.Expr, sql: str) -> Result | None:
    """Runs a DDL statement; None for a tree that is none."""
    handlers: dict[type[exp.Expr], Callable[[Execution, Any, Statement], Result]] = {
        exp.Create: _create,
        exp.Drop: _drop,
        exp.Alter: alter,
    }
    handler = handlers.get(type(tree))
    return None if handler is None else handler(execution, tree, execution.statement(sql))


def _dataset(node: exp.Expr, execution: Execution) -> DatasetRef:
    parts = path_of(node)
    return DatasetRef(".".join(parts[:-1]) or execution.project, parts[-1])


def body_text(sql: str) -> str:
    """What stands after the first AS outside parentheses: a view's query, a function's body."""
    depth = 0
    for token in tokenize(sql):
        if token.token_type == TokenType.L_PAREN:
            depth += 1
        elif token.token_type == TokenType.R_PAREN:
            depth -= 1
        elif depth == 0 and token.text.upper() == "AS":
            return sql[token.end + 1 :].strip().rstrip(";").strip()
    return ""


def _create(execution: Execution, tree: exp.Create, statement: Statement) -> Result:
    kind = str(tree.args.get("kind") or "").upper()
    properties = tree.args.get("properties")
    listed = list(properties.expressions) if properties is not None else []
    if any(isinstance(p, exp.MaterializedProperty) for p in listed):
        raise statement.refuse("CREATE MATERIALIZED VIEW", tree)
    if kind == "FUNCTION" and isinstance(tree.expression, exp.Query):
        raise statement.refuse("CREATE TABLE FUNCTION", tree)
    creators = {
        "TABLE": _create_table,
        "VIEW": _create_view,
        "SCHEMA": _create_schema,
        "FUNCTION": _create_function,
    }
    if kind not in creators:
        raise statement.refuse(f"CREATE {kind}", tree)
    if tree.args.get("replace") and tree.args.get("exists"):
        raise statement.error("CREATE OR REPLACE and IF NOT EXISTS cannot be used together", tree)
    return creators[kind](execution, tree, statement, listed)


# tables


def _create_table(execution: Execution, tree: exp.Create, statement: Statement, properties: list[exp.Expr]) -> Result:
    path = path_of(tree.this)
    temporary = any(isinstance(p, exp.TemporaryProperty) for p in properties)
    query = _query(execution, tree, statement)
    resource = _definition(execution, tree, statement, properties, query)
    kind = "CREATE_TABLE_AS_SELECT" if query is not None else "CREATE_TABLE"
    source = _copied(execution, tree)
    if temporary:
        return _create_temporary(execution, path, resource, query, tree, kind)
    ref = execution.names().ref(path)
    result = Result(kind, ddl_target_table=ref, ddl_operation_performed="CREATE")
    if query is not None:
        result.referenced_tables = query.referenced
        result.fields = []
        result._bytes_processed = lambda: execution.bytes_of(query.referenced)
    if execution.session.transaction is not None:
        raise statement.error("CREATE TABLE of a permanent table is not supported within a transaction", tree)
    replace = bool(tree.args.get("replace"))
    existing = _existing(execution, ref)
    if existing is not None:
        result.ddl_operation_performed = "REPLACE" if replace else "SKIP"
        if tree.args.get("exists"):
            return result
        if not replace:
            raise Duplicate(f"Already Exists: Table {ref}", location="query")
    if execution.dry_run:
        if query is not None:
            execution.check(query)
            result.fields = query.fields
        return result
    if source is not None:
        disposition = "WRITE_TRUNCATE" if replace else "WRITE_EMPTY"
        if replace and existing is not None:
            execution.tables.delete_table(ref)
        execution.tables.copy([source], ref, write_disposition=disposition)
        return result
    with execution.session.writing() as transaction:
        transaction.lock("table", ref)
        scratch = ""
        if query is not None and replace and ref in query.referenced:
            scratch = _scratch(execution, transaction, query)
        execution.tables.create_table(transaction, ref, resource, replace=replace)
        if query is not None:
            _fill(execution, transaction, ref, query, scratch)
    return result


def _existing(execution: Execution, ref: TableRef) -> Resource | None:
    try:
        return execution.tables.require_table(ref)
    except Missing:
        if execution.tables.database.find("dataset", ref.parent) is None:
            raise
        return None


def _scratch(execution: Execution, transaction: Transaction, query: Analysed) -> str:
    name = execution.session.scratch()
    with execution.running(transaction.connection) as connection:
        connection.execute(f"CREATE TABLE {name} AS {query.sql}", query.bound or None)
    return name


def _fill(execution: Execution, transaction: Transaction, ref: TableRef, query: Analysed, scratch: str) -> None:
    columns = fields_of(execution.tables.require_table(ref, transaction))
    if len(columns) != len(query.fields):
        raise Invalid(f"Number of columns in the column definition list does not match the query of {ref}")
    sources = {
        c["name"].lower(): (f"q.c{i}", type_of(f))
        for i, (c, f) in enumerate(zip(columns, query.fields, strict=True), 1)
    }
    relation_sql = f"{scratch} q" if scratch else f"({query.sql}) q"
    with execution.running(transaction.connection) as connection:
        bound = {} if scratch else query.bound
        execution.tables.insert(transaction, ref, sources, relation_sql, "", bound)
        if scratch:
            connection.execute(f"DROP TABLE {scratch}")


def _query(execution: Execution, tree: exp.Create, statement: Statement) -> Analysed | None:
    if not isinstance(tree.expression, exp.Query):
        return None
    return execution.analyse(tree.expression, statement.sql)


def _copied(execution: Execution, tree: exp.Create) -> TableRef | None:
    clone = tree.args.get("clone")
    return None if clone is None else execution.names().ref(path_of(clone.this))


def _definition(
    execution: Execution,
    tree: exp.Create,
    statement: Statement,
    properties: list[exp.Expr],
    query: Analysed | None,
) -> Resource:
    resource: Resource = {}
    for like in properties:
        if isinstance(like, exp.LikeProperty):
            model = execution.tables.require_table(execution.names().ref(path_of(like.this)))
            keep = ("schema", "timePartitioning", "rangePartitioning", "clustering", "description", "labels")
            resource |= {key: model[key] for key in keep if key in model}
    if isinstance(tree.this, exp.Schema):
        fields = []
        for position, item in enumerate(tree.this.expressions):
            if isinstance(item, exp.ColumnDef) and item.args.get("kind") is not None:
                fields.append(field_of_definition(item, statement))
            elif isinstance(item, (exp.Identifier, exp.ColumnDef)) and query is not None:
                fields.append({**query.fields[position], "name": item.name})
            elif isinstance(item, (exp.PrimaryKey, exp.ForeignKey, exp.Constraint)):
                continue
            else:
                raise statement.refuse(f"{item.sql()} in CREATE TABLE", item)
        resource["schema"] = {"fields": fields}
    elif query is not None:
        resource["schema"] = {"fields": query.fields}
    resource |= partitioning(properties, fields_of(resource), statement)
    resource |= clustering(properties)
    resource |= table_options(properties, statement)
    days = resource.pop("partitionExpirationMs", None)
    if days is not None and resource.get("timePartitioning"):
        resource["timePartitioning"]["expirationMs"] = days
    return resource


def _create_temporary(
    execution: Execution,
    path: list[str],
    resource: Resource,
    query: Analysed | None,
    tree: exp.Create,
    kind: str,
) -> Result:
    session, name = execution.session, path[-1]
    physical = session.temporary_name(name)
    result = Result(
        kind, ddl_operation_performed="CREATE", ddl_target_table=TableRef(execution.project, "_SESSION", name)
    )
    if name.lower() in session.temporary:
        if tree.args.get("exists"):
            result.ddl_operation_performed = "SKIP"
            return result
        if not tree.args.get("replace"):
            raise Duplicate(f"Already Exists: Table {execution.project}:_SESSION.{name}", location="query")
        result.ddl_operation_performed = "REPLACE"
    fields = normalize(fields_of(resource))
    if execution.dry_run:
        session.temporary[name.lower()] = (physical, {"type": "TABLE", "schema": {"fields": fields}})
        return result
    with session.writing() as transaction:
        transaction.begin()
        with execution.running(transaction.connection) as connection:
            scratch = _scratch(execution, transaction, query) if query is not None else ""
            session.drop_temporary(name, transaction)
            connection.execute(f"CREATE TABLE {physical} ({duckdb_columns(fields)})")
            if query is not None:
                casts = ", ".join(f"CAST(c{i} AS {type_of(f).duckdb})" for i, f in enumerate(fields, 1))
                connection.execute(f"INSERT INTO {physical} SELECT {casts} FROM {scratch}")
                connection.execute(f"DROP TABLE {scratch}")
    session.temporary[name.lower()] = (physical, {"type": "TABLE", "schema": {"fields": fields}})
    return result


# views, schemas, functions


def _create_view(execution: Execution, tree: exp.Create, statement: Statement, properties: list[exp.Expr]) -> Result:
    ref = execution.names().ref(path_of(tree.this))
    text = body_text(statement.sql)
    query = execution.analyse(tree.expression, statement.sql)
    if statement.parameters and query.bound:
        raise statement.error("A view cannot use query parameters", tree)
    resource: Resource = {
        "view": {"query": text, "useLegacySql": False},
        **table_options(properties, statement),
    }
    if isinstance(tree.this, exp.Schema):
        names = [item.name for item in tree.this.expressions]
        if len(names) != len(query.fields):
            raise statement.error("The number of view columns does not match its query", tree)
        listed = ", ".join(f"`{f['name']}` AS `{n}`" for f, n in zip(query.fields, names, strict=True))
        resource["view"]["query"] = f"SELECT {listed} FROM ({text})"
    result = Result("CREATE_VIEW", ddl_target_table=ref, ddl_operation_performed="CREATE")
    result.referenced_tables = query.referenced
    existing = _existing(execution, ref)
    replace = bool(tree.args.get("replace"))
    if existing is not None:
        result.ddl_operation_performed = "REPLACE" if replace else "SKIP"
        if tree.args.get("exists"):
            return result
    if not execution.dry_run:
        with execution.session.writing() as transaction:
            execution.tables.create_table(transaction, ref, resource, replace=replace)
    return result


def _create_schema(execution: Execution, tree: exp.Create, statement: Statement, properties: list[exp.Expr]) -> Result:
    ref = _dataset(tree.this, execution)
    result = Result("CREATE_SCHEMA", ddl_target_dataset=ref, ddl_operation_performed="CREATE")
    resource = {"datasetReference": ref.resource, **dataset_options(properties, statement)}
    if execution.tables.database.find("dataset", ref) is not None and tree.args.get("exists"):
        result.ddl_operation_performed = "SKIP"
    elif not execution.dry_run:
        execution.tables.insert_dataset(ref.project, resource)
    return result


def _create_function(
    execution: Execution, tree: exp.Create, statement: Statement, properties: list[exp.Expr]
) -> Result:
    path = path_of(tree.this)
    language = next((p.this.name for p in properties if isinstance(p, exp.LanguageProperty)), "SQL")
    name = path[-1]
    if language.upper() != "SQL":
        shown = {"JS": "JavaScript", "PYTHON": "Python"}.get(language.upper(), language)
        raise statement.refuse(f"The {shown} function {name} (LANGUAGE {language})", tree)
    if tree.expression is None:
        raise statement.refuse(f"The remote function {name}", tree)
    arguments = []
    for item in tree.this.expressions:
        kind = item.args.get("kind")
        argument: dict[str, Any] = {"name": item.name}
        if isinstance(kind, exp.DataType) and kind.this.name == "VARIANT":
            argument["argumentKind"] = "ANY_TYPE"
        else:
            argument["dataType"] = standard(type_of_node(kind, statement)[0])
        arguments.append(argument)
    body = body_text(statement.sql)
    if body.startswith("("):
        body = _inside(body)
    resource: dict[str, Any] = {
        "routineType": "SCALAR_FUNCTION", "language": "SQL", "arguments": arguments, "definitionBody": body,
    }  # fmt: skip
    returns = next((p for p in properties if isinstance(p, exp.ReturnsProperty)), None)
    if returns is not None:
        resource["returnType"] = standard(type_of_node(returns.this, statement)[0])
    if any(isinstance(p, exp.TemporaryProperty) for p in properties):
        execution.session.functions[name.lower()] = resource
        return Result("CREATE_FUNCTION", ddl_operation_performed="CREATE")
    ref = execution.names().ref(path)
    result = Result("CREATE_FUNCTION", ddl_operation_performed="CREATE", ddl_target_routine=ref)
    exists = execution.tables.database.find("routine", ref) is not None
    if exists and tree.args.get("exists"):
        result.ddl_operation_performed = "SKIP"
    elif not execution.dry_run:
        execution.tables.insert_routine(ref, resource, replace=bool(tree.args.get("replace")))
        result.ddl_operation_performed = "REPLACE" if exists else "CREATE"
    return result


def _inside(text: str) -> str:
    """What a parenthesis at the start of a text encloses."""
    depth = 0
    for token in tokenize(text):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth == 0:
            return text[1 : token.start].strip()
    return text


# DROP


def _drop(execution: Execution, tree: exp.Drop, statement: Statement) -> Result:
    kind = str(tree.args.get("kind") or "").upper()
    node = tree.args["tables"][0] if tree.args.get("tables") else tree.this
    if tree.args.get("materialized") or kind not in ("TABLE", "VIEW", "SCHEMA", "FUNCTION"):
        raise statement.refuse(f"DROP {'MATERIALIZED ' if tree.args.get('materialized') else ''}{kind}", tree)
    if kind == "SCHEMA":
        ref = _dataset(node, execution)
        result = Result("DROP_SCHEMA", ddl_target_dataset=ref, ddl_operation_performed="DROP")
        return _dropped(
            execution, tree, result,
            lambda: execution.tables.delete_dataset(ref, delete_contents=bool(tree.args.get("cascade"))),
        )  # fmt: skip
    path = path_of(node)
    if kind == "FUNCTION":
        if len(path) == 1 and execution.session.functions.pop(path[0].lower(), None) is not None:
            return Result("DROP_FUNCTION", ddl_operation_performed="DROP")
        routine = execution.names().ref(path)
        result = Result("DROP_FUNCTION", ddl_target_routine=routine, ddl_operation_performed="DROP")
        return _dropped(execution, tree, result, lambda: execution.tables.delete_routine(routine))
    if execution.names().temporary(path) is not None:
        with execution.session.writing() as transaction:
            execution.session.drop_temporary(path[-1], transaction)
        return Result("DROP_TABLE", ddl_operation_performed="DROP")
    table = execution.names().ref(path)
    result = Result(f"DROP_{kind}", ddl_target_table=table, ddl_operation_performed="DROP")

    def drop() -> None:
        found = execution.tables.require_table(table)
        if (found["type"] == "VIEW") != (kind == "VIEW"):
            raise Invalid(f"Cannot drop {table} which has type {found['type']}. A {kind} is expected.")
        execution.tables.delete_table(table)

    return _dropped(execution, tree, result, drop)


def _dropped(execution: Execution, tree: exp.Drop, result: Result, drop: Callable[[], None]) -> Result:
    if execution.dry_run:
        return result
    try:
        drop()
    except Missing as error:
        if not tree.args.get("exists"):
            raise Missing(error.message, location="query") from None
        result.ddl_operation_performed = "SKIP"
    return result
