"""The RPCs of google.pubsub.v1.Subscriber."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import ErrorInfo

from localcloud.catalog import Package
from localcloud.errors import FailedPrecondition
from localcloud.pubsub import names, settings, snapshots, streams, subscriptions
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.leases import Answer, Holder
from localcloud.service import Call

v1 = Package("google.pubsub.v1")

_LONGEST_WAIT = 20.0
"""Seconds that a pull waits for a first message, if its client waits as long."""
_MARGIN = 0.25
"""Seconds before the client's deadline at which it is told that there is nothing."""


class Subscriber:
    """Subscriptions, receiving from them, and snapshots."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_subscription(self, request: Any) -> Any:
        """Subscription -> Subscription."""
        return await subscriptions.create(self._broker, request)

    async def get_subscription(self, request: Any) -> Any:
        """GetSubscriptionRequest -> Subscription."""
        return subscriptions.show(self._broker, self._broker.subscription(request.subscription).resource)

    async def update_subscription(self, request: Any) -> Any:
        """UpdateSubscriptionRequest -> Subscription."""
        return await subscriptions.update(self._broker, request.subscription, list(request.update_mask.paths))

    async def list_subscriptions(self, request: Any) -> Any:
        """ListSubscriptionsRequest -> ListSubscriptionsResponse."""
        names.check_project(request.project)
        page = self._broker.store.list(
            request.project, v1.Subscription, page_size=request.page_size, page_token=request.page_token
        )
        shown = [subscriptions.show(self._broker, resource) for resource in page.items]
        return v1.ListSubscriptionsResponse(subscriptions=shown, next_page_token=page.next_page_token)

    async def delete_subscription(self, request: Any) -> Any:
        """DeleteSubscriptionRequest -> Empty."""
        await subscriptions.delete(self._broker, request.subscription)
        return Empty()

    async def modify_push_config(self, request: Any) -> Any:
        """ModifyPushConfigRequest -> Empty; an empty config makes it a pull subscription."""
        given = v1.Subscription(name=request.subscription, push_config=request.push_config)
        await subscriptions.update(self._broker, given, ["push_config"])
        return Empty()

    async def modify_ack_deadline(self, request: Any) -> Any:
        """ModifyAckDeadlineRequest -> Empty."""
        backlog = self._receiving(request.subscription)
        seconds = request.ack_deadline_seconds
        settings.check_ack_deadline(seconds)
        answers = backlog.modify((ack_id, seconds) for ack_id in request.ack_ids)
        _confirm(backlog, answers)
        return Empty()

    async def acknowledge(self, request: Any) -> Any:
        """AcknowledgeRequest -> Empty, once it is durable."""
        backlog = self._receiving(request.subscription)
        answers, durable = backlog.ack(request.ack_ids)
        if durable is not None:
            await durable
        _confirm(backlog, answers)
        return Empty()

    async def pull(self, request: Any, call: Call) -> Any:
        """PullRequest -> PullResponse; waits for a first message unless return_immediately is set."""
        settings.check_max_messages(request.max_messages)
        backlog = self._receiving(request.subscription)
        settings.check_pullable(backlog.resource)
        patience = min(_LONGEST_WAIT, call.remaining(_LONGEST_WAIT) - _MARGIN)
        found = await backlog.wait(
            Holder(), min(request.max_messages, 1000), 0.0 if request.return_immediately else patience
        )
        response = v1.PullResponse()
        streams.fill(response.received_messages, found, backlog)
        return response

    async def streaming_pull(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        """Stream of StreamingPullRequest -> stream of StreamingPullResponse."""
        async for response in streams.serve(self._broker, requests):
            yield response

    async def create_snapshot(self, request: Any) -> Any:
        """CreateSnapshotRequest -> Snapshot."""
        return await snapshots.create(self._broker, request)

    async def get_snapshot(self, request: Any) -> Any:
        """GetSnapshotRequest -> Snapshot."""
        name = snapshots.find(self._broker, request.snapshot).name
        return self._broker.store.get(name, v1.Snapshot)

    async def list_snapshots(self, request: Any) -> Any:
        """ListSnapshotsRequest -> ListSnapshotsResponse."""
        names.check_project(request.project)
        page = self._broker.store.list(
            request.project, v1.Snapshot, page_size=request.page_size, page_token=request.page_token
        )
        return v1.ListSnapshotsResponse(snapshots=page.items, next_page_token=page.next_page_token)

    async def update_snapshot(self, request: Any) -> Any:
        """UpdateSnapshotRequest -> Snapshot."""
        return await snapshots.update(self._broker, request)

    async def delete_snapshot(self, request: Any) -> Any:
        """DeleteSnapshotRequest -> Empty."""
        await snapshots.delete(self._broker, request.snapshot)
        return Empty()

    async def seek(self, request: Any) -> Any:
        """SeekRequest -> SeekResponse."""
        await snapshots.seek(self._broker, request)
        return v1.SeekResponse()

    def _receiving(self, name: str) -> Backlog:
        backlog = self._broker.subscription(name)
        if backlog.failure is not None:
            raise backlog.failure
        return backlog


def _confirm(backlog: Backlog, answers: dict[str, Answer]) -> None:
    """Under exactly-once delivery a client learns which ack ids failed; elsewhere that is best effort."""
    failed = {ack_id: answer.value for ack_id, answer in answers.items() if answer is not Answer.DONE}
    if failed and backlog.queue.rules.exactly_once:
        info = ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=failed)
        raise FailedPrecondition("Some acknowledgement ids in the request were invalid.", [info])
