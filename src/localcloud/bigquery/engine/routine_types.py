"""Types between GoogleSQL and the StandardSqlDataType of Routine resources and query parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..types import Type, array, scalar, struct


def type_from_standard(resource: Mapping[str, Any]) -> Type:
    """The type of a StandardSqlDataType (`typeKind`, `arrayElementType`, `structType`)."""
    kind = str(resource["typeKind"])
    if kind == "ARRAY":
        return array(type_from_standard(resource["arrayElementType"]))
    if kind == "STRUCT":
        fields = resource["structType"]["fields"]
        return struct((str(f.get("name", "")), type_from_standard(f["type"])) for f in fields)
    return scalar(kind)


def standard(type_: Type) -> dict[str, Any]:
    """The StandardSqlDataType of a type."""
    if type_.element is not None:
        return {"typeKind": "ARRAY", "arrayElementType": standard(type_.element)}
    if type_.kind == "STRUCT":
        fields = [{"name": n, "type": standard(t)} for n, t in type_.fields]
        return {"typeKind": "STRUCT", "structType": {"fields": fields}}
    return {"typeKind": type_.kind}


def type_from_parameter(resource: Mapping[str, Any]) -> Type:
    """The type of a QueryParameterType (`type`, `arrayType`, `structTypes`)."""
    kind = str(resource.get("type", "")).upper()
    if kind == "ARRAY":
        return array(type_from_parameter(resource["arrayType"]))
    if kind in ("STRUCT", "RECORD"):
        return struct((str(f.get("name", "")), type_from_parameter(f["type"])) for f in resource["structTypes"])
    return scalar(kind)


def parameter_type(type_: Type) -> dict[str, Any]:
    """The QueryParameterType of a type."""
    if type_.element is not None:
        return {"type": "ARRAY", "arrayType": parameter_type(type_.element)}
    if type_.kind == "STRUCT":
        return {
            "type": "STRUCT",
            "structTypes": [{"name": n, "type": parameter_type(t)} for n, t in type_.fields],
        }
    return {"type": type_.kind}
