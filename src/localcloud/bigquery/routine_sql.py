"""A Routine resource as the CREATE FUNCTION or CREATE PROCEDURE that says the same.

What the statement does is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .failures import Invalid, Refused
from .refs import TableRef

_KINDS = {"SCALAR_FUNCTION": "FUNCTION", "PROCEDURE": "PROCEDURE", "TABLE_VALUED_FUNCTION": "TABLE FUNCTION"}


def create_statement(ref: TableRef, routine: Mapping[str, Any], *, replace: bool = False) -> str:
    """The SQL that creates the routine.

    Args:
        ref: Its name.
        routine: The REST resource: routineType, language, arguments, returnType, definitionBody.
        replace: CREATE OR REPLACE.

    Raises:
        Invalid: A field is missing or of no known value.
        Refused: It is not written in SQL.
    """
    kind = str(routine.get("routineType") or "")
    if kind not in _KINDS:
        raise Invalid(f"Invalid value for routineType: {kind!r} is none of {', '.join(_KINDS)}")
    language = str(routine.get("language") or "SQL")
    if language != "SQL":
        raise Refused(f"Routines in {language} are not carried over to the local BigQuery: write SQL", location="")
    body = routine.get("definitionBody")
    if not body:
        raise Invalid("Required parameter is missing: definitionBody")
    arguments = ", ".join(_argument(item) for item in routine.get("arguments") or ())
    verb = "CREATE OR REPLACE" if replace else "CREATE"
    head = f"{verb} {_KINDS[kind]} `{ref.project}.{ref.dataset}.{ref.table}`({arguments})"
    if kind == "PROCEDURE":
        return f"{head}\nBEGIN\n{body}\nEND"
    if kind == "TABLE_VALUED_FUNCTION":
        return f"{head}\nAS {body}"
    returns = f" RETURNS {type_text(routine['returnType'])}" if routine.get("returnType") else ""
    return f"{head}{returns}\nAS ({body})"


def _argument(item: Mapping[str, Any]) -> str:
    name = f"`{item.get('name', '')}`"
    mode = f"{item['mode']} " if item.get("mode") in ("IN", "OUT", "INOUT") else ""
    if item.get("argumentKind") == "ANY_TYPE":
        return f"{mode}{name} ANY TYPE"
    return f"{mode}{name} {type_text(item.get('dataType') or {})}"


def type_text(type_: Mapping[str, Any]) -> str:
    """A StandardSqlDataType as SQL writes it.

    Raises:
        Invalid: It names no type.
    """
    kind = type_.get("typeKind")
    if not kind:
        raise Invalid("Required parameter is missing: typeKind of a routine's argument")
    if kind == "ARRAY":
        return f"ARRAY<{type_text(type_.get('arrayElementType') or {})}>"
    if kind == "STRUCT":
        fields = (type_.get("structType") or {}).get("fields") or ()
        inner = (f"`{item['name']}` {type_text(item.get('type') or {})}" for item in fields)
        return f"STRUCT<{', '.join(inner)}>"
    return str(kind)
