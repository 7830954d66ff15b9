"""Literals: numbers, texts, bytes, NULL, booleans and intervals."""

from __future__ import annotations

import re

from sqlglot import exp

from ..types import (
    BOOL,
    BYTES,
    FLOAT64,
    INT64,
    INTERVAL,
)
from .expressions import HANDLERS, analyze
from .scope import Scope
from .values import Expr, coerce, coercible, integer, text, untyped_null


def _literal(node: exp.Expr, scope: Scope) -> Expr:
    value = str(node.this)
    if node.args.get("is_string"):
        return text(value)
    if re.fullmatch(r"[0-9]+", value):
        number = int(value)
        if number > 2**63 - 1:
            raise scope.statement.error(f"Invalid integer literal: {value}", node)
        return integer(number)
    sql = value if "e" in value.lower() else f"{value}e0"
    return Expr(sql, FLOAT64, True, float(value))


def _hex(node: exp.Expr, scope: Scope) -> Expr:
    return integer(int(str(node.this), 16))


def _bytes(node: exp.Expr, scope: Scope) -> Expr:
    value = str(node.this).encode("utf-8") if str(node.this).isascii() else str(node.this).encode("latin-1")
    return Expr(f"unhex('{value.hex()}')", BYTES, True)


def _raw(node: exp.Expr, scope: Scope) -> Expr:
    return text(str(node.this))


def _null(node: exp.Expr, scope: Scope) -> Expr:
    return untyped_null()


def _boolean(node: exp.Expr, scope: Scope) -> Expr:
    return Expr("TRUE" if node.this else "FALSE", BOOL, True, bool(node.this))


def _interval(node: exp.Expr, scope: Scope) -> Expr:
    unit = node.args.get("unit")
    if isinstance(unit, exp.IntervalSpan):
        return _interval_span(node, unit, scope)
    if unit is None:
        raise scope.statement.error("Syntax error: an INTERVAL needs a date part", node)
    name = unit.name.upper()
    factors = {"YEAR": ("months", 12), "QUARTER": ("months", 3), "MONTH": ("months", 1), "WEEK": ("days", 7),
               "DAY": ("days", 1), "HOUR": ("microseconds", 3_600_000_000), "MINUTE": ("microseconds", 60_000_000),
               "SECOND": ("microseconds", 1_000_000), "MILLISECOND": ("microseconds", 1000),
               "MICROSECOND": ("microseconds", 1)}  # fmt: skip
    if name not in factors:
        raise scope.statement.error(f"{name} is not a date part of an INTERVAL", node)
    amount = interval_amount(node, scope)
    kind, factor = factors[name]
    cast_type = "BIGINT" if kind == "microseconds" else "INTEGER"
    return Expr(f"to_{kind}(CAST({amount.sql} * {factor} AS {cast_type}))", INTERVAL)


def interval_amount(node: exp.Expr, scope: Scope) -> Expr:
    """The INT64 before the unit of an INTERVAL."""
    value = node.this
    if isinstance(value, exp.Literal):
        if not re.fullmatch(r"-?[0-9]+", str(value.this)):
            raise scope.statement.error(f"Invalid INTERVAL value '{value.this}'", node)
        return integer(int(str(value.this)))
    amount = analyze(value, scope)
    if not coercible(amount, INT64):
        raise scope.statement.error(f"Interval value must be coercible to INT64 type, but is {amount.type}", node)
    return coerce(amount, INT64)


def _interval_span(node: exp.Expr, unit: exp.IntervalSpan, scope: Scope) -> Expr:
    parts = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"]
    first, last = unit.this.name.upper(), unit.expression.name.upper()
    value = node.this
    if not isinstance(value, exp.Literal) or first not in parts or last not in parts:
        raise scope.statement.refuse("This form of INTERVAL", node)
    names = parts[parts.index(first) : parts.index(last) + 1]
    pattern = r"\s*"
    for position, name in enumerate(names):
        if position:
            pattern += {"MONTH": "-", "DAY": r"\s+", "HOUR": r"\s+", "MINUTE": ":", "SECOND": ":"}[name]
        fraction = "(?:[.][0-9]+)?" if name == "SECOND" else ""
        pattern += f"(?P<{name}>[+-]?[0-9]+{fraction})"
    match = re.fullmatch(pattern + r"\s*", str(value.this))
    if match is None:
        raise scope.statement.error(f"Invalid INTERVAL value '{value.this}'", node)
    got = match.groupdict()

    def signed(*names_: str, scale: tuple[float, ...]) -> int:
        leading = next((got[n] for n in names_ if n in got), "0")
        total = sum(abs(float(got.get(n, 0))) * s for n, s in zip(names_, scale, strict=True))
        return round(-total if leading.startswith("-") else total)

    months = signed("YEAR", "MONTH", scale=(12, 1))
    days = signed("DAY", scale=(1,))
    micros = signed("HOUR", "MINUTE", "SECOND", scale=(3.6e9, 6e7, 1e6))
    return Expr(f"(to_months({months}) + to_days({days}) + to_microseconds({micros}))", INTERVAL, True)


HANDLERS.update(
    {
        exp.Literal: _literal,
        exp.HexString: _hex,
        exp.ByteString: _bytes,
        exp.RawString: _raw,
        exp.Null: _null,
        exp.Boolean: _boolean,
        exp.Interval: _interval,
    }
)
