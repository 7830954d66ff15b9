"""`gcloud ai`, where it is installed: custom jobs, models, endpoints, a prediction."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform
from tests.conftest import REGION, LocalCloud

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
