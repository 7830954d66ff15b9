"""The expressions of a pipeline specification: conditions of tasks, and selectors of a part of a value.

The compiler writes a small part of CEL (https://github.com/google/cel-spec): comparisons joined by `&&`, `||` and
`!` over `inputs.parameter_values['x']`, and `parseJson(string_value)["key"]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from localcloud.vertex.pipelines.values import as_text

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>()\[\].,]))",
    re.DOTALL,
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_MAX_DEPTH = 100


class ExpressionError(Exception):
    """An expression that does not parse, or has no value; the text says why."""


def holds(condition: str, parameters: dict[str, Any]) -> bool:
    """Whether a task's trigger condition is true.

    Args:
        condition: `inputs.parameter_values['x'] == 'heads'`.
        parameters: The task's input parameters.

    Raises:
        ExpressionError: The condition is malformed, or compares what cannot be compared.
    """
    legacy = {
        name: {
            "string_value": as_text(value),
            "int_value": int(value) if _is_number(value) else 0,
            "double_value": float(value) if _is_number(value) else 0.0,
        }
        for name, value in parameters.items()
    }
    value = evaluate(condition, {"inputs": {"parameter_values": parameters, "parameters": legacy}})
    if not isinstance(value, bool):
        raise ExpressionError(f"the condition `{condition}` is {as_text(value)}, neither true nor false")
    return value


def select(selector: str, value: Any) -> Any:
    """The part of a parameter's value that a `parameterExpressionSelector` names.

    Raises:
        ExpressionError: There is no such part.
    """
    return evaluate(selector, {"string_value": as_text(value), "struct_value": value, "list_value": value})


def evaluate(expression: str, variables: dict[str, Any]) -> Any:
    """The value of an expression over variables.

    Raises:
        ExpressionError: It is malformed or has no value.
    """
    return _Parser(expression, variables).value()


class _Parser:
    """Recursive descent that evaluates as it parses; each method is one level of precedence."""

    def __init__(self, text: str, variables: dict[str, Any]) -> None:
        self.text = text
        self.variables = variables
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0

    def value(self) -> Any:
        result = self.either()
        if self.peek():
            raise self.error(f"unexpected `{self.peek()}`")
        return result

    def error(self, problem: str) -> ExpressionError:
        return ExpressionError(f"{problem} in the expression `{self.text}`")

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        token = self.peek()
        if token and token in wanted:
            self.at += 1
            return token
        return ""

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.error(f"`{sign}` expected before `{self.peek() or 'the end'}`")

    def either(self) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} levels of nesting")
        result = self.both()
        while self.take("||"):
            other = self.both()
            result = self.truth(result) or self.truth(other)
        self.depth -= 1
        return result

    def both(self) -> Any:
        result = self.comparison()
        while self.take("&&"):
            other = self.comparison()
            result = self.truth(result) and self.truth(other)
        return result

    def truth(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.error(f"{as_text(value)} is neither true nor false")
        return value

    def comparison(self) -> Any:
        result = self.sum()
        while (sign := self.take("==", "!=", "<=", ">=", "<", ">")) or self.peek() == "in":
            if not sign:
                self.at += 1
                result = result in self.sum()
                continue
            result = self.compare(sign, result, self.sum())
        return result

    def compare(self, sign: str, left: Any, right: Any) -> bool:
        if sign in ("==", "!="):
            # true is not 1 here, as it is in Python
            same = left == right and isinstance(left, bool) == isinstance(right, bool)
            return same if sign == "==" else not same
        comparable = (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        if not comparable:
            raise self.error(f"{as_text(left)} and {as_text(right)} cannot be compared by `{sign}`")
        return bool(
            {
                "<": left < right,
                "<=": left <= right,
                ">": left > right,
                ">=": left >= right,
            }[sign]
        )

    def sum(self) -> Any:
        result = self.product()
        while sign := self.take("+", "-"):
            result = self.arithmetic(sign, result, self.product())
        return result

    def product(self) -> Any:
        result = self.unary()
        while sign := self.take("*", "/", "%"):
            result = self.arithmetic(sign, result, self.unary())
        return result

    def arithmetic(self, sign: str, left: Any, right: Any) -> Any:
        texts = isinstance(left, str) and isinstance(right, str)
        if not (_is_number(left) and _is_number(right)) and not (sign == "+" and texts):
            raise self.error(f"`{sign}` cannot be applied to {as_text(left)} and {as_text(right)}")
        if sign in "/%" and right == 0:
            raise self.error("division by zero")
        operations: dict[str, Callable[[], Any]] = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: int(left / right) if isinstance(left, int) and isinstance(right, int) else left / right,
            "%": lambda: left % right,
        }
        return operations[sign]()

    def unary(self) -> Any:
        if self.take("!"):
            return not self.truth(self.unary())
        if self.take("-"):
            value = self.unary()
            if not _is_number(value):
                raise self.error(f"`-` cannot be applied to {as_text(value)}")
            return -value
        return self.member()

    def member(self) -> Any:
        value = self.primary()
        while True:
            if self.take("."):
                name = self.peek()
                self.at += 1
                value = self.method(name, value) if self.peek() == "(" else self.part(value, name)
            elif self.take("["):
                key = self.either()
                self.expect("]")
                value = self.part(value, key)
            else:
                return value

    def part(self, value: Any, key: Any) -> Any:
        try:
            return value[key]
        except (KeyError, IndexError, TypeError):
            raise self.error(f"there is no {as_text(key)} in {as_text(value)}") from None

    def arguments(self) -> list[Any]:
        self.expect("(")
        found: list[Any] = []
        while not self.take(")"):
            if found:
                self.expect(",")
            found.append(self.either())
        return found

    def method(self, name: str, value: Any) -> Any:
        arguments = self.arguments()
        methods: dict[str, Callable[..., Any]] = {
            "startsWith": str.startswith,
            "endsWith": str.endswith,
            "contains": str.__contains__,
            "matches": lambda text, pattern: re.search(pattern, text) is not None,
            "size": len,
        }
        return self.call(name, methods.get(name), [value, *arguments])

    def function(self, name: str) -> Any:
        functions: dict[str, Callable[..., Any]] = {
            "int": int,
            "double": float,
            "string": as_text,
            "bool": lambda value: value if isinstance(value, bool) else {"true": True, "false": False}[value.lower()],
            "size": len,
            "parseJson": json.loads,
        }
        return self.call(name, functions.get(name), self.arguments())

    def call(self, name: str, function: Callable[..., Any] | None, arguments: list[Any]) -> Any:
        if function is None:
            raise self.error(f"there is no function `{name}`")
        try:
            return function(*arguments)
        except (ValueError, TypeError, KeyError, AttributeError, re.error) as error:
            raise self.error(f"`{name}` cannot be applied to {', '.join(map(as_text, arguments))} ({error})") from None

    def primary(self) -> Any:
        token = self.peek()
        self.at += 1
        if token == "(":
            value = self.either()
            self.expect(")")
            return value
        if token[:1] in ("'", '"') and token:
            return _unquoted(token)
        if token[:1].isdigit():
            return int(token) if token.isdigit() else float(token)
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        if token[:1].isalpha() or token[:1] == "_":
            if self.peek() == "(":
                return self.function(token)
            if token in self.variables:
                return self.variables[token]
            raise self.error(f"there is no `{token}`")
        raise self.error(f"unexpected `{token}`" if token else "it ends too early")


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ExpressionError(f"unexpected `{text[at:].lstrip()[:1]}` in the expression `{text}`")
        found.append(token.group().strip() if token.lastgroup != "text" else token.group("text"))
        at = token.end()
    return found


def _unquoted(token: str) -> str:
    simple = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda found: simple.get(found.group(1), found.group(1)), token[1:-1], flags=re.DOTALL)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
