"""The values of parameters: their types in a pipeline specification, and how one value becomes another type's.

A value is what JSON has: str, int, float, bool, list, dict, or None where an optional parameter was not given.
"""

from __future__ import annotations

import json
import math
from typing import Any

from google.protobuf import json_format

Value = Any
"""str, int, float, bool, list, dict or None."""

# The types of schema 2.0.0 by those of 2.1.0
_LEGACY = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE", "STRING": "STRING"}
_WORDS = {
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "STRING": "a string",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a dictionary",
    "TASK_FINAL_STATUS": "a task's final status",
    "TASK_CONFIG": "a task's configuration",
}


class WrongType(Exception):
    """A value that cannot be taken for its parameter's type; the text says what is wrong."""


def type_of(spec: Any) -> str:
    """The type of a ParameterSpec, such as `NUMBER_INTEGER`; empty where it does not say."""
    descriptor = spec.DESCRIPTOR.fields_by_name
    if spec.parameter_type:
        return str(descriptor["parameter_type"].enum_type.values_by_number[spec.parameter_type].name)
    if spec.type:
        return _LEGACY[descriptor["type"].enum_type.values_by_number[spec.type].name]
    return ""


def from_proto(value: Any) -> Value:
    """A google.protobuf.Value as a Python value; whole numbers are integers, as in the JSON that was submitted."""
    return _whole(json_format.MessageToDict(value))


def from_struct(struct: Any) -> dict[str, Value]:
    """The same of a google.protobuf.Struct."""
    found: dict[str, Value] = _whole(json_format.MessageToDict(struct))
    return found


def from_legacy(value: Any) -> Value:
    """An ml_pipelines.Value or aiplatform.Value (schema 2.0.0) as a Python value."""
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def check(value: Value, kind: str) -> Value:
    """A value that a user gave, as its parameter's type has it.

    Raises:
        WrongType: It is of another type.
    """
    if kind == "NUMBER_INTEGER" and _is_number(value) and float(value).is_integer():
        return int(value)
    if kind == "NUMBER_DOUBLE" and _is_number(value):
        return float(value)
    expected = {"STRING": str, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}.get(kind, object)
    if kind not in ("NUMBER_INTEGER", "NUMBER_DOUBLE") and isinstance(value, expected):
        return value
    raise WrongType(f"must be {_WORDS.get(kind, kind)} ({kind}), not {_shown(value)}")


def convert(value: Value, kind: str) -> Value:
    """A value that comes from another task, made its parameter's type where that says the same.

    The compiler declares items of loops and their parts as STRING whatever they are, so text becomes numbers, lists
    and dictionaries, and these text, as JSON writes them.

    Raises:
        WrongType: It cannot be taken for that type.
    """
    if value is None or not kind or kind in ("TASK_FINAL_STATUS", "TASK_CONFIG"):
        return value
    if kind == "STRING":
        return as_text(value)
    if isinstance(value, str):
        return check(parse(value, kind), kind)
    return check(value, kind)


def parse(text: str, kind: str) -> Value:
    """Text, such as the content of an output file, as a value of a type.

    Raises:
        WrongType: It does not say such a value.
    """
    if kind in ("STRING", ""):
        return text
    stripped = text.strip()
    if kind == "BOOLEAN" and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    try:
        return check(_whole(json.loads(stripped)), kind)
    except (ValueError, WrongType):
        raise WrongType(f"must be {_WORDS.get(kind, kind)} ({kind}), not {_shown(text)}") from None


def as_text(value: Value) -> str:
    """A value in a text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def legacy_map(parameters: dict[str, Value]) -> dict[str, dict[str, Value]]:
    """`inputs.parameters` of an executor input, which components of schema 2.0.0 read."""
    found: dict[str, dict[str, Value]] = {}
    for name, value in parameters.items():
        if isinstance(value, bool) or not _is_number(value):
            found[name] = {"stringValue": as_text(value)}
        elif isinstance(value, int):
            found[name] = {"intValue": str(value)}
        else:
            found[name] = {"doubleValue": value}
    return found


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Value) -> Value:
    """Numbers without a fraction as integers: a Struct knows floating point alone, JSON writers mean integers."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _shown(value: Value) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
