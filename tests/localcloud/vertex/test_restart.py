"""What becomes of jobs and endpoints when the server is killed and started again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import httpx
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.conftest import SERVER

PARENT = f"v1/projects/p/locations/{REGION}"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
POOL = {
    "machineSpec": {"machineType": "n1-standard-4"},
    "replicaCount": 1,
    "containerSpec": {"imageUri": "python:3.11", "command": ["python3", "-c", "import time; time.sleep(600)"]},
}


class Rest:
    """Vertex AI's REST API of a local cloud, without Google's client: this process may be pointed at another."""

    def __init__(self, cloud: LocalCloud) -> None:
        token = (cloud.root / "access-token").read_text().strip()
        self._client = httpx.Client(
            base_url=cloud.url,
            headers={"host": f"{REGION}-aiplatform.googleapis.com", "authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        )

    def __call__(self, verb: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(verb, f"/{path}", json=body)
        return answer.json()

    def done(self, operation: Any) -> Any:
        """An operation's response."""
        while not operation.get("done"):
            time.sleep(0.05)
            operation = self("GET", f"v1/{operation['name']}")
        return operation["response"]

    def close(self) -> None:
        self._client.close()


def test_a_killed_server_comes_back(own_cloud: LocalCloud) -> None:
    rest = Rest(own_cloud)
    job = rest("POST", f"{PARENT}/customJobs", {"displayName": "j", "jobSpec": {"workerPoolSpecs": [POOL]}})
    while rest("GET", f"v1/{job['name']}")["state"] != "JOB_STATE_RUNNING":
        time.sleep(0.05)
    study = {
        "metrics": [{"metricId": "auc", "goal": "MAXIMIZE"}],
        "parameters": [{"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
    }
    tuning = rest(
        "POST",
        f"{PARENT}/hyperparameterTuningJobs",
        {
            "displayName": "t",
            "studySpec": study,
            "trialJobSpec": {"workerPoolSpecs": [POOL]},
            "maxTrialCount": 4,
            "parallelTrialCount": 1,
        },
    )
    while not rest("GET", f"v1/{tuning['name']}").get("trials"):
        time.sleep(0.05)
    training = rest(
        "POST",
        f"{PARENT}/trainingPipelines",
        {
            "displayName": "p",
            "trainingTaskDefinition": CUSTOM_TASK,
            "trainingTaskInputs": {"workerPoolSpecs": [POOL]},
        },
    )
    while "trainingTaskMetadata" not in rest("GET", f"v1/{training['name']}"):
        time.sleep(0.05)
    container = {
        "imageUri": "python:3.11",
        "command": ["python3", "-c", SERVER],
        "predictRoute": "/predict",
        "healthRoute": "/health",
    }
    model = rest.done(
        rest("POST", f"{PARENT}/models:upload", {"model": {"displayName": "m", "containerSpec": container}})
    )
    endpoint = rest.done(rest("POST", f"{PARENT}/endpoints", {"displayName": "e"}))
    deployment = {
        "deployedModel": {
            "model": model["model"],
            "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1},
        },
        "trafficSplit": {"0": 100},
    }
    rest.done(rest("POST", f"v1/{endpoint['name']}:deployModel", deployment))
    ask = {"instances": ["pid"]}
    before = rest("POST", f"v1/{endpoint['name']}:predict", ask)["predictions"]
    rest.close()

    own_cloud.kill()
    own_cloud.start()

    rest = Rest(own_cloud)
    failed = rest("GET", f"v1/{job['name']}")
    assert failed["state"] == "JOB_STATE_FAILED"
    assert "restarted" in failed["error"]["message"]
    tuned = rest("GET", f"v1/{tuning['name']}")
    assert tuned["state"] == "JOB_STATE_FAILED"
    assert "restarted" in tuned["error"]["message"]
    [trial] = tuned["trials"]
    assert (trial["state"], "restarted" in trial["infeasibleReason"]) == ("INFEASIBLE", True)
    assert rest("GET", f"v1/{trial['customJob']}")["state"] == "JOB_STATE_FAILED"
    trained = rest("GET", f"v1/{training['name']}")
    assert trained["state"] == "PIPELINE_STATE_FAILED"
    assert "restarted" in trained["error"]["message"]
    assert rest("GET", f"v1/{trained['trainingTaskMetadata']['backingCustomJob']}")["state"] == "JOB_STATE_FAILED"
    give_up = time.monotonic() + 60
    while "predictions" not in (answer := rest("POST", f"v1/{endpoint['name']}:predict", ask)):
        assert answer["error"]["status"] == "UNAVAILABLE", answer
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert answer["predictions"] != before
    assert rest("GET", f"{PARENT}/models")["models"][0]["name"] == model["model"]
    rest.close()

    own_cloud.stop()
    needle = json.dumps(str(own_cloud.root))[1:-1]
    processes = subprocess.run(["ps", "eww", "-e"], capture_output=True, text=True, check=True).stdout
    left = [line for line in processes.splitlines() if needle in line and str(sys.executable) not in line]
    assert not [line for line in left if "AIP_" in line or "CLOUD_ML" in line]
