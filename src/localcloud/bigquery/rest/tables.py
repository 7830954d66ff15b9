"""REST v2: tables, views, their IAM policies, models and routines.

What a table is and does is in `localcloud.bigquery.tables`; its rows are `tabledata.py`'s.
"""

from __future__ import annotations

from typing import Any

from localcloud.bigquery.failures import Invalid, Refused
from localcloud.bigquery.refs import DatasetRef, TableRef
from localcloud.bigquery.routine_sql import create_statement

from .routing import Call, Method, page

_LISTED = (
    "kind",
    "id",
    "tableReference",
    "type",
    "friendlyName",
    "labels",
    "creationTime",
    "expirationTime",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "requirePartitionFilter",
    "view",
)
_UNDONE = ("externalDataConfiguration", "materializedView", "snapshotDefinition", "encryptionConfiguration")


def _dataset(call: Call) -> DatasetRef:
    return DatasetRef(call.project, call.path["datasetId"])


def _ref(call: Call) -> TableRef:
    return _dataset(call).table(call.path["tableId"])


def _shown(call: Call, resource: dict[str, Any]) -> dict[str, Any]:
    ref = TableRef.of(resource["tableReference"])
    path = f"projects/{ref.project}/datasets/{ref.dataset}/tables/{ref.table}"
    return {**resource, "selfLink": call.link(path)}


def _check(call: Call) -> None:
    for key in _UNDONE:
        if call.body.get(key):
            raise Refused(f"table.{key} is not carried over to the local BigQuery", location=key)
    if (call.body.get("view") or {}).get("useLegacySql"):
        raise Refused("Views in legacy SQL are not carried over to the local BigQuery: set view.useLegacySql to false")


def insert(call: Call) -> Any:
    """tables.insert."""
    _check(call)
    reference = call.body.get("tableReference") or {}
    if not reference.get("tableId"):
        raise Invalid("Required parameter is missing: tableReference.tableId")
    ref = TableRef.of({**reference, "datasetId": call.path["datasetId"], "projectId": call.project})
    return _shown(call, call.warehouse.tables.insert_table(ref, call.body))


def get(call: Call) -> Any:
    """tables.get, of query results as well."""
    return _shown(call, call.warehouse.reading.resource(_ref(call)))


def patch(call: Call) -> Any:
    """tables.patch."""
    _check(call)
    return _shown(call, call.warehouse.tables.patch_table(_ref(call), call.body, etag=call.etag))


def update(call: Call) -> Any:
    """tables.update."""
    _check(call)
    return _shown(call, call.warehouse.tables.update_table(_ref(call), call.body, etag=call.etag))


def delete(call: Call) -> Any:
    """tables.delete, of query results as well."""
    ref = _ref(call)
    result = call.warehouse.reading.result(ref)
    if result is not None:
        call.warehouse.reading.results.delete(result.id)
        return
    call.warehouse.tables.delete_table(ref, etag=call.etag)


def listed(call: Call) -> Any:
    """tables.list."""
    found = call.warehouse.tables.list_tables(_dataset(call))
    items, token = page(found, call)
    answer: dict[str, Any] = {"kind": "bigquery#tableList", "etag": str(len(found)), "totalItems": len(found)}
    if items:
        answer["tables"] = [
            {**{key: item[key] for key in _LISTED if key in item}, "kind": "bigquery#table"} for item in items
        ]
    if token:
        answer["nextPageToken"] = token
    return answer


def get_policy(call: Call) -> Any:
    """tables.getIamPolicy."""
    created = call.warehouse.reading.resource(_ref(call))["creationTime"]
    return call.warehouse.policies.get(f"{_ref(call)}@{created}")


def set_policy(call: Call) -> Any:
    """tables.setIamPolicy."""
    created = call.warehouse.tables.get_table(_ref(call))["creationTime"]
    return call.warehouse.policies.set(f"{_ref(call)}@{created}", call.body.get("policy") or {})


def test_permissions(call: Call) -> Any:
    """tables.testIamPermissions: whoever reaches the local cloud may do everything."""
    call.warehouse.reading.resource(_ref(call))
    return {"permissions": call.body.get("permissions") or []}


def insert_routine(call: Call) -> Any:
    """routines.insert: the routine is created by the SQL that says the same."""
    ref = _routine(call, call.body.get("routineReference") or {})
    call.warehouse.engine.execute(create_statement(ref, call.body), project=ref.project)
    return call.warehouse.tables.get_routine(ref)


def update_routine(call: Call) -> Any:
    """routines.update."""
    ref = _routine(call, call.path)
    call.warehouse.tables.get_routine(ref)
    call.warehouse.engine.execute(create_statement(ref, call.body, replace=True), project=ref.project)
    return call.warehouse.tables.get_routine(ref)


def _routine(call: Call, reference: Any) -> TableRef:
    if not reference.get("routineId"):
        raise Invalid("Required parameter is missing: routineReference.routineId")
    return _dataset(call).table(str(reference["routineId"]))


def get_routine(call: Call) -> Any:
    """routines.get."""
    return call.warehouse.tables.get_routine(_routine(call, call.path))


def list_routines(call: Call) -> Any:
    """routines.list."""
    items, token = page(call.warehouse.tables.list_routines(_dataset(call)), call)
    return {"routines": items, "nextPageToken": token} if token else {"routines": items}


def delete_routine(call: Call) -> Any:
    """routines.delete."""
    call.warehouse.tables.delete_routine(_routine(call, call.path))


def list_models(call: Call) -> Any:
    """models.list: BigQuery ML is not here, so a dataset has none."""
    call.warehouse.tables.get_dataset(_dataset(call))
    return {}


_PAGES = {"maxResults": "integer", "pageToken": "string"}
_ALL = "projects/{projectId}/datasets/{datasetId}/tables"
_ONE = f"{_ALL}/{{tableId}}"
_ROUTINES = "projects/{projectId}/datasets/{datasetId}/routines"
_ROUTINE = f"{_ROUTINES}/{{routineId}}"
_AUTODETECT = {"autodetect_schema": "boolean"}

METHODS = (
    Method("bigquery.tables.list", "GET", _ALL, listed, _PAGES, response="TableList"),
    Method("bigquery.tables.insert", "POST", _ALL, insert, request="Table", response="Table"),
    Method(
        "bigquery.tables.get",
        "GET",
        _ONE,
        get,
        {"selectedFields": "string", "view": "string"},
        response="Table",
    ),
    Method("bigquery.tables.patch", "PATCH", _ONE, patch, _AUTODETECT, request="Table", response="Table"),
    Method("bigquery.tables.update", "PUT", _ONE, update, _AUTODETECT, request="Table", response="Table"),
    Method("bigquery.tables.delete", "DELETE", _ONE, delete),
    Method(
        "bigquery.tables.getIamPolicy",
        "POST",
        f"{_ONE}:getIamPolicy",
        get_policy,
        request="GetIamPolicyRequest",
        response="Policy",
    ),
    Method(
        "bigquery.tables.setIamPolicy",
        "POST",
        f"{_ONE}:setIamPolicy",
        set_policy,
        request="SetIamPolicyRequest",
        response="Policy",
    ),
    Method(
        "bigquery.tables.testIamPermissions",
        "POST",
        f"{_ONE}:testIamPermissions",
        test_permissions,
        request="TestIamPermissionsRequest",
        response="TestIamPermissionsResponse",
    ),
    Method("bigquery.routines.list", "GET", _ROUTINES, list_routines, _PAGES, response="ListRoutinesResponse"),
    Method("bigquery.routines.insert", "POST", _ROUTINES, insert_routine, request="Routine", response="Routine"),
    Method("bigquery.routines.get", "GET", _ROUTINE, get_routine, response="Routine"),
    Method("bigquery.routines.update", "PUT", _ROUTINE, update_routine, request="Routine", response="Routine"),
    Method("bigquery.routines.delete", "DELETE", _ROUTINE, delete_routine),
    Method(
        "bigquery.models.list",
        "GET",
        "projects/{projectId}/datasets/{datasetId}/models",
        list_models,
        _PAGES,
        response="ListModelsResponse",
    ),
)
