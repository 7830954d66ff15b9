"""REST v2: jobs and queries.

What a job does is in `localcloud.bigquery.jobs`; the rows of its results come from `tabledata.py`.
"""

from __future__ import annotations

from typing import Any

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.jobs.runner import Job
from localcloud.bigquery.jobs.store import JobFilter, JobRef, Resource
from localcloud.bigquery.problems import http_error_of_job
from localcloud.bigquery.refs import TableRef

from .routing import Call, Chosen, Method
from .tabledata import FIRST_PAGE_BYTES, FORMAT, PAGE_BYTES, Page, format_of, timestamp_format, with_rows

_PATIENCE = {"query": 0.05, "load": 2.0, "extract": 2.0, "copy": 2.0}
"""Seconds for which inserting a job waits for its end: clients poll only every second."""
_QUERY_TIMEOUT_MS = 10_000
_MAX_WAIT_MS = 200_000


def _shown(call: Call, resource: Resource) -> dict[str, Any]:
    ref = JobRef.of(resource)
    link = call.link(f"projects/{ref.project}/jobs/{ref.id}?location={ref.location}")
    return {**resource, "selfLink": link}


def insert(call: Call) -> Any:
    """jobs.insert; answers at once, or with the finished job where that takes a moment only."""
    return started(call, call.warehouse.jobs.insert(call.project, call.body))


def started(call: Call, job: Job) -> dict[str, Any]:
    """The answer for a job that was just inserted."""
    if job.dry_run:
        return _shown(call, job.resource)
    return _shown(call, call.warehouse.jobs.wait(job.resource, _PATIENCE[job.kind]))


def get(call: Call) -> Any:
    """jobs.get."""
    return _shown(call, call.warehouse.jobs.get(call.project, call.path["jobId"], call.query.get("location", "")))


def cancel(call: Call) -> Any:
    """jobs.cancel."""
    job = call.warehouse.jobs.cancel(call.project, call.path["jobId"], call.query.get("location", ""))
    return {"kind": "bigquery#jobCancelResponse", "job": _shown(call, job)}


def delete(call: Call) -> Any:
    """jobs.delete."""
    call.warehouse.jobs.delete(call.project, call.path["jobId"], call.query.get("location", ""))


def listed(call: Call) -> Any:
    """jobs.list, the newest first; `stateFilter` may come several times, here joined by commas."""
    states = [state for state in call.query.get("stateFilter", "").split(",") if state]
    for state in states:
        if state.lower() not in ("pending", "running", "done"):
            raise Invalid(f"Invalid value for stateFilter: {state} is none of pending, running and done")
    chosen = JobFilter(
        states=states,
        parent=call.query.get("parentJobId", ""),
        created_from=call.number("minCreationTime", 0),
        created_until=call.number("maxCreationTime", 0),
    )
    limit = min(call.number("maxResults", 50) or 50, 1000)
    jobs, end = call.warehouse.jobs.page(call.project, chosen, limit=limit, before=call.number("pageToken", 0))
    full = call.query.get("projection", "minimal").lower() == "full"
    answer: dict[str, Any] = {"kind": "bigquery#jobList", "etag": str(len(jobs))}
    if jobs:
        answer["jobs"] = [_listed_job(job, full) for job in jobs]
    if end:
        answer["nextPageToken"] = str(end)
    return answer


def _listed_job(job: Resource, full: bool) -> dict[str, Any]:
    shown = {key: job[key] for key in ("kind", "id", "jobReference", "statistics", "status")}
    shown["state"] = job["status"]["state"]
    shown["configuration"] = job["configuration"]
    if "errorResult" in job["status"]:
        shown["errorResult"] = job["status"]["errorResult"]
    if not full:
        # The minimal projection leaves out what is long; clients still tell the kinds of jobs apart by it.
        query = job["configuration"].get("query")
        if query:
            kept = {key: value for key, value in query.items() if key != "queryParameters"}
            shown["configuration"] = {**job["configuration"], "query": kept}
    return shown


def query(call: Call) -> Any:
    """jobs.query: runs a query and answers with its first page if that is there in time."""
    body = dict(call.body)
    request = body.pop("requestId", None)
    timeout = int(body.pop("timeoutMs", None) or _QUERY_TIMEOUT_MS)
    limit = body.pop("maxResults", None)
    timestamps = timestamp_format(body.pop("formatOptions", None) or {})
    location = body.pop("location", "")
    body.pop("kind", None)
    body.pop("jobCreationMode", None)
    body.pop("preserveNulls", None)
    outer: Resource = {key: body.pop(key) for key in ("labels", "dryRun", "jobTimeoutMs", "reservation") if key in body}
    jobs = call.warehouse.jobs
    known = jobs.store.of_request(call.project, request) if request else None
    if known is None:
        configuration: Resource = {**outer, "query": body}
        given: Resource = {"configuration": configuration, "jobReference": {"location": location}}
        job = jobs.insert(call.project, given, request=request)
        if job.dry_run:
            return _dry_answer(job.resource)
        known = job.resource
    resource = jobs.wait(known, min(timeout, _MAX_WAIT_MS) / 1000)
    if resource["status"]["state"] != "DONE":
        answer = {"kind": "bigquery#queryResponse", "jobReference": resource["jobReference"], "jobComplete": False}
        return {**answer, "queryId": resource["jobReference"]["jobId"]}
    answer = {"kind": "bigquery#queryResponse", "queryId": resource["jobReference"]["jobId"]}
    wanted = None if limit is None else int(limit)
    return _results(call, resource, answer, limit=wanted, timestamps=timestamps, size=FIRST_PAGE_BYTES)


def _dry_answer(resource: Resource) -> dict[str, Any]:
    statistics = resource["statistics"]["query"]
    answer = {
        "kind": "bigquery#queryResponse",
        "jobComplete": True,
        "totalBytesProcessed": statistics["totalBytesProcessed"],
        "cacheHit": False,
        "jobReference": {k: v for k, v in resource["jobReference"].items() if k != "jobId"},
    }
    return {**answer, "schema": statistics["schema"]} if "schema" in statistics else answer


def query_results(call: Call) -> Any:
    """jobs.getQueryResults: waits for the query up to timeoutMs, then answers with a page."""
    jobs = call.warehouse.jobs
    resource = jobs.get(call.project, call.path["jobId"], call.query.get("location", ""))
    if "query" not in resource["configuration"]:
        raise Invalid(f"Job {resource['id']} is not a query job: it has no results")
    timeout = min(call.number("timeoutMs", _QUERY_TIMEOUT_MS), _MAX_WAIT_MS)
    resource = jobs.wait(resource, timeout / 1000)
    answer: dict[str, Any] = {"kind": "bigquery#getQueryResultsResponse", "etag": resource["etag"]}
    if resource["status"]["state"] != "DONE":
        return {**answer, "jobReference": resource["jobReference"], "jobComplete": False}
    return _results(
        call,
        resource,
        answer,
        start=call.number("startIndex", 0),
        limit=call.number("maxResults", 0) if "maxResults" in call.query else None,
        token=call.query.get("pageToken", ""),
        timestamps=format_of(call),
    )


def _results(
    call: Call,
    resource: Resource,
    answer: dict[str, Any],
    *,
    timestamps: Any,
    start: int = 0,
    limit: int | None = None,
    token: str = "",
    size: int = PAGE_BYTES,
) -> Any:
    """The answer of a query that is done: an HTTP error where it failed."""
    status = resource["status"]
    if "errorResult" in status:
        code, body = http_error_of_job(status["errorResult"])
        return Chosen(body, code)
    statistics = resource["statistics"]
    query = statistics.get("query", {})
    answer |= {
        "jobReference": resource["jobReference"],
        "jobComplete": True,
        "cacheHit": False,
        "totalBytesProcessed": query.get("totalBytesProcessed", "0"),
        "totalBytesBilled": query.get("totalBytesBilled", "0"),
        "location": resource["jobReference"]["location"],
        "creationTime": statistics["creationTime"],
        "startTime": statistics["startTime"],
        "endTime": statistics["endTime"],
        "statementType": query.get("statementType", ""),
    }
    for key in ("numDmlAffectedRows", "dmlStats"):
        if key in query:
            answer[key] = query[key]
    if "sessionInfo" in statistics:
        answer["sessionInfo"] = statistics["sessionInfo"]
    fields = (query.get("schema") or {}).get("fields")
    destination = resource["configuration"]["query"].get("destinationTable")
    if not fields or not destination or "numDmlAffectedRows" in query or "ddlOperationPerformed" in query:
        return answer
    ref = TableRef.of(destination)
    total = call.warehouse.reading.resource(ref)["numRows"]
    answer |= {"schema": {"fields": fields}, "totalRows": total}
    if limit == 0:
        return answer
    page = Page(call.warehouse.reading, ref, start=start, limit=limit, token=token, size=size)
    if page.token:
        answer["pageToken"] = page.token
    return with_rows(answer, page.json(timestamps))


_PAGES = {"maxResults": "integer", "pageToken": "string"}
_ALL = "projects/{projectId}/jobs"
_ONE = f"{_ALL}/{{jobId}}"
_LOCATION = {"location": "string"}

METHODS = (
    Method(
        "bigquery.jobs.list",
        "GET",
        _ALL,
        listed,
        {
            **_PAGES,
            "allUsers": "boolean",
            "minCreationTime": "string",
            "maxCreationTime": "string",
            "projection": "string",
            "stateFilter": "string*",
            "parentJobId": "string",
        },
        response="JobList",
    ),
    Method("bigquery.jobs.insert", "POST", _ALL, insert, request="Job", response="Job", media=True),
    Method("bigquery.jobs.get", "GET", _ONE, get, _LOCATION, response="Job"),
    Method("bigquery.jobs.cancel", "POST", f"{_ONE}/cancel", cancel, _LOCATION, response="JobCancelResponse"),
    Method("bigquery.jobs.delete", "DELETE", f"{_ONE}/delete", delete, _LOCATION),
    Method(
        "bigquery.jobs.query",
        "POST",
        "projects/{projectId}/queries",
        query,
        request="QueryRequest",
        response="QueryResponse",
    ),
    Method(
        "bigquery.jobs.getQueryResults",
        "GET",
        "projects/{projectId}/queries/{jobId}",
        query_results,
        {**_PAGES, "startIndex": "string", "timeoutMs": "integer", **_LOCATION, **FORMAT},
        response="GetQueryResultsResponse",
    ),
)
