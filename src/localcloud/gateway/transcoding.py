"""HTTP/JSON to protobuf and back, by Google's own HTTP rules (google/api/http.proto, AIP-127).

It turns a path, a query and a body into a request message, and a message into JSON. It calls nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from localcloud.catalog import HttpRule
from localcloud.errors import InvalidArgument
from localcloud.values import split_values, take_values

HTTP_BODY = "google.api.HttpBody"

SYSTEM_PARAMETERS = frozenset(
    "alt $alt key $key fields $fields prettyPrint $prettyPrint quotaUser access_token oauth_token callback $callback "
    "uploadType upload_protocol $.xgafv $unique_repeated_request_id userProject $userProject".split()
)
"""Query parameters of Google's front ends (https://cloud.google.com/apis/docs/system-parameters)."""

_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]+))?\}")
_PLACE = re.compile(r'Message type "[^"]+" has no field named "([^"]+)" at "([^"]*)"')
_SCALARS = {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"}


@dataclass(frozen=True)
class Route:
    """A rule made ready for matching."""

    rule: HttpRule
    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    """The dotted request fields that the path fills, in the order of the pattern's groups."""
    weight: tuple[int, int]
    """Smaller is more specific: a rule with a custom verb first, then the one with more literal segments."""

    @classmethod
    def of(cls, rule: HttpRule) -> Route:
        """Compiles a path template: `*` is one segment, `**` any number, `{field=template}` a variable."""
        fields: list[str] = []
        expression, at = "", 0
        for variable in _VARIABLE.finditer(rule.template):
            expression += _segments(rule.template[at : variable.start()])
            expression += f"({_segments(variable.group(2) or '*')})"
            fields.append(variable.group(1))
            at = variable.end()
        rest = rule.template[at:]
        expression += _segments(rest)
        literal = _VARIABLE.sub(lambda variable: variable.group(2) or "*", rule.template)
        literals = sum(1 for segment in literal.split("/") if segment and "*" not in segment)
        return cls(rule, re.compile(expression), tuple(fields), (0 if ":" in rest else 1, -literals))

    def match(self, path: str) -> dict[str, str] | None:
        """The fields that a still percent-encoded path fills, or None where the rule is not for it."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return {field: unquote(value) for field, value in zip(self.fields, found.groups(), strict=True)}


def _segments(template: str) -> str:
    parts = re.split(r"(\*\*|\*)", template)
    return "".join({"**": ".+", "*": "[^/]+"}.get(part, re.escape(part)) for part in parts)


def to_request(
    route: Route,
    request: Message,
    path_fields: dict[str, str],
    query: Iterable[tuple[str, str]],
    body: bytes,
    content_type: str,
) -> None:
    """Fills an empty request message from what arrived over HTTP.

    Raises:
        InvalidArgument: The JSON does not parse, or names a field that the message does not have.
    """
    descriptor = request.DESCRIPTOR
    value: dict[str, Any] = {}
    raw = _http_body_field(descriptor) if route.rule.body == "*" else None
    if raw is not None:
        value[raw] = {"contentType": content_type, "data": base64.b64encode(body).decode("ascii")}
    elif route.rule.body == "*":
        value = _object(body)
    elif route.rule.body:
        value[route.rule.body] = _object(body)
    elif body.strip() not in (b"", b"{}"):
        raise InvalidArgument("Invalid JSON payload received. This method takes no request body.")
    for name, text in query:
        if name not in SYSTEM_PARAMETERS:
            _set_parameter(value, descriptor, name, text)
    for dotted, text in path_fields.items():
        _set_path_field(value, descriptor, dotted, text)
    parse(value, request)


def parse(value: dict[str, Any], message: Message) -> None:
    """JSON (as Python values) into a message, with the wording of Google's front ends for what does not fit."""
    try:
        json_format.ParseDict(take_values(value, message), message, max_recursion_depth=200)
    except json_format.ParseError as error:
        raise InvalidArgument(_front_end_words(str(error))) from None
    except RecursionError:
        raise InvalidArgument("Invalid JSON payload received. It is nested too deeply.") from None


def to_json(message: Message, *, enums_as_integers: bool = False) -> bytes:
    """A message as Google's REST answers write it: camelCase, defaults left out."""
    rest, values = split_values(message)
    content = json_format.MessageToDict(rest, use_integers_for_enums=enums_as_integers)
    return orjson.dumps({**content, **values})


def _http_body_field(descriptor: Descriptor) -> str | None:
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.full_name == HTTP_BODY:
            return str(field.name)
    return None


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument('Invalid JSON payload received. Unknown name "": Root element must be a message.')
    return value


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def _set_path_field(value: dict[str, Any], descriptor: Descriptor, dotted: str, text: str) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        field = descriptor.fields_by_name[name]
        # the client may have written the field either way; the path is laid over what it wrote
        value = value.setdefault(field.camelcase_name if field.camelcase_name in value else name, {})
        descriptor = field.message_type
    value.pop(descriptor.fields_by_name[last].camelcase_name, None)
    value[last] = text


def _set_parameter(value: dict[str, Any], descriptor: Descriptor, name: str, text: str) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        field = _field(descriptor, parent)
        if field is None or field.message_type is None or field.is_repeated:
            raise InvalidArgument(_unknown(name))
        value = value.setdefault(field.name, {})
        descriptor = field.message_type
    field = _field(descriptor, last)
    if field is None or (field.message_type is not None and field.message_type.full_name not in _SCALARS):
        raise InvalidArgument(_unknown(name))
    scalar = _scalar(field, name, text)
    if field.is_repeated:
        value.setdefault(field.name, []).append(scalar)
    else:
        value[field.name] = scalar


def _scalar(field: FieldDescriptor, name: str, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text.lower() not in ("true", "false", "1", "0"):
            raise InvalidArgument(f"Invalid value at '{name}' (TYPE_BOOL), \"{text}\"")
        return text.lower() in ("true", "1")
    if field.type == FieldDescriptor.TYPE_ENUM and text.lstrip("-").isdigit():
        return int(text)
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask":
        return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), text)
    return text


def _unknown(name: str) -> str:
    return (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )


def _front_end_words(error: str) -> str:
    found = _PLACE.search(error)
    if found is None:
        return f"Invalid JSON payload received. {error}"
    name, place = found.groups()
    path = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", place.partition(".")[2]).lower()
    where = f" at '{path}'" if path else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
