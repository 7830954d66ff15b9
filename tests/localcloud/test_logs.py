"""The log store and Cloud Logging's query language."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.errors import InvalidArgument, Unimplemented
from localcloud.log_filter import nanoseconds, parse
from localcloud.logs import Logs, format_time

ENTRY = {
    "logName": "projects/p/logs/my%2Flog",
    "resource": {"type": "ml_job", "labels": {"job_id": "7", "task_name": "workerpool0-0"}},
    "labels": {"a.b/c": "x"},
    "timestamp": "2026-01-02T03:04:05.600000000Z",
    "severity": "ERROR",
    "jsonPayload": {"message": "It broke (again)", "code": 42, "ok": False, "parts": [{"n": 1}, {"n": 2}]},
    "httpRequest": {"status": 503},
    "insertId": "i1",
}


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    """An empty store."""
    opened = Logs(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "query",
    [
        "",
        'resource.type="ml_job" AND resource.labels.job_id="7" AND severity>=ERROR',
        "resource.type=ml_job resource.labels.job_id=7",
        'logName="projects/p/logs/my%2Flog"',
        'log_id("my/log")',
        'labels."a.b/c"=x',
        "severity=(INFO OR ERROR)",
        "severity != INFO",
        "severity>WARNING severity<=CRITICAL",
        'timestamp>="2026-01-02T03:04:05Z" timestamp<"2026-01-02T03:04:06Z"',
        'timestamp>="2026-01-02" AND timestamp<="2026-01-02T05:04:05.6+02:00"',
        'jsonPayload.message:"broke"',
        'jsonPayload.message:"BROKE"',
        'jsonPayload.message="it broke (again)"',
        r'jsonPayload.message=~"^It \w+"',
        'jsonPayload.message!~"^it"',
        "jsonPayload.code>41.5 json_payload.code=42",
        "jsonPayload.ok=false",
        "jsonPayload.parts.n=2",
        "httpRequest.status>=500",
        "http_request.status=503",
        "jsonPayload.code:*",
        "NOT jsonPayload.missing:*",
        "-jsonPayload.missing=3",
        "jsonPayload.missing!=3",
        "broke",
        '"broke (again)"',
        'SEARCH("broke again")',
        "severity=INFO OR severity=ERROR AND jsonPayload.code=42",
        "NOT (severity=INFO OR jsonPayload.code=1)",
        "resource.labels.task_name:workerpool0 -- a comment",
        "jsonPayload.code=(41 OR 42) AND NOT textPayload:*",
    ],
)
def test_queries_that_want_it(query: str) -> None:
    parsed = parse(query)
    assert parsed.matches(ENTRY)
    assert parsed.stream_matches({name: ENTRY[name] for name in ("logName", "resource", "labels")})


@pytest.mark.parametrize(
    "query",
    [
        "severity>ERROR",
        "severity=(INFO OR WARNING)",
        'resource.labels.job_id="8"',
        "textPayload:x",
        "jsonPayload.missing>3",
        "jsonPayload.code=43",
        "NOT jsonPayload.code=42",
        'timestamp<"2026-01-02T03:04:05Z"',
        "(severity=INFO OR severity=ERROR) jsonPayload.code=1",
        "severity=INFO OR severity=ERROR AND jsonPayload.code=1",
        'log_id("log")',
        "nothing",
        'jsonPayload.message=~"^it"',
    ],
)
def test_queries_that_do_not_want_it(query: str) -> None:
    assert not parse(query).matches(ENTRY)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("severity>", "a value is missing at the end"),
        ("(a=b", r"\) is missing at the end"),
        ("a=b)", r"unexpected '\)' at column 4"),
        ("severity=LOUD", "invalid severity 'LOUD'"),
        ("timestamp>yesterday", "invalid timestamp 'yesterday'"),
        ('a=~"("', "invalid regular expression"),
        ("a=b AND", "a condition is missing"),
        ('a="b', "syntax error at column 3"),
    ],
)
def test_queries_that_are_wrong(query: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(query)
    with pytest.raises(Unimplemented, match=r"ip_in_net\(\)"):
        parse('ip_in_net(jsonPayload.ip, "10.0.0.0/8")')


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        query = parse(text)
    except (InvalidArgument, Unimplemented):
        return
    query.matches(ENTRY)


@given(st.text(max_size=20))
def test_any_quoted_value_is_found(value: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse(f"textPayload={quoted}").matches({"textPayload": value})


@given(st.integers(0, 2**62))
def test_times_keep_their_nanoseconds(moment: int) -> None:
    assert nanoseconds(format_time(moment)) == moment


def test_written_entries_come_back(logs: Logs) -> None:
    logs.write([ENTRY])
    found = logs.read("").entries[0]
    assert {**found, "receiveTimestamp": None} == {**ENTRY, "receiveTimestamp": None}


def test_an_entry_sent_twice_is_kept_once(logs: Logs) -> None:
    logs.write([ENTRY])
    logs.write([ENTRY, {**ENTRY, "insertId": "i2"}])
    assert [entry["insertId"] for entry in logs.read("").entries] == ["i1", "i2"]


def test_lines_of_structured_logging(logs: Logs) -> None:
    stream = logs.stream("projects/p/logs/x", "ml_job")
    stream.line('{"severity": "warning", "message": "m", "time": "2026-01-01T00:00:00Z", "a": {"b": 1}}')
    stream.line("{not json}")
    stream.line("[1, 2]", "ERROR")
    logs.flush()
    found = logs.read("").entries
    assert (found[0]["severity"], found[0]["timestamp"]) == ("WARNING", "2026-01-01T00:00:00.000000000Z")
    assert found[0]["jsonPayload"] == {"message": "m", "a": {"b": 1}}
    assert [entry["textPayload"] for entry in found[1:]] == ["{not json}", "[1, 2]"]


def test_pages_in_both_orders(logs: Logs) -> None:
    stream = logs.stream("projects/p/logs/x", "ml_job")
    for number in range(25):
        stream.line(str(number))
    logs.flush()
    for newest_first in (False, True):
        seen: list[int] = []
        after = None
        while True:
            page = logs.read("resource.type=ml_job", newest_first=newest_first, limit=10, after=after)
            seen += [int(entry["textPayload"]) for entry in page.entries]
            after = page.position
            if after is None:
                break
            stream.line("99999") if newest_first else None
        assert [number for number in seen if number < 25] == sorted(range(25), reverse=newest_first)


def test_followers_are_told(logs: Logs) -> None:
    stream = logs.stream("projects/p/logs/x", "ml_job", {"job_id": "1"})
    other = logs.stream("projects/p/logs/x", "ml_job", {"job_id": "2"})
    threading.Timer(0.05, lambda: (other.line("no"), stream.line("yes"))).start()
    since, found = 0, []
    for _ in range(20):
        new, since = logs.follow("resource.labels.job_id=1", since, 5)
        found += new
        if found:
            break
    assert [entry["textPayload"] for entry in found] == ["yes"]
    assert logs.follow("", logs.position(), 0.01)[0] == []


def test_logs_are_listed_and_deleted(logs: Logs) -> None:
    logs.stream("projects/p/logs/a", "global").line("1")
    logs.stream("projects/p/logs/b", "global").line("2")
    logs.flush()
    assert logs.log_names() == ["projects/p/logs/a", "projects/p/logs/b"]
    assert logs.delete("projects/p/logs/a")
    assert not logs.delete("projects/p/logs/a")
    assert logs.log_names() == ["projects/p/logs/b"]


CRASH = """
import os, sys
from pathlib import Path
from localcloud.logs import Logs
logs = Logs(Path(sys.argv[1]))
logs.write([{"logName": "projects/p/logs/x", "resource": {"type": "global"}, "textPayload": "kept",
             "timestamp": "2026-01-02T03:04:05Z"}])
os.kill(os.getpid(), 9)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], timeout=60, check=False)
    assert killed.returncode == -9
    logs = Logs(tmp_path)
    assert [entry["textPayload"] for entry in logs.read("").entries] == ["kept"]
    logs.close()


def test_a_line_that_many_threads_write(logs: Logs) -> None:
    stream = logs.stream("projects/p/logs/x", "global")
    threads = [threading.Thread(target=lambda: [stream.line("x") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs.flush()
    assert len(logs.read("", limit=10_000).entries) == 4000
