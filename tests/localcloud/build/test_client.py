"""Cloud Build through Google's own client: images and steps, values, failures, cancelling, logs."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, MethodNotImplemented, NotFound
from google.cloud import storage
from google.cloud.devtools import cloudbuild_v1
from google.cloud.devtools.cloudbuild_v1.types import Build
from google.cloud.logging_v2 import Client as Logging
from tests.localcloud.slow import Slow, gone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import LocalCloud

DOCKER = "gcr.io/cloud-builders/docker"
PYTHON = "python:3.11-slim"


@pytest.fixture
def client(cloud: LocalCloud) -> Any:
    """Google's client."""
    return cloudbuild_v1.CloudBuildClient()


@pytest.fixture
def bucket(cloud: LocalCloud, project: str) -> Any:
    """A bucket of this test's project."""
    client = storage.Client(project=project)
    yield client.create_bucket(f"{project}-source")
    client.close()


def archive(files: dict[str, str]) -> bytes:
    """A .tar.gz of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def run(client: Any, project: str, **fields: Any) -> Any:
    """Runs a build to its end, whichever that is."""
    operation = client.create_build(project_id=project, build=Build(**fields))
    try:
        return operation.result(timeout=120)
    except GoogleAPICallError:
        return client.get_build(project_id=project, id=operation.metadata.build.id)


def log_of(project: str, build: Any) -> list[str]:
    """The lines of a build in Cloud Logging."""
    client = Logging(project=project)
    wanted = f'resource.type="build" AND resource.labels.build_id="{build.id}"'
    lines = [entry.payload for entry in client.list_entries(filter_=wanted)]
    client.close()
    return lines


def seconds(timestamp: Any) -> float:
    """A moment that can be compared, whichever type the client gives it."""
    return float(timestamp.timestamp() if hasattr(timestamp, "timestamp") else timestamp.ToNanoseconds() / 1e9)


def test_source_image_and_a_container_of_it(client: Any, project: str, bucket: Any) -> None:
    source = {
        "Dockerfile": "FROM python:3.11-slim\nARG COLOUR\nENV COLOUR=$COLOUR\nWORKDIR /app\nCOPY app.py .\n"
        'ENTRYPOINT ["python", "/app/app.py"]\n',
        "app.py": "import os, sys\nprint(os.environ['COLOUR'], sys.argv[1:], os.getcwd())\n"
        "open('made.txt', 'w').write('m')\n",
    }
    bucket.blob("source.tar.gz").upload_from_string(archive(source))
    image = f"us-docker.pkg.dev/{project}/images/app"
    build = run(
        client,
        project,
        source={"storage_source": {"bucket": bucket.name, "object_": "source.tar.gz"}},
        steps=[
            {
                "name": DOCKER,
                "id": "image",
                "args": [
                    "build",
                    "-t",
                    "us-docker.pkg.dev/$PROJECT_ID/images/app:$_TAG",
                    "--build-arg=COLOUR=blue",
                    ".",
                ],
            },
            {"name": DOCKER, "args": ["tag", f"{image}:${{_TAG}}", f"{image}:latest"]},
            {"name": DOCKER, "args": ["push", "--all-tags", image]},
            {"name": f"{image}:$_TAG", "args": ["$BUILD_ID", "$$HOME"], "dir_": "sub"},
            {"name": PYTHON, "script": "cat sub/made.txt && echo $OWN > /workspace/out.txt", "env": ["OWN=mine"]},
        ],
        images=[f"{image}:$_TAG", f"{image}:latest"],
        artifacts={"objects": {"location": f"gs://{bucket.name}/out", "paths": ["*.txt", "sub/*.txt"]}},
        substitutions={"_TAG": "v7"},
        logs_bucket=f"gs://{bucket.name}",
        tags=["one"],
    )
    assert build.status == Build.Status.SUCCESS, build.status_detail
    assert [step.status for step in build.steps] == [Build.Status.SUCCESS] * 5
    assert {pushed.name for pushed in build.results.images} == {f"{image}:v7", f"{image}:latest"}
    assert len({pushed.digest for pushed in build.results.images}) == 1
    assert build.substitutions["PROJECT_ID"] == project
    assert set(build.timing) == {"FETCHSOURCE", "BUILD", "PUSH"}
    assert seconds(build.steps[0].timing.end_time) >= seconds(build.steps[0].timing.start_time)
    assert seconds(build.start_time) <= seconds(build.finish_time)
    lines = log_of(project, build)
    assert 'Step #0 - "image": Step 2/6 : ARG COLOUR' in lines
    assert f"Step #3: blue ['{build.id}', '$HOME'] /workspace/sub" in lines
    assert "Step #4: m" in "".join(lines[-12:])
    assert lines[-1] == "DONE"
    assert bucket.blob(f"log-{build.id}.txt").download_as_text().splitlines() == lines
    assert bucket.blob("out/out.txt").download_as_text() == "mine\n"
    assert bucket.blob("out/made.txt").download_as_text() == "m"
    assert [found.id for found in client.list_builds(project_id=project, filter='tags="one"')] == [build.id]
    assert client.get_build(name=f"projects/{project}/locations/global/builds/{build.id}").id == build.id


def test_a_zip_and_a_region(client: Any, project: str, bucket: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("deep/file.txt", "zipped")
    bucket.blob("s.zip").upload_from_string(buffer.getvalue())
    operation = client.create_build(
        request={
            "parent": f"projects/{project}/locations/europe-west1",
            "build": Build(
                source={"storage_source": {"bucket": bucket.name, "object_": "s.zip"}},
                steps=[{"name": PYTHON, "entrypoint": "cat", "args": ["deep/file.txt"]}],
            ),
        }
    )
    build = operation.result(timeout=60)
    assert "/locations/europe-west1/builds/" in build.name
    assert "Step #0: zipped" in log_of(project, build)


def test_steps_wait_for_each_other(client: Any, project: str) -> None:
    meet = "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\nend = time.time() + 30\n"
    meet += "while not pathlib.Path(sys.argv[2]).exists():\n    assert time.time() < end\n    time.sleep(0.02)"
    steps = [
        {"name": PYTHON, "id": "a", "wait_for": ["-"], "args": ["python", "-c", meet, "a", "b"]},
        {"name": PYTHON, "id": "b", "wait_for": ["-"], "args": ["python", "-c", meet, "b", "a"]},
        {"name": PYTHON, "id": "c", "wait_for": ["a", "b"], "args": ["ls"]},
    ]
    build = run(client, project, steps=steps)
    assert build.status == Build.Status.SUCCESS, build.status_detail
    ends = [seconds(step.timing.end_time) for step in build.steps[:2]]
    assert seconds(build.steps[2].timing.start_time) >= max(ends)


def test_a_step_that_fails_ends_the_build(client: Any, project: str) -> None:
    build = run(
        client,
        project,
        steps=[
            {"name": PYTHON, "entrypoint": "sh", "args": ["-c", "exit 4"], "allow_failure": True},
            {"name": PYTHON, "entrypoint": "sh", "args": ["-c", "echo sorry; exit 3"]},
            {"name": PYTHON, "args": ["never"]},
        ],
    )
    assert build.status == Build.Status.FAILURE
    assert "build step 1" in build.status_detail
    assert "non-zero status: 3" in build.status_detail
    assert [step.exit_code for step in build.steps] == [4, 3, 0]
    assert build.steps[2].status == Build.Status.STATUS_UNKNOWN
    assert log_of(project, build)[-2:] == ["ERROR", f"ERROR: {build.status_detail}"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"name": "gcr.io/cloud-builders/mvn", "args": ["x"]},
            "gcr.io/cloud-builders/mvn is no image of the local registry",
        ),
        ({"name": DOCKER, "args": ["compose", "up"]}, "`docker compose` is not done"),
        ({"name": DOCKER, "args": ["build", "-t", "x", "--squash-all", "."]}, "--squash-all: this option"),
        ({"name": DOCKER, "args": ["build", "-t", "x", "../.."]}, "lies outside /workspace"),
        ({"name": DOCKER, "args": ["push", "local/never-built"]}, "non-zero status: 1"),
        ({"name": DOCKER, "args": ["build", "-t", "x", "."]}, "non-zero status: 1"),
        ({"name": PYTHON, "args": ["no-such-command"]}, "No such command: no-such-command"),
        ({"name": PYTHON, "args": ["sleep", "60"], "timeout": {"seconds": 1}}, "step timed out after 1 s"),
    ],
)
def test_what_cannot_be_done_is_named(client: Any, project: str, step: dict[str, Any], message: str) -> None:
    build = run(client, project, steps=[step])
    assert build.status in (Build.Status.FAILURE, Build.Status.TIMEOUT)
    assert message in build.status_detail


def test_missing_images_fail_the_build(client: Any, project: str) -> None:
    build = run(client, project, steps=[{"name": PYTHON, "args": ["true"]}], images=["local/nothing"])
    assert build.status == Build.Status.FAILURE
    assert "failed to find one or more images" in build.status_detail


def test_a_build_times_out(client: Any, project: str) -> None:
    build = run(client, project, steps=[{"name": PYTHON, "args": ["sleep", "60"]}], timeout={"seconds": 1})
    assert build.status == Build.Status.TIMEOUT
    assert build.steps[0].status == Build.Status.CANCELLED


def test_cancel_and_retry(client: Any, project: str) -> None:
    steps = [{"name": PYTHON, "entrypoint": "sh", "args": ["-c", "echo begun; test -e $$HOME/x || sleep 60"]}]
    operation = client.create_build(project_id=project, build=Build(steps=steps))
    identifier = operation.metadata.build.id
    until = time.monotonic() + 60
    while client.get_build(project_id=project, id=identifier).steps[0].status != Build.Status.WORKING:
        assert time.monotonic() < until
        time.sleep(0.05)
    build = client.cancel_build(project_id=project, id=identifier)
    assert build.status == Build.Status.CANCELLED
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        operation.result(timeout=30)
    retried = client.retry_build(project_id=project, id=identifier)
    assert retried.metadata.build.id != identifier
    assert retried.metadata.build.steps[0].args == build.steps[0].args
    client.cancel_build(project_id=project, id=retried.metadata.build.id)


@pytest.mark.parametrize("end", ["CANCELLED", "TIMEOUT"])
def test_an_image_that_is_being_built_is_given_up(
    client: Any, project: str, bucket: Any, tmp_path: Path, end: str
) -> None:
    slow = Slow(tmp_path)
    files = {path.name: path.read_text() for path in slow.package.iterdir()}
    bucket.blob("source.tar.gz").upload_from_string(
        archive({**files, "Dockerfile": "FROM python:3.11\nCOPY . /slow\nRUN pip install /slow\n"})
    )
    build = Build(
        source={"storage_source": {"bucket": bucket.name, "object_": "source.tar.gz"}},
        steps=[{"name": DOCKER, "args": ["build", "-t", "local/slow", "."]}],
        timeout={"seconds": 4 if end == "TIMEOUT" else 60},
    )
    operation = client.create_build(project_id=project, build=build)
    builders = slow.builders()
    if end == "CANCELLED":
        client.cancel_build(project_id=project, id=operation.metadata.build.id)
    with pytest.raises(GoogleAPICallError):
        operation.result(timeout=20)
    assert gone(builders)
    ended = client.get_build(project_id=project, id=operation.metadata.build.id)
    assert (ended.status.name, ended.steps[0].status.name) == (end, "CANCELLED")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({}, "build.steps"),
        ({"steps": [{"name": PYTHON, "args": ["$_MISSING"]}]}, "'_MISSING' is not matched"),
        ({"steps": [{"name": PYTHON, "args": ["$HOME"]}]}, "'HOME' is not a valid"),
        ({"steps": [{"name": PYTHON}], "substitutions": {"_UNUSED": "1"}}, "'_UNUSED' is not matched in the template"),
        ({"steps": [{"name": PYTHON, "wait_for": ["later"]}]}, "waits for 'later'"),
        ({"steps": [{"name": PYTHON, "script": "x", "args": ["y"]}]}, "script excludes"),
    ],
)
def test_wrong_builds_are_refused(client: Any, project: str, build: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        client.create_build(project_id=project, build=Build(**build))


def test_what_is_not_served_says_so(client: Any, project: str) -> None:
    with pytest.raises(MethodNotImplemented, match="repo_source"):
        client.create_build(
            project_id=project,
            build=Build(steps=[{"name": PYTHON}], source={"repo_source": {"repo_name": "r"}}),
        )
    with pytest.raises(NotFound):
        client.get_build(project_id=project, id="none")


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud")
def test_gcloud_submits(cloud: LocalCloud, project: str, bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "cloudbuild.yaml").write_text(
        f"steps:\n- name: {DOCKER}\n  args: [build, -t, 'local/$PROJECT_ID:1', .]\nimages: ['local/$PROJECT_ID:1']\n"
    )
    (tmp_path / "Dockerfile").write_text("FROM python:3.11-slim\nCOPY . /app\n")
    command = ["gcloud", "builds", "submit", str(tmp_path), f"--project={project}", "--format=json"]
    command += [f"--config={tmp_path}/cloudbuild.yaml", f"--gcs-source-staging-dir=gs://{bucket.name}/source"]
    command += [f"--gcs-log-dir=gs://{bucket.name}/logs"]
    done = subprocess.run(
        command,
        env={**cloud.environment(project), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{\n") :])["status"] == "SUCCESS"
