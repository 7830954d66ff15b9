"""A server that is killed while a build runs: the build ends with it, in the open."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import LocalCloud

CREATE = """
import sys, time
from google.cloud.devtools import cloudbuild_v1
client = cloudbuild_v1.CloudBuildClient()
step = {"name": "python:3", "args": ["sh", "-c", "echo $$$$ > pid; sleep 600"]}
operation = client.create_build(project_id="p", build=cloudbuild_v1.Build(steps=[step]))
print(operation.metadata.build.id)
"""
GET = """
import sys
from google.cloud.devtools import cloudbuild_v1
build = cloudbuild_v1.CloudBuildClient().get_build(project_id="p", id=sys.argv[1])
print(build.status.name, build.status_detail)
"""


def run(cloud: LocalCloud, program: str, *arguments: str) -> str:
    """Runs a program of Google's client against a cloud."""
    command = [sys.executable, "-c", program, *arguments]
    env = {**cloud.environment("p"), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def written(path: Path) -> str:
    """A file's text, once it is there."""
    until = time.monotonic() + 60
    while not path.exists() or not path.read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    return path.read_text().strip()


def test_a_build_ends_with_its_server(own_cloud: LocalCloud) -> None:
    identifier = run(own_cloud, CREATE)
    process = psutil.Process(int(written(own_cloud.root / "build" / identifier / "workspace" / "pid")))
    own_cloud.kill()
    process.wait(30)
    own_cloud.start()
    assert run(own_cloud, GET, identifier).startswith("INTERNAL_ERROR the local cloud was restarted")
    assert not (own_cloud.root / "build").exists()
