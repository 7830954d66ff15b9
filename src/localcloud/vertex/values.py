"""google.protobuf.Value to and from plain Python values, and JSON, quickly: predictions consist of little else.

google.protobuf.json_format does the same for any message, several times slower.
"""

from __future__ import annotations

from typing import Any

import orjson
from google.protobuf.struct_pb2 import NULL_VALUE


def to_python(value: Any) -> Any:
    """A Value as JSON has it; a whole number comes as an int, as in Google's JSON."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if kind == "string_value":
        return value.string_value
    if kind == "list_value":
        return [to_python(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {key: to_python(item) for key, item in value.struct_value.fields.items()}
    if kind == "bool_value":
        return value.bool_value
    return None


def fill(value: Any, content: Any) -> None:
    """Make a Value of something that came out of JSON."""
    if isinstance(content, bool):
        value.bool_value = content
    elif isinstance(content, (int, float)):
        value.number_value = content
    elif isinstance(content, str):
        value.string_value = content
    elif isinstance(content, list):
        values = value.list_value.values
        value.list_value.SetInParent()
        for item in content:
            fill(values.add(), item)
    elif isinstance(content, dict):
        value.struct_value.SetInParent()
        fields = value.struct_value.fields
        for key, item in content.items():
            fill(fields[key], item)
    else:
        value.null_value = NULL_VALUE


def predict_body(request: Any) -> bytes:
    """The JSON that a prediction container is sent for a PredictRequest."""
    content: dict[str, Any] = {"instances": [to_python(instance) for instance in request.instances]}
    if request.HasField("parameters"):
        content["parameters"] = to_python(request.parameters)
    return orjson.dumps(content)
