"""List filters (https://google.aip.dev/160): a filter string made into a test on a protobuf message.

Field paths come from localcloud.fields, comparing values from localcloud.comparing; which filter fields and
functions an API has beyond its messages' own is said by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from localcloud.comparing import Argument, comparison
from localcloud.errors import InvalidArgument
from localcloud.fields import Path, find_field

Test = Callable[[Any], bool]
Function = Callable[..., bool]
"""A filter function of one API: called with the message and the arguments as strings."""
VirtualField = Callable[[Any], Any]
"""A filter field that the message does not have: called with the message, gives a value, a list or None."""

_SPACE = re.compile(r"\s+")
_NAME = re.compile(r"[^\s()<>=!:,.\"'~]+")
_VALUE = re.compile(r"[^\s()<>=!:,\"'~]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?")
_COMPARATORS = ("<=", ">=", "!=", "=~", "!~", "=", "<", ">", ":")
_KEYWORDS = ("AND", "OR", "NOT")
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Vocabulary:
    """What an API's filters know beyond the fields of the message."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    fields: Mapping[str, VirtualField] = field(default_factory=dict)


def compile_filter(text: str, descriptor: Descriptor, vocabulary: Vocabulary | None = None) -> Test:
    """The test that a filter stands for; an empty filter lets everything through.

    OR binds more tightly than AND, and terms beside one another are joined by AND, as AIP-160 has it. A
    comparison with a field that is not set is false, `!=` too: `NOT` finds what lacks a field.

    Args:
        text: The filter, such as `labels.team="x" AND NOT state=FAILED`.
        descriptor: The type of the messages that will be tested.
        vocabulary: Further functions and fields.

    Raises:
        InvalidArgument: The filter does not parse or names an unknown field; the message shows the place.
    """
    if not text.strip():
        return lambda message: True
    return _Parser(text, descriptor, vocabulary or Vocabulary()).parse()


class _Parser:
    """Recursive descent over the characters; each method parses one rule of AIP-160's grammar."""

    def __init__(self, text: str, descriptor: Descriptor, vocabulary: Vocabulary) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.descriptor = descriptor
        self.vocabulary = vocabulary

    def parse(self) -> Test:
        test = self.expression()
        if self.at < len(self.text):
            raise self.error(f"unexpected `{self.text[self.at]}`")
        return test

    def error(self, problem: str, at: int | None = None) -> InvalidArgument:
        place = self.at if at is None else at
        return InvalidArgument(f"Invalid filter: {problem} at column {place + 1}:\n  {self.text}\n  {' ' * place}^")

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        if found:
            self.at = found.end()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def keyword(self, word: str) -> bool:
        """Whether `word` comes next; takes it if so."""
        end = self.at + len(word)
        if self.text.startswith(word, self.at) and not _NAME.match(self.text, end):
            if self.text[end : end + 1] in tuple(".=<>!:~"):
                return False  # a field that is called like a keyword
            self.at = end
            self.space()
            return True
        return False

    def expression(self) -> Test:
        """factors joined by AND, written or not."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} levels of nesting")
        self.space()
        tests = [self.factor()]
        while self.peek() not in ("", ")"):
            self.keyword("AND")
            tests.append(self.factor())
        self.depth -= 1
        return tests[0] if len(tests) == 1 else lambda message: all(test(message) for test in tests)

    def factor(self) -> Test:
        tests = [self.term()]
        while self.keyword("OR"):
            tests.append(self.term())
        return tests[0] if len(tests) == 1 else lambda message: any(test(message) for test in tests)

    def term(self) -> Test:
        negated = self.keyword("NOT")
        if not negated and self.peek() == "-":
            self.at += 1
            negated = True
        test = self.simple()
        self.space()
        return (lambda message: not test(message)) if negated else test

    def simple(self) -> Test:
        if self.peek() == "(":
            start = self.at
            self.at += 1
            test = self.expression()
            if self.peek() != ")":
                raise self.error("this parenthesis is not closed", start)
            self.at += 1
            return test
        return self.restriction()

    def restriction(self) -> Test:
        start = self.at
        quoted = self.peek() in ("'", '"')
        segments = self.member()
        if self.peek() == "(" and not quoted:
            return self.function(".".join(segments), start)
        self.space()
        operator = next((c for c in _COMPARATORS if self.text.startswith(c, self.at)), "")
        if not operator:
            return _contains(".".join(segments))
        self.at += len(operator)
        self.space()
        arguments = self.arguments()
        return self.compare(segments, operator, arguments, start)

    def member(self) -> list[str]:
        segments = [self.value_or_text("a field name")]
        while self.peek() == ".":
            self.at += 1
            segments.append(self.value_or_text("a field name after the dot"))
        return segments

    def value_or_text(self, wanted: str) -> str:
        if self.peek() in ("'", '"'):
            return self.string()
        found = _NAME.match(self.text, self.at)
        if found is None or found.group() in _KEYWORDS:
            raise self.error(f"expected {wanted}")
        self.at = found.end()
        return found.group()

    def string(self) -> str:
        start, quote = self.at, self.text[self.at]
        self.at += 1
        out = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == quote:
                return out
            if char == "\\" and self.at < len(self.text):
                char = self.text[self.at]
                self.at += 1
                char = {"n": "\n", "t": "\t", "*": "\\*"}.get(char, char)
            out += char
        raise self.error("this string is not closed", start)

    def arguments(self) -> list[Argument]:
        """One value, or several with commas between (`parent_contexts:"a","b"`), any of which may match."""
        found = [self.argument()]
        while self.peek() == ",":
            self.at += 1
            self.space()
            found.append(self.argument())
        return found

    def argument(self) -> Argument:
        start = self.at
        if self.peek() in ("'", '"'):
            return Argument(self.string(), True, start)
        if self.peek() == "(":  # field:(a OR b) is rare and has its own meaning for each service
            raise self.error("a list in parentheses is not supported here: repeat the comparison with OR")
        found = _TIME.match(self.text, self.at) or _VALUE.match(self.text, self.at)
        if found is None or found.group() in _KEYWORDS:
            raise self.error("expected a value")
        self.at = found.end()
        return Argument(found.group(), False, start)

    def function(self, name: str, start: int) -> Test:
        known = self.vocabulary.functions.get(name)
        if known is None:
            names = ", ".join(sorted(self.vocabulary.functions)) or "none"
            raise self.error(f"unknown function `{name}` (functions here: {names})", start)
        self.at += 1
        self.space()
        values: list[str] = []
        if self.peek() != ")":
            values = [argument.text for argument in self.arguments()]
            self.space()
        if self.peek() != ")":
            raise self.error(f"the arguments of `{name}` are not closed")
        self.at += 1
        return lambda message: known(message, *values)

    def compare(self, segments: list[str], operator: str, arguments: list[Argument], start: int) -> Test:
        virtual = self.vocabulary.fields.get(".".join(segments))
        try:
            if virtual is not None:
                return _compare_virtual(virtual, operator, arguments)
            path = self.path(segments)
            leaf = path.leaf
            if operator == ":" and leaf is not None and leaf.is_repeated and leaf.type == Field.TYPE_STRING:
                operator = "="  # a list has an element or has it not; a text has parts
            tests = [comparison(path, operator, argument) for argument in arguments]
        except InvalidArgument as problem:
            raise self.error(problem.message.rstrip("."), start) from None
        if len(tests) == 1:
            single = tests[0]
            return lambda message: any(single(value) for value in path.values(message))
        return lambda message: any(test(value) for value in path.values(message) for test in tests)

    def path(self, segments: list[str]) -> Path:
        """A label key may hold dots and need no quotes (`labels.a.b/c`): the rest of the path is the key."""
        first = find_field(self.descriptor, segments[0])
        if first is not None and first.name in ("labels", "annotations") and len(segments) > 2:
            segments = [segments[0], ".".join(segments[1:])]
        return Path(self.descriptor, segments)


def _compare_virtual(read: VirtualField, operator: str, arguments: list[Argument]) -> Test:
    tests = [comparison(None, operator, argument) for argument in arguments]
    # a list has an element or has it not; a text has parts
    of_lists = [comparison(None, "=", argument) for argument in arguments] if operator == ":" else tests

    def test(message: Any) -> bool:
        value = read(message)
        if isinstance(value, (list, tuple, set, frozenset)):
            return any(each(item) for item in value for each in of_lists)
        return value is not None and any(each(value) for each in tests)

    return test


def _contains(text: str) -> Test:
    """A bare word finds the messages with that text in any string field (AIP-160, literals)."""
    wanted = text.lower()
    return lambda message: any(wanted in found.lower() for found in _strings(message))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    found: list[str] = []
    if isinstance(value, Message):
        for descriptor, stored in value.ListFields():
            if descriptor.type == Field.TYPE_ENUM:
                continue
            if descriptor.is_repeated:
                for item in stored:
                    found += _strings(item)
                    if hasattr(stored, "values") and hasattr(stored, "keys"):
                        found += _strings(stored[item])
            else:
                found += _strings(stored)
    return found
