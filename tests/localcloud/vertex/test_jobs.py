"""Custom jobs through Google's SDK: they run, fail, restart, time out and are cancelled as on Vertex AI."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1, logging_v2, storage
from google.protobuf.duration_pb2 import Duration
from tests.conftest import REGION

from localcloud.projects import number_of

IMAGE = "python:3.11"
Client = aiplatform_v1.JobServiceClient
OVER = ("SUCCEEDED", "FAILED", "CANCELLED")


@pytest.fixture
def client(sdk: str) -> Client:
    return Client(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


def pool(code: str, count: int = 1, **container: Any) -> dict[str, Any]:
    return {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": count,
        "container_spec": {"image_uri": IMAGE, "command": ["python3", "-c", code], **container},
    }


@pytest.fixture
def create(client: Client, project: str, sdk: str) -> Callable[..., Any]:
    def submit(*pools: dict[str, Any], **spec: Any) -> Any:
        spec = {"base_output_directory": {"output_uri_prefix": f"gs://{sdk}/out"}, **spec}
        return client.create_custom_job(
            parent=f"projects/{project}/locations/{REGION}",
            custom_job={"display_name": "job", "job_spec": {"worker_pool_specs": pools, **spec}},
        )

    return submit


def until(client: Client, name: str, *states: str) -> Any:
    """The job once it is in one of these states."""
    give_up = time.monotonic() + 120
    while (job := client.get_custom_job(name=name)).state.name.removeprefix("JOB_STATE_") not in states:
        assert time.monotonic() < give_up, job
        time.sleep(0.05)
    return job


def test_the_sdk_runs_a_job(sdk: str, project: str) -> None:
    job = aiplatform.CustomJob(
        display_name="train",
        worker_pool_specs=[
            pool(
                "import json, os, sys\n"
                "from pathlib import Path\n"
                "out = Path(os.environ['AIP_MODEL_DIR'].replace('gs://', '/gcs/'))\n"
                "out.mkdir(parents=True)\n"
                "(out / 'env.json').write_text(json.dumps({**os.environ, 'argv': sys.argv[1:]}))\n",
                args=["--epochs", "3"],
                env=[{"name": "OWN", "value": "value"}],
            )
        ],
        base_output_dir=f"gs://{sdk}/out",
        labels={"team": "delays"},
    )
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.resource_name.startswith(f"projects/{number_of(project)}/locations/{REGION}/customJobs/")
    assert job.end_time >= job.start_time >= job.create_time
    seen = json.loads(storage.Client(project=project).bucket(sdk).blob("out/model/env.json").download_as_bytes())
    assert seen["argv"] == ["--epochs", "3"]
    assert seen["OWN"] == "value"
    assert seen["CLOUD_ML_JOB_ID"] == job.name
    assert seen["CLOUD_ML_PROJECT_ID"] == number_of(project)
    assert seen["GOOGLE_CLOUD_PROJECT"] == project
    assert "CLUSTER_SPEC" in seen
    assert "TF_CONFIG" not in seen
    found = aiplatform.CustomJob.list(filter='labels.team=delays AND state="JOB_STATE_SUCCEEDED"')
    assert [each.name for each in found] == [job.name]
    job.delete()
    with pytest.raises(NotFound, match="CustomJob"):
        aiplatform.CustomJob.get(job.resource_name)


def test_a_python_package_is_installed_and_run(sdk: str, project: str, tmp_path: Path) -> None:
    package = tmp_path / "trainer-0.1"
    (package / "trainer").mkdir(parents=True)
    (package / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='trainer', version='0.1', packages=['trainer'])"
    )
    (package / "trainer" / "__init__.py").write_text("")
    (package / "trainer" / "task.py").write_text(
        "import os, sys\nfrom pathlib import Path\n"
        "out = Path(os.environ['AIP_MODEL_DIR'].replace('gs://', '/gcs/'))\n"
        "out.mkdir(parents=True)\n(out / 'said').write_text(' '.join(sys.argv[1:]))\n"
    )
    archive = tmp_path / "trainer-0.1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(package, arcname="trainer-0.1")
    bucket = storage.Client(project=project).bucket(sdk)
    bucket.blob("pkg/trainer-0.1.tar.gz").upload_from_filename(archive)
    job = aiplatform.CustomJob(
        display_name="package",
        worker_pool_specs=[
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "python_package_spec": {
                    "executor_image_uri": IMAGE,
                    "package_uris": [f"gs://{sdk}/pkg/trainer-0.1.tar.gz"],
                    "python_module": "trainer.task",
                    "args": ["--rate", "0.1"],
                },
            }
        ],
        base_output_dir=f"gs://{sdk}/package",
    )
    job.run()
    assert bucket.blob("package/model/said").download_as_bytes() == b"--rate 0.1"


def test_replicas_reach_one_another(create: Callable[..., Any], client: Client) -> None:
    code = (
        "import json, os, socket, time\n"
        "spec = json.loads(os.environ['CLUSTER_SPEC'])\n"
        "hosts = spec['cluster']['workerpool1']\n"
        "def address(text):\n"
        "    host, port = text.split(':')\n"
        "    return host, int(port)\n"
    )
    chief = code + (
        "for host in hosts:\n"
        "    for attempt in range(600):\n"
        "        try:\n"
        "            found = socket.create_connection(address(host)).recv(10)\n"
        "            break\n"
        "        except OSError:\n"
        "            time.sleep(0.05)\n"
        "    assert found == b'hello'\n"
    )
    worker = code + (
        "server = socket.create_server(address(hosts[spec['task']['index']]))\n"
        "server.accept()[0].sendall(b'hello')\n"
        "time.sleep(600)\n"
    )
    job = create(pool(chief), pool(worker, 2))
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_SUCCEEDED", ended.error


def test_a_trainer_that_raises_tells_where(create: Callable[..., Any], client: Client) -> None:
    job = create(pool("print('so far so good')\nraise ValueError('bad data')"))
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_FAILED"
    assert ended.error.code == 3
    number = job.name.rsplit("/", 1)[1]
    for part in (
        "The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error.",
        "Traceback (most recent call last):",
        "ValueError: bad data",
        f"resource.labels.job_id%3D%22{number}%22",
    ):
        assert part in ended.error.message


def test_what_a_job_prints_is_in_cloud_logging(create: Callable[..., Any], client: Client, project: str) -> None:
    job = create(pool("import json; print('plain'); print(json.dumps({'message': 'structured', 'auc': 0.7}))"))
    until(client, job.name, *OVER)
    number = job.name.rsplit("/", 1)[1]
    query = f'resource.type="ml_job" AND resource.labels.job_id="{number}"'
    entries = list(logging_v2.Client(project=project).list_entries(filter_=query))
    assert [entry.payload for entry in entries[:1]] == ["plain"]
    assert entries[1].payload["auc"] == 0.7
    assert entries[0].log_name == f"projects/{project}/logs/workerpool0-0"
    assert entries[0].resource.labels["task_name"] == "workerpool0-0"


def test_a_job_out_of_memory_says_so(create: Callable[..., Any], client: Client) -> None:
    hungry = pool("import time; held = bytearray(b'x') * 1_200_000_000; time.sleep(60)")
    hungry["machine_spec"]["machine_type"] = "e2-highcpu-1"
    ended = until(client, create(hungry).name, *OVER)
    assert ended.state.name == "JOB_STATE_FAILED"
    assert "The replica workerpool0-0 ran out of memory and exited with a non-zero status" in ended.error.message


def test_what_cannot_start_fails_the_job(create: Callable[..., Any], client: Client) -> None:
    job = create(pool("", command=["/no/such/command"]))
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_FAILED"
    assert "status of 128. Termination reason: StartError" in ended.error.message
    job = create(pool("", image_uri="us-docker.pkg.dev/nobody/has/this:1"))
    ended = until(client, job.name, *OVER)
    assert ended.error.code == 5
    assert "us-docker.pkg.dev/nobody/has/this:1" in ended.error.message


def test_a_worker_that_fails_ends_the_job(create: Callable[..., Any], client: Client) -> None:
    job = create(pool("import time; time.sleep(600)"), pool("import sys; sys.exit(4)"))
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_FAILED"
    assert "workerpool1-0 exited with a non-zero status of 4" in ended.error.message


def test_transient_exits_are_tried_again(create: Callable[..., Any], client: Client, sdk: str) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        f"marks = Path('/gcs/{sdk}')\n"
        "tried = len(list(marks.glob('try-*')))\n"
        "(marks / f'try-{tried}').write_text('x')\n"
        "sys.exit(0 if tried == 1 else 134)\n"
    )
    ended = until(client, create(pool(code)).name, *OVER)
    assert ended.state.name == "JOB_STATE_SUCCEEDED", ended.error
    ended = until(client, create(pool("import sys; sys.exit(134)"), scheduling={"disable_retries": True}).name, *OVER)
    assert "non-zero status of 134" in ended.error.message


def test_a_replica_that_was_killed_is_started_again(create: Callable[..., Any], client: Client, sdk: str) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\n"
        f"mark = Path('/gcs/{sdk}/killed')\n"
        "if not mark.exists():\n"
        "    mark.write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = until(client, create(pool(code)).name, *OVER)
    assert ended.state.name == "JOB_STATE_SUCCEEDED", ended.error


def test_the_whole_job_restarts_with_a_worker_where_asked(create: Callable[..., Any], client: Client, sdk: str) -> None:
    common = f"import os, signal, time\nfrom pathlib import Path\nmarks = Path('/gcs/{sdk}')\n"
    chief = common + (
        "if not (marks / 'began').exists():\n    (marks / 'began').write_text('x')\n    time.sleep(600)\n"
    )
    worker = common + (
        "while not (marks / 'began').exists():\n"
        "    time.sleep(0.02)\n"
        "if not (marks / 'killed').exists():\n"
        "    (marks / 'killed').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(600)\n"
    )
    job = create(pool(chief), pool(worker), scheduling={"restart_job_on_worker_restart": True})
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_SUCCEEDED", ended.error


def test_cancel_and_timeout(create: Callable[..., Any], client: Client) -> None:
    job = create(pool("import time; time.sleep(600)"))
    until(client, job.name, "RUNNING")
    with pytest.raises(FailedPrecondition, match="cancel it before"):
        client.delete_custom_job(name=job.name)
    client.cancel_custom_job(name=job.name)
    assert client.get_custom_job(name=job.name).state.name in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_CANCELLED"
    assert ended.error.code == 1
    client.cancel_custom_job(name=job.name)
    job = create(pool("import time; time.sleep(600)"), scheduling={"timeout": Duration(seconds=1)})
    ended = until(client, job.name, *OVER)
    assert ended.state.name == "JOB_STATE_FAILED"
    assert "timeout of 1 seconds" in ended.error.message


def test_wrong_requests_name_the_field(client: Client, project: str) -> None:
    parent = f"projects/{project}/locations/{REGION}"
    with pytest.raises(InvalidArgument, match=r"custom_job\.display_name"):
        client.create_custom_job(parent=parent, custom_job={"job_spec": {"worker_pool_specs": [pool("")]}})
    with pytest.raises(InvalidArgument, match=r"Invalid filter.*column 7"):
        client.list_custom_jobs(request={"parent": parent, "filter": "state=("})


def test_v1beta1_is_the_same_service(create: Callable[..., Any], client: Client) -> None:
    job = create(pool("pass"))
    until(client, job.name, *OVER)
    beta = aiplatform_v1beta1.JobServiceClient(
        client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}, transport="rest"
    )
    assert beta.get_custom_job(name=job.name).display_name == "job"
    beta.delete_custom_job(name=job.name).result()
