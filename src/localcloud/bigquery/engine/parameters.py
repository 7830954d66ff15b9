"""Query parameters of the REST API as types and values to bind.

https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from ..failures import Invalid
from ..types import Type
from .routine_types import type_from_parameter


def decode(parameters: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Type, Any]]:
    """Types and values by lower-case name, or by "1", "2" … for positional parameters.

    Raises:
        Invalid: A parameter without a type, or with a value that is none of its type.
    """
    answer = {}
    for position, parameter in enumerate(parameters, 1):
        name = str(parameter.get("name") or position).lower()
        if not parameter.get("parameterType"):
            raise Invalid(f"Query parameter {name} needs a parameterType")
        type_ = type_from_parameter(parameter["parameterType"])
        answer[name] = (type_, _value(parameter.get("parameterValue") or {}, type_, name))
    return answer


def _value(given: Mapping[str, Any], type_: Type, name: str) -> Any:
    if type_.element is not None:
        if given.get("arrayValues") is None:
            return None if "value" in given and given["value"] is None else []
        return [_value(item, type_.element, name) for item in given["arrayValues"]]
    if type_.kind == "STRUCT":
        values = given.get("structValues")
        if values is None:
            return None
        return {n: _value(values.get(n) or {}, t, name) for n, t in type_.named_fields()}
    value = given.get("value")
    if value is None:
        return None
    return scalar_value(value, type_, name)


def scalar_value(value: Any, type_: Type, name: str) -> Any:
    """A REST value as what DuckDB binds: its own Python type, or a text that is cast."""
    try:
        if type_.kind == "INT64":
            return int(value)
        if type_.kind == "FLOAT64":
            return float(value)
        if type_.kind == "BOOL":
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if type_.kind == "BYTES":
            return base64.b64decode(str(value), validate=True)
    except (ValueError, KeyError, binascii.Error):
        raise Invalid(f"Invalid value for parameter {name}: {value!r} is not a valid {type_}") from None
    return str(value)
