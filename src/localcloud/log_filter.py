"""Cloud Logging's query language: text in, a predicate over log entries in their JSON form out.

Source: https://cloud.google.com/logging/docs/view/logging-query-language. Knows no storage; `logs` asks it
which part of a query is about time or the stream, so as not to read what cannot match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from localcloud.errors import InvalidArgument, Unimplemented

Entry = Mapping[str, Any]
Predicate = Callable[[Entry], bool]

SEVERITIES = {
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
STREAM_FIELDS = ("logname", "resource", "labels")
"""What all entries of a stream share."""

TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator>=~|!~|!=|<=|>=|=|<|>|:)
      | (?P<open>\() | (?P<close>\)) | (?P<comma>,)
      | (?P<word>-?(?:[^\s"'=!<>:(),]|!(?![=~]))(?:[^\s"'=!<>:(),]|"(?:[^"\\]|\\.)*"|!(?![=~]))*)
    """,
    re.VERBOSE,
)


@dataclass
class Query:
    """A parsed query.

    Args:
        matches: Whether an entry is wanted.
        stream_matches: Whether a stream (logName, resource, labels) can hold wanted entries.
        since: No entry before this time is wanted, nanoseconds since the epoch.
        until: None after this one.
    """

    matches: Predicate
    stream_matches: Predicate = lambda stream: True
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True)
class Token:
    """A piece of the query's text and where it stands."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        """Where the text after it begins."""
        return self.at + len(self.text)


@dataclass
class Parser:
    """Recursive descent. NOT binds closest, then OR, then AND: `a OR b AND c` is `(a OR b) AND c`."""

    text: str
    tokens: list[Token] = field(default_factory=list)
    at: int = 0

    def parse(self) -> Query:
        """The whole query."""
        self.tokens = list(self.scan())
        terms: list[Term] = []
        if self.tokens:
            terms = self.conjunction()
            if self.at < len(self.tokens):
                raise self.error(f"unexpected {self.tokens[self.at].text!r}", self.tokens[self.at])
        query = Query(lambda entry: all(term.test(entry) for term in terms))
        streams = [term.test for term in terms if term.stream]
        query.stream_matches = lambda stream: all(test(stream) for test in streams)
        query.since = max((term.since for term in terms if term.since is not None), default=None)
        query.until = min((term.until for term in terms if term.until is not None), default=None)
        return query

    def scan(self) -> Iterator[Token]:
        """The tokens, without white space and comments."""
        at = 0
        while at < len(self.text):
            found = TOKEN.match(self.text, at)
            if found is None or found.lastgroup is None:
                raise InvalidArgument(f"Unparseable filter: syntax error at column {at + 1}: {self.text!r}")
            if found.lastgroup != "skip":
                yield Token(found.lastgroup, found.group(), at)
            at = found.end()

    def conjunction(self) -> list[Term]:
        """Terms joined by AND or by standing next to each other."""
        terms = [self.disjunction()]
        while self.at < len(self.tokens) and self.tokens[self.at].kind != "close":
            if self.peek("AND"):
                self.at += 1
            terms.append(self.disjunction())
        return terms

    def disjunction(self) -> Term:
        """Terms joined by OR."""
        terms = [self.negation()]
        while self.peek("OR"):
            self.at += 1
            terms.append(self.negation())
        if len(terms) == 1:
            return terms[0]
        tests = [term.test for term in terms]
        return Term(lambda entry: any(test(entry) for test in tests), all(term.stream for term in terms))

    def negation(self) -> Term:
        """A term with NOT or a minus before it, or without."""
        token = self.next("a condition")
        if token.kind == "word" and token.text == "NOT":
            return self.negation().negated()
        if token.kind == "word" and token.text.startswith("-") and len(token.text) > 1 and self.compares():
            return self.term(Token("word", token.text[1:], token.at + 1)).negated()
        if token.kind == "word" and token.text == "-":
            return self.negation().negated()
        return self.term(token)

    def compares(self) -> bool:
        """Whether an operator comes next."""
        return self.at < len(self.tokens) and self.tokens[self.at].kind == "operator"

    def term(self, token: Token) -> Term:
        """`( … )`, a function, a comparison, or bare text that is searched for everywhere."""
        if token.kind == "open":
            terms = self.conjunction()
            self.expect("close", ")")
            if len(terms) == 1:
                return terms[0]
            return Term(lambda entry: all(t.test(entry) for t in terms), all(t.stream for t in terms))
        if token.kind not in ("word", "string"):
            raise self.error(f"unexpected {token.text!r}", token)
        following = self.tokens[self.at] if self.at < len(self.tokens) else None
        if following and following.kind == "operator":
            self.at += 1
            return self.comparison(token, following)
        if token.kind == "word" and following and following.kind == "open" and following.at == token.end:
            return self.function(token)
        wanted = unquote(token.text).lower()
        return Term(lambda entry: any(wanted in str(leaf).lower() for leaf in leaves(entry)))

    def function(self, token: Token) -> Term:
        """`log_id("…")` and `SEARCH(…)`."""
        self.at += 1
        arguments: list[Token] = []
        while (token_ := self.next(")")).kind != "close":
            if token_.kind != "comma":
                arguments.append(token_)
        name, values = token.text.lower(), [unquote(argument.text) for argument in arguments]
        if name == "log_id" and len(values) == 1:
            return comparison(("logName",), "=~", f"/logs/{re.escape(values[0].replace('/', '%2F'))}$")
        if name == "search" and values:
            path = split_path(arguments[0].text) if len(values) == 2 else ()
            words = values[-1].lower().split()
            return Term(
                lambda entry: any(
                    all(word in str(leaf).lower() for word in words)
                    for value in values_at(entry, path)
                    for leaf in leaves(value)
                )
            )
        raise Unimplemented(f"the logging query function {token.text}() is not implemented locally")

    def comparison(self, left: Token, operator: Token) -> Term:
        """`path op value` or `path op (value OR value)`."""
        path = split_path(left.text)
        value = self.next("a value")
        if value.kind != "open":
            if value.kind not in ("word", "string"):
                raise self.error(f"a value must follow {operator.text!r}", value)
            return comparison(path, operator.text, unquote(value.text), value.kind == "string")
        group = self.alternatives(path, operator.text)
        self.expect("close", ")")
        return group

    def alternatives(self, path: tuple[str, ...], operator: str) -> Term:
        """The inside of `path op (a OR b AND NOT c)`, each value compared with the same path."""
        every: list[list[Term]] = [[]]
        while self.at < len(self.tokens) and self.tokens[self.at].kind != "close":
            if self.peek("OR"):
                self.at += 1
            else:
                every.append([])
                if self.peek("AND"):
                    self.at += 1
            negated = self.peek("NOT")
            self.at += negated
            token = self.next("a value")
            if token.kind == "open":
                term = self.alternatives(path, operator)
                self.expect("close", ")")
            else:
                term = comparison(path, operator, unquote(token.text), token.kind == "string")
            every[-1].append(term.negated() if negated else term)
        groups = [group for group in every if group]
        if not groups:
            raise self.error("an empty list of values")
        return Term(
            lambda entry: all(any(term.test(entry) for term in group) for group in groups),
            all(term.stream for group in groups for term in group),
        )

    def peek(self, word: str) -> bool:
        """Whether this keyword comes next. Keywords are in capitals."""
        return self.at < len(self.tokens) and self.tokens[self.at].kind == "word" and self.tokens[self.at].text == word

    def next(self, wanted: str) -> Token:
        """Takes the next token."""
        if self.at >= len(self.tokens):
            raise self.error(f"{wanted} is missing at the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, kind: str, text: str) -> None:
        """Takes a token of this kind."""
        token = self.next(text)
        if token.kind != kind:
            raise self.error(f"expected {text!r}, found {token.text!r}", token)

    def error(self, message: str, token: Token | None = None) -> InvalidArgument:
        """The error a client sees, with the column."""
        column = (token.at if token else len(self.text)) + 1
        return InvalidArgument(f"Unparseable filter: {message} at column {column}: {self.text!r}")


@dataclass
class Term:
    """One condition.

    Args:
        test: Whether an entry meets it.
        stream: It is about fields alone that all entries of a stream share.
        since: It admits nothing before this time (nanoseconds).
        until: It admits nothing after.
    """

    test: Predicate
    stream: bool = False
    since: int | None = None
    until: int | None = None

    def negated(self) -> Term:
        """The opposite."""
        return Term(lambda entry: not self.test(entry), self.stream)


def comparison(path: tuple[str, ...], operator: str, value: str, quoted: bool = False) -> Term:
    """A condition on one field."""
    first = path[0].lower().replace("_", "")
    if operator in ("=~", "!~"):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise InvalidArgument(f"Unparseable filter: invalid regular expression {value!r}: {error}") from None
        test: Predicate = lambda entry: any(  # noqa: E731
            pattern.search(text_of(found)) for found in values_at(entry, path)
        )
    elif operator == ":" and value == "*" and not quoted:
        test = lambda entry: any(True for _ in values_at(entry, path))  # noqa: E731
    else:
        compare = comparer(first, operator.replace("!", ""), value)
        test = lambda entry: any(compare(found) for found in values_at(entry, path))  # noqa: E731
    term = Term(test, stream=first in STREAM_FIELDS)
    if operator.startswith("!"):
        return term.negated()
    if first == "timestamp" and len(path) == 1 and operator in ("=", ">", ">=", "<", "<="):
        moment = nanoseconds(value)
        term.since = moment if operator[0] in "=>" else None
        term.until = moment if operator[0] in "=<" else None
    return term


def comparer(first: str, operator: str, value: str) -> Callable[[Any], bool]:
    """How one value of an entry is compared with the query's."""
    if first == "severity":
        level = severity(value)
        return lambda found: ordered(operator, severity(str(found)), level)
    if first in ("timestamp", "receivetimestamp"):
        moment = nanoseconds(value)
        return lambda found: ordered(operator, nanoseconds(str(found)), moment)
    number = as_number(value)
    lowered = value.lower()

    def compare(found: Any) -> bool:
        if isinstance(found, dict | list):
            return operator == ":" and any(compare(leaf) for leaf in leaves(found))
        if operator == ":":
            return lowered in text_of(found).lower()
        if number is not None and not isinstance(found, bool) and (other := as_number(found)) is not None:
            return ordered(operator, other, number)
        return ordered(operator, text_of(found).lower(), lowered)

    return compare


def ordered(operator: str, left: Any, right: Any) -> bool:
    """Applies `=`, `<`, `<=`, `>`, `>=` or, for things without parts, `:`."""
    if operator in ("=", ":"):
        return bool(left == right)
    if operator == "<":
        return bool(left < right)
    if operator == "<=":
        return bool(left <= right)
    return bool(left > right if operator == ">" else left >= right)


def severity(text: str) -> int:
    """The number of a severity given by name or number."""
    if text.upper() in SEVERITIES:
        return SEVERITIES[text.upper()]
    if text.isdigit():
        return int(text)
    raise InvalidArgument(f"Unparseable filter: invalid severity {text!r}: one of {', '.join(SEVERITIES)}")


def nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time or a date."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?", text)
    if found is None:
        raise InvalidArgument(f"Unparseable filter: invalid timestamp {text!r}: write 2026-01-31T09:00:00Z")
    day, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or 'Z').upper()}")
    except ValueError as error:
        raise InvalidArgument(f"Unparseable filter: invalid timestamp {text!r}: {error}") from None
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * 10**9 + int((fraction or ".0")[1:10].ljust(9, "0"))


def as_number(value: Any) -> float | None:
    """The number that a value is or spells."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def text_of(value: Any) -> str:
    """A scalar as the query language writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def values_at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The values at a path; a list contributes each of its elements, a missing field none."""
    if isinstance(value, list):
        for element in value:
            yield from values_at(element, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        if path[0] in value:
            yield from values_at(value[path[0]], path[1:])
            return
        plain = path[0].replace("_", "").lower()
        for key in value:
            if key.replace("_", "").lower() == plain:
                yield from values_at(value[key], path[1:])
                return


def leaves(value: Any) -> Iterator[Any]:
    """All scalars inside a value."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def split_path(text: str) -> tuple[str, ...]:
    """`labels."a.b/c".d` as its parts."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|([^."]+)', text)
    return tuple(re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in parts) or ("",)


def unquote(text: str) -> str:
    """A string without its quotes; escaped quotes and backslashes are undone, other escapes stay."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return re.sub(r"\\([\\\"'])", r"\1", text[1:-1])
    return text


def parse(text: str) -> Query:
    """Parses a query; the empty one wants everything.

    Raises:
        InvalidArgument: With the column of what is wrong.
    """
    return Parser(text).parse()
