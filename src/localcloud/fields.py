"""Field paths over protobuf messages (`labels.team`, `createTime`, `spec.replicas`), and update masks.

Filters and ordering build on these paths (localcloud.filters); storing is localcloud.resources' work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from localcloud.errors import InvalidArgument

STRUCT = "google.protobuf.Struct"
VALUE = "google.protobuf.Value"
LIST_VALUE = "google.protobuf.ListValue"
# What the server alone writes: an update that carries these is not refused, they are left out of it.
MANAGED = ("name", "create_time", "update_time", "etag")


class Path:
    """A field path bound to a message type.

    Args:
        descriptor: The message type that the path starts from.
        segments: Names in snake or camel case; map keys and Struct fields as they are.

    Raises:
        InvalidArgument: The path leads nowhere; the message names the segment and the nearest known fields.
    """

    def __init__(self, descriptor: Descriptor, segments: Sequence[str]) -> None:
        self.text = ".".join(segments)
        self.steps: list[FieldDescriptor | str] = []
        self.leaf: FieldDescriptor | None = None
        """The field of the last step; None where only the stored value tells the type (Struct)."""
        self.whole_map = False
        """Whether the path ends at a map itself, not at one of its keys."""
        here: Descriptor | None = descriptor
        pending_map: FieldDescriptor | None = None
        for segment in segments:
            if pending_map is not None:
                self.steps.append(segment)
                self.leaf = pending_map.message_type.fields_by_name["value"]
                here, pending_map = self.leaf.message_type, None
                continue
            if here is None:
                raise InvalidArgument(f"Field `{self.text}`: nothing lies below a plain value (at `{segment}`).")
            if here.full_name in (STRUCT, VALUE, LIST_VALUE):
                self.steps.append(segment)
                self.leaf = None
                continue
            field = find_field(here, segment)
            if field is None:
                raise InvalidArgument(
                    f"Field `{self.text}` does not exist: `{here.full_name}` has no field `{segment}`. "
                    f"Its fields are {', '.join(sorted(here.fields_by_name))}."
                )
            self.steps.append(field)
            self.leaf = field
            if is_map(field):
                pending_map = field
            else:
                here = field.message_type
        self.whole_map = pending_map is not None

    @property
    def root(self) -> str:
        """The name of the first field, in snake case."""
        first = self.steps[0]
        return first if isinstance(first, str) else first.name

    @property
    def canonical(self) -> str:
        """The path with every field in snake case."""
        return ".".join(step if isinstance(step, str) else step.name for step in self.steps)

    def values(self, message: Any) -> Iterator[Any]:
        """Every value the path leads to: none where something on the way is unset, several below lists."""
        return _walk(message, self.steps)


def _walk(value: Any, steps: Sequence[FieldDescriptor | str]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        yield from _walk_key(value, step, rest)
    elif step.is_repeated:
        container = getattr(value, step.name)
        if not rest or is_map(step):
            yield from _walk(container, rest)
        else:
            for item in container:
                yield from _walk(item, rest)
    elif not step.has_presence or value.HasField(step.name):
        yield from _walk(getattr(value, step.name), rest)


def _walk_key(value: Any, key: str, rest: Sequence[FieldDescriptor | str]) -> Iterator[Any]:
    kind = getattr(getattr(value, "DESCRIPTOR", None), "full_name", None)
    if kind == STRUCT:
        if key in value.fields:
            yield from _walk(value.fields[key], rest)
    elif kind == VALUE:
        stored = value.WhichOneof("kind")
        if key == stored:  # metadata.accuracy.number_value
            yield from _walk(getattr(value, key), rest)
        elif stored in ("struct_value", "list_value"):
            yield from _walk_key(getattr(value, stored), key, rest)
    elif kind == LIST_VALUE:
        for item in value.values:
            yield from _walk_key(item, key, rest)
    else:
        for known in value:
            if str(known) == key:
                yield from _walk(value[known], rest)
                return


def split_path(text: str) -> list[str]:
    """The segments of `a.b."quoted.key"` or with backticks around a key, quotes taken off."""
    segments, current, quote = [], "", ""
    for char in text:
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "\"'`":
            quote = char
        elif char == ".":
            segments.append(current)
            current = ""
        else:
            current += char
    return [*segments, current]


def find_field(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of this name in snake or camel case."""
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map<…>."""
    return bool(field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry)


def apply_mask(
    stored: Message,
    given: Message,
    mask: Iterable[str],
    allowed: Iterable[str] | None = None,
) -> None:
    """Carry the masked fields of `given` over into `stored`, as https://google.aip.dev/134 says.

    Args:
        stored: The message to change.
        given: The message that holds the new values.
        mask: Field paths, nested ones and map keys too, snake or camel case. None at all means every field
            that is set in `given`; `*` replaces the resource.
        allowed: The fields that may be changed; None means all. A masked field that may not be changed is
            refused where its value would change; MANAGED fields are passed over.

    Raises:
        InvalidArgument: A path names no field, or a field that cannot be updated.
    """
    permitted = None if allowed is None else tuple(allowed)
    texts = [text for text in mask if text]
    if texts and "*" not in texts:
        for text in texts:
            path = Path(given.DESCRIPTOR, split_path(text))
            if path.root in MANAGED:
                continue
            if permitted is not None and not _covers(permitted, path.canonical):
                if list(path.values(stored)) != list(path.values(given)):
                    raise InvalidArgument(
                        f"Field `{text}` in update_mask cannot be updated. Fields that can: {', '.join(permitted)}."
                    )
                continue
            _copy(stored, given, path.steps)
        return
    for field in given.DESCRIPTOR.fields:
        if field.name in MANAGED or not (texts or _is_set(given, field)):
            continue
        if permitted is None or field.name in permitted:
            _copy(stored, given, [field])
        else:
            for nested in permitted:
                if nested.startswith(field.name + "."):
                    path = Path(given.DESCRIPTOR, split_path(nested))
                    if texts or any(True for _ in path.values(given)):
                        _copy(stored, given, path.steps)


def select(message: Message, mask: Iterable[str]) -> Any:
    """What a read mask (https://google.aip.dev/157) leaves of a message; all of it without paths or with `*`.

    Raises:
        InvalidArgument: A path names no field.
    """
    texts = [text for text in mask if text]
    if not texts or "*" in texts:
        return message
    selected = type(message)()
    for text in texts:
        _copy(selected, message, Path(message.DESCRIPTOR, split_path(text)).steps)
    return selected


def _covers(allowed: Sequence[str], path: str) -> bool:
    return any(path == name or path.startswith(name + ".") for name in allowed)


def _is_set(message: Any, field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return len(getattr(message, field.name)) > 0
    if field.has_presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name) != field.default_value)


def _copy(target: Any, source: Any, steps: Sequence[FieldDescriptor | str]) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        _copy_key(target, source, step, rest)
        return
    name = step.name
    if is_map(step) and rest:
        _copy_key(getattr(target, name), getattr(source, name), str(rest[0]), rest[1:])
        return
    if rest:
        if step.is_repeated:
            raise InvalidArgument(f"update_mask cannot reach into the list `{name}`: name the whole list.")
        if source.HasField(name) or target.HasField(name):
            _copy(getattr(target, name), getattr(source, name), rest)
        return
    target.ClearField(name)
    if not _is_set(source, step):
        return
    value = getattr(source, name)
    if is_map(step) and step.message_type.fields_by_name["value"].message_type is None:
        getattr(target, name).update(value)
    elif step.is_repeated:
        getattr(target, name).MergeFrom(value)
    elif step.message_type is not None:
        getattr(target, name).CopyFrom(value)
        getattr(target, name).SetInParent()
    else:
        setattr(target, name, value)


def _copy_key(target: Any, source: Any, key: str, rest: Sequence[FieldDescriptor | str]) -> None:
    kind = getattr(getattr(target, "DESCRIPTOR", None), "full_name", None)
    if kind == VALUE:
        target, source = target.struct_value, source.struct_value
        kind = STRUCT
    if kind == STRUCT:
        target, source = target.fields, source.fields
    typed = next((known for known in (*source, *target) if str(known) == key), None)
    if typed is None:
        return
    if typed not in source:
        if not rest:
            del target[typed]
        return
    if rest:
        _copy(target[typed], source[typed], rest)
    elif isinstance(source[typed], Message):
        target[typed].CopyFrom(source[typed])
    else:
        target[typed] = source[typed]
