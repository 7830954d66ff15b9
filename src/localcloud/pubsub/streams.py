"""One open streaming pull: messages out within the client's flow control, acknowledgements in.

Leases, order and durability are `backlog`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from localcloud.catalog import Package
from localcloud.errors import CloudError, InvalidArgument
from localcloud.pubsub import settings
from localcloud.pubsub.backlog import Backlog, Delivery
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.leases import Answer, Holder

v1 = Package("google.pubsub.v1")

_MESSAGES, _BYTES = 10_000, 100 << 20
"""What may be out on a stream whose client names no limits."""
_BATCH, _SHARED_BATCH = 500, 50
"""Messages in a response; fewer where several streams share a subscription, so that each gets some."""
_INITIAL_ONLY = ("subscription", "client_id", "max_outstanding_messages", "max_outstanding_bytes", "protocol_version")


async def serve(broker: Broker, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Answer a StreamingPull: yields StreamingPullResponses until the client goes or the subscription is gone.

    Raises:
        CloudError: A request that is wrong, or a subscription that is not there (any more).
    """
    first = await anext(aiter(requests), None)
    if first is None:
        return
    backlog = broker.subscription(first.subscription)
    settings.check_pullable(backlog.resource)
    stream = _Stream(backlog, first)
    backlog.listen(stream.wake)
    reader = asyncio.get_running_loop().create_task(stream.read(requests))
    try:
        async for response in stream.responses():
            yield response
    finally:
        reader.cancel()
        backlog.unlisten(stream.wake)


class _Stream:
    def __init__(self, backlog: Backlog, first: Any) -> None:
        self._backlog = backlog
        self._messages = first.max_outstanding_messages if first.max_outstanding_messages > 0 else _MESSAGES
        self._bytes = first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else _BYTES
        self._seconds = first.stream_ack_deadline_seconds
        settings.check_stream_deadline(self._seconds)
        self._holder = Holder()
        self._woken = asyncio.Event()
        self._outbox: list[Any] = []
        self._failure: CloudError | None = None
        self._first = first

    def wake(self) -> None:
        self._woken.set()

    async def responses(self) -> AsyncIterator[Any]:
        while True:
            self._woken.clear()
            if self._failure is not None:
                raise self._failure
            while self._outbox:
                yield self._outbox.pop(0)
            room = self._messages - self._holder.messages
            size = self._bytes - self._holder.bytes
            found: list[Delivery] = []
            if room > 0 and size > 0:
                batch = _SHARED_BATCH if self._backlog.shared else _BATCH
                found = await self._backlog.take(self._holder, min(room, batch), size, self._seconds)
            elif self._backlog.failure is not None:
                raise self._backlog.failure
            if found:
                response = self._response()
                fill(response.received_messages, found, self._backlog)
                yield response
            elif not self._outbox:
                await self._woken.wait()

    def _response(self) -> Any:
        rules = self._backlog.queue.rules
        response = v1.StreamingPullResponse()
        response.subscription_properties.exactly_once_delivery_enabled = rules.exactly_once
        response.subscription_properties.message_ordering_enabled = rules.ordered
        return response

    async def read(self, requests: AsyncIterator[Any]) -> None:
        """Take what the client says; its half-close leaves the stream open for messages."""
        try:
            self._take(self._first)
            async for request in requests:
                for name in _INITIAL_ONLY:
                    if getattr(request, name):
                        raise InvalidArgument(f"{name} can only be set in the first request of a stream.")
                if request.stream_ack_deadline_seconds:
                    settings.check_stream_deadline(request.stream_ack_deadline_seconds)
                    self._seconds = request.stream_ack_deadline_seconds
                self._take(request)
        except CloudError as error:
            self._failure = error
            self.wake()

    def _take(self, request: Any) -> None:
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise InvalidArgument(
                "modify_deadline_ack_ids and modify_deadline_seconds must have the same number of elements."
            )
        for seconds in request.modify_deadline_seconds:
            settings.check_ack_deadline(seconds)
        confirmed = self._backlog.queue.rules.exactly_once
        if request.modify_deadline_ack_ids:
            changes = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            answers = self._backlog.modify(changes)
            if confirmed:
                response = self._response()
                confirmation = response.modify_ack_deadline_confirmation
                confirmation.ack_ids.extend(_with(answers, Answer.DONE))
                confirmation.invalid_ack_ids.extend(_with(answers, Answer.INVALID))
                self._send(response)
        if request.ack_ids:
            answers, durable = self._backlog.ack(request.ack_ids)
            if confirmed and durable is None:
                self._confirm(answers, None)
            elif confirmed and durable is not None:
                durable.add_done_callback(lambda done: self._confirm(answers, done))

    def _confirm(self, answers: dict[str, Answer], done: asyncio.Future[Any] | None) -> None:
        response = self._response()
        confirmation = response.acknowledge_confirmation
        stored = done is None or (not done.cancelled() and done.exception() is None)
        good = confirmation.ack_ids if stored else confirmation.temporary_failed_ack_ids
        good.extend(_with(answers, Answer.DONE))
        confirmation.invalid_ack_ids.extend(_with(answers, Answer.INVALID))
        confirmation.unordered_ack_ids.extend(_with(answers, Answer.UNORDERED))
        self._send(response)

    def _send(self, response: Any) -> None:
        self._outbox.append(response)
        self.wake()


def fill(received: Any, deliveries: Iterable[Delivery], backlog: Backlog) -> None:
    """Put deliveries into a repeated ReceivedMessage field."""
    counted = backlog.resource.HasField("dead_letter_policy")
    for delivery in deliveries:
        entry = received.add()
        entry.ack_id = delivery.ack_id
        entry.message.MergeFromString(delivery.body)
        if counted:
            entry.delivery_attempt = delivery.attempt


def _with(answers: dict[str, Answer], wanted: Answer) -> list[str]:
    return [ack_id for ack_id, answer in answers.items() if answer is wanted]
