"""Types as a statement writes them: `ARRAY<STRUCT<a INT64, b NUMERIC(10, 2)>>`.

Column definitions of DDL are read here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ..storage import literal
from ..types import FieldSchema, Type, array, field_of, scalar, struct
from .scope import Statement
from .values import Expr

_NAMES = {
    "BIGINT": "INT64", "INT": "INT64", "SMALLINT": "INT64", "TINYINT": "INT64", "DOUBLE": "FLOAT64",
    "FLOAT": "FLOAT64", "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC", "BOOLEAN": "BOOL", "TEXT": "STRING",
    "VARCHAR": "STRING", "BINARY": "BYTES", "VARBINARY": "BYTES", "TIMESTAMP": "DATETIME", "DATETIME": "DATETIME",
    "TIMESTAMPTZ": "TIMESTAMP", "DATE": "DATE", "TIME": "TIME", "JSON": "JSON", "INTERVAL": "INTERVAL",
    "GEOGRAPHY": "GEOGRAPHY", "RANGE": "RANGE",
}  # fmt: skip


def type_of_node(node: exp.Expr, statement: Statement) -> tuple[Type, Callable[[Expr], Expr]]:
    """The type of a DataType node, and what checks or rounds a value for its parameters (`NUMERIC(10, 2)`)."""
    if isinstance(node, exp.Interval):
        return Type("INTERVAL"), lambda expr: expr
    if not isinstance(node, exp.DataType):
        raise statement.error(f"Type not found: {node.sql()}", node)
    kind = node.this.name if hasattr(node.this, "name") else str(node.this)
    if kind == "ARRAY":
        if not node.expressions:
            raise statement.error("ARRAY needs an element type", node)
        return array(type_of_node(node.expressions[0], statement)[0]), lambda expr: expr
    if kind == "STRUCT":
        fields = []
        for inner in node.expressions:
            if isinstance(inner, exp.ColumnDef):
                fields.append((inner.name, type_of_node(inner.args["kind"], statement)[0]))
            else:
                fields.append(("", type_of_node(inner, statement)[0]))
        return struct(fields), lambda expr: expr
    if kind not in _NAMES:
        raise statement.error(f"Type not found: {node.sql()}", node)
    type_ = scalar(_NAMES[kind])
    parameters = [int(str(p.this.this)) for p in node.expressions if isinstance(p, exp.DataTypeParam)]
    return type_, lambda expr: _constrain(expr, type_, parameters)


def _constrain(expr: Expr, type_: Type, parameters: list[int]) -> Expr:
    if not parameters:
        return expr
    if type_.kind in ("NUMERIC", "BIGNUMERIC"):
        scale = parameters[1] if len(parameters) > 1 else 0
        whole = parameters[0] - scale
        rounded = f"CAST(round({expr.sql}, {scale}) AS {type_.duckdb})"
        text = literal(f"{type_}({', '.join(map(str, parameters))}) has precision {parameters[0]} and scale {scale} "
                       "but got a value that is not in range")  # fmt: skip
        checked = (
            f"CASE WHEN abs({rounded}) >= 1e{whole} THEN CAST(bq.fail({text}) AS {type_.duckdb}) ELSE {rounded} END"
        )
        return Expr(checked, type_)
    size = f"length({expr.sql})" if type_.kind == "STRING" else f"octet_length({expr.sql})"
    text = literal(f"{type_}({parameters[0]}) has maximum length {parameters[0]} but got a value of more")
    failed = f"CAST(bq.fail({text}) AS {type_.duckdb})"
    return Expr(f"CASE WHEN {size} > {parameters[0]} THEN {failed} ELSE {expr.sql} END", type_)


def field_of_definition(node: exp.ColumnDef, statement: Statement) -> FieldSchema:
    """The REST field of a column definition: NOT NULL, OPTIONS(description = …), type parameters."""
    kind = node.args.get("kind")
    if kind is None:
        raise statement.error(f"Column {node.name} needs a type", node)
    field = _field(node.name, kind, statement)
    for constraint in node.args.get("constraints") or ():
        inner = constraint.kind if isinstance(constraint, exp.ColumnConstraint) else constraint
        if isinstance(inner, exp.NotNullColumnConstraint):
            if field["mode"] == "REPEATED":
                raise statement.error(f"NOT NULL cannot be applied to ARRAY column {node.name}", node)
            field["mode"] = "REQUIRED"
        elif isinstance(inner, exp.DefaultColumnConstraint):
            field["defaultValueExpression"] = inner.this.sql(dialect="bigquery")
        elif isinstance(inner, exp.Properties):
            for option in inner.expressions:
                if option.name.lower() == "description":
                    field["description"] = _text(option.args.get("value"))
        elif not isinstance(inner, (exp.PrimaryKeyColumnConstraint, exp.CollateColumnConstraint)):
            raise statement.refuse(f"The column constraint {inner.sql()}", node)
    return field


def _text(node: Any) -> str:
    return str(node.this) if isinstance(node, exp.Expr) else str(node)


def _field(name: str, node: exp.Expr, statement: Statement) -> FieldSchema:
    type_, _ = type_of_node(node, statement)
    field = field_of(name, type_)
    inner = node.expressions[0] if type_.element is not None else node
    if field["type"] == "RECORD":
        field["fields"] = [
            field_of_definition(f, statement)
            if isinstance(f, exp.ColumnDef)
            else _field(f"_field_{position}", f, statement)
            for position, f in enumerate(inner.expressions, 1)
        ]
        return field
    parameters = [str(p.this.this) for p in inner.expressions if isinstance(p, exp.DataTypeParam)]
    if parameters and field["type"] in ("STRING", "BYTES"):
        field["maxLength"] = parameters[0]
    elif parameters:
        field["precision"] = parameters[0]
        if len(parameters) > 1:
            field["scale"] = parameters[1]
    return field
