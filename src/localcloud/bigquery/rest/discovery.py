"""The API's discovery document, written from the route table, which `bq` and googleapiclient build their calls on.

Messages are named and left open: their fields are checked where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .routing import Method

_COMMON = {
    "alt": ("string", "Data format for the response."),
    "fields": ("string", "Which fields to include in a partial response."),
    "key": ("string", "API key."),
    "oauth_token": ("string", "OAuth 2.0 token."),
    "prettyPrint": ("boolean", "Whether the response has line breaks."),
    "quotaUser": ("string", "Whom to count the call for."),
    "userIp": ("string", "Address of the user."),
    "$.xgafv": ("string", "Version of the error format."),
}


def document(methods: Iterable[Method], base: str) -> dict[str, Any]:
    """The discovery document.

    Args:
        methods: The route table.
        base: Scheme and host, under which the API answers.
    """
    table = list(methods)
    resources: dict[str, Any] = {}
    for method in table:
        _, resource, name = method.id.split(".")
        described = resources.setdefault(resource, {"methods": {}})
        described["methods"][name] = _method(method)
    messages = {name for method in table for name in (method.request, method.response) if name}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "bigquery:v2",
        "name": "bigquery",
        "version": "v2",
        "title": "BigQuery API",
        "description": "The methods that the local BigQuery answers.",
        "protocol": "rest",
        "rootUrl": f"{base}/",
        "servicePath": "bigquery/v2/",
        "basePath": "/bigquery/v2/",
        "baseUrl": f"{base}/bigquery/v2/",
        "batchPath": "batch/bigquery/v2",
        "parameters": {
            name: {"type": type_, "location": "query", "description": text} for name, (type_, text) in _COMMON.items()
        },
        "auth": {"oauth2": {"scopes": {"https://www.googleapis.com/auth/bigquery": {"description": "BigQuery data"}}}},
        "schemas": {
            name: {"id": name, "type": "object", "additionalProperties": {"type": "any"}} for name in sorted(messages)
        },
        "resources": resources,
    }


def _method(method: Method) -> dict[str, Any]:
    path = re.sub(r"\{(\w+)\*?\}", r"{+\1}", method.path)
    described: dict[str, Any] = {
        "id": method.id,
        "path": path,
        "flatPath": path.replace("{+", "{"),
        "httpMethod": method.verb,
        "parameterOrder": method.variables,
        "parameters": {
            **{name: {"type": "string", "required": True, "location": "path"} for name in method.variables},
            **{name: _parameter(type_) for name, type_ in method.query.items()},
        },
        "scopes": ["https://www.googleapis.com/auth/bigquery"],
    }
    if method.request:
        described["request"] = {"$ref": method.request}
    if method.response:
        described["response"] = {"$ref": method.response}
    if method.media:
        described["supportsMediaUpload"] = True
        described["mediaUpload"] = _media(path)
    return described


def _media(path: str) -> Mapping[str, Any]:
    protocols = {"simple": f"/upload/bigquery/v2/{path}", "resumable": f"/resumable/upload/bigquery/v2/{path}"}
    return {
        "accept": ["*/*"],
        "protocols": {name: {"multipart": True, "path": where} for name, where in protocols.items()},
    }


def _parameter(type_: str) -> dict[str, Any]:
    repeated = type_.endswith("*")
    described: dict[str, Any] = {"type": type_.rstrip("*"), "location": "query"}
    return {**described, "repeated": True} if repeated else described
