"""Push: the requests that an endpoint gets, and what its answers do."""

from __future__ import annotations

import base64
import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf.timestamp_pb2 import Timestamp

from .conftest import Subscribe, eventually, pull

ACCOUNT = "pusher@example.iam.gserviceaccount.com"


class Endpoint:
    """An HTTP server that notes requests and answers as `status` says (a number, or a function of the body)."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[tuple[dict[str, str], bytes, float]] = queue.SimpleQueue()
        self.status: int | Callable[[bytes], int] = 204
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                endpoint.requests.put((headers, body, time.monotonic()))
                status = endpoint.status
                self.send_response(status(body) if callable(status) else status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/push"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def get(self) -> tuple[dict[str, str], bytes, float]:
        return self.requests.get(timeout=20)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def push(endpoint: Endpoint, subscribe: Subscribe, subscriber: Any) -> Iterator[Callable[..., str]]:
    """Makes push subscriptions to the endpoint: `push({…push config…}, field=…)`; pushing ends with the test."""
    made = []

    def make(config: dict[str, Any] | None = None, **fields: Any) -> str:
        made.append(subscribe(push_config={"push_endpoint": endpoint.url, **(config or {})}, **fields))
        return made[-1]

    yield make
    for name in made:
        subscriber.delete_subscription(subscription=name)


def test_the_body_is_googles(publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]) -> None:
    name = push()
    id = publisher.publish(topic, b"hello", ordering_key="k", lang="en").result(timeout=10)
    headers, body, _ = endpoint.get()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "CloudPubSub-Google"
    assert "authorization" not in headers
    content = json.loads(body)
    message = content["message"]
    published = message.pop("publishTime")
    Timestamp().FromJsonString(published)
    assert content["subscription"] == name
    assert message == {
        "attributes": {"lang": "en"},
        "data": base64.b64encode(b"hello").decode(),
        "messageId": id,
        "message_id": id,
        "orderingKey": "k",
        "publish_time": published,
    }
    assert set(content) == {"message", "subscription"}


def test_unwrapped_with_metadata(publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]) -> None:
    name = push({"no_wrapper": {"write_metadata": True}})
    id = publisher.publish(topic, b"raw bytes \xff", lang="en", broken="a\nb").result(timeout=10)
    headers, body, _ = endpoint.get()
    assert body == b"raw bytes \xff"
    assert headers["lang"] == "en"
    assert headers["x-goog-pubsub-message-id"] == id
    assert headers["x-goog-pubsub-subscription-name"] == name
    assert headers["x-goog-pubsub-publish-time"].endswith("Z")
    assert "broken" not in headers


def test_unwrapped_without_metadata(publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]) -> None:
    push({"no_wrapper": {}})
    publisher.publish(topic, b"only this", lang="en").result(timeout=10)
    headers, body, _ = endpoint.get()
    assert body == b"only this"
    assert "lang" not in headers
    assert not [name for name in headers if name.startswith("x-goog")]


def test_a_token_is_signed_by_the_local_key(
    cloud: Any, publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]
) -> None:
    push({"oidc_token": {"service_account_email": ACCOUNT, "audience": "https://me"}})
    publisher.publish(topic, b"x").result(timeout=10)
    scheme, token = endpoint.get()[0]["authorization"].split()
    header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    content = json.loads(claims)
    assert scheme == "Bearer"
    assert set(content) == {"aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"}
    assert (content["aud"], content["email"], content["email_verified"]) == ("https://me", ACCOUNT, True)
    assert content["iss"] == "https://accounts.google.com"
    assert content["exp"] - content["iat"] == 3600
    (key,) = json.loads((cloud.root / "pubsub" / "oidc-jwks.json").read_text())["keys"]
    assert json.loads(header) == {"alg": "RS256", "kid": key["kid"], "typ": "JWT"}
    modulus, exponent = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "=="), "big") for name in ("n", "e"))
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    public.verify(signature, token.rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256())
    assert (cloud.root / "pubsub" / "oidc-key.pem").stat().st_mode & 0o077 == 0


def test_without_a_retry_policy_the_subscription_backs_off(
    publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]
) -> None:
    endpoint.status = 500
    push()
    publisher.publish(topic, b"x").result(timeout=10)
    times = [endpoint.get()[2] for _ in range(5)]
    endpoint.status = 200
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.09, 0.19, 0.39, 0.79), strict=True))
    endpoint.get()
    time.sleep(0.3)
    assert endpoint.requests.empty()


@pytest.mark.parametrize(("status", "acknowledges"), [(201, True), (202, True), (302, False), (400, False)])
def test_which_answers_acknowledge(
    publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str], status: int, acknowledges: bool
) -> None:
    endpoint.status = status
    push()
    publisher.publish(topic, b"x").result(timeout=10)
    endpoint.get()
    if not acknowledges:
        endpoint.get()
        endpoint.status = 200
        return
    time.sleep(0.5)
    assert endpoint.requests.empty()


def test_a_retry_policy_and_dead_letters(
    publisher: Any, subscriber: Any, topic: str, endpoint: Endpoint, push: Callable[..., str], project: str
) -> None:
    grave = f"projects/{project}/topics/grave"
    publisher.create_topic(name=grave)
    mourner = f"projects/{project}/subscriptions/mourner"
    subscriber.create_subscription(name=mourner, topic=grave)
    endpoint.status = 503
    push(
        dead_letter_policy={"dead_letter_topic": grave, "max_delivery_attempts": 5},
        retry_policy={"minimum_backoff": {"nanos": 50_000_000}, "maximum_backoff": {"seconds": 1}},
    )
    publisher.publish(topic, b"x").result(timeout=10)
    attempts = [json.loads(endpoint.get()[1])["deliveryAttempt"] for _ in range(5)]
    assert attempts == [1, 2, 3, 4, 5]
    (letter,) = pull(subscriber, mourner)
    assert letter.message.data == b"x"


def test_keys_are_pushed_one_message_after_another(
    publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]
) -> None:
    failed: list[bytes] = []

    def status(body: bytes) -> int:
        data = base64.b64decode(json.loads(body)["message"]["data"])
        if data == b"3" and len(failed) < 2:
            failed.append(data)
            return 500
        return 204

    endpoint.status = status
    push(enable_message_ordering=True)
    for number in range(8):
        publisher.publish(topic, str(number).encode(), ordering_key="k")
    got = [base64.b64decode(json.loads(endpoint.get()[1])["message"]["data"]).decode() for _ in range(10)]
    assert got == ["0", "1", "2", "3", "3", "3", "4", "5", "6", "7"]


def test_from_push_to_pull_and_back(
    publisher: Any, subscriber: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]
) -> None:
    name = push()
    subscriber.modify_push_config(subscription=name, push_config={})
    publisher.publish(topic, b"pulled").result(timeout=10)
    (received,) = pull(subscriber, name)
    assert received.message.data == b"pulled"
    subscriber.modify_ack_deadline(subscription=name, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    subscriber.modify_push_config(subscription=name, push_config={"push_endpoint": endpoint.url})
    assert b"cHVsbGVk" in endpoint.get()[1]


def test_many_messages_are_pushed_at_the_same_time(
    publisher: Any, topic: str, endpoint: Endpoint, push: Callable[..., str]
) -> None:
    push()
    for number in range(300):
        publisher.publish(topic, str(number).encode())
    seen: set[bytes] = set()

    def all_there() -> bool:
        while not endpoint.requests.empty():
            seen.add(endpoint.get()[1])
        return len(seen) == 300

    eventually(all_there)
