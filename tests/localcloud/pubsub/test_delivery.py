"""Messages by Google's clients: batches, streams, flow control, redelivery, order, exactly once, dead letters, seek."""

from __future__ import annotations

import datetime
import queue
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError
from google.cloud.pubsub_v1.types import FlowControl

from .conftest import Subscribe, eventually, pull, pull_none


def publish(publisher: Any, topic: str, *contents: str, key: str = "", **attributes: str) -> list[str]:
    """Message ids, in order of the contents."""
    sent = [publisher.publish(topic, text.encode(), ordering_key=key, **attributes) for text in contents]
    return [future.result(timeout=20) for future in sent]


def contents(received: list[Any]) -> list[str]:
    return [entry.message.data.decode() for entry in received]


def test_many_messages_arrive_once_each(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe()
    arrived: queue.SimpleQueue[str] = queue.SimpleQueue()

    def receive(message: Any) -> None:
        arrived.put(message.message_id)
        message.ack()

    stream = subscriber.subscribe(name, receive, flow_control=FlowControl(max_messages=50))
    ids = publish(publisher, topic, *(str(number) for number in range(2000)), size="small")
    assert sorted(arrived.get(timeout=30) for _ in ids) == sorted(ids)
    stream.cancel()
    stream.result(timeout=30)
    assert arrived.empty()
    assert all(id.isdigit() for id in ids)
    assert pull_none(subscriber, name)


def test_a_message_has_id_time_and_attributes(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe()
    before = datetime.datetime.now(datetime.UTC)
    first, second = publish(publisher, topic, "a", key="k", lang="en") + publish(publisher, topic, "b")
    assert int(first) < int(second)
    one, two = pull(subscriber, name)
    assert (one.message.message_id, dict(one.message.attributes), one.message.ordering_key) == (
        first,
        {"lang": "en"},
        "k",
    )
    assert before <= one.message.publish_time < two.message.publish_time
    assert one.delivery_attempt == 0


def test_what_is_not_acknowledged_comes_again(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe(ack_deadline_seconds=10)
    publish(publisher, topic, "a", "b")
    one, two = pull(subscriber, name)
    subscriber.modify_ack_deadline(subscription=name, ack_ids=[one.ack_id], ack_deadline_seconds=0)
    (again,) = pull(subscriber, name)
    assert again.message.message_id == one.message.message_id
    assert again.ack_id != one.ack_id
    subscriber.acknowledge(subscription=name, ack_ids=[again.ack_id])
    (late,) = pull(subscriber, name, timeout=30)  # its ten seconds run out
    assert late.message.message_id == two.message.message_id
    subscriber.acknowledge(subscription=name, ack_ids=[two.ack_id])  # the first lease's id still counts
    subscriber.modify_ack_deadline(subscription=name, ack_ids=[late.ack_id], ack_deadline_seconds=0)
    assert pull_none(subscriber, name)


def test_a_pull_waits_for_the_first_message(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe()
    sender = threading.Timer(0.5, lambda: publish(publisher, topic, "late"))
    sender.start()
    assert contents(pull(subscriber, name, timeout=20)) == ["late"]
    sender.join()
    assert pull(subscriber, name, timeout=1) == []


def test_wrong_acknowledgements(subscriber: Any, subscribe: Subscribe) -> None:
    name = subscribe()
    with pytest.raises(exceptions.InvalidArgument, match=r"invalid ack ID to the service \(ack_id=nonsense\)"):
        subscriber.acknowledge(subscription=name, ack_ids=["nonsense"])
    with pytest.raises(exceptions.InvalidArgument, match="ack_deadline_seconds is too large"):
        subscriber.modify_ack_deadline(subscription=name, ack_ids=["1-1-1"], ack_deadline_seconds=601)
    subscriber.acknowledge(subscription=name, ack_ids=["1-1-1"])


def test_a_filter_lets_pass_what_matches(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe(filter='hasPrefix(attributes.kind, "sale") AND NOT attributes:test')
    publish(publisher, topic, "1", kind="sale-big")
    publish(publisher, topic, "2", kind="sale", test="yes")
    publish(publisher, topic, "3", kind="return")
    publish(publisher, topic, "4", kind="sale")
    assert contents(pull(subscriber, name)) == ["1", "4"]


def test_flow_control_holds_messages_back(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe()
    publish(publisher, topic, *map(str, range(20)))
    held: queue.SimpleQueue[Any] = queue.SimpleQueue()
    slow = subscriber.subscribe(name, held.put, flow_control=FlowControl(max_messages=5))
    taken = [held.get(timeout=10) for _ in range(5)]
    rest = pull(subscriber, name)  # what the stream may not have, another one gets
    assert len(rest) == 15
    for message in taken:
        message.ack()
    slow.cancel()
    slow.result(timeout=30)
    assert held.empty()


def test_streams_share_a_subscription(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe()
    seen: dict[int, list[str]] = {1: [], 2: []}

    def receiver(number: int) -> Any:
        def receive(message: Any) -> None:
            seen[number].append(message.message_id)
            message.ack()

        return receive

    streams = [subscriber.subscribe(name, receiver(number)) for number in seen]
    time.sleep(0.5)
    ids = publish(publisher, topic, *map(str, range(1000)))
    eventually(lambda: len(seen[1]) + len(seen[2]) == 1000)
    for stream in streams:
        stream.cancel()
        stream.result(timeout=30)
    assert sorted(seen[1] + seen[2]) == sorted(ids)
    assert seen[1]
    assert seen[2]


def test_ordering_keys_are_delivered_in_order(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe(enable_message_ordering=True)
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    refused: set[str] = set()

    def receive(message: Any) -> None:
        number = int(message.data)
        if number == 50 and message.ordering_key not in refused:
            refused.add(message.ordering_key)
            message.nack()
            return
        seen[message.ordering_key].append(number)
        message.ack()

    stream = subscriber.subscribe(name, receive)
    sent = [publisher.publish(topic, str(n).encode(), ordering_key=key) for n in range(100) for key in seen]
    for future in sent:
        future.result(timeout=20)
    eventually(lambda: all(50 in numbers and numbers[-1] == 99 for numbers in seen.values()))
    stream.cancel()
    stream.result(timeout=30)
    for numbers in seen.values():
        # What came after a message that is delivered again comes again; else the order is strict.
        last = {number: place for place, number in enumerate(numbers)}
        assert [last[number] for number in range(100)] == sorted(last.values())


def test_a_pull_gets_no_more_of_a_key_that_is_out(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe(enable_message_ordering=True)
    publish(publisher, topic, "1", "2", "3", key="k")
    publish(publisher, topic, "free")
    (one,) = pull(subscriber, name, 1)
    assert contents([one]) == ["1"]
    assert contents(pull(subscriber, name)) == ["free"]
    assert pull_none(subscriber, name)
    subscriber.acknowledge(subscription=name, ack_ids=[one.ack_id])
    assert contents(pull(subscriber, name)) == ["2", "3"]


def test_exactly_once_confirms_and_refuses_stale_acknowledgements(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe(enable_exactly_once_delivery=True)
    publish(publisher, topic, "a", "b")
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream = subscriber.subscribe(name, arrived.put)
    first, second = arrived.get(timeout=10), arrived.get(timeout=10)
    assert first.ack_with_response().result(timeout=10).name == "SUCCESS"
    with pytest.raises(AcknowledgeError) as refused:
        first.ack_with_response().result(timeout=10)
    assert refused.value.error_code.name == "INVALID_ACK_ID"
    second.nack_with_response().result(timeout=10)
    again = arrived.get(timeout=10)
    assert again.message_id == second.message_id
    assert again.ack_with_response().result(timeout=10).name == "SUCCESS"
    stream.cancel()
    stream.result(timeout=30)
    assert arrived.empty()


def test_dead_letters_are_forwarded_with_where_they_come_from(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe, project: str
) -> None:
    grave = f"projects/{project}/topics/grave"
    publisher.create_topic(name=grave)
    mourner = f"projects/{project}/subscriptions/mourner"
    subscriber.create_subscription(name=mourner, topic=grave)
    name = subscribe(dead_letter_policy={"dead_letter_topic": grave, "max_delivery_attempts": 5})
    publish(publisher, topic, "poison", lang="en")
    for attempt in range(1, 6):
        (received,) = pull(subscriber, name)
        assert received.delivery_attempt == attempt
        subscriber.modify_ack_deadline(subscription=name, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    (letter,) = pull(subscriber, mourner)
    attributes = dict(letter.message.attributes)
    assert letter.message.data == b"poison"
    assert letter.message.message_id != received.message.message_id
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").endswith("Z")
    assert attributes == {
        "lang": "en",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": name.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
    }
    assert pull_none(subscriber, name)


def test_a_retry_policy_delays_redelivery(publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe) -> None:
    name = subscribe(retry_policy={"minimum_backoff": {"seconds": 2}, "maximum_backoff": {"seconds": 600}})
    publish(publisher, topic, "a")
    (received,) = pull(subscriber, name)
    began = time.monotonic()
    subscriber.modify_ack_deadline(subscription=name, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    assert contents(pull(subscriber, name, timeout=20)) == ["a"]
    assert time.monotonic() - began >= 1.9


def test_seek_to_a_time_takes_back_what_is_retained(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    name = subscribe(retain_acked_messages=True)
    publish(publisher, topic, "old")
    (old,) = pull(subscriber, name)
    since = old.message.publish_time + datetime.timedelta(microseconds=1)
    publish(publisher, topic, "new", "newer")
    received = pull(subscriber, name)
    subscriber.acknowledge(subscription=name, ack_ids=[entry.ack_id for entry in [old, *received]])
    subscriber.seek(request={"subscription": name, "time": since})
    again = pull(subscriber, name)
    assert contents(again) == ["new", "newer"]
    subscriber.seek(request={"subscription": name, "time": old.message.publish_time})
    assert contents(pull(subscriber, name)) == ["old", "new", "newer"]
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
    subscriber.seek(request={"subscription": name, "time": future})
    assert pull_none(subscriber, name)


def test_a_topic_that_keeps_messages_gives_them_to_a_later_subscription(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe
) -> None:
    publisher.update_topic(
        request={
            "topic": {"name": topic, "message_retention_duration": {"seconds": 3600}},
            "update_mask": {"paths": ["message_retention_duration"]},
        }
    )
    publish(publisher, topic, "before")
    publish(publisher, topic, "filtered", skip="yes")
    name = subscribe(filter="NOT attributes:skip")
    found = subscriber.get_subscription(subscription=name)
    assert found.topic_message_retention_duration == datetime.timedelta(hours=1)
    assert pull_none(subscriber, name)
    hour_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=59)
    subscriber.seek(request={"subscription": name, "time": hour_ago})
    assert contents(pull(subscriber, name)) == ["before"]


def test_seek_to_a_snapshot_restores_its_backlog(
    publisher: Any, subscriber: Any, topic: str, subscribe: Subscribe, project: str
) -> None:
    name, other = subscribe(), subscribe()
    publish(publisher, topic, "acked", "kept")
    received = pull(subscriber, name)
    subscriber.acknowledge(subscription=name, ack_ids=[received[0].ack_id])
    snapshot = f"projects/{project}/snapshots/before-deploy"
    subscriber.create_snapshot(name=snapshot, subscription=name)
    publish(publisher, topic, "after")
    everything = [received[1], *pull(subscriber, name)]
    subscriber.acknowledge(subscription=name, ack_ids=[entry.ack_id for entry in everything])
    assert pull_none(subscriber, name)
    for restored in (name, other):
        subscriber.seek(request={"subscription": restored, "snapshot": snapshot})
        assert contents(pull(subscriber, restored)) == ["kept", "after"]


def test_a_stream_ends_with_its_subscription(subscriber: Any, subscribe: Subscribe) -> None:
    name = subscribe()
    stream = subscriber.subscribe(name, lambda message: message.ack())
    time.sleep(0.5)
    subscriber.delete_subscription(subscription=name)
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=sub-"):
        stream.result(timeout=30)


def test_the_example_of_the_documentation_runs(cloud: Any, project: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "pubsub.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0].replace("my-project", project)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/pubsub.md", "exec"), names)
    names["publisher"].stop()
    names["subscriber"].close()
    names["publisher"].transport.close()
    assert capsys.readouterr().out == "b'landed' UA\n"
