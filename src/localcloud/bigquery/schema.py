"""Which changes of a table's schema BigQuery permits, and the DuckDB statements that carry them out.

https://cloud.google.com/bigquery/docs/managing-table-schemas has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .failures import Invalid
from .types import FieldSchema, quote, type_of


def by_name(fields: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Fields by lower-case name: BigQuery compares column names without case."""
    return {str(f["name"]).lower(): f for f in fields}


def changes(
    table: str,
    old: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    path: tuple[str, ...] = (),
) -> list[str]:
    """The `ALTER TABLE t …` endings that turn the columns `old` into `new` (both normalized).

    Args:
        table: How the table is named in messages.
        old: What the table has.
        new: What it is to have.
        path: The record the fields are in.

    Raises:
        Invalid: A field left out, another type, a mode made stricter, or a new REQUIRED field.
    """

    def refuse(what: str) -> Invalid:
        return Invalid(f"Provided Schema does not match Table {table}. {what}")

    answer: list[str] = []
    wanted = by_name(new)
    for before in old:
        dotted = ".".join((*path, before["name"]))
        after = wanted.pop(before["name"].lower(), None)
        if after is None:
            raise refuse(f"Field {dotted} is missing in new schema")
        if after["type"] != before["type"]:
            raise refuse(f"Field {dotted} has changed type from {before['type']} to {after['type']}")
        if after["mode"] != before["mode"]:
            if (before["mode"], after["mode"]) != ("REQUIRED", "NULLABLE"):
                raise refuse(f"Field {dotted} has changed mode from {before['mode']} to {after['mode']}")
            if not path:
                answer.append(f"ALTER COLUMN {quote(before['name'])} DROP NOT NULL")
        if before["type"] == "RECORD":
            step = (before["name"], "element") if before["mode"] == "REPEATED" else (before["name"],)
            answer += changes(table, before["fields"], after["fields"], (*path, *step))
    for added in wanted.values():
        if added["mode"] == "REQUIRED":
            dotted = ".".join((*path, added["name"]))
            raise refuse(f"Cannot add required fields to an existing schema. (field: {dotted})")
        column = ".".join(quote(part) for part in (*path, added["name"]))
        answer.append(f"ADD COLUMN {column} {type_of(added).duckdb}")
    return answer


def merged(
    table: str,
    old: Sequence[FieldSchema],
    data: Sequence[Mapping[str, Any]],
    options: Sequence[str],
) -> list[FieldSchema]:
    """The schema of a table after a write whose data has other fields, as `schemaUpdateOptions` allow.

    Raises:
        Invalid: A new field without ALLOW_FIELD_ADDITION, a NULLABLE field for a REQUIRED column
            without ALLOW_FIELD_RELAXATION where the data has a schema of its own.
    """
    answer = [dict(f) for f in old]
    known = by_name(answer)
    for item in data:
        before = known.get(item["name"].lower())
        if before is None:
            if "ALLOW_FIELD_ADDITION" not in options:
                raise Invalid(
                    f"Provided Schema does not match Table {table}. Cannot add fields (field: {item['name']})"
                )
            answer.append(
                {
                    **item,
                    "mode": "NULLABLE" if item["mode"] == "REQUIRED" else item["mode"],
                }
            )
        elif before["mode"] == "REQUIRED" and item["mode"] == "NULLABLE" and "ALLOW_FIELD_RELAXATION" in options:
            before["mode"] = "NULLABLE"  # type: ignore[index]
        if before is not None and before["type"] == "RECORD" and item["type"] == "RECORD":
            before["fields"] = merged(table, before["fields"], item["fields"], options)  # type: ignore[index]
    return answer
