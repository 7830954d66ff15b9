"""Push subscriptions: messages sent to an endpoint as Google sends them, acknowledged by its answer.

https://cloud.google.com/pubsub/docs/push. What is sent again and when is `queue`'s business where a retry policy
says so, and this file's where none does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import ssl
from collections.abc import Callable
from typing import Any

import httpx

from localcloud.catalog import Package
from localcloud.errors import CloudError
from localcloud.pubsub.backlog import Backlog, Delivery
from localcloud.pubsub.leases import Holder
from localcloud.pubsub.tokens import Signer

v1 = Package("google.pubsub.v1")
log = logging.getLogger(__name__)

ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
"""Statuses that acknowledge a message; any other gives it back."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0
_FIRST_WINDOW, _LARGEST_WINDOW = 4, 64
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OUR_HEADERS = frozenset({"authorization", "connection", "content-length", "host", "transfer-encoding"})


def http_client(environment: Callable[[], dict[str, str]]) -> httpx.AsyncClient:
    """A client that reaches loopback addresses directly and everything else through the local cloud's port."""
    variables = environment()
    bundle = variables.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=bundle)
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    if proxy := variables.get("https_proxy"):
        mounts = {
            "all://": httpx.AsyncHTTPTransport(proxy=proxy, verify=context),
            "all://127.0.0.1": None,
            "all://localhost": None,
            "all://[::1]": None,
        }
    return httpx.AsyncClient(verify=context, mounts=mounts, trust_env=False, follow_redirects=False)


class Pusher:
    """Delivers one subscription's messages to its endpoint.

    More requests are open at a time while the endpoint answers well, fewer when it does not. Messages of one ordering
    key go one after another.

    Args:
        backlog: The subscription.
        client: Sends the requests.
        signer: Makes the tokens, where the subscription asks for them.
    """

    def __init__(self, backlog: Backlog, client: httpx.AsyncClient, signer: Signer) -> None:
        self._backlog = backlog
        self._config = backlog.resource.push_config
        self._client = client
        self._signer = signer
        self._holder = Holder(pipelines=False)
        self._window = _FIRST_WINDOW
        self._failures = 0
        self._not_before = 0.0
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver until cancelled or the subscription is gone; requests under way are cancelled with it."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._backlog.listen(woken.set)
        try:
            while self._backlog.failure is None:
                woken.clear()
                pause = self._not_before - loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                room = self._window - self._holder.messages
                timeout = self._backlog.resource.ack_deadline_seconds
                # The lease outlasts the request, so that a late answer is not taken for a second failure.
                found = await self._backlog.take(self._holder, room, 1 << 62, timeout + 5) if room > 0 else []
                for delivery in found:
                    task = loop.create_task(self._deliver(delivery, timeout))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                if not found:
                    await woken.wait()
        except CloudError as error:
            log.warning("Push of %s stopped: %s", self._backlog.consumer.name, error)
        finally:
            self._backlog.unlisten(woken.set)
            for task in self._sending:
                task.cancel()

    async def _deliver(self, delivery: Delivery, timeout: float) -> None:
        try:
            status, cause = await self._send(delivery, timeout), ""
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ssl.SSLError) as error:
            status, cause = 0, str(error) or type(error).__name__
        except asyncio.CancelledError:
            self._backlog.modify([(delivery.ack_id, 0)])
            raise
        if status in ACKNOWLEDGING:
            self._failures = 0
            self._window = min(_LARGEST_WINDOW, self._window + 1)
            self._backlog.ack([delivery.ack_id])
            return
        log.info(
            "Push of %s to %s failed: %s",
            self._backlog.consumer.name,
            self._config.push_endpoint,
            cause or f"HTTP {status}",
        )
        self._window = max(1, self._window // 2)
        now = asyncio.get_running_loop().time()
        if self._backlog.queue.rules.backoff is None and now >= self._not_before:
            self._not_before = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 16))
            self._failures += 1
        self._backlog.modify([(delivery.ack_id, 0)])

    async def _send(self, delivery: Delivery, timeout: float) -> int:
        message = v1.PubsubMessage.FromString(delivery.body)
        name = self._backlog.consumer.name
        if self._config.HasField("no_wrapper"):
            body = message.data
            headers = unwrapped_headers(message, name) if self._config.no_wrapper.write_metadata else {}
        else:
            counted = self._backlog.resource.HasField("dead_letter_policy")
            body = json.dumps(wrapped(message, name, delivery.attempt if counted else 0)).encode()
            headers = {"Content-Type": "application/json"}
        headers |= {"User-Agent": "CloudPubSub-Google", "From": "noreply@google.com", "Accept": "application/json"}
        if self._config.HasField("oidc_token"):
            oidc = self._config.oidc_token
            audience = oidc.audience or self._config.push_endpoint
            token = await asyncio.to_thread(self._signer.token, audience, oidc.service_account_email)
            headers["Authorization"] = f"Bearer {token}"
        async with asyncio.timeout(timeout):
            response = await self._client.post(self._config.push_endpoint, content=body, headers=headers, timeout=None)
        return response.status_code


def wrapped(message: Any, subscription: str, attempt: int) -> dict[str, Any]:
    """The JSON body of a push request.

    Args:
        message: The PubsubMessage.
        subscription: Its subscription's name.
        attempt: Which delivery this is, where a dead-letter policy counts them, else 0.
    """
    published = message.publish_time.ToDatetime().isoformat(timespec="milliseconds") + "Z"
    content: dict[str, Any] = {}
    if message.attributes:
        content["attributes"] = dict(message.attributes)
    if message.data:
        content["data"] = base64.b64encode(message.data).decode()
    content |= {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.ordering_key:
        content["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": content, "subscription": subscription}
    if attempt:
        body["deliveryAttempt"] = attempt
    return body


def unwrapped_headers(message: Any, subscription: str) -> dict[str, str]:
    """The headers of an unwrapped push request with metadata; attributes that cannot be headers are left out."""
    headers = {
        name: value
        for name, value in message.attributes.items()
        if _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) and name.lower() not in _OUR_HEADERS
    }
    headers |= {
        "x-goog-pubsub-subscription-name": subscription,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": message.publish_time.ToJsonString(),
    }
    if message.ordering_key and _HEADER_VALUE.fullmatch(message.ordering_key):
        headers["x-goog-pubsub-ordering-key"] = message.ordering_key
    return headers
