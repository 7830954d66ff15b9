"""The filter language of Pub/Sub subscriptions: what a message's attributes must be to be delivered.

https://cloud.google.com/pubsub/docs/subscription-message-filter. Where filters apply is `broker`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localcloud.errors import InvalidArgument

MAX_BYTES = 256

Matches = Callable[[Mapping[str, str]], bool]
"""Whether a message with these attributes passes."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_\-]*)
      | (?P<symbol>!=|[=:.,()\-])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int


def compile_filter(text: str) -> Matches | None:
    """Read a filter.

    Args:
        text: Such as `attributes.kind = "sale" AND NOT hasPrefix(attributes.shop, "test-")`; empty for none.

    Returns:
        The test to put to a message's attributes, None where every message passes.

    Raises:
        InvalidArgument: It does not parse (the message has the place) or is longer than 256 bytes.
    """
    if not text.strip():
        return None
    if len(text.encode()) > MAX_BYTES:
        raise InvalidArgument(f"The filter has {len(text.encode())} bytes; the maximum is {MAX_BYTES}.")
    return _Parser(text).parse()


class _Parser:
    """Recursive descent over: sequence = term (AND term)* | term (OR term)*; term = [NOT | -] simple."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self._next = 0

    def _scan(self) -> list[_Token]:
        tokens, place = [], 0
        while self._text[place:].strip():
            found = _TOKEN.match(self._text, place)
            if found is None:
                start = place + len(self._text[place:]) - len(self._text[place:].lstrip())
                raise self._error(start, f"unexpected character {self._text[start]!r}")
            kind = found.lastgroup or ""
            tokens.append(_Token(kind, found[kind], found.start(kind)))
            place = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    def _error(self, place: int, what: str) -> InvalidArgument:
        return InvalidArgument(f"Invalid filter `{self._text}`: {what} at position {place + 1}.")

    def _unexpected(self, wanted: str) -> InvalidArgument:
        token = self._tokens[self._next]
        found = f"`{token.text}`" if token.text else "the end"
        return self._error(token.place, f"expected {wanted}, found {found}")

    def _peek(self, text: str) -> bool:
        token = self._tokens[self._next]
        return token.kind != "string" and token.text == text

    def _accept(self, text: str) -> bool:
        found = self._peek(text)
        self._next += found
        return found

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unexpected(f"`{text}`")

    def parse(self) -> Matches:
        matches = self._sequence()
        if self._tokens[self._next].kind != "end":
            raise self._unexpected("AND, OR or the end")
        return matches

    def _sequence(self) -> Matches:
        terms = [self._term()]
        operator = next((word for word in ("AND", "OR") if self._peek(word)), "")
        while operator and self._accept(operator):
            terms.append(self._term())
        if self._peek("AND") or self._peek("OR"):
            place = self._tokens[self._next].place
            raise self._error(place, "AND and OR must not be mixed without parentheses, found both")
        if len(terms) == 1:
            return terms[0]
        combine = all if operator == "AND" else any
        return lambda attributes: combine(term(attributes) for term in terms)

    def _term(self) -> Matches:
        if self._accept("NOT") or self._accept("-"):
            inner = self._simple()
            return lambda attributes: not inner(attributes)
        return self._simple()

    def _simple(self) -> Matches:
        if self._accept("("):
            inner = self._sequence()
            self._expect(")")
            return inner
        if self._accept("hasPrefix"):
            self._expect("(")
            key = self._attribute()
            self._expect(",")
            prefix = self._string()
            self._expect(")")
            return lambda attributes: key in attributes and attributes[key].startswith(prefix)
        if not self._accept("attributes"):
            raise self._unexpected("attributes.KEY, attributes:KEY, hasPrefix( or a parenthesis")
        if self._accept(":"):
            key = self._key()
            return lambda attributes: key in attributes
        self._expect(".")
        key = self._key()
        if self._accept("="):
            value = self._string()
            return lambda attributes: attributes.get(key) == value
        if self._accept("!="):
            value = self._string()
            return lambda attributes: attributes.get(key) != value
        raise self._unexpected("`=` or `!=`")

    def _attribute(self) -> str:
        self._expect("attributes")
        self._expect(".")
        return self._key()

    def _key(self) -> str:
        token = self._tokens[self._next]
        if token.kind == "string":
            return self._string()
        if token.kind != "word":
            raise self._unexpected("an attribute's key")
        self._next += 1
        return token.text

    def _string(self) -> str:
        token = self._tokens[self._next]
        if token.kind != "string":
            raise self._unexpected("a string in double quotes")
        self._next += 1
        return _ESCAPE.sub(_unescape, token.text[1:-1])


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "01234567":
        return chr(int(code, 8))
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)
