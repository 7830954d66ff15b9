"""What Topic, Subscription and publish requests may say: limits, defaults, and what is refused by name.

Limits are those of https://cloud.google.com/pubsub/quotas and of the reference of google.pubsub.v1.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from localcloud.catalog import Package
from localcloud.errors import FailedPrecondition, InvalidArgument, Unimplemented
from localcloud.pubsub import names
from localcloud.pubsub.filters import compile_filter

v1 = Package("google.pubsub.v1")

MAX_REQUEST_BYTES = 10_000_000
MAX_MESSAGES = 1000
_MINUTE, _DAY = 60, 86_400
_RETENTION = (10 * _MINUTE, 31 * _DAY)
_LABEL = re.compile(r"[^\W\dA-Z][\w\-]{0,62}", re.UNICODE)

_REFUSED_TOPIC = {
    "message_storage_policy": "messages stay on this machine",
    "kms_key_name": "messages are not encrypted",
    "schema_settings": "there are no schemas",
    "ingestion_data_source_settings": "nothing is ingested from elsewhere",
    "message_transforms": "messages are not transformed",
    "tags": "there are no tags",
}
_REFUSED_SUBSCRIPTION = {
    "bigquery_config": "subscriptions do not write to BigQuery",
    "cloud_storage_config": "subscriptions do not write to Cloud Storage",
    "bigtable_config": "subscriptions do not write to Bigtable",
    "message_transforms": "messages are not transformed",
    "tags": "there are no tags",
}
MUTABLE_TOPIC = frozenset({"labels", "message_retention_duration", *_REFUSED_TOPIC})
MUTABLE_SUBSCRIPTION = frozenset(
    {
        "ack_deadline_seconds",
        "dead_letter_policy",
        "enable_exactly_once_delivery",
        "expiration_policy",
        "labels",
        "message_retention_duration",
        "push_config",
        "retain_acked_messages",
        "retry_policy",
        *_REFUSED_SUBSCRIPTION,
    }
)
MUTABLE_SNAPSHOT = frozenset({"labels", "expire_time"})


def complete_topic(topic: Any) -> None:
    """Check a Topic that is to be stored.

    Raises:
        Unimplemented: It asks for what is not done here; silence would be a lie.
        InvalidArgument: A value is out of its limits.
    """
    _refuse(topic, _REFUSED_TOPIC)
    _check_labels(topic)
    if topic.HasField("message_retention_duration"):
        _check_duration(topic, "message_retention_duration", *_RETENTION)
    topic.state = v1.Topic.ACTIVE


def complete_subscription(subscription: Any) -> None:
    """Check a Subscription that is to be stored, and fill in the defaults.

    Raises:
        Unimplemented: It asks for what is not done here; silence would be a lie.
        InvalidArgument: A value is out of its limits.
    """
    _refuse(subscription, _REFUSED_SUBSCRIPTION)
    _check_labels(subscription)
    deadline = subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or 10
    if not 10 <= deadline <= 600:
        raise InvalidArgument(
            f"Invalid ack deadline given (ack_deadline_secs={deadline}): it must be 0 (for 10) or from 10 to 600."
        )
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.FromSeconds(7 * _DAY)
    _check_duration(subscription, "message_retention_duration", *_RETENTION)
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.FromSeconds(31 * _DAY)
    elif subscription.expiration_policy.HasField("ttl"):
        _check_duration(subscription.expiration_policy, "ttl", _DAY, 100 * 365 * _DAY)
    if subscription.HasField("retry_policy"):
        _complete_retry(subscription.retry_policy)
    if subscription.HasField("dead_letter_policy"):
        policy = subscription.dead_letter_policy
        names.check_name(policy.dead_letter_topic, "topics", "dead_letter_topic")
        policy.max_delivery_attempts = policy.max_delivery_attempts or 5
        _check_range("max_delivery_attempts", policy.max_delivery_attempts, 5, 100)
    compile_filter(subscription.filter)
    check_push(subscription.push_config)
    if subscription.enable_exactly_once_delivery and subscription.push_config.push_endpoint:
        raise InvalidArgument("Exactly-once delivery is for pull subscriptions: push_config must not be set.")
    subscription.state = v1.Subscription.ACTIVE
    if not subscription.push_config.push_endpoint:
        subscription.ClearField("push_config")
        subscription.push_config.SetInParent()


def check_push(config: Any) -> None:
    """Check a PushConfig; an empty one means pull."""
    parts = urlsplit(config.push_endpoint)
    if config.push_endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise InvalidArgument(
            f"Invalid push endpoint given (endpoint={config.push_endpoint}). "
            "Refer to https://cloud.google.com/pubsub/docs/push for more information."
        )
    version = config.attributes.get("x-goog-version", "v1")
    unknown = sorted(set(config.attributes) - {"x-goog-version"})
    if version not in ("v1", "v1beta2") or unknown:
        raise InvalidArgument(
            f"Invalid push_config.attributes: {unknown[0] if unknown else version!r} is not known; "
            "the only attribute is x-goog-version with the value v1."
        )
    if config.HasField("oidc_token") and "@" not in config.oidc_token.service_account_email:
        raise InvalidArgument("push_config.oidc_token.service_account_email must be a service account's address.")


def check_publish(request: Any) -> None:
    """Check a PublishRequest.

    Raises:
        InvalidArgument: Too much or too large, or a message that cannot be.
    """
    if request.ByteSize() > MAX_REQUEST_BYTES:
        _check_range("request_size", request.ByteSize(), 1, MAX_REQUEST_BYTES)
    _check_range("message_count", len(request.messages), 1, MAX_MESSAGES)
    for message in request.messages:
        attributes = message.attributes
        if not attributes:
            if not message.data:
                raise InvalidArgument(
                    "One or more messages in the publish request is empty. Each message must contain either "
                    "non-empty data, or at least one attribute."
                )
        else:
            _check_attributes(attributes)
        if len(message.ordering_key) > 256 and len(message.ordering_key.encode()) > 1024:
            raise InvalidArgument("An ordering_key has more than 1024 bytes.")


def _check_attributes(attributes: Any) -> None:
    _check_range("attribute_count", len(attributes), 0, 100)
    for key, value in attributes.items():
        if not key or len(key.encode()) > 256 or key.startswith("goog"):
            raise InvalidArgument(
                f"Invalid attribute key given (key={key[:64]}): it must have 1 to 256 bytes and not start with `goog`."
            )
        if len(value.encode()) > 1024:
            raise InvalidArgument(f"The value of attribute {key} has more than 1024 bytes.")


def check_ack_deadline(value: int) -> None:
    """Check the seconds of a ModifyAckDeadline: 0 to 600."""
    _check_range("ack_deadline_seconds", value, 0, 600)


def check_max_messages(value: int) -> None:
    """Check how many messages a pull asks for."""
    _check_range("max_messages", value, 1, 2**31)


def check_mask(paths: list[str], mutable: frozenset[str], type: Any) -> None:
    """Check an update mask.

    Args:
        paths: The mask.
        mutable: Fields that can be changed.
        type: The resource's message class.

    Raises:
        InvalidArgument: It is empty, or names a field that is not there or cannot change.
    """
    kind = type.DESCRIPTOR.name
    if not paths:
        raise InvalidArgument(
            f"The update_mask in the Update{kind}Request must be set, and must contain a non-empty paths list."
        )
    for path in paths:
        root = path.partition(".")[0]
        field = type.DESCRIPTOR.fields_by_name.get(root) or type.DESCRIPTOR.fields_by_camelcase_name.get(root)
        if field is None:
            raise InvalidArgument(
                f"Invalid update_mask provided in the Update{kind}Request: '{path}' is not a known {kind} field."
            )
        if field.name not in mutable:
            raise InvalidArgument(
                f"Invalid update_mask provided in the Update{kind}Request: "
                f"the '{path}' field in the {kind} is not mutable."
            )


def _complete_retry(policy: Any) -> None:
    for name, default in (("minimum_backoff", 10), ("maximum_backoff", 600)):
        if not policy.HasField(name):
            getattr(policy, name).FromSeconds(default)
        _check_duration(policy, name, 0, 600)
    if policy.minimum_backoff.ToMicroseconds() > policy.maximum_backoff.ToMicroseconds():
        raise InvalidArgument("retry_policy.minimum_backoff must not be above maximum_backoff.")


def _refuse(resource: Any, refused: dict[str, str]) -> None:
    for field, _ in resource.ListFields():
        if field.name in refused:
            raise Unimplemented(
                f"{resource.DESCRIPTOR.name}.{field.name} is not implemented by the local cloud: "
                f"{refused[field.name]}. Leave the field out to run locally."
            )


def _check_labels(resource: Any) -> None:
    _check_range("label_count", len(resource.labels), 0, 64)
    for key, value in resource.labels.items():
        if not _LABEL.fullmatch(key) or (value and not re.fullmatch(r"[^\WA-Z][\w\-]{0,62}|[\w\-]{1,63}", value)):
            raise InvalidArgument(f"Invalid label given ({key}={value}): lower case, digits, `_` and `-`, 63 at most.")


def _check_duration(message: Any, name: str, low: int, high: int) -> None:
    seconds = getattr(message, name).ToMicroseconds() / 1e6
    if not low <= seconds <= high:
        raise InvalidArgument(f"Invalid {name} given ({seconds:g}s): it must be from {low}s to {high}s.")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if value < low:
        raise InvalidArgument(
            f"The value for {name} is too small. You passed {value} in the request, but the minimum value is {low}."
        )
    if value > high:
        raise InvalidArgument(
            f"The value for {name} is too large. You passed {value} in the request, but the maximum value is {high}."
        )


def check_stream_deadline(seconds: int) -> None:
    """Check stream_ack_deadline_seconds: 10 to 600."""
    _check_range("stream_ack_deadline_seconds", seconds, 10, 600)


def check_pullable(subscription: Any) -> None:
    """Refuse to pull from a push subscription."""
    if subscription.push_config.push_endpoint:
        raise FailedPrecondition("This method is not supported for this subscription type.")
