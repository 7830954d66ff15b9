"""Buckets and objects as the JSON API shows them, and what a client may set on them.

Source: cloud.google.com/storage/docs/json_api/v1/objects and …/buckets. Keeping them is left to the store.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from localcloud.projects import number_of
from localcloud.storage import errors
from localcloud.storage.database import Bucket, StoredObject

Resource = dict[str, Any]

STORAGE_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)
_TEXT_FIELDS = ("contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl")
_HOLDS = ("eventBasedHold", "temporaryHold")
_OBJECT_FIELDS = (*_TEXT_FIELDS, *_HOLDS, "metadata", "customTime", "storageClass")
_BUCKET_FIELDS = (
    *("autoclass", "billing", "cors", "defaultEventBasedHold", "iamConfiguration", "labels", "lifecycle"),
    *("location", "logging", "rpo", "storageClass", "versioning", "website"),
)
_MULTI_REGIONS = ("US", "EU", "ASIA")
_DUAL_REGIONS = ("NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1")


def etag(generation: int, metageneration: int) -> str:
    """An entity tag in the form of Google's: the two numbers as a protobuf message, in base64."""
    data = bytearray()
    for tag, number in ((8, generation), (16, metageneration)):
        if number:
            data.append(tag)
            while number > 127:
                data.append(number & 127 | 128)
                number >>= 7
            data.append(number)
    return base64.b64encode(data).decode()


def object_etag(version: StoredObject) -> str:
    """The entity tag of a version of an object."""
    return etag(version.generation, version.metageneration)


def object_resource(version: StoredObject, media: str = "https://storage.googleapis.com") -> Resource:
    """An object as JSON.

    Args:
        version: The object.
        media: Scheme and host of the link to its content.
    """
    path = f"storage/v1/b/{version.bucket}/o/{quote(version.name, safe='')}"
    generation = str(version.generation)
    resource: Resource = {
        "kind": "storage#object",
        "id": f"{version.bucket}/{version.name}/{generation}",
        "selfLink": f"https://www.googleapis.com/{path}",
        "mediaLink": f"{media}/download/{path}?generation={generation}&alt=media",
        "name": version.name,
        "bucket": version.bucket,
        "generation": generation,
        "metageneration": str(version.metageneration),
        "storageClass": "STANDARD",
        "size": str(version.size),
        "etag": object_etag(version),
        "timeCreated": timestamp(version.created),
        "updated": timestamp(version.updated),
        "timeStorageClassUpdated": timestamp(version.created),
        "timeFinalized": timestamp(version.created),
        **version.properties,
    }
    if version.md5:
        resource["md5Hash"] = version.md5
    if version.crc32c:
        resource["crc32c"] = version.crc32c
    if version.deleted:
        resource["timeDeleted"] = timestamp(version.deleted)
    return resource


def bucket_resource(bucket: Bucket) -> Resource:
    """A bucket as JSON."""
    properties = {key: value for key, value in bucket.properties.items() if key != "policy"}
    location = properties.get("location", "US")
    kind = "multi-region" if location in _MULTI_REGIONS else "region"
    access = properties.pop("iamConfiguration", None) or {}
    uniform = access.get("uniformBucketLevelAccess") or access.get("bucketPolicyOnly") or {"enabled": False}
    resource: Resource = {
        "kind": "storage#bucket",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket.name}",
        "id": bucket.name,
        "name": bucket.name,
        "generation": str(bucket.created),
        "metageneration": str(bucket.metageneration),
        "location": location,
        "locationType": "dual-region" if location in _DUAL_REGIONS else kind,
        "storageClass": "STANDARD",
        "etag": etag(0, bucket.metageneration),
        "timeCreated": timestamp(bucket.created),
        "updated": timestamp(bucket.updated),
        "iamConfiguration": {
            "bucketPolicyOnly": uniform,
            "uniformBucketLevelAccess": uniform,
            "publicAccessPrevention": access.get("publicAccessPrevention", "inherited"),
        },
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **properties,
    }
    if bucket.project:
        resource["projectNumber"] = number_of(bucket.project)
    return resource


def object_properties(body: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Resource:
    """What an object keeps of a request's body.

    Args:
        body: The object resource that the client sent.
        old: The properties as they are, for a patch: what the body does not name stays, null deletes.

    Raises:
        StorageError: 400 for a value that cannot be; 501 for what the local cloud does not do.
    """
    for name in ("retention", "customerEncryption", "kmsKeyName"):
        if body.get(name):
            raise errors.unimplemented(f"Object property '{name}'")
    given = {name: body[name] for name in _OBJECT_FIELDS if name in body}
    merged: Resource = merge(dict(old or {}), given)
    for name in _TEXT_FIELDS:
        if not isinstance(merged.get(name, ""), str):
            raise errors.invalid(f"Invalid value for '{name}': it must be a string.", name)
    for name in _HOLDS:
        if not isinstance(merged.get(name, False), bool):
            raise errors.invalid(f"Invalid value for '{name}': it must be true or false.", name)
    metadata = merged.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise errors.invalid("Invalid value for 'metadata': it must map strings to strings.", "metadata")
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > 8192:
        raise errors.invalid("The total size of custom metadata is above 8 KiB.", "metadata")
    if not metadata:
        merged.pop("metadata", None)
    _check_class(merged)
    if "customTime" in merged:
        _check_time(merged["customTime"], (old or {}).get("customTime"))
    return merged


def bucket_properties(body: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Resource:
    """What a bucket keeps of a request's body; arguments and errors as of object_properties."""
    for name in ("retentionPolicy", "objectRetention", "ipFilter"):
        if body.get(name):
            raise errors.unimplemented(f"Bucket property '{name}'")
    if (body.get("hierarchicalNamespace") or {}).get("enabled"):
        raise errors.unimplemented("A bucket with hierarchical namespace")
    if (body.get("encryption") or {}).get("defaultKmsKeyName"):
        raise errors.unimplemented("Encryption with customer-managed keys")
    if int((body.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0):
        raise errors.unimplemented("Soft delete (softDeletePolicy.retentionDurationSeconds above 0)")
    given = {name: body[name] for name in _BUCKET_FIELDS if name in body}
    merged: Resource = merge(dict(old or {}), given)
    labels = merged.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise errors.invalid("Invalid value for 'labels': it must map strings to strings.", "labels")
    if len(labels) > 64:
        raise errors.invalid("A bucket has at most 64 labels.", "labels")
    if not labels:
        merged.pop("labels", None)
    location = merged.get("location", "US")
    if not isinstance(location, str):
        raise errors.invalid("Invalid value for 'location': it must be a string.", "location")
    merged["location"] = location.upper()
    if old and "location" in old and merged["location"] != old["location"]:
        raise errors.invalid("The location of a bucket cannot be changed.", "location")
    _check_class(merged)
    return merged


def merge(old: Resource, patch: Mapping[str, Any]) -> Resource:
    """A JSON merge patch (RFC 7396): null deletes, objects merge, everything else replaces."""
    for key, value in patch.items():
        if value is None:
            old.pop(key, None)
        elif isinstance(value, dict):
            before = old.get(key)
            old[key] = merge(dict(before) if isinstance(before, dict) else {}, value)
        else:
            old[key] = value
    return old


def timestamp(microseconds: int) -> str:
    """RFC 3339 with milliseconds, as the JSON API shows times."""
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{microseconds // 1000 % 1000:03d}Z"


def _check_class(properties: Resource) -> None:
    name = properties.get("storageClass", "STANDARD")
    if name not in STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: '{name}'.", "storageClass")


def _check_time(text: Any, before: str | None) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise errors.invalid("Invalid value for 'customTime': it must be RFC 3339.", "customTime") from None
    if before and moment < datetime.fromisoformat(before):
        raise errors.invalid("The custom time of an object cannot be set to an earlier time.", "customTime")
