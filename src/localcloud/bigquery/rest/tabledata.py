"""REST v2: rows listed and streamed in (tabledata), and the pages of query results.

Cells are written by `rows/encode.py` and read by `rows/decode.py`.
"""

from __future__ import annotations

import copy
from typing import Any, cast, get_args

import orjson
import pyarrow as pa

from localcloud.bigquery.failures import Invalid, Missing
from localcloud.bigquery.reading import Reading, select_fields
from localcloud.bigquery.refs import TableRef
from localcloud.bigquery.rows.decode import Decoder
from localcloud.bigquery.rows.encode import TimestampFormat, encode_rows
from localcloud.bigquery.types import FieldSchema

from .routing import Call, Method, Raw

PAGE_BYTES = 10 << 20
"""About what BigQuery puts into a page, in Arrow's layout."""
FIRST_PAGE_BYTES = 1 << 20
"""What comes with the answer to a query: clients fetch larger results by the Storage Read API."""
_PAGE_ROWS = 100_000


def timestamp_format(options: dict[str, Any]) -> TimestampFormat:
    """How TIMESTAMP is to be written, by DataFormatOptions.

    Raises:
        Invalid: Both options are set, or a format that is none.
    """
    chosen = options.get("timestampOutputFormat")
    integers = options.get("useInt64Timestamp")
    if chosen and chosen != "TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED":
        if integers:
            raise Invalid("useInt64Timestamp and timestampOutputFormat exclude each other")
        if chosen not in get_args(TimestampFormat):
            raise Invalid(f"Invalid value for timestampOutputFormat: {chosen} is not a valid value")
        return cast("TimestampFormat", chosen)
    return "INT64" if integers else "FLOAT64"


def format_of(call: Call) -> TimestampFormat:
    """The same from query parameters."""
    options: dict[str, Any] = {
        "useInt64Timestamp": call.flag("formatOptions.useInt64Timestamp"),
        "timestampOutputFormat": call.query.get("formatOptions.timestampOutputFormat"),
    }
    return timestamp_format(options)


class Page:
    """Some rows of a table, from a place on.

    Args:
        reading: Reads the table.
        ref: The table.
        start: Index of the first row; left alone where there is a token.
        limit: How many rows at most; None for a page's worth.
        token: Where the page before ended.
        columns: The selected columns; all where empty.
        size: About how many bytes of rows at most, in Arrow's layout.
    """

    def __init__(
        self,
        reading: Reading,
        ref: TableRef,
        *,
        start: int = 0,
        limit: int | None = None,
        token: str = "",
        columns: list[str] | None = None,
        size: int = PAGE_BYTES,
    ) -> None:
        self._reading = reading
        self._size = size
        self.token = ""
        """The next page's token; empty on the last page."""
        result = reading.result(ref)
        if token:
            name, _, place = token.partition(":")
            snapshot = reading.results.get(name) or reading.snapshots.get(name)
            if snapshot is None or not place.isdigit():
                raise Invalid(
                    "Invalid page token: it is none of this table's, or older than six hours", location="pageToken"
                )
            self._cut(snapshot.table, snapshot.fields, name, int(place), limit)
        elif result is not None and not columns:
            self._cut(result.table, result.fields, result.id, start, limit)
        elif limit is not None and limit <= 10_000:
            resource = reading.resource(ref)
            self.fields = select_fields((resource.get("schema") or {}).get("fields") or [], columns)
            self.rows = _head(reading, ref, columns, start, limit)
            total = int(resource.get("numRows", 0))
            if len(self.rows) == limit and start + limit < total:
                self._cut_snapshot(reading, ref, columns, start, limit)
        else:
            self._cut_snapshot(reading, ref, columns, start, limit)

    def _cut_snapshot(
        self, reading: Reading, ref: TableRef, columns: list[str] | None, start: int, limit: int | None
    ) -> None:
        """Sets the whole table aside, so that the pages that follow are of the same moment."""
        snapshot = reading.snapshot(ref, columns)
        self._cut(snapshot.table, snapshot.fields, snapshot.id, start, limit)

    def _cut(self, table: pa.Table, fields: list[FieldSchema], name: str, start: int, limit: int | None) -> None:
        average = max(1, table.nbytes // max(1, table.num_rows))
        size = min(_PAGE_ROWS, max(1, self._size // average))
        size = size if limit is None else min(size, limit)
        self.fields = fields
        self.rows = table.slice(start, size)
        end = start + len(self.rows)
        if end < table.num_rows and size:
            self.token = f"{name}:{end}"

    def json(self, timestamps: TimestampFormat) -> bytes:
        """The rows as REST has them."""
        return encode_rows(self.rows, self.fields, timestamps)


def _head(reading: Reading, ref: TableRef, columns: list[str] | None, start: int, limit: int) -> pa.Table:
    """The rows from `start` on, reading no further than needed."""
    batches, seen, have = [], 0, 0
    with reading.read(ref, columns) as reader:
        schema = reader.schema
        while have < limit:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            wanted = batch.slice(max(0, start - seen))[: limit - have]
            seen += len(batch)
            have += len(wanted)
            batches.append(wanted)
    return pa.Table.from_batches(batches, schema)


def with_rows(answer: dict[str, Any], rows: bytes | None) -> Raw:
    """The answer with rows that are JSON already."""
    if rows is not None and rows != b"[]":
        return Raw(orjson.dumps({**answer, "rows": orjson.Fragment(rows)}))
    return Raw(orjson.dumps(answer))


def _ref(call: Call) -> TableRef:
    return TableRef(call.project, call.path["datasetId"], call.path["tableId"])


def listed(call: Call) -> Any:
    """tabledata.list."""
    reading, ref = call.warehouse.reading, _ref(call)
    columns = [c for c in call.query.get("selectedFields", "").split(",") if c]
    resource = reading.resource(ref.split()[0])
    if resource["type"] == "VIEW":
        raise Invalid(f"Cannot list a table of type VIEW: {ref}. Query it instead.")
    answer = {"kind": "bigquery#tableDataList", "etag": resource["etag"], "totalRows": resource["numRows"]}
    if not (resource.get("schema") or {}).get("fields"):
        return answer
    page = Page(
        reading,
        ref,
        start=call.number("startIndex", 0),
        limit=call.number("maxResults", 0) if "maxResults" in call.query else None,
        token=call.query.get("pageToken", ""),
        columns=columns or None,
    )
    if page.token:
        answer["pageToken"] = page.token
    return with_rows(answer, page.json(format_of(call)))


def insert_all(call: Call) -> Any:
    """tabledata.insertAll: all rows or, with skipInvalidRows, the good ones; bad ones are named one by one."""
    tables, ref = call.warehouse.tables, _ref(call)
    suffix = call.body.get("templateSuffix")
    if suffix:
        base = tables.get_table(ref)
        ref = ref.parent.table(ref.table + suffix)
        try:
            tables.get_table(ref)
        except Missing:
            kept = ("schema", "timePartitioning", "clustering", "description")
            shape = copy.deepcopy({key: base[key] for key in kept if key in base})
            tables.insert_table(ref, {**shape, "tableReference": ref.resource})
    resource = tables.get_table(ref.split()[0])
    if resource["type"] != "TABLE":
        raise Invalid(f"Cannot add rows to a table of type {resource['type']}.")
    rows = call.body.get("rows")
    if not rows:
        raise Invalid("No rows present in the request.")
    fields = (resource.get("schema") or {}).get("fields") or []
    if not fields:
        raise Invalid(f"The destination table has no schema: {ref}")
    decoder = Decoder(fields, ignore_unknown=bool(call.body.get("ignoreUnknownValues")), parse_json_text=True)
    table, errors = decoder.decode([row.get("json") if isinstance(row, dict) else row for row in rows])
    problems: dict[int, list[dict[str, str]]] = {}
    for error in errors:
        detail = {"reason": "invalid", "location": error.location, "debugInfo": "", "message": error.message}
        problems.setdefault(error.row, []).append(detail)
    if problems and not call.body.get("skipInvalidRows"):
        stopped = {"reason": "stopped", "location": "", "debugInfo": "", "message": ""}
        return _errors({index: problems.get(index, [stopped]) for index in range(len(rows))})
    _append_new(call, ref, table, rows, problems)
    return _errors(problems)


def _append_new(call: Call, ref: TableRef, table: pa.Table, rows: list[Any], problems: dict[int, Any]) -> None:
    """Writes the good rows whose insertId was not written in the last minute."""
    duplicates = call.warehouse.duplicates
    keys: dict[Any, None] = {}
    wanted = []
    for index, row in enumerate(rows):
        insert_id = row.get("insertId") if isinstance(row, dict) else None
        key = (str(ref), insert_id)
        repeated = insert_id is not None and (key in keys or duplicates.seen(key))
        wanted.append(index not in problems and not repeated)
        if wanted[-1] and insert_id is not None:
            keys[key] = None
    chosen = table if all(wanted) else table.filter(pa.array(wanted, pa.bool_()))
    if len(chosen):
        call.warehouse.tables.append(ref, chosen)
        duplicates.add(keys)


def _errors(problems: dict[int, list[dict[str, str]]]) -> dict[str, Any]:
    answer: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    if problems:
        answer["insertErrors"] = [{"index": index, "errors": problems[index]} for index in sorted(problems)]
    return answer


_ONE = "projects/{projectId}/datasets/{datasetId}/tables/{tableId}"
FORMAT = {"formatOptions.useInt64Timestamp": "boolean", "formatOptions.timestampOutputFormat": "string"}

METHODS = (
    Method(
        "bigquery.tabledata.list",
        "GET",
        f"{_ONE}/data",
        listed,
        {"maxResults": "integer", "pageToken": "string", "startIndex": "string", "selectedFields": "string", **FORMAT},
        response="TableDataList",
    ),
    Method(
        "bigquery.tabledata.insertAll",
        "POST",
        f"{_ONE}/insertAll",
        insert_all,
        request="TableDataInsertAllRequest",
        response="TableDataInsertAllResponse",
    ),
)
