"""The DuckDB expressions between rows on their way in or out and the columns they are stored in.

BigQuery stores no NULL array and no NULL element, and checks lengths and digits when rows are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from .failures import Invalid
from .schema import by_name
from .types import BIGNUMERIC_SCALE, FieldSchema, Type, quote, type_of

_WIDENED = {
    "INT64": {"FLOAT64", "NUMERIC", "BIGNUMERIC"},
    "NUMERIC": {"BIGNUMERIC", "FLOAT64"},
    "BIGNUMERIC": {"NUMERIC"},
    "STRING": {"JSON", "GEOGRAPHY"},
    "JSON": {"STRING"},
    "GEOGRAPHY": {"STRING"},
    "DATETIME": {"TIMESTAMP"},
    "TIMESTAMP": {"DATETIME"},
}


def literal(text: str) -> str:
    """A DuckDB string literal."""
    return "'" + text.replace("'", "''") + "'"


def assignable(source: Type, target: Type) -> bool:
    """Whether loaded data of one type may go into a column of the other."""
    if source.kind == "NULL":
        return True
    if source.element is not None or target.element is not None:
        return source.element is not None and target.element is not None and assignable(source.element, target.element)
    if target.kind == "STRUCT" and source.kind == "STRUCT":
        return True
    return source.kind == target.kind or target.kind in _WIDENED.get(source.kind, ())


def stored(value: str, source: Type, field: Mapping[str, Any], table: str, path: str = "") -> str:
    """The DuckDB expression of a column's value, from an expression of another type.

    Args:
        value: A DuckDB expression.
        source: Its type.
        field: The REST field of the column.
        table: The table's name for messages.
        path: The record that the field is in, with a dot.

    Raises:
        Invalid: The column takes no such values.
    """
    target = type_of(field)
    name = f"{path}{field['name']}"
    if not assignable(source, target):
        raise Invalid(
            f"Provided Schema does not match Table {table}. "
            f"Field {name} has changed type from {_rest(target)} to {_rest(source)}"
        )
    if source.kind == "NULL":
        return missing({**field, "mode": "REPEATED" if target.element is not None else "NULLABLE"})
    if target.element is not None and source.element is not None:
        if _plain(source.element) and source.element == target.element:
            rows = value
        else:
            item = stored("item", source.element, {**field, "mode": "NULLABLE"}, table, path)
            rows = f"list_transform({value}, lambda item: {item})"
        message = literal(f"Array cannot have a null element; error in writing field {name}")
        return (
            f"CASE WHEN {value} IS NULL THEN [] WHEN len({value}) <> list_count({value}) "
            f"THEN error({message}) ELSE {rows} END"
        )
    if target.kind == "STRUCT":
        return _stored_struct(value, source, field, table, name)
    if source.duckdb != target.duckdb:
        value = f"CAST({value} AS {target.duckdb})"
    return _checked(value, field, name)


def _stored_struct(value: str, source: Type, field: Mapping[str, Any], table: str, name: str) -> str:
    target = type_of(field)
    if source == target and all(_plain(t) for _, t in target.fields):
        return value
    given = {n.lower(): (n, t) for n, t in source.named_fields()}
    parts = []
    for inner in field["fields"]:
        found = given.pop(inner["name"].lower(), None)
        if found is None:
            part = missing(inner, f"{name}.")
        else:
            part = stored(
                f"struct_extract({value}, {literal(found[0])})",
                found[1],
                inner,
                table,
                f"{name}.",
            )
        if inner.get("mode") == "REQUIRED":
            message = literal(f"Required field {name}.{inner['name']} cannot be null")
            part = f"coalesce({part}, error({message}))"
        parts.append(f"{quote(inner['name'])} := {part}")
    if given:
        extra = next(iter(given.values()))[0]
        raise Invalid(f"Provided Schema does not match Table {table}. Cannot add fields (field: {name}.{extra})")
    return f"CASE WHEN {value} IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"


def missing(field: Mapping[str, Any], path: str = "") -> str:
    """What a column gets from data that does not have it: NULL, or no elements.

    Raises:
        Invalid: The column is REQUIRED.
    """
    if field.get("defaultValueExpression"):
        return f"CAST(NULL AS {type_of(field).duckdb})"
    if field.get("mode") == "REQUIRED":
        raise Invalid(f"Required field {path}{field['name']} cannot be null: the data does not have it")
    type_ = type_of(field)
    return f"CAST([] AS {type_.duckdb})" if type_.element is not None else f"CAST(NULL AS {type_.duckdb})"


def _checked(value: str, field: Mapping[str, Any], name: str) -> str:
    kind = field["type"]
    if field.get("maxLength") and kind in ("STRING", "BYTES"):
        size = f"length({value})" if kind == "STRING" else f"octet_length({value})"
        message = literal(f"Field {name}: {kind}({field['maxLength']}) has maximum length {field['maxLength']}")
        return f"CASE WHEN {size} > {int(field['maxLength'])} THEN error({message}) ELSE {value} END"
    if field.get("precision") and kind in ("NUMERIC", "BIGNUMERIC"):
        scale, whole = (
            int(field.get("scale") or 0),
            int(field["precision"]) - int(field.get("scale") or 0),
        )
        message = literal(f"Field {name}: value has more than {whole} digits before the decimal point")
        rounded = f"CAST(round({value}, {scale}) AS {type_of({**field, 'mode': 'NULLABLE'}).duckdb})"
        return f"CASE WHEN abs({rounded}) >= 1e{whole} THEN error({message}) ELSE {rounded} END"
    return value


def _plain(type_: Type) -> bool:
    """Whether values of a type go into a column as they are."""
    return type_.element is None and all(_plain(t) for _, t in type_.fields)


def _rest(type_: Type) -> str:
    from .types import field_of

    return str(field_of("x", type_)["type"]) if type_.element is None else f"repeated {_rest(type_.element)}"


def readable(type_: pa.DataType) -> pa.DataType:
    """The Arrow type in which DuckDB reads a column that it cannot read as it is (256-bit decimals)."""
    is_ = pa.types
    if is_.is_decimal256(type_):
        scale = min(type_.scale, BIGNUMERIC_SCALE)
        return pa.decimal128(38, scale)
    if is_.is_list(type_) or is_.is_large_list(type_):
        inner = readable(type_.value_type)
        return type_ if inner.equals(type_.value_type) else pa.list_(inner)
    if is_.is_struct(type_):
        inner_fields = [pa.field(f.name, readable(f.type)) for f in type_]
        fits = all(a.type.equals(b.type) for a, b in zip(type_, inner_fields, strict=True))
        return type_ if fits else pa.struct(inner_fields)
    if isinstance(type_, pa.BaseExtensionType):
        return readable(type_.storage_type)
    return type_


def readable_batches(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The reader, its columns cast where DuckDB could not read them."""
    types = [readable(item.type) for item in reader.schema]
    if all(a.equals(b.type) for a, b in zip(types, reader.schema, strict=True)):
        return reader
    schema = pa.schema([pa.field(f.name, t) for f, t in zip(reader.schema, types, strict=True)])

    def batches() -> Any:
        for batch in reader:
            columns = [
                (c.storage if isinstance(c, pa.ExtensionArray) else c).cast(t)
                for c, t in zip(batch.columns, types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def selected(fields: Sequence[FieldSchema], columns: Sequence[str] | None, table: str) -> list[tuple[FieldSchema, str]]:
    """The fields that a read selects with their DuckDB expressions; `a.b` keeps only b of the record a.

    Raises:
        Invalid: A column that the table does not have.
    """
    if not columns:
        return [(field, quote(field["name"])) for field in fields]
    wanted: dict[str, list[str]] = {}
    known = by_name(fields)
    for column in columns:
        head, _, rest = column.partition(".")
        if head.lower() not in known:
            raise Invalid(f"request failed: The following selected fields do not exist in the table schema: {column}")
        wanted.setdefault(head.lower(), []).append(rest)
    return [
        _pruned(field, quote(field["name"]), wanted[field["name"].lower()], table)
        for field in fields
        if field["name"].lower() in wanted
    ]


def _pruned(field: FieldSchema, value: str, inner: Sequence[str], table: str) -> tuple[FieldSchema, str]:
    if "" in inner or field["type"] != "RECORD":
        if any(inner):
            raise Invalid(f"Field {field['name']} of {table} has no fields of its own")
        return field, value
    repeated = field["mode"] == "REPEATED"
    base = "item" if repeated else value
    parts = []
    kept = []
    for sub, _ in selected(field["fields"], inner, table):
        expression = f"struct_extract({base}, {literal(sub['name'])})"
        original = by_name(field["fields"])[sub["name"].lower()]
        rest = [path.partition(".")[2] for path in inner if path.partition(".")[0].lower() == sub["name"].lower()]
        pruned, expression = _pruned(dict(original), expression, rest, table)
        kept.append(pruned)
        parts.append(f"{quote(sub['name'])} := {expression}")
    packed = f"struct_pack({', '.join(parts)})"
    if repeated:
        packed = f"list_transform({value}, lambda item: {packed})"
    else:
        packed = f"CASE WHEN {value} IS NULL THEN NULL ELSE {packed} END"
    return {**field, "fields": kept}, packed


def logical_bytes(value: str, type_: Type) -> str:
    """The DuckDB expression of a value's size as BigQuery counts it.

    https://cloud.google.com/bigquery/pricing#data has the sizes: 2 bytes and the text for a STRING, 0 for NULL.
    """
    if type_.element is not None:
        inner = logical_bytes("item", type_.element)
        return f"coalesce(list_sum(list_transform({value}, lambda item: {inner})), 0)"
    if type_.kind == "STRUCT":
        sizes = [logical_bytes(f"struct_extract({value}, {literal(n)})", t) for n, t in type_.named_fields()]
        return f"({' + '.join(sizes)})"
    fixed = {"BOOL": 1, "NUMERIC": 16, "BIGNUMERIC": 32, "INTERVAL": 16}.get(type_.kind, 8)
    if type_.kind in ("STRING", "JSON", "GEOGRAPHY"):
        return f"coalesce(2 + strlen({value}::VARCHAR), 0)"
    if type_.kind == "BYTES":
        return f"coalesce(2 + octet_length({value}), 0)"
    return f"(CASE WHEN {value} IS NULL THEN 0 ELSE {fixed} END)"
