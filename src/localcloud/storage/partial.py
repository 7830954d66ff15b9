"""Partial responses: the `fields` parameter, such as `items(name,size),nextPageToken`.

Source: cloud.google.com/storage/docs/json_api#partial-response.
"""

from __future__ import annotations

import re
from collections import deque
from contextlib import suppress
from typing import Any

from localcloud.storage import errors

Mask = dict[str, "Mask"]
"""Field to what is wanted within it; empty: all of it."""

_TOKEN = re.compile(r"\s*([A-Za-z0-9_*.-]+|[(),/])")


def parse(text: str) -> Mask:
    """The mask that a `fields` parameter asks for; 400 if it cannot be read."""
    tokens = deque(_TOKEN.findall(text))
    if "".join(tokens) == re.sub(r"\s", "", text):
        with suppress(IndexError, ValueError):
            mask = _fields(tokens)
            if not tokens:
                return mask
    raise errors.invalid(f"Invalid field selection: '{text}'.", "fields")


def project(value: Any, mask: Mask) -> Any:
    """What the mask leaves of a JSON value; lists are gone into."""
    if not mask:
        return value
    if isinstance(value, list):
        return [project(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    wanted = {key: mask.get(key, mask.get("*")) for key in value}
    return {key: project(value[key], inner) for key, inner in wanted.items() if inner is not None}


def wants(mask: Mask, *path: str) -> bool:
    """Whether the answer shows the field at this path."""
    for name in path:
        if not mask:
            return True
        inner = mask.get(name, mask.get("*"))
        if inner is None:
            return False
        mask = inner
    return True


def _fields(tokens: deque[str]) -> Mask:
    mask: Mask = {}
    while True:
        name, inner = _field(tokens)
        mask.setdefault(name, {}).update(inner)
        if not tokens or tokens[0] != ",":
            return mask
        tokens.popleft()


def _field(tokens: deque[str]) -> tuple[str, Mask]:
    name = tokens.popleft()
    if name in "(),/":
        raise ValueError(name)
    if tokens and tokens[0] == "/":
        tokens.popleft()
        inner_name, inner = _field(tokens)
        return name, {inner_name: inner}
    if tokens and tokens[0] == "(":
        tokens.popleft()
        mask = _fields(tokens)
        if tokens.popleft() != ")":
            raise ValueError(name)
        return name, mask
    return name, {}
