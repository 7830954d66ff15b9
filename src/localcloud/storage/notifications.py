"""Notifications: changes of objects as Pub/Sub messages, kept in an outbox until Pub/Sub has taken them.

Source: cloud.google.com/storage/docs/pubsub-notifications. Delivering the messages is left to Pub/Sub.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from localcloud.catalog import Package
from localcloud.errors import CloudError, InvalidArgument, NotFound
from localcloud.storage import errors
from localcloud.storage.database import StoredObject
from localcloud.storage.resources import object_resource, timestamp
from localcloud.storage.store import Store

EVENTS = ("OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
FORMATS = ("JSON_API_V1", "NONE")
WATCH_SECONDS = 2.0
"""How often buckets with notifications are looked through for changes from outside."""

_TOPIC = re.compile(r"(?://pubsub\.googleapis\.com/)?(projects/[^/]+/topics/[^/]+)")
_BATCH = 200

logger = logging.getLogger(__name__)
pubsub = Package("google.pubsub.v1")


class Notifications:
    """The notification configurations of buckets, and the thread that publishes.

    Args:
        store: Whose changes are told.
        call: Calls an RPC of another service.
    """

    def __init__(self, store: Store, call: Callable[[str, Any], Any]) -> None:
        self._store = store
        self._call = call
        self._configs: dict[str, dict[int, dict[str, Any]]] = {}
        for bucket, number, config in store.database.notifications():
            self._configs.setdefault(bucket, {})[number] = config
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="storage-notifications", daemon=True)
        store.listener = self.changed

    def start(self) -> None:
        """Publish what an earlier process left, then what comes."""
        self._news.set()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is in the outbox stays there."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    # Configurations

    def insert(self, bucket: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add a configuration; 400 if it cannot be, 404 without the bucket or the topic."""
        self._store.bucket(bucket)
        topic = _TOPIC.fullmatch(str(body.get("topic", "")))
        if not topic:
            raise errors.invalid(
                f"Invalid Google Cloud Pub/Sub topic: '{body.get('topic', '')}'. "
                "It must look like //pubsub.googleapis.com/projects/PROJECT/topics/TOPIC.",
                "topic",
            )
        payload = body.get("payload_format", "JSON_API_V1")
        if payload not in FORMATS:
            raise errors.invalid(f"Invalid payload_format: '{payload}'. It must be one of {FORMATS}.")
        events = body.get("event_types") or []
        for event in events:
            if event not in EVENTS:
                raise errors.invalid(f"Invalid event type: '{event}'. It must be one of {EVENTS}.")
        try:
            self._call("google.pubsub.v1.Publisher.GetTopic", pubsub.GetTopicRequest(topic=topic[1]))
        except NotFound as error:
            raise errors.not_found(f"The topic '{topic[1]}' cannot be published to: {error.message}") from None
        config = {"topic": f"//pubsub.googleapis.com/{topic[1]}", "payload_format": payload}
        for name in ("event_types", "custom_attributes", "object_name_prefix"):
            if body.get(name):
                config[name] = body[name]
        with self._store.database.transaction():
            number = max((int(number) for number in self._configs.get(bucket, {})), default=0) + 1
            self._store.database.save_notification(bucket, number, config)
            self._configs.setdefault(bucket, {})[number] = config
        self._news.set()
        return _resource(bucket, number, config)

    def list(self, bucket: str) -> dict[str, Any]:
        """All configurations of a bucket."""
        self._store.bucket(bucket)
        items = [_resource(bucket, number, config) for number, config in self._configs.get(bucket, {}).items()]
        return {"kind": "storage#notifications", **({"items": items} if items else {})}

    def get(self, bucket: str, number: str) -> dict[str, Any]:
        """One configuration; 404 if there is none."""
        self._store.bucket(bucket)
        config = self._configs.get(bucket, {}).get(int(number) if number.isdigit() else -1)
        if not config:
            raise errors.not_found(f"Notification configuration {number} of bucket {bucket} not found.")
        return _resource(bucket, int(number), config)

    def delete(self, bucket: str, number: str) -> None:
        """Delete a configuration; 404 if there is none."""
        self.get(bucket, number)
        self._store.database.forget_notification(bucket, int(number))
        self._configs[bucket].pop(int(number), None)

    def forget(self, bucket: str) -> None:
        """Drop the configurations of a bucket that has been deleted."""
        self._configs.pop(bucket, None)

    # Events

    def changed(self, event: str, version: StoredObject, attributes: dict[str, str]) -> None:
        """Put a change into the outbox, within the change's transaction."""
        for number, config in self._configs.get(version.bucket, {}).items():
            if event not in config.get("event_types", EVENTS):
                continue
            if not version.name.startswith(config.get("object_name_prefix", "")):
                continue
            message: dict[str, Any] = {
                "attributes": {
                    **config.get("custom_attributes", {}),
                    "notificationConfig": f"projects/_/buckets/{version.bucket}/notificationConfigs/{number}",
                    "eventType": event,
                    "payloadFormat": config["payload_format"],
                    "bucketId": version.bucket,
                    "objectId": version.name,
                    "objectGeneration": str(version.generation),
                    "eventTime": timestamp(self._store.database.now()),
                    **attributes,
                }
            }
            if config["payload_format"] == "JSON_API_V1":
                message["resource"] = object_resource(version)
            self._store.database.post(config["topic"].removeprefix("//pubsub.googleapis.com/"), message)
            self._news.set()

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._news.wait(pause or (WATCH_SECONDS if any(self._configs.values()) else None))
            if self._stopping:
                return
            try:
                if self._news.is_set():
                    self._news.clear()
                else:
                    self._watch()
                while not self._stopping and self._publish():
                    pass
                pause = 0.0
            except Exception as error:
                logger.warning("Storage notifications are not published yet: %s", error)
                pause = min(30.0, 2 * pause or 0.5)

    def _watch(self) -> None:
        """Notice what jobs have written or deleted below the buckets' folders."""
        settled = time.time() - WATCH_SECONDS / 2
        for bucket in [bucket for bucket, configs in self._configs.items() if configs]:
            with contextlib.suppress(errors.StorageError):  # the bucket is being deleted
                for _ in self._store.scan(bucket, settled):
                    if self._stopping:
                        return

    def _publish(self) -> bool:
        """Publish the oldest messages; whether there may be more."""
        batch = self._store.database.outbox(_BATCH)
        topics: dict[str, tuple[list[int], list[Any]]] = {}
        for number, topic, message in batch:
            numbers, messages = topics.setdefault(topic, ([], []))
            numbers.append(number)
            messages.append(pubsub.PubsubMessage(data=self._payload(message), attributes=message["attributes"]))
        for topic, (numbers, messages) in topics.items():
            request = pubsub.PublishRequest(topic=topic, messages=messages)
            try:
                self._call("google.pubsub.v1.Publisher.Publish", request)
            except (NotFound, InvalidArgument) as error:
                # As on Google Cloud: a topic that is gone loses its messages.
                logger.warning("%d storage notifications were dropped: %s", len(messages), error)
            except CloudError:
                raise
            self._store.database.posted(numbers)
        return len(batch) == _BATCH

    def _payload(self, message: dict[str, Any]) -> bytes:
        resource = message.get("resource")
        if resource is None:
            return b""
        if "crc32c" not in resource and message["attributes"]["eventType"] == "OBJECT_FINALIZE":
            # A file from outside has not been read yet.
            place = (resource["bucket"], resource["name"], int(resource["generation"]))
            version = self._store.database.version(*place)
            if version:
                version = self._store.hashed(version)
                resource = {**resource, "md5Hash": version.md5, "crc32c": version.crc32c}
        return orjson.dumps(resource)


def _resource(bucket: str, number: int, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "storage#notification",
        "id": str(number),
        "etag": base64.b64encode(str(number).encode()).decode(),
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}/notificationConfigs/{number}",
        **config,
    }
