"""One comparison of a list filter: what `=`, `:`, `<` and wildcards mean for each type of field.

Parsing is localcloud.filters' work; the values arrive from localcloud.fields.Path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from localcloud.errors import InvalidArgument
from localcloud.fields import VALUE, Path

_WRAPPER = re.compile(r"google\.protobuf\.\w+Value$")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_NUMBERS = {
    Field.CPPTYPE_INT32,
    Field.CPPTYPE_INT64,
    Field.CPPTYPE_UINT32,
    Field.CPPTYPE_UINT64,
    Field.CPPTYPE_FLOAT,
    Field.CPPTYPE_DOUBLE,
}


@dataclass(frozen=True)
class Argument:
    """The right-hand side of a comparison and where it stands in the filter."""

    text: str
    quoted: bool
    at: int


def comparison(path: Path | None, operator: str, argument: Argument) -> Callable[[Any], bool]:
    """The test of one value of the field at `path`.

    Args:
        path: The field; None where a value's own type decides (virtual fields).
        operator: One of `= != < <= > >= : =~ !~`.
        argument: What it is compared with.

    Raises:
        InvalidArgument: The argument is no value of the field's type, or the type knows no such operator.
    """
    if operator == ":" and argument.text == "*" and not argument.quoted:
        return is_present
    leaf = path.leaf if path is not None else None
    if path is not None and leaf is not None and isinstance(path.steps[-1], str) and operator == ":":
        operator = "="  # m.key:value asks for that entry of the map, not for a part of its text
    if path is not None and path.whole_map:
        if operator != ":":
            raise InvalidArgument(f"`{path.text}` is a map: use `{path.text}.KEY {operator} …`")
        return lambda value: any(str(key) == argument.text for key in value)
    if leaf is None:
        return _dynamic(operator, argument)
    test = _typed(leaf, operator, argument, f"`{path.text}`" if path is not None else "the value")
    if leaf.is_repeated:
        return lambda values: any(test(value) for value in values)
    return test


def is_present(value: Any) -> bool:
    """Whether `field:*` holds: a message that is set, anything else that is not empty."""
    if isinstance(value, Message):
        return True
    if isinstance(value, (int, float)):
        return value != 0
    return len(value) > 0


def comparable(value: Any) -> Any:
    """A field's value as something that Python orders: times and durations in nanoseconds."""
    if isinstance(value, (Timestamp, Duration)):
        return value.seconds * 1_000_000_000 + value.nanos
    if isinstance(value, Message):
        name = value.DESCRIPTOR.full_name
        if name == VALUE:
            kind = value.WhichOneof("kind")
            return None if kind in (None, "null_value") else getattr(value, kind)
        if _WRAPPER.match(name):
            return value.value
    return value


def _typed(leaf: Field, operator: str, argument: Argument, name: str) -> Callable[[Any], bool]:
    message = leaf.message_type
    if message is not None and _WRAPPER.match(message.full_name) and message.full_name != VALUE:
        inner = _typed(message.fields_by_name["value"], operator, argument, name)
        return lambda value: inner(value.value)
    if message is not None and message.full_name in (
        Timestamp.DESCRIPTOR.full_name,
        "google.protobuf.Duration",
    ):
        wanted = _nanoseconds(message.full_name, argument.text, name)
        order = _ordering(operator, name)
        return lambda value: order(comparable(value), wanted)
    if message is not None:
        if message.full_name == VALUE:
            return _dynamic(operator, argument)
        raise InvalidArgument(f"{name} is a message: compare one of its fields, or test `{name[1:-1]}:*`")
    if leaf.type == Field.TYPE_STRING:
        return _string(operator, argument.text, name)
    if leaf.type == Field.TYPE_ENUM:
        known = leaf.enum_type.values_by_name.get(argument.text)
        if known is None and not argument.text.isdigit():
            values = ", ".join(leaf.enum_type.values_by_name)
            raise InvalidArgument(f"{name} cannot be `{argument.text}`; it is one of {values}")
        if operator not in ("=", "!=", ":"):
            raise InvalidArgument(f"{name} is an enum: it knows = and != only")
        number = int(argument.text) if known is None else known.number
        return lambda value: (value == number) is not (operator == "!=")
    order = _ordering(operator, name)
    if leaf.cpp_type == Field.CPPTYPE_BOOL:
        truth = {"true": True, "false": False}.get(argument.text.lower())
        if truth is None:
            raise InvalidArgument(f"{name} is true or false, not `{argument.text}`")
        return lambda value: order(value, truth)
    if leaf.cpp_type in _NUMBERS:
        number_wanted = _number(argument.text)
        if number_wanted is None:
            raise InvalidArgument(f"{name} is a number, not `{argument.text}`")
        return lambda value: order(value, number_wanted)
    raise InvalidArgument(f"{name} cannot be used in a filter")


def _ordering(operator: str, name: str) -> Callable[[Any, Any], bool]:
    order = _ORDER["=" if operator == ":" else operator] if operator in (*_ORDER, ":") else None
    if order is None:
        raise InvalidArgument(f"{name} is no text: `{operator}` cannot be used on it")
    return order


def _string(operator: str, wanted: str, name: str) -> Callable[[str], bool]:
    if operator in ("=~", "!~"):
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise InvalidArgument(f"{name}: `{wanted}` is no regular expression ({error})") from None
        return lambda value: (pattern.search(value) is not None) is not (operator == "!~")
    if operator in ("=", "!="):
        negated = operator == "!="
        wild = wildcard(wanted)
        if wild is not None:
            found = wild
            return lambda value: (found.fullmatch(value) is not None) is not negated
        plain = wanted.replace("\\*", "*")
        return lambda value: (value == plain) is not negated
    if operator == ":":
        wild = wildcard(f"*{wanted}*")
        assert wild is not None
        ignoring_case = re.compile(wild.pattern, re.IGNORECASE | re.DOTALL)
        return lambda value: ignoring_case.fullmatch(value) is not None
    order = _ORDER[operator]
    return lambda value: order(value, wanted)


def wildcard(text: str) -> re.Pattern[str] | None:
    """The pattern of a text with `*` in it; None for a text without. `\\*` is a plain star."""
    parts = re.split(r"(?<!\\)\*", text)
    if len(parts) == 1:
        return None
    return re.compile(".*".join(re.escape(part.replace("\\*", "*")) for part in parts), re.DOTALL)


def _dynamic(operator: str, argument: Argument) -> Callable[[Any], bool]:
    """Compare with a value whose type is known only when it is there (a Struct's, a virtual field's)."""
    number = _number(argument.text)
    as_string = _string(operator, argument.text, "the value")
    order = _ORDER.get("=" if operator == ":" else operator)

    def test(stored: Any) -> bool:
        value = comparable(stored)
        if isinstance(value, str):
            return as_string(value)
        if isinstance(value, Message):  # a struct or list inside a Struct: only `:` says something about it
            fields: Mapping[str, Any] | None = getattr(value, "fields", None)
            if operator != ":":
                return False
            if fields is not None:
                return argument.text in fields
            return any(test(item) for item in value.values)
        if order is None or value is None:
            return False
        if isinstance(value, bool):
            return argument.text.lower() in ("true", "false") and order(value, argument.text.lower() == "true")
        return number is not None and isinstance(value, (int, float)) and order(value, number)

    return test


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            return None
        return None if math.isnan(value) else value


def _nanoseconds(kind: str, text: str, name: str) -> int:
    try:
        if kind == "google.protobuf.Duration":
            duration = Duration()
            duration.FromJsonString(text)
            return int(duration.seconds * 1_000_000_000 + duration.nanos)
        return timestamp_nanoseconds(text)
    except ValueError:
        wanted = 'a duration such as "20s"' if kind.endswith("Duration") else 'a time such as "2024-05-01T12:00:00Z"'
        raise InvalidArgument(f"{name} wants {wanted}, not `{text}`") from None


def timestamp_nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time; a bare date is its midnight in UTC."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        text += "T00:00:00Z"
    elif re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ][\d:.]+", text):
        text += "Z"
    found = Timestamp()
    found.FromJsonString(text.upper().replace(" ", "T"))
    return int(found.seconds * 1_000_000_000 + found.nanos)
