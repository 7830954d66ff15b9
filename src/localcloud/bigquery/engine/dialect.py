"""GoogleSQL text to SQLGlot trees, functions kept as they were written, and places in the text for messages.

What a tree means is worked out by the analyzer; scripts are cut into statements by `script.py`.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.parsers.bigquery import BigQueryParser
from sqlglot.tokenizer_core import Token, TokenType

from ..failures import InvalidQuery, Refused

# What it cannot parse it gives back as a Command, which is refused by name: no need to log it as well.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_KEPT_FUNCTION_PARSERS = ("CAST", "SAFE_CAST", "EXTRACT", "ARRAY")


class _Parser(BigQueryParser):
    # Every function stays a name with arguments: SQLGlot's own nodes drop what GoogleSQL tells apart.
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: BigQueryParser.FUNCTION_PARSERS[name] for name in _KEPT_FUNCTION_PARSERS
    }
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CASE": BigQueryParser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {
        token: partial(exp.Anonymous, this=name)
        for token, name in (
            (TokenType.CURRENT_DATE, "CURRENT_DATE"),
            (TokenType.CURRENT_DATETIME, "CURRENT_DATETIME"),
            (TokenType.CURRENT_TIME, "CURRENT_TIME"),
            (TokenType.CURRENT_TIMESTAMP, "CURRENT_TIMESTAMP"),
        )
    }

    def _parse_unnest(self, with_alias: bool = True) -> exp.Unnest | None:
        # Past BigQueryParser, which guesses the array's type for other dialects.
        return super(BigQueryParser, self)._parse_unnest(with_alias=with_alias)

    def _parse_cast(self, strict: bool, safe: bool | None = None) -> exp.Expr:
        # A format keeps the type that is asked for, which SQLGlot's own nodes for parsing do not tell.
        this = self._parse_assignment()
        if not self._match(TokenType.ALIAS):
            self.raise_error("Expected AS")
        to = self._parse_types(with_collation=True)
        if to is None:
            self.raise_error("Expected a type")
        format_ = None
        if self._match(TokenType.FORMAT):
            format_ = self._parse_at_time_zone(self._parse_string())
        return self.expression((exp.TryCast if safe else exp.Cast)(this=this, to=to, format=format_))

    def _parse_column_ops(self, this: exp.Expr | None) -> exp.Expr | None:
        return super(BigQueryParser, self)._parse_column_ops(this)


class GoogleSQL(BigQuery):
    """BigQuery's dialect with functions left as they stand."""

    Parser = _Parser
    # Formats stay as they were written too. (SQLGlot declares these as instance attributes.)
    FORMAT_MAPPING: dict[str, str] = {}  # noqa: RUF012
    TIME_MAPPING: dict[str, str] = {}  # noqa: RUF012


_DIALECT = GoogleSQL()
# Syntax that the parser does not know and that is refused by its name.
_FOREIGN = re.compile(r"\b(?:ML|AI)\s*\.\s*\w+\s*\(|\|>|\bMATCH_RECOGNIZE\b|\bGRAPH_TABLE\b", re.IGNORECASE)


def tokenize(sql: str) -> list[Token]:
    """The tokens of a text; InvalidQuery for a string or comment that does not end."""
    try:
        return list(_DIALECT.tokenize(sql))
    except TokenError as error:
        raise InvalidQuery(f"Syntax error: {str(error).splitlines()[0]}") from error
    except SqlglotError as error:
        raise InvalidQuery(f"Syntax error: {error}") from error


def parse(sql: str) -> exp.Expr:
    """The tree of one statement.

    Raises:
        InvalidQuery: `Syntax error: … at [line:column]`.
    """
    try:
        trees = _DIALECT.parse(sql)
    except ParseError as error:
        foreign = _FOREIGN.search(sql)
        if foreign:
            what = foreign[0].rstrip("( ").upper()
            raise Refused(
                f"{what} is not carried over to the local BigQuery{position(sql, foreign.start())}"
            ) from error
        raise _syntax_error(sql, error) from error
    except TokenError as error:
        raise InvalidQuery(f"Syntax error: {str(error).splitlines()[0]}") from error
    found = [tree for tree in trees if tree is not None]
    if not found:
        raise InvalidQuery("Syntax error: Unexpected end of statement")
    return found[0]


def _syntax_error(sql: str, error: ParseError) -> InvalidQuery:
    detail = error.errors[0] if error.errors else {}
    text = str(detail.get("highlight") or "")
    line, column = detail.get("line"), detail.get("col")
    if not text or line is None or column is None:
        return InvalidQuery("Syntax error: Unexpected end of script")
    place = f"[{line}:{max(1, column - len(text) + 1)}]"
    what = f'identifier "{text}"' if text.isidentifier() and not text.isupper() else f'"{text}"'
    if text.isupper() and text.isidentifier():
        what = f"keyword {text}"
    return InvalidQuery(f"Syntax error: Unexpected {what} at {place}")


def place(sql: str, node: exp.Expr) -> str:
    """` at [line:column]` of the first token of a node that knows its place; "" where none does."""
    starts = [n.meta["start"] for n in node.walk() if n._meta and "start" in n.meta]
    return position(sql, min(starts)) if starts else ""


def position(sql: str, offset: int) -> str:
    """` at [line:column]` of a character."""
    before = sql[:offset]
    return f" at [{before.count(chr(10)) + 1}:{offset - (before.rfind(chr(10)) + 1) + 1}]"
