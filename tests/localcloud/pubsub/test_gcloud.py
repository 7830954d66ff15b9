"""`gcloud pubsub`, where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from .conftest import eventually


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_publishes_pulls_and_seeks(cloud: Any, project: str) -> None:
    environment = cloud.environment(project)

    def gcloud(*arguments: str) -> Any:
        command = ["gcloud", "pubsub", *arguments, "--format=json", "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    gcloud("topics", "create", "events", "--labels=team=a")
    gcloud("subscriptions", "create", "worker", "--topic=events", "--retain-acked-messages", "--ack-deadline=30")
    (sent,) = gcloud("topics", "publish", "events", "--message=hello", "--attribute=lang=en")["messageIds"]
    (received,) = gcloud("subscriptions", "pull", "worker", "--auto-ack")
    assert received["message"]["messageId"] == sent
    assert received["message"]["attributes"] == {"lang": "en"}
    gcloud("snapshots", "create", "snap", "--subscription=worker")
    gcloud("subscriptions", "seek", "worker", "--time=2020-01-01T00:00:00Z")
    (again,) = eventually(lambda: gcloud("subscriptions", "pull", "worker"))
    assert again["message"]["messageId"] == sent
    described = gcloud("subscriptions", "update", "worker", "--ack-deadline=60")
    assert described["ackDeadlineSeconds"] == 60
    gcloud("topics", "delete", "events")
    (left,) = gcloud("subscriptions", "list")
    assert left["topic"] == "_deleted-topic_"
