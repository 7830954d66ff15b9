"""The JSON API's methods on buckets, their IAM policies and notification configurations.

Source: cloud.google.com/storage/docs/json_api/v1/buckets. Keeping them is left to the store.
"""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request

from localcloud.projects import number_of
from localcloud.storage import errors
from localcloud.storage.database import Bucket
from localcloud.storage.files import bucket_problem
from localcloud.storage.http import Answer, Routes, flag, in_thread, number, read_json
from localcloud.storage.notifications import Notifications
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.resources import bucket_properties, bucket_resource, etag
from localcloud.storage.store import Store

MAX_RESULTS = 1000


class BucketMethods:
    """Methods on buckets.

    Args:
        store: Where they are kept.
        notifications: Their notification configurations.
    """

    def __init__(self, store: Store, notifications: Notifications) -> None:
        self._store = store
        self._notifications = notifications

    def add_to(self, routes: Routes) -> None:
        """Give the methods their paths."""
        routes.add("GET", "b", self.list)
        routes.add("POST", "b", self.insert)
        routes.add("GET", "b/{}", self.get)
        routes.add("PATCH", "b/{}", self.patch)
        routes.add("PUT", "b/{}", self.update)
        routes.add("DELETE", "b/{}", self.delete)
        routes.add("GET", "b/{}/iam", self.get_policy)
        routes.add("PUT", "b/{}/iam", self.set_policy)
        routes.add("GET", "b/{}/iam/testPermissions", self.test_permissions)
        routes.add("GET", "b/{}/storageLayout", self.storage_layout)
        routes.add("GET", "b/{}/notificationConfigs", self.list_notifications)
        routes.add("POST", "b/{}/notificationConfigs", self.insert_notification)
        routes.add("GET", "b/{}/notificationConfigs/{}", self.get_notification)
        routes.add("DELETE", "b/{}/notificationConfigs/{}", self.delete_notification)
        routes.add("GET", "projects/{}/serviceAccount", self.service_account)

    async def list(self, request: Request) -> Answer:
        """buckets.list: those of the project, and those that are only folders."""
        project = _project(request)
        if flag(request, "softDeleted"):
            raise errors.unimplemented("Listing soft-deleted buckets")
        prefix = request.query_params.get("prefix", "")
        after = _read_token(request.query_params.get("pageToken", ""))
        size = min(number(request, "maxResults") or MAX_RESULTS, MAX_RESULTS)
        mine = [
            bucket
            for bucket in await in_thread(self._store.list_buckets)
            if bucket.name.startswith(prefix)
            and bucket.name > after
            and number_of(bucket.project or project) == number_of(project)
        ]
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if mine:
            answer["items"] = [bucket_resource(bucket) for bucket in mine[:size]]
        if len(mine) > size:
            answer["nextPageToken"] = base64.urlsafe_b64encode(mine[size - 1].name.encode()).decode()
        return answer

    async def insert(self, request: Request) -> Answer:
        """buckets.insert."""
        project = _project(request)
        body = await read_json(request)
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise errors.required("Required parameter: name", "name")
        problem = bucket_problem(name)
        if problem:
            raise errors.invalid(problem, "name")
        if flag(request, "enableObjectRetention"):
            raise errors.unimplemented("Object retention")
        properties = bucket_properties(body)
        return bucket_resource(await in_thread(self._store.create_bucket, name, project, properties))

    async def get(self, request: Request, name: str) -> Answer:
        """buckets.get."""
        bucket = await in_thread(self._store.bucket, name)
        Preconditions.of(request.query_params).check(bucket, reading=True)
        if number(request, "generation") not in (None, bucket.created):
            raise errors.no_bucket()
        return bucket_resource(bucket)

    async def patch(self, request: Request, name: str) -> Answer:
        """buckets.patch: a JSON merge patch."""
        body = await read_json(request)
        return await self._change(request, name, body, replace=False)

    async def update(self, request: Request, name: str) -> Answer:
        """buckets.update: what the body does not name goes, but for location and storage class."""
        body = await read_json(request)
        return await self._change(request, name, body, replace=True)

    async def _change(self, request: Request, name: str, body: dict[str, Any], replace: bool) -> Answer:
        conditions = Preconditions.of(request.query_params)

        def change(old: dict[str, Any]) -> dict[str, Any]:
            kept = ("location", "storageClass", "policy") if replace else tuple(old)
            changed = bucket_properties(body, {key: old[key] for key in kept if key in old})
            return {**changed, **({"policy": old["policy"]} if "policy" in old else {})}

        return bucket_resource(await in_thread(self._store.change_bucket, name, conditions, change))

    async def delete(self, request: Request, name: str) -> Answer:
        """buckets.delete."""
        await in_thread(self._store.delete_bucket, name, Preconditions.of(request.query_params))
        self._notifications.forget(name)
        return None

    # Access: kept and shown, never enforced, since the local cloud has one user

    async def get_policy(self, request: Request, name: str) -> Answer:
        """buckets.getIamPolicy."""
        return _policy(await in_thread(self._store.bucket, name))

    async def set_policy(self, request: Request, name: str) -> Answer:
        """buckets.setIamPolicy: 412 if the policy has changed since the client read it."""
        body = await read_json(request)
        bindings = body.get("bindings", [])
        for binding in bindings if isinstance(bindings, list) else [None]:
            if not isinstance(binding, dict) or not binding.get("role"):
                raise errors.invalid("Invalid value for 'bindings': each needs a role and members.", "bindings")

        def change(old: dict[str, Any]) -> dict[str, Any]:
            policy = old.get("policy") or {}
            if body.get("etag") and body["etag"] != etag(0, policy.get("revision", 1)):
                raise errors.precondition()
            revision = policy.get("revision", 1) + 1
            kept = {"version": body.get("version", 1), "bindings": bindings, "revision": revision}
            return {**old, "policy": kept}

        return _policy(await in_thread(self._store.change_bucket, name, Preconditions(), change))

    async def test_permissions(self, request: Request, name: str) -> Answer:
        """buckets.testIamPermissions: all of them, which is what the local cloud allows."""
        await in_thread(self._store.bucket, name)
        asked = request.query_params.getlist("permissions")
        return {"kind": "storage#testIamPermissionsResponse", "permissions": asked}

    async def storage_layout(self, request: Request, name: str) -> Answer:
        """buckets.getStorageLayout."""
        resource = bucket_resource(await in_thread(self._store.bucket, name))
        return {
            "kind": "storage#storageLayout",
            "bucket": name,
            "location": resource["location"],
            "locationType": resource["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }

    # Notifications

    async def list_notifications(self, request: Request, name: str) -> Answer:
        """notifications.list."""
        return await in_thread(self._notifications.list, name)

    async def insert_notification(self, request: Request, name: str) -> Answer:
        """notifications.insert."""
        body = await read_json(request)
        return await in_thread(self._notifications.insert, name, body)

    async def get_notification(self, request: Request, name: str, identity: str) -> Answer:
        """notifications.get."""
        return await in_thread(self._notifications.get, name, identity)

    async def delete_notification(self, request: Request, name: str, identity: str) -> Answer:
        """notifications.delete."""
        await in_thread(self._notifications.delete, name, identity)
        return None

    async def service_account(self, request: Request, project: str) -> Answer:
        """projects.serviceAccount.get."""
        account = f"service-{number_of(project)}@gs-project-accounts.iam.gserviceaccount.com"
        return {"kind": "storage#serviceAccount", "email_address": account}


def _project(request: Request) -> str:
    project = request.query_params.get("project")
    if not project:
        raise errors.required("Required parameter: project", "project")
    return project


def _read_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise errors.invalid(f"Invalid page token: '{token}'.", "pageToken") from None


def _policy(bucket: Bucket) -> dict[str, Any]:
    policy = bucket.properties.get("policy") or {}
    project = bucket.project or "_"
    default = [
        {
            "role": "roles/storage.legacyBucketOwner",
            "members": [f"projectEditor:{project}", f"projectOwner:{project}"],
        },
        {"role": "roles/storage.legacyBucketReader", "members": [f"projectViewer:{project}"]},
    ]
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket.name}",
        "version": policy.get("version", 1),
        "etag": etag(0, policy.get("revision", 1)),
        "bindings": policy.get("bindings", default),
    }
