"""The REST surface as data: each method's route, parameters and handler, from which the discovery document comes.

Handlers are in the modules beside this one, one module a resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.warehouse import Warehouse

_VARIABLE = re.compile(r"\{(\w+)(\*?)\}")
_TRUE, _FALSE = frozenset({"true", "1", ""}), frozenset({"false", "0"})


@dataclass(frozen=True)
class Call:
    """One REST request.

    Args:
        warehouse: What it is about.
        path: The variables of the path.
        query: The query parameters.
        headers: Keys in lower case.
        body: The JSON body; empty where there is none.
        base: Scheme and host, for the links in resources.
    """

    warehouse: Warehouse
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]
    base: str

    @property
    def project(self) -> str:
        """The project in the path."""
        return self.path["projectId"]

    @property
    def etag(self) -> str:
        """The If-Match header."""
        return self.headers.get("if-match", "")

    def flag(self, name: str) -> bool:
        """A boolean query parameter."""
        value = self.query.get(name, "false").lower()
        if value not in _TRUE | _FALSE:
            raise Invalid(f"Invalid value for {name}: {value} is not a valid value", location=name)
        return value in _TRUE

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number from 0 on."""
        value = self.query.get(name)
        if value is None:
            return default
        if not value.isdigit():
            raise Invalid(f"Invalid value for {name}: {value!r} is not a whole number from 0 on", location=name)
        return int(value)

    def link(self, path: str) -> str:
        """A selfLink."""
        return f"{self.base}/bigquery/v2/{path}"


@dataclass(frozen=True)
class Raw:
    """A JSON answer that is written already."""

    content: bytes


@dataclass(frozen=True)
class Chosen:
    """An answer with another status, or headers of its own."""

    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Method:
    """One method of the API.

    Args:
        id: `bigquery.tables.get`.
        verb: GET, POST …
        path: Below /bigquery/v2/; `{tableId}` stands for one segment, `{resource*}` for any number.
        handler: What answers it; None stands for the answer `204 No Content` done by `None`.
        query: Names and types of the query parameters.
        request: Name of the body's message; empty where there is none.
        response: Name of the answer's message; empty where there is none.
        media: Whether the body may be a file (uploads).
    """

    id: str
    verb: str
    path: str
    handler: Handler
    query: Mapping[str, str] = field(default_factory=dict)
    request: str = ""
    response: str = ""
    media: bool = False

    @property
    def variables(self) -> list[str]:
        """The path's variables, in order."""
        return [match[1] for match in _VARIABLE.finditer(self.path)]

    @property
    def pattern(self) -> re.Pattern[str]:
        """What paths below /bigquery/v2/ it answers."""
        parts = _VARIABLE.split(self.path)
        literals, names, stars = parts[0::3], parts[1::3], parts[2::3]
        text = re.escape(literals[0])
        for name, star, literal in zip(names, stars, literals[1:], strict=True):
            text += f"(?P<{name}>{'.+?' if star else '[^/]+?'})" + re.escape(literal)
        return re.compile(text + "/?")


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object; nothing is `{}`.

    Raises:
        Invalid: It is not a JSON object.
    """
    content = await request.body()
    if not content.strip():
        return {}
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"Parse Error: the body is not JSON: {error}", reason="parseError") from None
    if not isinstance(body, dict):
        raise Invalid("Parse Error: the body must be a JSON object", reason="parseError")
    return body


def page(items: list[Any], call: Call, *, default: int = 50) -> tuple[list[Any], str]:
    """The page of a list that maxResults and pageToken ask for, and the next page's token."""
    start, size = call.number("pageToken", 0), call.number("maxResults", default) or default
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""
