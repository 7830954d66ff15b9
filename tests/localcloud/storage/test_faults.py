"""Breaks: uploads resumed after a lost connection and a killed server, kill -9 amid writes, a full disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.conftest import LocalCloud

from localcloud.storage import errors
from localcloud.storage.app import StorageApp
from localcloud.storage.notifications import Notifications
from localcloud.storage.store import Store


def new_bucket(http: httpx.Client, name: str = "bucket") -> None:
    """Make a bucket."""
    http.post("/storage/v1/b?project=p", json={"name": name}).raise_for_status()


def begin(http: httpx.Client, name: str, **headers: str) -> str:
    """Open a resumable session; its path."""
    answer = http.post(
        f"/upload/storage/v1/b/bucket/o?uploadType=resumable&name={name}",
        json={"metadata": {"k": "v"}, "contentType": "text/x"},
        headers=headers,
    )
    assert answer.status_code == 200
    return httpx.URL(answer.headers["location"]).raw_path.decode()


def test_a_resumable_upload_survives_lost_connections_and_a_killed_server(own_cloud: LocalCloud) -> None:
    data = os.urandom(3_000_000)
    with httpx.Client(base_url=own_cloud.url, trust_env=False) as http:
        new_bucket(http)
        session = begin(http, "big")
        asked = http.put(session, headers={"content-range": "bytes */*"})
        assert (asked.status_code, asked.headers.get("range")) == (308, None)
        first = http.put(session, content=data[:524_288], headers={"content-range": "bytes 0-524287/*"})
        assert (first.status_code, first.headers["range"]) == (308, "bytes=0-524287")
        gap = http.put(session, content=b"x", headers={"content-range": "bytes 900000-900000/*"})
        assert gap.status_code == 400
        with socket.create_connection(("127.0.0.1", own_cloud.port)) as raw:
            raw.sendall(
                f"PUT {session} HTTP/1.1\r\nHost: 127.0.0.1:{own_cloud.port}\r\nContent-Length: 2475712\r\n"
                "Content-Range: bytes 524288-2999999/3000000\r\n\r\n".encode()
                + data[524_288:1_500_000]
            )
        asked = http.put(session, headers={"content-range": "bytes */3000000"})
        assert asked.status_code == 308
        before = int(asked.headers["range"].removeprefix("bytes=0-")) + 1
        assert 524_288 <= before <= 1_500_000
    own_cloud.kill()
    own_cloud.start()
    with httpx.Client(base_url=own_cloud.url, trust_env=False) as http:
        asked = http.put(session, headers={"content-range": "bytes */3000000"})
        received = int(asked.headers["range"].removeprefix("bytes=0-")) + 1
        assert before <= received <= 1_500_000
        start = received - 1000  # a client may send again what had arrived
        last = http.put(session, content=data[start:], headers={"content-range": f"bytes {start}-2999999/3000000"})
        assert last.status_code == 200
        made = last.json()
        assert (made["size"], made["metadata"], made["contentType"]) == ("3000000", {"k": "v"}, "text/x")
        assert http.get("/storage/v1/b/bucket/o/big?alt=media").content == data
        again = http.put(session, headers={"content-range": "bytes */3000000"})
        assert (again.status_code, again.json()["generation"]) == (200, made["generation"])
        other = begin(http, "dropped")
        assert http.delete(other).status_code == 499
        assert http.put(other, headers={"content-range": "bytes */*"}).status_code == 404
        unknown = begin(http, "unknown-length")
        http.put(unknown, content=data[:262_144], headers={"content-range": "bytes 0-262143/*"})
        done = http.put(unknown, headers={"content-range": "bytes */262144"})
        assert (done.status_code, done.json()["size"]) == (200, "262144")
        guarded = begin(http, "big&ifGenerationMatch=" + made["generation"])
        http.delete("/storage/v1/b/bucket/o/big").raise_for_status()
        assert http.put(guarded, content=b"late").status_code == 412


def test_kill_9_amid_writes_loses_nothing_acknowledged(own_cloud: LocalCloud) -> None:
    acknowledged: dict[str, int] = {}
    answered: list[str] = []
    deleted: dict[str, int] = {}

    def write(worker: int, stop: threading.Event) -> None:
        chance = random.Random(worker)
        with httpx.Client(base_url=own_cloud.url, trust_env=False, timeout=30) as http:
            while not stop.is_set():
                name = f"{worker}/{chance.randrange(5)}"
                data = chance.randbytes(chance.randrange(200_000))
                metadata = {"name": name, "metadata": {"sha": hashlib.sha256(data).hexdigest()}}
                body = (
                    b"--b\r\ncontent-type: application/json\r\n\r\n"
                    + json.dumps(metadata).encode()
                    + b"\r\n--b\r\ncontent-type: text/x\r\n\r\n"
                    + data
                    + b"\r\n--b--"
                )
                try:
                    if chance.random() < 0.2:
                        deleted[name] = acknowledged.pop(name, 0)
                        http.delete(f"/storage/v1/b/bucket/o/{name.replace('/', '%2F')}")
                        continue
                    answer = http.post(
                        "/upload/storage/v1/b/bucket/o?uploadType=multipart",
                        content=body,
                        headers={"content-type": "multipart/related; boundary=b"},
                    )
                except httpx.TransportError:
                    return
                answered.append(name)
                acknowledged[name] = int(answer.raise_for_status().json()["generation"])
                deleted.pop(name, None)

    with httpx.Client(base_url=own_cloud.url, trust_env=False) as http:
        new_bucket(http)
    for _ in range(2):
        stop = threading.Event()
        threads = [threading.Thread(target=write, args=(worker, stop)) for worker in range(3)]
        for thread in threads:
            thread.start()
        already = len(answered)
        while len(answered) < already + 20:  # however slow the machine is
            assert not stop.wait(0.05)
        own_cloud.kill()
        stop.set()
        for thread in threads:
            thread.join()
        own_cloud.start()
        with httpx.Client(base_url=own_cloud.url, trust_env=False) as http:
            items = http.get("/storage/v1/b/bucket/o").json().get("items", [])
            assert acknowledged
            for name, generation in acknowledged.items():
                found = next(item for item in items if item["name"] == name)
                assert int(found["generation"]) >= generation
            for item in items:
                content = http.get(
                    f"/storage/v1/b/bucket/o/{item['name'].replace('/', '%2F')}", params={"alt": "media"}
                ).content
                assert item["metadata"] == {"sha": hashlib.sha256(content).hexdigest()}
                assert (item["contentType"], int(item["size"])) == ("text/x", len(content))
        assert list((own_cloud.root / "storage" / "incoming").iterdir()) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow past a size: what a full disk looks like to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    app = StorageApp(store, Notifications(store, lambda method, request: None))
    store.create_bucket("bucket", "p", {})

    async def scenario() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://storage.googleapis.com") as http:
            path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=x"
            before = (await http.post(path, content=b"before")).json()
            with largest_file(4_000_000):
                answer = await http.post(path, content=bytes(9_000_000))
            assert answer.status_code == 413
            assert answer.json()["error"]["errors"][0]["reason"] == "uploadTooLarge"
            assert "Free space" in answer.json()["error"]["message"]
            after = (await http.get("/storage/v1/b/bucket/o/x")).json()
            assert after == before
            assert (await http.get("/storage/v1/b/bucket/o/x?alt=media")).content == b"before"
            assert list(store.incoming.iterdir()) == []
            assert (await http.post(path, content=bytes(9_000_000))).status_code == 200

    asyncio.run(scenario())
    store.database.close()


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_no_client_retries_a_full_disk(number: str) -> None:
    import errno

    answer = errors.of(OSError(getattr(errno, number), "write"))
    assert answer is not None
    assert answer.status == 413
