"""Topics, subscriptions and snapshots by Google's clients: made, read, listed, changed, refused, deleted."""

from __future__ import annotations

import datetime
from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.protobuf import field_mask_pb2

from .conftest import Subscribe, pull


def test_a_topic_is_made_read_changed_listed_and_deleted(publisher: Any, project: str) -> None:
    name = f"projects/{project}/topics/first"
    made = publisher.create_topic(request={"name": name, "labels": {"team": "a"}})
    assert (made.name, dict(made.labels), made.state.name) == (name, {"team": "a"}, "ACTIVE")
    for number in range(3):
        publisher.create_topic(name=f"projects/{project}/topics/more-{number}")
    pages = list(publisher.list_topics(request={"project": f"projects/{project}", "page_size": 3}).pages)
    assert [len(page.topics) for page in pages] == [3, 1]
    changed = publisher.update_topic(
        request={
            "topic": {"name": name, "labels": {"team": "b"}, "message_retention_duration": {"seconds": 3600}},
            "update_mask": {"paths": ["labels", "message_retention_duration"]},
        }
    )
    assert dict(changed.labels) == {"team": "b"}
    assert publisher.get_topic(topic=name) == changed
    publisher.delete_topic(topic=name)
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=first\)\."):
        publisher.get_topic(topic=name)


def test_names_that_are_taken_missing_or_no_names(publisher: Any, subscriber: Any, topic: str, project: str) -> None:
    short = topic.rpartition("/")[2]
    with pytest.raises(exceptions.AlreadyExists, match=rf"already exists in the project \(resource={short}\)\."):
        publisher.create_topic(name=topic)
    for wrong in ("ab", "1abc", "goog-topic", "with space", "a" * 256):
        with pytest.raises(exceptions.InvalidArgument, match=r"Invalid resource name given \(name="):
            publisher.create_topic(name=f"projects/{project}/topics/{wrong}")
    with pytest.raises(exceptions.NotFound, match=r"resource=nothing"):
        publisher.publish(f"projects/{project}/topics/nothing", b"x").result(timeout=10)
    with pytest.raises(exceptions.NotFound, match=r"resource=nothing"):
        subscriber.create_subscription(
            name=f"projects/{project}/subscriptions/some", topic=f"projects/{project}/topics/nothing"
        )


def test_what_would_be_a_lie_is_refused_by_name(publisher: Any, subscriber: Any, topic: str, project: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=r"Topic\.kms_key_name"):
        publisher.create_topic(request={"name": f"projects/{project}/topics/kms", "kms_key_name": "k"})
    for field, value in (
        ("bigquery_config", {"table": "p.d.t"}),
        ("cloud_storage_config", {"bucket": "b"}),
        ("message_transforms", [{"disabled": True}]),
    ):
        with pytest.raises(exceptions.MethodNotImplemented, match=rf"Subscription\.{field}"):
            subscriber.create_subscription(
                request={"name": f"projects/{project}/subscriptions/refused", "topic": topic, field: value}
            )


def test_a_subscription_has_googles_defaults(subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe(retry_policy={}, dead_letter_policy={"dead_letter_topic": topic})
    found = subscriber.get_subscription(subscription=name)
    assert found.ack_deadline_seconds == 10
    assert found.message_retention_duration == datetime.timedelta(days=7)
    assert found.expiration_policy.ttl == datetime.timedelta(days=31)
    assert found.retry_policy.minimum_backoff == datetime.timedelta(seconds=10)
    assert found.retry_policy.maximum_backoff == datetime.timedelta(seconds=600)
    assert found.dead_letter_policy.max_delivery_attempts == 5
    assert found.state.name == "ACTIVE"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ack_deadline_seconds": 9}, "from 10 to 600"),
        ({"ack_deadline_seconds": 601}, "from 10 to 600"),
        ({"message_retention_duration": {"seconds": 10}}, "message_retention_duration"),
        ({"expiration_policy": {"ttl": {"seconds": 60}}}, "ttl"),
        ({"retry_policy": {"maximum_backoff": {"seconds": 601}}}, "maximum_backoff"),
        ({"filter": "attributes.a = b"}, "position 16"),
        ({"push_config": {"push_endpoint": "ftp://x"}}, "Invalid push endpoint"),
        (
            {"push_config": {"push_endpoint": "http://localhost/"}, "enable_exactly_once_delivery": True},
            "Exactly-once",
        ),
        ({"labels": {"Upper": "x"}}, "Invalid label"),
    ],
)
def test_settings_out_of_their_limits(subscribe: Subscribe, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=message):
        subscribe(**fields)


def test_a_subscription_is_changed_by_mask(subscriber: Any, subscribe: Subscribe) -> None:
    name = subscribe(filter="attributes:a", labels={"x": "y"})
    changed = subscriber.update_subscription(
        request={
            "subscription": {"name": name, "ack_deadline_seconds": 99, "labels": {}},
            "update_mask": field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"]),
        }
    )
    assert (changed.ack_deadline_seconds, dict(changed.labels)) == (99, {"x": "y"})
    for paths, message in (
        (["filter"], "'filter' field in the Subscription is not mutable"),
        (["enable_message_ordering"], "not mutable"),
        (["nothing"], "not a known Subscription field"),
        ([], "must be set"),
    ):
        with pytest.raises(exceptions.InvalidArgument, match=message):
            subscriber.update_subscription(request={"subscription": {"name": name}, "update_mask": {"paths": paths}})


def test_a_deleted_topic_leaves_its_subscriptions_and_what_they_have(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe()
    publisher.publish(topic, b"kept").result(timeout=10)
    publisher.delete_topic(topic=topic)
    assert subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"
    publisher.create_topic(name=topic)
    publisher.publish(topic, b"of the new topic").result(timeout=10)
    assert [received.message.data for received in pull(subscriber, name)] == [b"kept"]


def test_a_detached_subscription_receives_nothing_any_more(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name, other = subscribe(), subscribe()
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [name, other]
    publisher.publish(topic, b"x").result(timeout=10)
    publisher.detach_subscription(request={"subscription": name})
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [other]
    assert subscriber.get_subscription(subscription=name).detached
    with pytest.raises(exceptions.FailedPrecondition, match="detached"):
        pull(subscriber, name)
    assert len(pull(subscriber, other)) == 1


def test_snapshots_are_listed_labelled_and_deleted(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe, project: str
) -> None:
    name = f"projects/{project}/snapshots/snap"
    made = subscriber.create_snapshot(request={"name": name, "subscription": subscribe(), "labels": {"a": "b"}})
    assert made.topic == topic
    assert list(publisher.list_topic_snapshots(topic=topic)) == [name]
    assert [found.name for found in subscriber.list_snapshots(project=f"projects/{project}")] == [name]
    changed = subscriber.update_snapshot(
        request={"snapshot": {"name": name, "labels": {"c": "d"}}, "update_mask": {"paths": ["labels"]}}
    )
    assert dict(changed.labels) == {"c": "d"}
    assert subscriber.get_snapshot(snapshot=name) == changed
    subscriber.delete_snapshot(snapshot=name)
    with pytest.raises(exceptions.NotFound, match="resource=snap"):
        subscriber.get_snapshot(snapshot=name)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, "non-empty data, or at least one attribute"),
        ({"attributes": {"googclient": "x"}}, "Invalid attribute key"),
        ({"attributes": {"k": "v" * 1025}}, "more than 1024 bytes"),
        ({"data": b"x", "ordering_key": "k" * 1025}, "more than 1024 bytes"),
        ({"attributes": {f"k{number}": "" for number in range(101)}}, "attribute_count is too large"),
    ],
)
def test_messages_that_cannot_be(raw: Any, topic: str, message: dict[str, Any], error: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=error):
        raw.publish(request={"topic": topic, "messages": [message]})


def test_publish_requests_that_are_too_large(raw: Any, topic: str) -> None:
    with pytest.raises(
        exceptions.InvalidArgument, match="You passed 1001 in the request, but the maximum value is 1000"
    ):
        raw.publish(request={"topic": topic, "messages": [{"data": b"x"}] * 1001})
    with pytest.raises(exceptions.InvalidArgument, match="request_size is too large"):
        raw.publish(request={"topic": topic, "messages": [{"data": b"x" * 10_000_001}]})


def test_rest_speaks_the_same(cloud: Any, project: str) -> None:
    base = f"{cloud.url}/v1/projects/{project}"
    with httpx.Client(trust_env=False) as http:
        assert http.put(f"{base}/topics/rest", json={}).json()["name"] == f"projects/{project}/topics/rest"
        topic = f"projects/{project}/topics/rest"
        made = http.put(f"{base}/subscriptions/rest", json={"topic": topic, "ackDeadlineSeconds": 20})
        assert made.json()["ackDeadlineSeconds"] == 20
        sent = http.post(f"{base}/topics/rest:publish", json={"messages": [{"data": "aGk=", "attributes": {"a": "b"}}]})
        (message_id,) = sent.json()["messageIds"]
        assert message_id.isdigit()
        pulled = http.post(f"{base}/subscriptions/rest:pull", json={"maxMessages": 5}).json()["receivedMessages"]
        assert pulled[0]["message"]["messageId"] == message_id
        assert pulled[0]["message"]["data"] == "aGk="
        answer = http.post(f"{base}/subscriptions/rest:acknowledge", json={"ackIds": [pulled[0]["ackId"]]})
        assert (answer.status_code, answer.json()) == (200, {})
        missing = http.get(f"{base}/topics/nothing")
        assert missing.status_code == 404
        assert missing.json()["error"]["message"] == "Resource not found (resource=nothing)."
        schemas = http.get(f"{base}/schemas")
        assert schemas.status_code == 501
