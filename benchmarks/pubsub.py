"""Pub/Sub: 5,000 messages published and received by Google's Python client, beside Google's Java emulator.

`python -m benchmarks pubsub`, or `run(environment)` on a local cloud that is up. The contenders are up together and
take turns; ratios are within a round. Each round is a client process, a topic and a subscription of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

MESSAGES = 5_000
SIZE = 200
ROUNDS = 5
STEPS = ("publish", "receive", "round trip")


def run(environment: Mapping[str, str]) -> None:
    """Measures and prints.

    Args:
        environment: The variables that point a client at the local cloud.
    """
    with ExitStack() as stack:
        contenders: dict[str, Mapping[str, str]] = {"local cloud": environment}
        jar = emulator_jar()
        if jar is None:
            print("Google's Java emulator is not installed (gcloud components install pubsub-emulator)")
        else:
            contenders["Java emulator"] = stack.enter_context(emulator(jar))
        rounds = [{name: measure(variables) for name, variables in contenders.items()} for _ in range(ROUNDS)]
    print(f"{MESSAGES:,} messages of {SIZE} bytes, median of {ROUNDS} rounds.")
    print("A round trip holds the 10 ms that the client waits for a batch to fill.")
    for step in STEPS:
        for name in contenders:
            seconds = statistics.median(one[name][step] for one in rounds)
            print(f"  {step:<10}  {name:<13}  {shown(step, seconds)}", end="")
            if name != "local cloud":
                ratio = statistics.median(one[name][step] / one["local cloud"][step] for one in rounds)
                print(f"  = {ratio:.2f} x the time of the local cloud", end="")
            print()


def shown(step: str, seconds: float) -> str:
    """A measurement with its unit."""
    if step == "round trip":
        return f"{seconds * 1000:8.1f} ms        "
    return f"{seconds:8.2f} s {MESSAGES / seconds:8,.0f}/s"


def measure(environment: Mapping[str, str]) -> dict[str, float]:
    """One round in a process of its own: seconds by step."""
    command = [sys.executable, __file__, "--client"]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def client() -> None:
    """What a round does: publish all, then receive all, then single messages through an open stream."""
    from google.cloud import pubsub_v1

    name = f"bench-{uuid.uuid4().hex[:8]}"
    topic, subscription = f"projects/bench/topics/{name}", f"projects/bench/subscriptions/{name}"
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)
    publisher.publish(topic, b"warm").result(timeout=60)

    began = time.perf_counter()
    futures = [publisher.publish(topic, bytes(SIZE), number=str(number)) for number in range(MESSAGES)]
    expected = {future.result(timeout=120) for future in futures}
    published = time.perf_counter()

    arrived: set[str] = set()
    everything, single = threading.Event(), threading.Event()

    def receive(message: pubsub_v1.subscriber.message.Message) -> None:
        arrived.add(message.message_id)
        message.ack()
        if len(arrived) > MESSAGES:
            everything.set()
        if message.data == b"single":
            single.set()

    subscriber.subscribe(subscription, receive)
    if not everything.wait(120) or not expected <= arrived:
        raise RuntimeError(f"{len(arrived)} of {MESSAGES} messages arrived")
    received = time.perf_counter()

    trips = []
    for _ in range(50):
        sent = time.perf_counter()
        single.clear()
        publisher.publish(topic, b"single")
        single.wait(60)
        trips.append(time.perf_counter() - sent)
    result = {
        "publish": published - began,
        "receive": received - published,
        "round trip": statistics.median(trips),
    }
    print(json.dumps(result), flush=True)
    # The emulator does not survive a stream's orderly end under some Java versions: leave it as it is.
    os._exit(0)


def emulator_jar() -> Path | None:
    """Google's emulator, if it and Java are installed."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return None
    for sdk in (Path(gcloud).resolve().parents[1], Path("/usr/lib/google-cloud-sdk")):
        found = sorted((sdk / "platform/pubsub-emulator/lib").glob("cloud-pubsub-emulator-*.jar"))
        if found:
            return found[-1]
    return None


@contextmanager
def emulator(jar: Path) -> Iterator[dict[str, str]]:
    """Runs the emulator; gives the variables that point a client at it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["java", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        proxies = {"http_proxy", "https_proxy", "grpc_proxy"}
        kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
        yield {**kept, "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{port}"}
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until something listens on the port."""
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    client() if "--client" in sys.argv else run(os.environ)
