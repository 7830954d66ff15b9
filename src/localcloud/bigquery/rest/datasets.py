"""REST v2: datasets and projects.

What a dataset is and does is in `tables.py`.
"""

from __future__ import annotations

import re
from typing import Any

from localcloud.bigquery.failures import Invalid
from localcloud.bigquery.refs import DatasetRef
from localcloud.projects import number_of

from .routing import Call, Method, page

_LABEL = re.compile(r"labels\.([\w\-]+)(?:\s*[:=]\s*(\S+))?")


def _ref(call: Call) -> DatasetRef:
    return DatasetRef(call.project, call.path["datasetId"])


def _shown(call: Call, resource: dict[str, Any]) -> dict[str, Any]:
    ref = DatasetRef.of(resource["datasetReference"])
    return {**resource, "selfLink": call.link(f"projects/{ref.project}/datasets/{ref.dataset}")}


def insert(call: Call) -> Any:
    """datasets.insert."""
    return _shown(call, call.warehouse.tables.insert_dataset(call.project, call.body))


def get(call: Call) -> Any:
    """datasets.get."""
    return _shown(call, call.warehouse.tables.get_dataset(_ref(call)))


def patch(call: Call) -> Any:
    """datasets.patch."""
    return _shown(call, call.warehouse.tables.patch_dataset(_ref(call), call.body, etag=call.etag))


def update(call: Call) -> Any:
    """datasets.update."""
    return _shown(call, call.warehouse.tables.update_dataset(_ref(call), call.body, etag=call.etag))


def delete(call: Call) -> Any:
    """datasets.delete."""
    call.warehouse.tables.delete_dataset(_ref(call), delete_contents=call.flag("deleteContents"), etag=call.etag)


def listed(call: Call) -> Any:
    """datasets.list, with `filter=labels.key:value` and hidden datasets only where `all` is set."""
    wanted = _label_filter(call.query.get("filter", ""))
    found = []
    for resource in call.warehouse.tables.list_datasets(call.project):
        labels = resource.get("labels") or {}
        hidden = resource["datasetReference"]["datasetId"].startswith("_")
        matches = all(key in labels and value in ("", labels[key]) for key, value in wanted)
        if matches and (call.flag("all") or not hidden):
            shown = ("kind", "id", "datasetReference", "labels", "friendlyName", "location")
            found.append({**{k: resource[k] for k in shown if k in resource}, "kind": "bigquery#dataset"})
    items, token = page(found, call)
    answer: dict[str, Any] = {"kind": "bigquery#datasetList", "etag": str(len(found))}
    if items:
        answer["datasets"] = items
    if token:
        answer["nextPageToken"] = token
    return answer


def _label_filter(text: str) -> list[tuple[str, str]]:
    """The (label, value) pairs that all must hold; the value is empty where any will do."""
    if not text.strip():
        return []
    terms = re.split(r"\s+AND\s+|\s+", text.strip())
    pairs = []
    for term in terms:
        match = _LABEL.fullmatch(term)
        if match is None:
            raise Invalid(
                f"Invalid filter expression {text!r}: write labels.KEY[:VALUE], joined by spaces", location="filter"
            )
        pairs.append((match[1], (match[2] or "").strip('"')))
    return pairs


def projects(call: Call) -> Any:
    """projects.list: the projects that have datasets or jobs here."""
    names = call.warehouse.projects()
    items, token = page(names, call)
    answer: dict[str, Any] = {"kind": "bigquery#projectList", "totalItems": len(names)}
    if items:
        answer["projects"] = [
            {
                "kind": "bigquery#project",
                "id": name,
                "numericId": number_of(name),
                "projectReference": {"projectId": name},
                "friendlyName": name,
            }
            for name in items
        ]
    if token:
        answer["nextPageToken"] = token
    return answer


def service_account(call: Call) -> Any:
    """projects.getServiceAccount."""
    email = f"bq-{number_of(call.project)}@bigquery-encryption.iam.gserviceaccount.com"
    return {"kind": "bigquery#getServiceAccountResponse", "email": email}


_PAGES = {"maxResults": "integer", "pageToken": "string"}
_ONE = "projects/{projectId}/datasets/{datasetId}"

METHODS = (
    Method("bigquery.projects.list", "GET", "projects", projects, _PAGES, response="ProjectList"),
    Method(
        "bigquery.projects.getServiceAccount",
        "GET",
        "projects/{projectId}/serviceAccount",
        service_account,
        response="GetServiceAccountResponse",
    ),
    Method(
        "bigquery.datasets.list",
        "GET",
        "projects/{projectId}/datasets",
        listed,
        {**_PAGES, "all": "boolean", "filter": "string"},
        response="DatasetList",
    ),
    Method(
        "bigquery.datasets.insert",
        "POST",
        "projects/{projectId}/datasets",
        insert,
        {"accessPolicyVersion": "integer"},
        request="Dataset",
        response="Dataset",
    ),
    Method(
        "bigquery.datasets.get",
        "GET",
        _ONE,
        get,
        {"datasetView": "string", "accessPolicyVersion": "integer"},
        response="Dataset",
    ),
    Method(
        "bigquery.datasets.patch",
        "PATCH",
        _ONE,
        patch,
        {"updateMode": "string", "accessPolicyVersion": "integer"},
        request="Dataset",
        response="Dataset",
    ),
    Method(
        "bigquery.datasets.update",
        "PUT",
        _ONE,
        update,
        {"updateMode": "string", "accessPolicyVersion": "integer"},
        request="Dataset",
        response="Dataset",
    ),
    Method("bigquery.datasets.delete", "DELETE", _ONE, delete, {"deleteContents": "boolean"}),
)
