"""google.logging.v2.LoggingServiceV2 on the log store (cloud.google.com/logging/docs/reference/v2/rpc).

Log buckets, sinks, views and metrics are other services of Google's and not served.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty

from localcloud.catalog import Package
from localcloud.errors import InvalidArgument, NotFound, ResourceExhausted
from localcloud.log_filter import Query, parse
from localcloud.logs import Logs, format_time
from localcloud.pages import clamp_page_size, decode_token, encode_token
from localcloud.projects import Projects, number_of
from localcloud.resources import ResourceStore
from localcloud.service import Call

v2 = Package("google.logging.v2")

LOG_NAME = re.compile(r"(projects|organizations|folders|billingAccounts)/[^/]+/logs/[^/]+")
TAIL_INTERVAL = 0.5
"""Seconds after which a tail without news looks whether its client is still there."""


class LoggingServiceV2:
    """Log entries of all projects.

    Args:
        logs: Where they are kept.
        store: Knows which project ids the numbers stand for: log names hold the id.
    """

    def __init__(self, logs: Logs, store: ResourceStore) -> None:
        self._logs = logs
        self._projects = Projects(store)

    def write_log_entries(self, request: Any) -> Any:
        """Keeps entries; on return they are on disk."""
        entries = []
        for number, given in enumerate(request.entries):
            entry = v2.LogEntry()
            entry.CopyFrom(given)
            entry.log_name = self._log_name(given.log_name or request.log_name, f"entries[{number}].log_name")
            if not entry.HasField("resource"):
                entry.resource.CopyFrom(request.resource)
            if not entry.resource.type:
                raise InvalidArgument(f"entries[{number}].resource: a monitored resource type is required")
            for key, value in request.labels.items():
                if key not in entry.labels:
                    entry.labels[key] = value
            entries.append(self._as_json(entry, f"entries[{number}]"))
        if not request.dry_run:
            try:
                self._logs.write(entries)
            except OSError as error:
                raise ResourceExhausted(str(error)) from None
        return v2.WriteLogEntriesResponse()

    def list_log_entries(self, request: Any) -> Any:
        """Entries of some projects that a filter wants, oldest first unless asked otherwise."""
        if not request.resource_names:
            raise InvalidArgument("resource_names: at least one is required, such as projects/PROJECT")
        order = " ".join(request.order_by.lower().split()) or "timestamp asc"
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise InvalidArgument(f'order_by: {request.order_by!r} must be "timestamp asc" or "timestamp desc"')
        size = clamp_page_size(request.page_size, 50, 1000)
        arguments = [*request.resource_names, request.filter, order]
        after = None
        if request.page_token:
            timestamp, number = decode_token(request.page_token, arguments, 2)
            after = (int(timestamp), int(number))
        page = self._logs.read(
            self._query(request.resource_names, request.filter),
            newest_first=order.endswith("desc"),
            limit=size,
            after=after,
        )
        return v2.ListLogEntriesResponse(
            entries=[from_json(entry) for entry in page.entries],
            next_page_token="" if page.position is None else encode_token(arguments, list(page.position)),
        )

    async def tail_log_entries(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        """Entries as they come, in the order in which they arrive."""
        first = await anext(requests, None)
        if first is None or not first.resource_names:
            raise InvalidArgument("resource_names: at least one is required, such as projects/PROJECT")
        query = self._query(first.resource_names, first.filter)
        since = await asyncio.to_thread(self._logs.position)
        while not call.cancelled.is_set() and not self._logs.closed:
            found, since = await asyncio.to_thread(self._logs.follow, query, since, TAIL_INTERVAL)
            if found:
                yield v2.TailLogEntriesResponse(entries=[from_json(entry) for entry in found])

    def list_logs(self, request: Any) -> Any:
        """The names of the logs that hold entries."""
        wanted = {owner(name) for name in [request.parent, *request.resource_names] if name}
        names = [name for name in self._logs.log_names() if owner(name) in wanted]
        size = clamp_page_size(request.page_size, 50, 1000)
        arguments = [request.parent, *request.resource_names]
        after = decode_token(request.page_token, arguments, 2)[0] if request.page_token else ""
        rest = [name for name in names if name > after]
        token = encode_token(arguments, [rest[size - 1], 0]) if len(rest) > size else ""
        return v2.ListLogsResponse(log_names=rest[:size], next_page_token=token)

    def delete_log(self, request: Any) -> Empty:
        """Deletes the entries of a log."""
        if not self._logs.delete(self._log_name(request.log_name, "log_name")):
            raise NotFound(f"Log {request.log_name} does not exist.")
        return Empty()

    def _query(self, resource_names: Sequence[str], text: str) -> Query:
        """The filter, held to some projects."""
        query = parse(text)
        owners = {owner(name) for name in resource_names}
        inner = query.stream_matches
        query.stream_matches = lambda stream: owner(stream["logName"]) in owners and inner(stream)
        return query

    def _log_name(self, name: str, field: str) -> str:
        if not LOG_NAME.fullmatch(name):
            raise InvalidArgument(
                f"{field}: {name!r} must be projects/PROJECT/logs/LOG_ID with the LOG_ID percent-encoded"
            )
        return self._projects.with_id(name)

    def _as_json(self, entry: Any, place: str) -> dict[str, Any]:
        """An entry as the store keeps it, with what Google fills in."""
        try:
            value: dict[str, Any] = json_format.MessageToDict(entry)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"{place}: {error}") from None
        value.pop("receiveTimestamp", None)
        value.setdefault("timestamp", format_time(time.time_ns()))
        value.setdefault("insertId", uuid.uuid4().hex[:16])
        return value


def owner(name: str) -> str:
    """The project (by number), folder or organization that a resource name begins with."""
    kind, _, rest = name.partition("/")
    identifier = rest.partition("/")[0]
    return f"{kind}/{number_of(identifier)}" if kind == "projects" else f"{kind}/{identifier}"


def from_json(entry: dict[str, Any]) -> Any:
    """A LogEntry from its JSON form."""
    return json_format.ParseDict(entry, v2.LogEntry(), ignore_unknown_fields=True)
