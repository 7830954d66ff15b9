"""Schema auto-detection for CSV and JSON: a REST schema from the first rows of the files.

The rules are those of https://cloud.google.com/bigquery/docs/schema-detect; reading rows is left to the readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localcloud.bigquery.rows.scalars import READERS
from localcloud.bigquery.types import FieldSchema

SAMPLE_ROWS = 500
"""How many rows BigQuery looks at."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CIVIL = re.compile(r"\d{4}-\d{1,2}-\d{1,2}T\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?")
_NAMES = {"INTEGER": "int64", "FLOAT": "double", "BOOLEAN": "bool"}


def type_of_text(text: str) -> str:
    """The narrowest type that a piece of text is a value of."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return "BOOLEAN"
    if _NUMBER.fullmatch(text):
        return "INTEGER" if _reads("INTEGER", text) else "FLOAT"
    if _CIVIL.fullmatch(text):
        return "DATETIME"
    for kind in ("DATE", "TIME", "TIMESTAMP"):
        if _reads(kind, text):
            return kind
    return "STRING"


def _reads(kind: str, text: str) -> bool:
    try:
        READERS[kind](text)
    except ValueError:
        return False
    return True


def merged(kinds: Iterable[str]) -> str:
    """The narrowest type that takes values of all these types."""
    seen = set(kinds)
    if not seen:
        return "STRING"
    if len(seen) == 1:
        return seen.pop()
    if seen <= {"INTEGER", "FLOAT"}:
        return "FLOAT"
    if seen <= {"DATE", "TIMESTAMP"}:
        return "TIMESTAMP"
    if seen <= {"DATE", "DATETIME"}:
        return "DATETIME"
    return "STRING"


def fields_of_table(header: Sequence[str] | None, rows: Sequence[Sequence[str | None]]) -> list[FieldSchema]:
    """The schema of CSV rows; nulls say nothing. Columns without a name are `string_field_0` and so on."""
    width = max([len(row) for row in rows] + [len(header or ())], default=0)
    fields: list[FieldSchema] = []
    taken: set[str] = set()
    for column in range(width):
        values = (row[column] for row in rows if column < len(row))
        kind = merged(type_of_text(value) for value in values if value is not None)
        given = header[column] if header is not None and column < len(header) else ""
        name = valid_name(given) if given.strip() else f"{_NAMES.get(kind, kind.lower())}_field_{column}"
        fields.append({"name": _unique(name, taken), "type": kind, "mode": "NULLABLE"})
    return fields


def valid_name(text: str) -> str:
    """A column name made of a header: letters, digits and underscores, not beginning with a digit."""
    name = re.sub(r"[^0-9A-Za-z_\u00c0-\uffff]", "_", text.strip())[:300]
    return f"_{name}" if name[:1].isdigit() else name


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.lower() in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate.lower())
    return candidate


def looks_like_header(first: Sequence[str | None], rows: Sequence[Sequence[str | None]]) -> bool:
    """Whether a first row names the columns: all text, where some column below it is not."""
    if any(value is None or type_of_text(value) != "STRING" for value in first):
        return False
    kinds = (f["type"] for f in fields_of_table(None, rows))
    return any(kind != "STRING" for kind in kinds)


def fields_of_records(records: Sequence[Any]) -> list[FieldSchema]:
    """The schema of JSON objects; a field that is null in all of them is a STRING."""
    names: dict[str, list[Any]] = {}
    for record in records:
        if isinstance(record, Mapping):
            for name, value in record.items():
                names.setdefault(name, []).append(value)
    taken: set[str] = set()
    return [_field(_unique(valid_name(name), taken), values) for name, values in names.items()]


def _field(name: str, values: Sequence[Any]) -> FieldSchema:
    present = [value for value in values if value is not None]
    repeated = any(isinstance(value, list) for value in present)
    if repeated:
        flat = (value if isinstance(value, list) else [value] for value in present)
        present = [element for elements in flat for element in elements if element is not None]
    mode = "REPEATED" if repeated else "NULLABLE"
    if present and all(isinstance(value, Mapping) for value in present):
        fields = fields_of_records(present)
        if fields:
            return {"name": name, "type": "RECORD", "mode": mode, "fields": fields}
    return {"name": name, "type": merged(_type_of_json(value) for value in present), "mode": mode}


def _type_of_json(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "INTEGER"
    if isinstance(value, float):
        return "FLOAT"
    return type_of_text(value) if isinstance(value, str) else "STRING"
