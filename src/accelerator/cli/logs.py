"""`mlops logs`: what a job, a pipeline run or an endpoint has written, read from Cloud Logging, live where asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from accelerator.cli.log_sources import LogsError, Source, find
from accelerator.cli.output import console
from accelerator.cli.vertex import of_resource

_POLL = 0.5
"""Seconds between looks for new entries."""
_LATE = timedelta(seconds=20)
"""How much later than others an entry may arrive and still be shown."""


def logs(job: str, task: str, *, follow: bool, limit: int, where: tuple[str, str, str], as_json: bool) -> None:
    """Prints entries, oldest first.

    Args:
        job: Whose.
        task: One task, where it is a pipeline run; empty for all of them.
        follow: Go on until it is over.
        limit: The last so many lines.
        where: Target, project and location.
        as_json: Entries as JSON, one a line.

    Raises:
        LogsError: There is nothing of that name.
    """
    if not job:
        raise LogsError("Whose logs?", next_step="write `mlops logs JOB`; `mlops logs --server` for the server's")
    target, project, location = where
    vertex = of_resource(target, job, project, location)
    source = find(vertex, job, task)
    from google.cloud import logging

    reader = _Reader(logging.Client(project=vertex.project), source)
    show = _print_json if as_json else _printer(source)
    shown = 0
    for entry in reader.newest(limit):
        show(entry)
        shown += 1
    while follow:
        ended = source.ended()
        for entry in reader.new():
            show(entry)
            shown += 1
        if ended:
            return
        time.sleep(_POLL)
    if not shown:
        console.print(f"{source.name} has written nothing yet.")


def server_log(limit: int) -> None:
    """Prints the end of the local cloud's own log.

    Raises:
        LogsError: There is none.
    """
    from localcloud import control

    path = control.default_root() / "server.log"
    if not path.exists():
        raise LogsError("The local cloud has written no log yet", place=str(path), next_step="`mlops up` starts it")
    print("\n".join(path.read_text(errors="replace").splitlines()[-limit:]))


class _Reader:
    """The entries of a source, each of them once.

    Args:
        client: Cloud Logging's.
        source: Whose entries.
    """

    def __init__(self, client: Any, source: Source) -> None:
        self._client = client
        self._source = source
        self._since = datetime.now(UTC) - timedelta(days=30)
        self._seen: dict[str, datetime] = {}

    def newest(self, limit: int) -> list[Any]:
        """The last entries so far."""
        # without a time Cloud Logging's client asks for the last day alone
        entries = self._entries(order_by="timestamp desc", max_results=limit)
        return [entry for entry in reversed(list(entries)) if self._fresh(entry)]

    def new(self) -> Iterator[Any]:
        """The entries that came since; tasks that began meanwhile are looked for too."""
        floor = max(self._seen.values(), default=self._since)
        self._since = max(self._since, floor - _LATE)
        self._seen = {key: stamp for key, stamp in self._seen.items() if stamp >= self._since}
        return (entry for entry in self._entries(order_by="timestamp asc") if self._fresh(entry))

    def _entries(self, **arguments: Any) -> Iterator[Any]:
        wanted = self._source.filter()
        if not wanted:
            return iter(())
        wanted = f'{wanted} AND timestamp>="{self._since.isoformat()}"'
        return iter(self._client.list_entries(filter_=wanted, page_size=1000, **arguments))

    def _fresh(self, entry: Any) -> bool:
        fresh = entry.insert_id not in self._seen
        self._seen[entry.insert_id] = entry.timestamp
        return fresh


def _text(entry: Any) -> str:
    payload = entry.payload
    if isinstance(payload, dict):
        return str(payload.get("message") or json.dumps(payload, default=str))
    return str(payload or "")


def _printer(source: Source) -> Callable[[Any], None]:
    def show(entry: Any) -> None:
        label = source.label({**((entry.resource.labels or {}) if entry.resource else {}), **(entry.labels or {})})
        stamp = entry.timestamp.astimezone().strftime("%H:%M:%S")
        style = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}.get(entry.severity or "", "")
        console.print(f"[dim]{stamp} {label}[/]", end=" ")
        console.print(_text(entry), style=style, markup=False)

    return show


def _print_json(entry: Any) -> None:
    print(json.dumps(entry.to_api_repr(), default=str))
