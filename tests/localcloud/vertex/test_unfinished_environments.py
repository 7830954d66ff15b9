"""Jobs and tasks whose environment is being installed: cancelled, or left by a server that ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.cloud import aiplatform, storage
from kfp import dsl
from tests.conftest import LocalCloud
from tests.localcloud.slow import Slow, gone
from tests.localcloud.vertex.conftest import IMAGE
from tests.localcloud.vertex.pipelines.conftest import Run
from tests.localcloud.vertex.test_restart import PARENT, Rest


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    """The package of this test."""
    return Slow(tmp_path)


@pytest.fixture
def run(sdk: str, tmp_path: Path) -> Run:
    """Runs pipelines in the test's own project."""
    return Run(sdk, tmp_path)


def package_job(uri: str) -> dict[str, Any]:
    """The worker pool of a job that runs the package."""
    return {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "python_package_spec": {"executor_image_uri": IMAGE, "package_uris": [uri], "python_module": "slow"},
    }


def ended(resource: Any, seconds: float) -> str:
    """The state of a job or run that ends within so many seconds."""
    until = time.monotonic() + seconds
    while resource.state.name.rpartition("_")[2] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
        assert time.monotonic() < until, resource.state.name
        time.sleep(0.1)
    state: str = resource.state.name
    return state


def test_jobs_that_install_are_cancelled_at_once_and_share_what_they_install(
    sdk: str, project: str, slow: Slow
) -> None:
    storage.Client(project=project).bucket(sdk).blob("slow-1.tar.gz").upload_from_filename(slow.archived())
    pools = [package_job(f"gs://{sdk}/slow-1.tar.gz")]
    jobs = [aiplatform.CustomJob(display_name="slow", worker_pool_specs=pools) for _ in range(3)]
    jobs[0].submit()
    builders = slow.builders()
    for job in jobs[1:]:
        job.submit()
    jobs[1].cancel()
    assert ended(jobs[1], 5) == "JOB_STATE_CANCELLED"
    assert psutil.pid_exists(builders[0])
    jobs[0].cancel()
    assert ended(jobs[0], 5) == "JOB_STATE_CANCELLED"
    assert gone(builders)
    slow.builders(2)  # the third waited, and builds now
    slow.go()
    assert ended(jobs[2], 60) == "JOB_STATE_SUCCEEDED"


def test_a_pipeline_is_cancelled_while_its_components_install(run: Run, slow: Slow) -> None:
    with slow.index() as index:

        @dsl.component(
            base_image=IMAGE, install_kfp_package=False, packages_to_install=["slow"], pip_index_urls=[index]
        )
        def whole():  # type: ignore[no-untyped-def]  # KFP cannot read postponed annotations
            import slow  # noqa: F401

        @dsl.pipeline(name="slow")
        def pipeline():  # type: ignore[no-untyped-def]
            with dsl.ParallelFor([1, 2, 3]):
                whole()

        job = run.submit(pipeline)
        builders = slow.builders()
        job.cancel()
        assert ended(job, 8) == "PIPELINE_STATE_CANCELLED"
        assert gone(builders)
        assert len(slow.builders()) == 1
        left = {task.state.name for task in job.task_details if task.task_name == "whole"}
        assert left <= {"CANCELLED", "NOT_TRIGGERED"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_ends_takes_the_installer_with_it(own_cloud: LocalCloud, slow: Slow, end: str) -> None:
    with slow.index() as index:
        pip = f'python3 -m pip install --index-url {index} \'slow\' && "$0" "$@"'
        container = {"imageUri": IMAGE, "command": ["sh", "-c", pip, "python3", "-m", "slow"]}
        pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "containerSpec": container}
        body = {"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool]}}
        rest = Rest(own_cloud)
        job = rest("POST", f"{PARENT}/customJobs", body)
        builders = slow.builders()
        rest.close()
        begun = time.monotonic()
        getattr(own_cloud, end)()
        assert time.monotonic() - begun < 10
        assert gone(builders)
        own_cloud.start()
        rest = Rest(own_cloud)
        assert rest("GET", f"v1/{job['name']}")["state"] == "JOB_STATE_FAILED"
        slow.go()
        job = rest("POST", f"{PARENT}/customJobs", body)
        until = time.monotonic() + 60
        while (state := rest("GET", f"v1/{job['name']}")["state"]) in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
            assert time.monotonic() < until
            time.sleep(0.1)
        rest.close()
        assert state == "JOB_STATE_SUCCEEDED"
