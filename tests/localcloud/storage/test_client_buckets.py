"""google-cloud-storage, unmodified: buckets, labels, policies, notifications; and what is refused."""

from __future__ import annotations

import json
import time
import uuid

import pytest
import requests
from google.api_core import exceptions
from google.cloud import pubsub_v1, storage
from tests.conftest import LocalCloud


def test_buckets(client: storage.Client, cloud: LocalCloud) -> None:
    name = f"made-{uuid.uuid4().hex[:12]}"
    bucket = client.bucket(name)
    bucket.labels = {"team": "flights"}
    bucket.storage_class = "NEARLINE"
    made = client.create_bucket(bucket, location="europe-west1")
    assert (made.location, made.location_type, made.storage_class) == ("EUROPE-WEST1", "region", "NEARLINE")
    assert (cloud.root / "buckets" / name).is_dir()
    with pytest.raises(exceptions.Conflict, match="already own it"):
        client.create_bucket(name)
    again = client.get_bucket(name)
    assert again.labels == {"team": "flights"}
    again.labels = {"team": "trains", "env": "test"}
    again.lifecycle_rules = [{"action": {"type": "Delete"}, "condition": {"age": 3}}]
    again.patch()
    assert again.metageneration == 2
    assert client.get_bucket(name).labels == {"team": "trains", "env": "test"}
    again.update()
    assert list(client.get_bucket(name).lifecycle_rules) == [{"action": {"type": "Delete"}, "condition": {"age": 3}}]
    with pytest.raises(exceptions.PreconditionFailed):
        client.get_bucket(name, if_metageneration_match=99)
    listed = [bucket.name for bucket in client.list_buckets(prefix="made-", page_size=1)]
    assert listed == [name]
    assert client.lookup_bucket("no-such-bucket-anywhere") is None
    again.blob("x").upload_from_string("x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        again.delete()
    again.delete(force=True)
    assert not (cloud.root / "buckets" / name).exists()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket(name)


def test_a_folder_is_a_bucket(client: storage.Client, cloud: LocalCloud) -> None:
    name = f"folder-{uuid.uuid4().hex[:12]}"
    (cloud.root / "buckets" / name).mkdir()
    (cloud.root / "buckets" / name / "x").write_text("x")
    assert name in [bucket.name for bucket in client.list_buckets()]
    assert [blob.name for blob in client.list_blobs(name)] == ["x"]


def test_policies_are_kept(bucket: storage.Bucket) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    bucket.set_iam_policy(policy)
    again = bucket.get_iam_policy(requested_policy_version=3)
    assert {"role": "roles/storage.objectViewer", "members": {"allUsers"}} in again.bindings
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(policy)
    asked = ["storage.objects.get", "storage.buckets.delete"]
    assert bucket.test_iam_permissions(asked) == asked


def test_notifications(bucket: storage.Bucket, project: str, cloud: LocalCloud) -> None:
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    topic = publisher.topic_path(project, "changes")
    subscription = subscriber.subscription_path(project, "changes")
    with pytest.raises(exceptions.NotFound, match="changes"):
        bucket.notification("changes").create()
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)
    notification = bucket.notification(
        "changes", payload_format="JSON_API_V1", custom_attributes={"from": "test"}, blob_name_prefix="data/"
    )
    notification.create()
    assert [found.notification_id for found in bucket.list_notifications()] == [notification.notification_id]
    assert bucket.get_notification(notification.notification_id).custom_attributes == {"from": "test"}
    blob = bucket.blob("data/x")
    blob.upload_from_string("1")
    first = blob.generation
    blob.upload_from_string("22")
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.delete()
    bucket.blob("other/x").upload_from_string("not told")
    (cloud.root / "buckets" / bucket.name / "data" / "sub").mkdir(parents=True)
    (cloud.root / "buckets" / bucket.name / "data" / "sub" / "job.json").write_text("{}")
    received = []
    until = time.monotonic() + 60
    while len(received) < 6 and time.monotonic() < until:
        answer = subscriber.pull(subscription=subscription, max_messages=10, timeout=30)
        received += [message.message for message in answer.received_messages]
        if answer.received_messages:
            ids = [message.ack_id for message in answer.received_messages]
            subscriber.acknowledge(subscription=subscription, ack_ids=ids)
    told = sorted(
        (
            message.attributes["objectId"],
            message.attributes["objectGeneration"],
            message.attributes["eventType"],
        )
        for message in received
    )
    second = str(blob.generation)
    assert [entry for entry in told if entry[0] == "data/x"] == sorted(
        [
            ("data/x", str(first), "OBJECT_FINALIZE"),
            ("data/x", str(first), "OBJECT_DELETE"),
            ("data/x", second, "OBJECT_FINALIZE"),
            ("data/x", second, "OBJECT_METADATA_UPDATE"),
            ("data/x", second, "OBJECT_DELETE"),
        ]
    )
    by_event = {message.attributes["eventType"]: message for message in received}
    update = json.loads(by_event["OBJECT_METADATA_UPDATE"].data)
    assert (update["kind"], update["metadata"], update["size"]) == ("storage#object", {"k": "v"}, "2")
    attributes = dict(by_event["OBJECT_METADATA_UPDATE"].attributes)
    assert attributes["notificationConfig"] == f"projects/_/buckets/{bucket.name}/notificationConfigs/1"
    assert (attributes["bucketId"], attributes["payloadFormat"]) == (bucket.name, "JSON_API_V1")
    assert attributes["from"] == "test"
    replaced = [m for m in received if m.attributes.get("overwroteGeneration")]
    assert [m.attributes["overwroteGeneration"] for m in replaced] == [str(first)]
    job = next(message for message in received if message.attributes["objectId"] == "data/sub/job.json")
    assert json.loads(job.data)["md5Hash"] == "mZFLkyvTelC5g8XnyQrpOw=="
    notification.delete()
    assert list(bucket.list_notifications()) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/storage/v1/b/no-such-bucket-here", None, 404, "notFound"),
        ("GET", "/storage/v1/b/{bucket}/o/missing", None, 404, "notFound"),
        ("GET", "/storage/v1/b/{bucket}/o/missing?alt=media", None, 404, "notFound"),
        ("GET", "/download/storage/v1/b/{bucket}/o/a%0Ab?alt=media", None, 400, "invalid"),
        ("POST", "/storage/v1/b?project=p", {"name": "Not A Bucket"}, 400, "invalid"),
        ("POST", "/storage/v1/b?project=p", {}, 400, "required"),
        ("POST", "/storage/v1/b", {"name": "some-bucket"}, 400, "required"),
        ("POST", "/storage/v1/b?project=p", {"name": "some-bucket", "labels": {"a": 1}}, 400, "invalid"),
        (
            "PATCH",
            "/storage/v1/b/{bucket}",
            {"retentionPolicy": {"retentionPeriod": 9}},
            501,
            "notImplemented",
        ),
        ("PATCH", "/storage/v1/b/{bucket}/o/missing", {"metadata": {"a": "b"}}, 404, "notFound"),
        ("GET", "/storage/v1/b/{bucket}/o?maxResults=some", None, 400, "invalid"),
        ("GET", "/storage/v1/b/{bucket}/o?pageToken=some", None, 400, "invalid"),
        ("GET", "/storage/v1/b/{bucket}/o?fields=items(", None, 400, "invalid"),
        ("GET", "/storage/v1/b/{bucket}/o?matchGlob=[a", None, 400, "invalid"),
        ("GET", "/storage/v1/b/{bucket}/o/x?ifGenerationMatch=x", None, 400, "invalid"),
        ("POST", "/upload/storage/v1/b/{bucket}/o?uploadType=media", None, 400, "required"),
        ("POST", "/upload/storage/v1/b/{bucket}/o?uploadType=other&name=x", None, 400, "invalid"),
        ("POST", "/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name=x", None, 400, "invalid"),
        ("PUT", "/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id=x", None, 404, "notFound"),
        ("GET", "/storage/v1/b/{bucket}/acl", None, 501, "notImplemented"),
        ("DELETE", "/storage/v1/b", None, 405, "methodNotAllowed"),
        ("POST", "/storage/v1/b/{bucket}/o/x/compose", {"sourceObjects": []}, 400, "invalid"),
    ],
)
def test_errors_have_the_form_of_the_api(
    bucket: storage.Bucket,
    cloud: LocalCloud,
    method: str,
    path: str,
    body: dict[str, object] | None,
    status: int,
    reason: str,
) -> None:
    answer = requests.request(method, cloud.url + path.format(bucket=bucket.name), json=body, timeout=30)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["errors"][0]["reason"]) == (status, reason)
    assert error["errors"][0]["domain"] == "global"
    assert error["message"] == error["errors"][0]["message"]


def test_bodies_that_are_no_json(bucket: storage.Bucket, cloud: LocalCloud) -> None:
    for body in (b"{", b"[]", b"\xff"):
        answer = requests.patch(f"{cloud.url}/storage/v1/b/{bucket.name}", data=body, timeout=30)
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "parseError")


def test_ranges(bucket: storage.Bucket, cloud: LocalCloud) -> None:
    bucket.blob("x").upload_from_string("0123456789")
    url = f"{cloud.url}/storage/v1/b/{bucket.name}/o/x?alt=media"

    def asked(text: str) -> tuple[int, str, str | None]:
        answer = requests.get(url, headers={"range": text}, timeout=30)
        return answer.status_code, answer.text, answer.headers.get("content-range")

    assert asked("bytes=2-4") == (206, "234", "bytes 2-4/10")
    assert asked("bytes=8-100") == (206, "89", "bytes 8-9/10")
    assert asked("bytes=-3") == (206, "789", "bytes 7-9/10")
    assert asked("bytes=0-1,4-5") == (200, "0123456789", None)
    assert asked("lines=1-2") == (200, "0123456789", None)
    status, _, content_range = asked("bytes=10-")
    assert (status, content_range) == (416, "bytes */10")


def test_wrong_checksums_store_nothing(bucket: storage.Bucket, cloud: LocalCloud) -> None:
    url = f"{cloud.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=x"
    for headers in ({"x-goog-hash": "crc32c=AAAAAA=="}, {"content-md5": "XUFAKrxLKna5cZ2REBfFkg=="}):
        answer = requests.post(url, data=b"content", headers=headers, timeout=30)
        assert answer.status_code == 400
        assert "doesn't match calculated" in answer.json()["error"]["message"]
    assert bucket.get_blob("x") is None
    assert not list((cloud.root / "storage" / "incoming").glob("new-*"))
