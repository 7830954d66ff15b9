"""DuckDB's messages as BigQuery's.

Messages that the analyzer or the prelude put into SQL come back between two marks.
"""

from __future__ import annotations

import re

import duckdb

from ..failures import BigQueryError, InvalidQuery, Refused, Stopped
from .prelude import MARK

_MARKED = re.compile(f"{MARK[0]}(.*?){MARK[1]}", re.DOTALL)
_OVERFLOW = re.compile(r"Overflow in \w+ of INT64 \((.*?)\)", re.DOTALL)
_TYPES = {"INT64": "int64", "DOUBLE": "double", "BOOLEAN": "bool", "BOOL": "bool"}
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r'column "?([^"\s]+?)"? must appear in the GROUP BY clause'),
     "An expression references column {0} which is neither grouped nor aggregated"),
    (re.compile(r"More than one row returned by a subquery"), "Scalar subquery produced more than one element"),
    (re.compile(r"NOT NULL constraint failed: .*\.([^.\s]+)"), "Required field {0} cannot be null"),
    (re.compile(r"aggregate function calls cannot be nested"), "Aggregations of aggregations are not allowed"),
    (re.compile(r"(?:WHERE|GROUP BY) clause cannot contain aggregates"),
     "Aggregate function is not allowed in this clause"),
    (re.compile(r"window functions? (?:is|are) not allowed in (\w+)"), "Analytic function not allowed in {0} clause"),
    (re.compile(r"(?:Could not cast value|Casting value) (.*?) to (?:type )?DECIMAL"), "numeric out of range: {0}"),
    (re.compile(r"Overflow in (?:\w+) of DECIMAL\(\d+\) \((.*?)\)"), "numeric overflow: {0}"),
    (re.compile(r"(?:missing|invalid|unexpected|bad) [^:]*(?:\]|\)|repetition|escape|perl|character)[^:]*: (.*)"),
     "Cannot parse regular expression: {0}"),
)  # fmt: skip
_PREFIX = re.compile(r"^[\w ]*(?:Error|ERROR): ")
_OWN_FAULT = ("Binder Error", "Parser Error", "Catalog Error", "Not implemented Error", "INTERNAL Error")


def translated(error: BaseException) -> BigQueryError:
    """BigQuery's error for what DuckDB raised while a query was bound or ran."""
    text = str(error)
    marked = _MARKED.search(text)
    if marked:
        return InvalidQuery(marked[1])
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT Error" in text:
        return Stopped("Job execution was cancelled: User requested cancellation")
    overflow = _OVERFLOW.search(text)
    if overflow:
        return InvalidQuery(f"int64 overflow: {overflow[1]}")
    line = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    bad = re.search(r"Could not convert string '(.*?)' to (\w+)", text, re.DOTALL)
    if bad:
        return InvalidQuery(f"Bad {_TYPES.get(bad[2], bad[2].lower())} value: {bad[1]}")
    for pattern, message in _RULES:
        found = pattern.search(line)
        if found:
            return InvalidQuery(message.format(*found.groups()))
    if "HUGEINT" in line or "INT128" in line:
        return InvalidQuery("int64 overflow: the value does not fit INT64")
    if line.startswith(_OWN_FAULT):
        return Refused(f"The local BigQuery cannot run this query: {_PREFIX.sub('', line)}")
    return InvalidQuery(_PREFIX.sub("", line))
