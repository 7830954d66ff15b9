"""Services that every Google API has beside its own: long-running operations (google.longrunning.Operations).

No client library lists them in its surface, so their methods and HTTP rules stand here.
"""

from __future__ import annotations

from localcloud.catalog import HttpRule, Method

OPERATIONS = "google.longrunning"
_PREFIXES = ("v1", "v1beta1", "v2", "v3", "ui")
"""`ui` is what the REST transport of the Vertex AI clients asks for operations under."""


def _rules(verb: str, template: str, body: str = "") -> tuple[HttpRule, ...]:
    return tuple(HttpRule(verb, f"/{prefix}/{template}", body) for prefix in _PREFIXES)


def _method(name: str, request: str, response: str, http: tuple[HttpRule, ...]) -> Method:
    return Method(
        package=OPERATIONS,
        service="Operations",
        name=name,
        request=f"google.longrunning.{request}",
        response=response,
        client_streaming=False,
        server_streaming=False,
        http=http,
    )


METHODS = (
    _method(
        "GetOperation",
        "GetOperationRequest",
        "google.longrunning.Operation",
        _rules("GET", "{name=**/operations/*}") + _rules("GET", "{name=operations/**}"),
    ),
    _method(
        "ListOperations",
        "ListOperationsRequest",
        "google.longrunning.ListOperationsResponse",
        _rules("GET", "{name=**}/operations") + _rules("GET", "{name=operations}"),
    ),
    _method(
        "DeleteOperation",
        "DeleteOperationRequest",
        "google.protobuf.Empty",
        _rules("DELETE", "{name=**/operations/*}"),
    ),
    _method(
        "CancelOperation",
        "CancelOperationRequest",
        "google.protobuf.Empty",
        _rules("POST", "{name=**/operations/*}:cancel", "*") + _rules("POST", "{name=operations/**}:cancel", "*"),
    ),
    _method(
        "WaitOperation",
        "WaitOperationRequest",
        "google.longrunning.Operation",
        _rules("POST", "{name=**/operations/*}:wait", "*"),
    ),
)
