"""`mlops logs`: what a job or an endpoint has written, read from Cloud Logging, live where asked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from accelerator.cli import targets
from accelerator.cli.output import console
from accelerator.errors import AcceleratorError

_POLL = 0.5
"""Seconds between looks for new entries."""
_ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


class LogsError(AcceleratorError):
    """There is nothing of that name to show."""


def logs(job: str, *, follow: bool, limit: int, server: bool, target: str, project: str, as_json: bool) -> None:
    """Prints entries, oldest first."""
    if server:
        _server_log(limit)
        return
    if not job:
        raise LogsError("Whose logs?", next_step="write `mlops logs JOB`; `mlops logs --server` for the server's")
    targets.use(target, project)
    import os

    from google.cloud import logging

    project = project or _project_of(job) or os.environ["GOOGLE_CLOUD_PROJECT"]
    resource = _Resource(job, project)
    client = logging.Client(project=project)
    show = _print_json if as_json else _print
    last = None
    for entry in _newest(client, resource.filter, limit):
        show(entry)
        last = entry
    while follow:
        ended = resource.ended()
        for entry in _after(client, resource.filter, last):
            show(entry)
            last = entry
        if ended:
            return
        time.sleep(_POLL)
    if last is None:
        console.print(f"{resource.name} has written nothing yet.")


class _Resource:
    """A custom, tuning or batch prediction job or an endpoint, found by id, resource name or display name.

    Looked up over plain REST: importing the Vertex AI client would take longer than all the rest.
    """

    def __init__(self, name: str, project: str) -> None:
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        self._session = AuthorizedSession(credentials)
        location = _part(name, "locations") or "us-central1"
        self._service = f"https://{location}-aiplatform.googleapis.com/v1"
        parent = f"projects/{project}/locations/{location}"
        last = name.rpartition("/")[2]
        for collection in ("customJobs", "hyperparameterTuningJobs", "batchPredictionJobs", "endpoints"):
            if last.isdigit():
                found = self._get(f"{parent}/{collection}/{last}")
            else:
                listed = self._get(f"{parent}/{collection}", filter=f'display_name="{name}"')
                # the newest of that name
                found = next(iter((listed or {}).get(collection, [])), None)
            if found:
                self.name: str = found["name"]
                self._is_job = collection != "endpoints"
                self._has_trials = collection == "hyperparameterTuningJobs"
                return
        raise LogsError(
            f"No job and no endpoint {'has the id' if last.isdigit() else 'is named'} {last}",
            place=parent,
            next_step="check it, or give a resource name; --project names another project than the default",
        )

    @property
    def filter(self) -> str:
        """Its entries, in Cloud Logging's query language."""
        kind, label = ("ml_job", "job_id") if self._is_job else ("aiplatform.googleapis.com/Endpoint", "endpoint_id")
        names = [self.name]
        if self._has_trials:
            # each trial is a custom job and writes under that
            names += [trial.get("customJob", "") for trial in (self._get(self.name) or {}).get("trials", [])]
        ids = " OR ".join(f'"{name.rpartition("/")[2]}"' for name in names if name)
        return f'resource.type="{kind}" AND resource.labels.{label}=({ids})'

    def ended(self) -> bool:
        """Whether a job is over; an endpoint never is."""
        return self._is_job and (self._get(self.name) or {}).get("state") in _ENDED

    def _get(self, path: str, **query: str) -> Any | None:
        answer = self._session.get(f"{self._service}/{path}", params=query, timeout=30)
        if answer.status_code == 404:
            return None
        if not answer.ok:
            raise LogsError(answer.json()["error"]["message"], place=path)
        return answer.json()


def _part(name: str, collection: str) -> str:
    found = re.search(rf"(?:^|/){collection}/([^/]+)", name)
    return found.group(1) if found else ""


def _project_of(name: str) -> str:
    return _part(name, "projects")


def _newest(client: Any, filter: str, limit: int) -> list[Any]:
    # without a time Cloud Logging's client asks for the last day alone
    since = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    entries = client.list_entries(
        filter_=f'{filter} AND timestamp>="{since}"', order_by="timestamp desc", max_results=limit, page_size=1000
    )
    return list(entries)[::-1]


def _after(client: Any, filter: str, last: Any | None) -> Iterator[Any]:
    since = last.timestamp if last is not None else datetime.now(UTC) - timedelta(days=30)
    seen = last.insert_id if last is not None else ""
    entries = client.list_entries(
        filter_=f'{filter} AND timestamp>="{since.isoformat()}"', order_by="timestamp asc", page_size=1000
    )
    passed = last is None
    for entry in entries:
        if passed or entry.timestamp > since:
            yield entry
        passed = passed or entry.insert_id == seen


def _text(entry: Any) -> str:
    payload = entry.payload
    if isinstance(payload, dict):
        return str(payload.get("message") or json.dumps(payload, default=str))
    return str(payload or "")


def _print(entry: Any) -> None:
    replica = (entry.resource.labels or {}).get("task_name", "") if entry.resource else ""
    trial = (entry.labels or {}).get("ml.googleapis.com/trial_id")
    replica = f"trial {trial} {replica}" if trial else replica
    stamp = entry.timestamp.astimezone().strftime("%H:%M:%S")
    style = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}.get(entry.severity or "", "")
    console.print(f"[dim]{stamp} {replica}[/]", end=" ")
    console.print(_text(entry), style=style, markup=False)


def _print_json(entry: Any) -> None:
    print(json.dumps(entry.to_api_repr(), default=str))


def _server_log(limit: int) -> None:
    from localcloud import control

    path = control.default_root() / "server.log"
    if not path.exists():
        raise LogsError("The local cloud has written no log yet", place=str(path), next_step="`mlops up` starts it")
    print("\n".join(path.read_text(errors="replace").splitlines()[-limit:]))
