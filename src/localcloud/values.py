"""google.protobuf.Value to and from plain Python values, quickly: predictions consist of little else.

google.protobuf.json_format does the same for any message, several times slower. Rows of numbers go by their wire
form, in which each number takes the same eleven bytes.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE

_PREFIX = b"\x0a\x09\x11"  # field 1 of a ListValue, nine bytes: field 1 of a Value, a double
_NUMBER = struct.Struct("<3xd")
_WRITTEN = struct.Struct("<3sd")


def to_python(value: Any) -> Any:
    """A Value as JSON has it; a whole number comes as an int, as in Google's JSON."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _whole(value.number_value)
    if kind == "string_value":
        return value.string_value
    if kind == "list_value":
        return _list(value.list_value)
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
        _fill_list(value.list_value, content)
    elif isinstance(content, dict):
        value.struct_value.SetInParent()
        fields = value.struct_value.fields
        for key, item in content.items():
            fill(fields[key], item)
    else:
        value.null_value = NULL_VALUE


@cache
def value_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields of a message type that are Values, or lists of them (`instances`, `predictions`)."""
    return tuple(
        field
        for field in descriptor.fields
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"
    )


def take_values(content: dict[str, Any], message: Any) -> dict[str, Any]:
    """Fill a message's Value fields from its JSON, and give the rest of the JSON, for json_format to read."""
    rest = content
    for field in value_fields(message.DESCRIPTOR):
        for name in (field.name, field.camelcase_name):
            given = rest.get(name)
            if name not in rest or (field.is_repeated and not isinstance(given, list)):
                continue
            rest = {key: value for key, value in rest.items() if key != name}
            if field.is_repeated:
                target = getattr(message, field.name)
                for item in given or ():
                    fill(target.add(), item)
            else:
                fill(getattr(message, field.name), given)
    return rest


def split_values(message: Any) -> tuple[Message, dict[str, Any]]:
    """A message without its Value fields, for json_format to write, and these fields as JSON has them."""
    found: dict[str, Any] = {}
    rest = message
    for field in value_fields(message.DESCRIPTOR):
        stored = getattr(message, field.name)
        if not (len(stored) if field.is_repeated else message.HasField(field.name)):
            continue
        found[field.camelcase_name] = [to_python(item) for item in stored] if field.is_repeated else to_python(stored)
        if rest is message:
            rest = type(message)()
            rest.CopyFrom(message)
        rest.ClearField(field.name)
    return rest, found


def _whole(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _list(stored: Any) -> list[Any]:
    values = stored.values
    if len(values) > 1 and values[0].WhichOneof("kind") == "number_value":
        wire = stored.SerializeToString()
        count = len(wire) // 11
        if len(wire) == 11 * count == 11 * len(values) and all(
            wire[place::11] == _PREFIX[place : place + 1] * count for place in range(3)
        ):
            return [_whole(number) for (number,) in _NUMBER.iter_unpack(wire)]
    return [to_python(item) for item in values]


def _fill_list(target: Any, content: list[Any]) -> None:
    target.SetInParent()
    if content and all(type(item) is float or type(item) is int for item in content):
        pack = _WRITTEN.pack
        target.MergeFromString(b"".join([pack(_PREFIX, item) for item in content]))
        return
    values = target.values
    for item in content:
        fill(values.add(), item)
