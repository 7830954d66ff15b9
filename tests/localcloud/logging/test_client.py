"""Cloud Logging through Google's own clients: write, list, pages, tail, delete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud import logging_v2
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.types import TailLogEntriesRequest

if TYPE_CHECKING:
    from tests.conftest import LocalCloud


@pytest.fixture
def client(cloud: LocalCloud, project: str) -> Any:
    """The hand-written client of this test's project."""
    made = logging_v2.Client(project=project)
    yield made
    made.close()


def test_what_a_logger_writes_is_listed(client: Any, project: str) -> None:
    logger = client.logger("my-log", labels={"team": "flights"})
    logger.log_text("hello", severity="NOTICE")
    logger.log_struct({"message": "structured", "count": 3}, severity="ERROR", trace=f"projects/{project}/traces/1")
    with logger.batch() as batch:
        for number in range(5):
            batch.log_text(f"batch {number}")
    # Google's client writes an entry about itself with its first.
    wanted = f'logName="projects/{project}/logs/my-log" NOT jsonPayload."logging.googleapis.com/diagnostic":*'
    found = list(client.list_entries(filter_=wanted))
    assert [entry.payload for entry in found][:2] == ["hello", {"message": "structured", "count": 3.0}]
    assert (found[1].severity, found[1].trace, found[1].labels) == (
        "ERROR",
        f"projects/{project}/traces/1",
        {"team": "flights"},
    )
    assert [e.payload for e in client.list_entries(filter_="severity>=ERROR")] == [found[1].payload]
    newest = client.list_entries(order_by=logging_v2.DESCENDING, filter_="textPayload:batch", page_size=2)
    assert [entry.payload for entry in newest] == [f"batch {number}" for number in (4, 3, 2, 1, 0)]
    assert all(entry.insert_id and entry.received_timestamp for entry in found)


def test_other_projects_see_nothing_of_it(client: Any, project: str) -> None:
    client.logger("private").log_text("mine")
    assert not list(client.list_entries(resource_names=["projects/somebody-else"]))
    assert len(list(client.list_entries(resource_names=[f"projects/{project}"]))) == 1


def test_logs_are_listed_and_deleted(client: Any, project: str) -> None:
    client.logger("one").log_text("1")
    client.logger("two").log_text("2")
    service = LoggingServiceV2Client()
    names = [f"projects/{project}/logs/one", f"projects/{project}/logs/two"]
    assert list(service.list_logs(parent=f"projects/{project}")) == names
    assert list(service.list_logs(request={"parent": f"projects/{project}", "page_size": 1})) == names
    client.logger("one").delete()
    assert list(service.list_logs(parent=f"projects/{project}")) == names[1:]
    with pytest.raises(NotFound):
        client.logger("one").delete()


def test_wrong_requests_name_the_field(client: Any) -> None:
    service = LoggingServiceV2Client()
    with pytest.raises(InvalidArgument, match="Unparseable filter"):
        list(client.list_entries(filter_="severity>"))
    with pytest.raises(InvalidArgument, match="order_by"):
        list(client.list_entries(order_by="severity"))
    with pytest.raises(InvalidArgument, match=r"entries\[0\].log_name"):
        service.write_log_entries(entries=[{"log_name": "nonsense", "text_payload": "x"}])
    with pytest.raises(InvalidArgument, match=r"entries\[0\].resource"):
        service.write_log_entries(entries=[{"log_name": "projects/p/logs/x", "text_payload": "x"}])


def test_a_tail_is_live(client: Any, project: str) -> None:
    service = LoggingServiceV2Client()
    over = threading.Event()

    def requests() -> Any:
        yield TailLogEntriesRequest(resource_names=[f"projects/{project}"], filter="severity>=WARNING")
        over.wait(60)

    def write() -> None:
        while not over.is_set():
            client.logger("tailed").log_text("not this")
            client.logger("tailed").log_text("this", severity="WARNING")
            time.sleep(0.2)

    writer = threading.Thread(target=write)
    writer.start()
    stream = None
    try:
        # The client waits for the first answer here.
        stream = service.tail_log_entries(requests(), timeout=60)
        first = next(iter(stream)).entries[0]
        assert (first.text_payload, first.log_name) == ("this", f"projects/{project}/logs/tailed")
    finally:
        over.set()
        if stream is not None:
            stream.cancel()
        writer.join()


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud")
def test_gcloud_reads_and_writes(cloud: LocalCloud, project: str, client: Any) -> None:
    env = {**cloud.environment(project), "PATH": os.environ["PATH"]}

    def gcloud(*arguments: str) -> str:
        command = ["gcloud", "logging", *arguments, f"--project={project}"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    gcloud("write", "from-gcloud", "a line", "--severity=WARNING")
    client.logger("from-python").log_text("fine")
    found = json.loads(gcloud("read", "severity>=WARNING", "--format=json", "--limit=5"))
    assert [(entry["textPayload"], entry["severity"]) for entry in found] == [("a line", "WARNING")]
