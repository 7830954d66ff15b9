"""`gcloud ai`, where it is installed: custom jobs, models, endpoints, a prediction; pipelines by curl."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.pipelines import components as c
from tests.localcloud.vertex.pipelines.conftest import compiled

from .conftest import IMAGE


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_ai(
    cloud: LocalCloud, sdk: str, project: str, upload: Callable[..., aiplatform.Model], tmp_path: Path
) -> None:
    environment = cloud.environment(project)

    def gcloud(*arguments: str, output: str = "json") -> Any:
        command = ["gcloud", "ai", *arguments, f"--region={REGION}", f"--format={output}", "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null") if output == "json" else done.stdout

    spec = {"containerSpec": {"imageUri": IMAGE, "command": ["python", "-c", "print(1)"]}, "replicaCount": 1}
    spec["machineSpec"] = {"machineType": "n1-standard-4"}
    (tmp_path / "job.json").write_text(json.dumps({"workerPoolSpecs": [spec]}))
    job = gcloud("custom-jobs", "create", "--display-name=by-gcloud", f"--config={tmp_path / 'job.json'}")
    assert gcloud("custom-jobs", "describe", job["name"])["displayName"] == "by-gcloud"
    assert [found["name"] for found in gcloud("custom-jobs", "list", "--filter=displayName=by-gcloud")] == [job["name"]]

    model = upload()
    assert [found["displayName"] for found in gcloud("models", "list")] == [model.display_name]
    endpoint = model.deploy(machine_type="n1-standard-2")
    try:
        [listed] = gcloud("endpoints", "list")
        assert listed["name"] == endpoint.resource_name
        assert gcloud("endpoints", "describe", endpoint.name)["deployedModels"][0]["model"] == model.resource_name
        request = tmp_path / "request.json"
        request.write_text('{"instances": [[1, 2], [3, 4]]}')
        answer = gcloud("endpoints", "predict", endpoint.name, f"--json-request={request}")
        assert answer["predictions"] == [[1, 2], [3, 4]]
    finally:
        endpoint.delete(force=True)


@pytest.mark.skipif(
    shutil.which("gcloud") is None or shutil.which("curl") is None, reason="gcloud or curl is not installed"
)
def test_a_pipeline_by_curl_with_gclouds_token(cloud: LocalCloud, sdk: str, project: str, tmp_path: Path) -> None:
    body = {
        "displayName": "by curl",
        "pipelineSpec": compiled(c.shout),
        "runtimeConfig": {"gcsOutputDirectory": f"gs://{sdk}/root", "parameterValues": {"text": "curl"}},
    }
    (tmp_path / "run.json").write_text(json.dumps(body))
    jobs = f"https://{REGION}-aiplatform.googleapis.com/v1/projects/{project}/locations/{REGION}/pipelineJobs"
    token = '-H "Authorization: Bearer $(gcloud auth print-access-token)"'

    def shell(command: str) -> Any:
        done = subprocess.run(
            ["sh", "-c", command],
            env=cloud.environment(project),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    job = shell(
        f"curl -sS --fail-with-body {token} -H 'Content-Type: application/json' -d @run.json "
        f"'{jobs}?pipelineJobId=hello'"
    )
    until = time.monotonic() + 60
    while job["state"] in ("PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING"):
        assert time.monotonic() < until
        job = shell(f"curl -sS --fail-with-body {token} '{jobs}/hello'")
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert [task["taskName"] for task in job["jobDetail"]["taskDetails"]].count("shout") == 1
