"""Functions that need more than a template: conditions, strings with patterns, arrays, structs, JSON."""

from __future__ import annotations

import re

from sqlglot import exp

from ..types import BYTES, INT64, JSON, STRING, Type, array
from .calls import Call, function
from .casts import cast
from .constructors import struct_of
from .expressions import branches, condition
from .json_text import json_text
from .values import Expr, coerce, coercible, supertype, text_sql


@function("IF")
def _if(call: Call) -> Expr:
    call.expect(3)
    test = condition(call.nodes[0], call.scope, "IF condition")
    fitted, target = branches([call.arg(1), call.arg(2)], "function IF", call.node, call.scope)
    return Expr(f"CASE WHEN {test} THEN {fitted[0].sql} ELSE {fitted[1].sql} END", target)


@function("COALESCE", "IFNULL", "NVL")
def _coalesce(call: Call) -> Expr:
    call.expect(1 if call.name == "COALESCE" else 2, 1000 if call.name == "COALESCE" else 2)
    fitted, target = branches(call.args(), f"function {call.name}", call.node, call.scope)
    return Expr(f"coalesce({', '.join(f.sql for f in fitted)})", target)


@function("NULLIF")
def _nullif(call: Call) -> Expr:
    call.expect(2)
    fitted, target = branches(call.args(), "function NULLIF", call.node, call.scope)
    return Expr(f"nullif({fitted[0].sql}, {fitted[1].sql})", target)


@function("NULLIFZERO")
def _nullifzero(call: Call) -> Expr:
    value = call.take(0, INT64)
    return Expr(f"nullif({value.sql}, 0)", value.type)


@function("ZEROIFNULL")
def _zeroifnull(call: Call) -> Expr:
    value = call.take(0, INT64)
    return Expr(f"coalesce({value.sql}, 0)", value.type)


@function("GREATEST", "LEAST")
def _extreme(call: Call) -> Expr:
    call.expect(1, 1000)
    fitted, target = branches(call.args(), f"function {call.name}", call.node, call.scope)
    if target.element is not None or target.kind in ("STRUCT", "JSON"):
        raise call.mismatch()
    listed = ", ".join(f.sql for f in fitted)
    missing = " OR ".join(f"{f.sql} IS NULL" for f in fitted)
    answer = f"{call.name.lower()}({listed})"
    if target.kind == "FLOAT64" and call.name == "LEAST":
        nan = " OR ".join(f"isnan({f.sql})" for f in fitted)
        answer = f"CASE WHEN {nan} THEN CAST('nan' AS DOUBLE) ELSE {answer} END"
    return Expr(f"CASE WHEN {missing} THEN NULL ELSE {answer} END", target)


@function("CONCAT")
def _concat(call: Call) -> Expr:
    call.expect(1, 1000)
    values = call.args()
    for type_ in (STRING, BYTES):
        if all(coercible(v, type_) for v in values):
            return Expr(f"({' || '.join(coerce(v, type_).sql for v in values)})", type_)
    if all(v.type.element is None and v.type.kind not in ("STRUCT", "JSON", "BYTES") for v in values):
        texts = [cast(v, STRING) for v in values]
        return Expr(f"({' || '.join(t.sql for t in texts if t)})", STRING)
    raise call.mismatch(["CONCAT(STRING, [STRING, ...])", "CONCAT(BYTES, [BYTES, ...])"])


@function("STRUCT")
def _struct(call: Call) -> Expr:
    return struct_of(list(call.nodes), call.scope)


@function("ERROR")
def _error(call: Call) -> Expr:
    message = call.take(0, STRING)
    return Expr(f"bq.fail({message.sql})", Type("NULL"))


@function("TO_HEX")
def _to_hex(call: Call) -> Expr:
    return Expr(f"lower(hex({call.take(0, BYTES).sql}))", STRING)


# regular expressions (both sides are RE2)


def _pattern(call: Call, index: int) -> tuple[Expr, int | None]:
    """The pattern and how many groups capture; None where it is no constant."""
    pattern = call.take(index, STRING)
    if not isinstance(pattern.value, str):
        return pattern, None
    if not isinstance(call.nodes[index], (exp.Literal, exp.RawString)):
        call.scope.statement.cacheable = False
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern.value)
    return pattern, len(re.findall(r"\((?!\?)|\(\?P<", bare))


@function("REGEXP_EXTRACT", "REGEXP_SUBSTR")
def _regexp_extract(call: Call) -> Expr:
    call.expect(2, 4)
    value = call.take(0, STRING, BYTES)
    if value.type == BYTES:
        raise call.scope.statement.refuse(f"{call.name} of BYTES", call.node)
    pattern, groups = _pattern(call, 1)
    if groups is not None and groups > 1:
        raise call.error("Regular expression can have only one capturing group: more were found in "
                         f"{call.name}")  # fmt: skip
    if len(call) > 2:
        position = call.take(2, INT64).sql
        occurrence = call.take(3, INT64).sql if len(call) > 3 else "1"
        rest = f"substring({value.sql}, {position})"
        found = f"bq.regexp_extract_all({rest}, {pattern.sql})"
        return Expr(f"list_extract({found}, {occurrence})", STRING)
    if groups is None:
        return Expr(f"bq.regexp_extract({value.sql}, {pattern.sql})", STRING)
    found = f"regexp_extract({value.sql}, {pattern.sql}, {groups})"
    return Expr(f"CASE WHEN regexp_matches({value.sql}, {pattern.sql}) THEN {found} END", STRING)


@function("REGEXP_EXTRACT_ALL")
def _regexp_extract_all(call: Call) -> Expr:
    call.expect(2)
    value = call.take(0, STRING)
    pattern, groups = _pattern(call, 1)
    if groups is None:
        return Expr(f"bq.regexp_extract_all({value.sql}, {pattern.sql})", array(STRING))
    if groups > 1:
        raise call.error("Regular expression can have only one capturing group: more were found")
    return Expr(f"regexp_extract_all({value.sql}, {pattern.sql}, {groups})", array(STRING))


@function("REGEXP_INSTR")
def _regexp_instr(call: Call) -> Expr:
    call.expect(2)
    value, (pattern, groups) = call.take(0, STRING), _pattern(call, 1)
    found = f"regexp_extract({value.sql}, {pattern.sql}, {groups or 0})"
    return Expr(
        f"CASE WHEN regexp_matches({value.sql}, {pattern.sql}) THEN strpos({value.sql}, {found}) ELSE 0 END",
        INT64,
    )


@function("REGEXP_REPLACE")
def _regexp_replace(call: Call) -> Expr:
    call.expect(3)
    values = [call.take(i, STRING).sql for i in range(3)]
    return Expr(f"regexp_replace({values[0]}, {values[1]}, {values[2]}, 'g')", STRING)


# arrays


@function("ARRAY_CONCAT")
def _array_concat(call: Call) -> Expr:
    values = call.args()
    target = supertype(values)
    if target is None or target.element is None:
        raise call.mismatch(["ARRAY_CONCAT(ARRAY<T>, [ARRAY<T>, ...])"])
    parts = [coerce(v, target).sql for v in values]
    missing = " OR ".join(f"{p} IS NULL" for p in parts)
    return Expr(f"CASE WHEN {missing} THEN NULL ELSE list_concat({', '.join(parts)}) END", target)


@function("ARRAY_SLICE")
def _array_slice(call: Call) -> Expr:
    call.expect(3)
    value, start, end = call.arg(0), call.take(1, INT64).sql, call.take(2, INT64).sql
    first = f"CASE WHEN {start} < 0 THEN greatest(len({value.sql}) + {start} + 1, 1) ELSE {start} + 1 END"
    last = f"CASE WHEN {end} < 0 THEN len({value.sql}) + {end} + 1 ELSE {end} + 1 END"
    return Expr(f"list_slice({value.sql}, {first}, {last})", value.type)


@function("GENERATE_DATE_ARRAY")
def _generate_date_array(call: Call) -> Expr:
    call.expect(2, 3)
    start, end = call.take(0, Type("DATE")).sql, call.take(1, Type("DATE")).sql
    step = call.arg(2).sql if len(call) > 2 else "to_days(1)"
    unit = call.nodes[2].args["unit"].name.upper() if len(call) > 2 and call.nodes[2].args.get("unit") else "DAY"
    if unit in ("MONTH", "QUARTER", "YEAR"):
        # Counted from the start each time: January 31st, February 29th, March 31st.
        months = f"range(abs(date_diff('month', {start}, {end})) + 1)"
        each = f"CAST({start} + {step} * CAST(i AS INTEGER) AS DATE)"
        inside = f"d BETWEEN least({start}, {end}) AND greatest({start}, {end})"
        dates = f"list_filter(list_transform({months}, lambda i: {each}), lambda d: {inside})"
    else:
        listed = f"generate_series(CAST({start} AS TIMESTAMP), CAST({end} AS TIMESTAMP), {step})"
        dates = f"list_transform({listed}, lambda d: CAST(d AS DATE))"
    return Expr(f"CASE WHEN {start} IS NULL OR {end} IS NULL THEN NULL ELSE {dates} END", array(Type("DATE")))


@function("GENERATE_TIMESTAMP_ARRAY")
def _generate_timestamp_array(call: Call) -> Expr:
    call.expect(3)
    start, end = call.take(0, Type("TIMESTAMP")).sql, call.take(1, Type("TIMESTAMP")).sql
    listed = f"generate_series(bq.utc({start}), bq.utc({end}), {call.arg(2).sql})"
    return Expr(f"list_transform({listed}, lambda t: bq.stamp(t))", array(Type("TIMESTAMP")))


# JSON


@function("TO_JSON_STRING")
def _to_json_string(call: Call) -> Expr:
    call.expect(1, 2)
    value = call.arg(0)
    pretty = len(call) > 1 and call.arg(1).value is True
    if pretty:
        raise call.scope.statement.refuse("TO_JSON_STRING with pretty printing", call.node)
    return Expr(json_text(value), STRING)


@function("TO_JSON")
def _to_json(call: Call) -> Expr:
    return Expr(f"CAST({json_text(call.arg(0), quoted_integers=False)} AS JSON)", JSON)


def _path(call: Call, index: int) -> str:
    """A JSONPath as DuckDB writes it: every key quoted."""
    if len(call) <= index:
        return "'$'"
    given = call.constant_text(index)
    if not given.startswith("$"):
        raise call.error(f"JSONPath must start with '$': {given}")
    steps = re.findall(r"""\.([^.\["]+)|\."([^"]*)"|\[['"]([^'"]*)['"]\]|\[(\d+)\]""", given[1:])
    rebuilt = "".join(f"[{n}]" if n else f'."{a or b or c}"' for a, b, c, n in steps)
    covered = re.sub(r"""\.[^.\["]+|\."[^"]*"|\[['"][^'"]*['"]\]|\[\d+\]""", "", given[1:])
    if covered:
        raise call.error(f"Unsupported operator or syntax in JSONPath: {given}")
    return text_sql("$" + rebuilt)


def _document(call: Call) -> Expr:
    return call.take(0, JSON, STRING)


@function("JSON_VALUE", "JSON_EXTRACT_SCALAR")
def _json_value(call: Call) -> Expr:
    call.expect(1, 2)
    document, path = _document(call), _path(call, 1)
    if document.type == STRING:
        valid = f"CASE WHEN json_valid({document.sql}) THEN {document.sql} END"
        return Expr(f"bq.json_scalar({valid}, {path})", STRING)
    return Expr(f"bq.json_scalar({document.sql}, {path})", STRING)


@function("JSON_QUERY", "JSON_EXTRACT")
def _json_query(call: Call) -> Expr:
    call.expect(1, 2)
    document, path = _document(call), _path(call, 1)
    if document.type == JSON:
        return Expr(f"json_extract({document.sql}, {path})", JSON)
    valid = f"CASE WHEN json_valid({document.sql}) THEN {document.sql} END"
    return Expr(f"bq.json_found({valid}, {path})", STRING)


@function("JSON_QUERY_ARRAY", "JSON_EXTRACT_ARRAY")
def _json_query_array(call: Call) -> Expr:
    call.expect(1, 2)
    document, path = _document(call), _path(call, 1)
    listed = f"bq.json_array({document.sql}, {path})"
    if document.type == JSON:
        return Expr(listed, array(JSON))
    return Expr(f"list_transform({listed}, lambda e: CAST(e AS VARCHAR))", array(STRING))


@function("JSON_VALUE_ARRAY", "JSON_EXTRACT_STRING_ARRAY")
def _json_value_array(call: Call) -> Expr:
    call.expect(1, 2)
    listed = f"bq.json_array({_document(call).sql}, {_path(call, 1)})"
    return Expr(f"list_transform({listed}, lambda e: json_extract_string(e, '$'))", array(STRING))


@function("JSON_OBJECT")
def _json_object(call: Call) -> Expr:
    values = call.args()
    if len(values) % 2:
        raise call.mismatch(["JSON_OBJECT([STRING, ANY, ...])"])
    parts = []
    for key, value in zip(values[::2], values[1::2], strict=True):
        name = coerce(key, STRING).sql
        parts.append(f"bq.json_escape({name}) || ':' || coalesce({json_text(value, quoted_integers=False)}, 'null')")
    inside = " || ',' || ".join(parts) if parts else "''"
    return Expr(f"CAST('{{' || {inside} || '}}' AS JSON)", JSON)


@function("JSON_ARRAY")
def _json_array(call: Call) -> Expr:
    parts = [f"coalesce({json_text(v, quoted_integers=False)}, 'null')" for v in call.args()]
    inside = " || ',' || ".join(parts) if parts else "''"
    return Expr(f"CAST('[' || {inside} || ']' AS JSON)", JSON)
