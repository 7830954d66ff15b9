"""Endpoints through Google's SDK: real replicas are deployed, asked, killed, scaled and undeployed."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud import aiplatform, aiplatform_v1
from tests.conftest import REGION
from tests.localcloud.vertex.conftest import SERVER

Upload = Callable[..., aiplatform.Model]
CLIENT_OPTIONS = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def endpoint(sdk: str) -> Iterator[aiplatform.Endpoint]:
    made = aiplatform.Endpoint.create(display_name="late-arrival")
    yield made
    made.delete(force=True)


def deploy(endpoint: aiplatform.Endpoint, model: aiplatform.Model, **more: Any) -> None:
    endpoint.deploy(model, machine_type="n1-standard-2", **more)


@pytest.fixture
def deployed(endpoint: aiplatform.Endpoint, upload: Upload) -> aiplatform.Endpoint:
    deploy(endpoint, upload(), traffic_percentage=100)
    return endpoint


def client() -> aiplatform_v1.EndpointServiceClient:
    return aiplatform_v1.EndpointServiceClient(client_options=CLIENT_OPTIONS)


def test_predict(deployed: aiplatform.Endpoint) -> None:
    instances = [[1, 2.5], {"carrier": "UA", "delay": None}, "text", True]
    answer = deployed.predict(instances, parameters={"threshold": 0.5})
    assert answer.predictions == instances
    assert answer.metadata == {"n": 1}
    model = deployed.list_models()[0]
    assert answer.deployed_model_id == model.id
    assert len(model.id) == 19
    assert answer.model_version_id == "1"
    assert answer.model_resource_name == model.model
    assert deployed.predict(instances, use_raw_predict=True).predictions == instances


def test_what_the_container_is_told(deployed: aiplatform.Endpoint, project: str) -> None:
    told = deployed.predict(["environment"]).predictions[0]
    deployed_id = deployed.list_models()[0].id
    expected = {
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_ENDPOINT_ID": deployed.name,
        "AIP_DEPLOYED_MODEL_ID": deployed_id,
        "AIP_MODEL_NAME": deployed.name,
        "AIP_VERSION_NAME": deployed_id,
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_MACHINE_TYPE": "n1-standard-2",
        "GOOGLE_CLOUD_PROJECT": project,
    }
    assert expected.items() <= told.items()
    assert told["AIP_STORAGE_URI"].startswith("gs://")
    assert "AIP_ACCELERATOR_TYPE" not in told


def test_raw_predict_passes_bodies_on(deployed: aiplatform.Endpoint) -> None:
    answer = deployed.raw_predict(b"a,b\n1,2\n", {"Content-Type": "text/csv"})
    assert answer.status_code == 200
    assert answer.content == b"text/csv:a,b\n1,2\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["X-Vertex-AI-Endpoint-Id"] == deployed.name
    assert answer.headers["X-Vertex-AI-Deployed-Model-Id"] == deployed.list_models()[0].id
    lines = list(deployed.stream_raw_predict(json.dumps({"instances": ["stream"]}).encode(), JSON))
    assert [line for line in lines if line] == [b"data: 0", b"data: 1", b"data: 2"]


def test_errors_of_the_container_are_passed_on(deployed: aiplatform.Endpoint) -> None:
    def refused(status: int) -> Any:
        deployed.predict(["refuse"], parameters={"status": status})

    for status, kind in (
        (400, exceptions.InvalidArgument),
        (422, exceptions.InvalidArgument),
        (429, exceptions.ResourceExhausted),
        (500, exceptions.InternalServerError),
        (503, exceptions.ServiceUnavailable),
    ):
        with pytest.raises(kind, match="no such feature"):
            refused(status)
    raw = deployed.raw_predict(json.dumps({"instances": ["refuse"], "parameters": {"status": 503}}).encode(), JSON)
    assert raw.status_code == 503
    assert json.loads(raw.content)["error"]["message"] == '{"error": "no such feature"}'
    with pytest.raises(exceptions.InternalServerError, match="not JSON"):
        deployed.predict(["nonsense"])
    with pytest.raises(exceptions.DeadlineExceeded):
        deployed.predict(["sleep"], parameters={"seconds": 3}, timeout=0.3)
    with pytest.raises(exceptions.InvalidArgument, match="payload size exceeds the limit"):
        deployed.predict(["x" * 1_600_000])
    with pytest.raises(exceptions.MethodNotImplemented, match="explain"):
        deployed.explain([[1]])


def test_a_replica_that_dies_is_started_again(deployed: aiplatform.Endpoint) -> None:
    first = pid(deployed)
    with pytest.raises(exceptions.ServiceUnavailable, match="went away"):
        deployed.predict(["die"])
    assert Retry(timeout=60, initial=0.1, maximum=0.5)(pid)(deployed) != first


def pid(endpoint: aiplatform.Endpoint) -> Any:
    return endpoint.predict(["pid"]).predictions[0]


def test_replicas_share_the_work_and_scale(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    deploy(endpoint, upload(), min_replica_count=2, max_replica_count=3, traffic_percentage=100)

    def pids() -> Counter[Any]:
        with ThreadPoolExecutor(8) as threads:
            found = threads.map(
                lambda _: (
                    endpoint.predict(["sleep"], parameters={"seconds": 0.2})
                    and endpoint.predict(["pid"]).predictions[0]
                ),
                range(24),
            )
            return Counter(found)

    assert len(pids()) == 2
    deployed = endpoint.list_models()[0]
    changed = aiplatform_v1.DeployedModel(
        id=deployed.id, dedicated_resources={"min_replica_count": 1, "max_replica_count": 1}
    )
    paths = ["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
    operation = client().mutate_deployed_model(
        endpoint=endpoint.resource_name, deployed_model=changed, update_mask={"paths": paths}
    )
    assert operation.result(timeout=60).deployed_model.dedicated_resources.min_replica_count == 1
    assert len(pids()) == 1
    with pytest.raises(exceptions.InvalidArgument, match="cannot be updated"):
        client().mutate_deployed_model(
            endpoint=endpoint.resource_name,
            deployed_model={"id": deployed.id, "model": "other"},
            update_mask={"paths": ["model"]},
        )


def test_traffic_is_split(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    deploy(endpoint, upload(display_name="one"), traffic_percentage=100)
    deploy(endpoint, upload(display_name="two"), traffic_percentage=50)
    one, two = (model.id for model in endpoint.list_models())
    assert endpoint.traffic_split == {one: 50, two: 50}
    asked = Counter(endpoint.predict([1]).deployed_model_id for _ in range(60))
    assert set(asked) == {one, two}
    endpoint.update(traffic_split={two: 100, one: 0})
    assert {endpoint.predict([1]).deployed_model_id for _ in range(10)} == {two}
    for split, problem in (
        ({one: 50, two: 40}, "sum to 100"),
        ({"77": 100}, "`77` is not the id"),
    ):
        with pytest.raises(exceptions.InvalidArgument, match=problem):
            endpoint.update(traffic_split=split)
    with pytest.raises(exceptions.FailedPrecondition, match="still gets 100 %"):
        client().undeploy_model(endpoint=endpoint.resource_name, deployed_model_id=two)
    endpoint.undeploy(two, traffic_split={one: 100})
    assert endpoint.predict([1]).deployed_model_id == one
    endpoint.undeploy(one)
    assert client().get_endpoint(name=endpoint.resource_name).traffic_split == {}
    with pytest.raises(exceptions.FailedPrecondition, match="no model that gets traffic"):
        endpoint.predict([1])


def test_what_is_deployed_cannot_be_deleted(deployed: aiplatform.Endpoint) -> None:
    model = aiplatform.Model(deployed.list_models()[0].model)
    assert [place.endpoint for place in model.gca_resource.deployed_models] == [deployed.resource_name]
    with pytest.raises(exceptions.FailedPrecondition, match="is deployed at the Endpoint"):
        model.delete()
    with pytest.raises(exceptions.FailedPrecondition, match=r"has deployed or being-deployed DeployedModel\(s\)"):
        client().delete_endpoint(name=deployed.resource_name)


def test_a_container_that_fails_at_start_tells_why(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    broken = upload(serving_container_command=["python3", "-c", "import no_such_module"])
    with pytest.raises(
        exceptions.FailedPrecondition, match=r"(?s)Model server exited unexpectedly.*No module named 'no_such_module'"
    ):
        deploy(endpoint, broken, traffic_percentage=100)
    never = upload(
        serving_container_command=["python3", "-c", "import time; time.sleep(600)"],
        serving_container_deployment_timeout=1,
    )
    with pytest.raises(exceptions.FailedPrecondition, match=r"never became ready"):
        deploy(endpoint, never, traffic_percentage=100)
    assert endpoint.list_models() == []


def test_a_container_may_have_its_port_fixed(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    code = SERVER.replace('int(os.environ["AIP_HTTP_PORT"])', str(port))
    deploy(endpoint, upload(serving_container_command=["python3", "-c", code]), traffic_percentage=100)
    assert endpoint.predict([1]).predictions == [1]


def test_a_deployment_can_be_cancelled(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    model = upload(serving_container_command=["python3", "-c", "import time; time.sleep(600)"])
    operation = client().deploy_model(
        endpoint=endpoint.resource_name,
        deployed_model={
            "model": model.resource_name,
            "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1},
        },
    )
    with pytest.raises(exceptions.FailedPrecondition, match="being-deployed"):
        client().delete_endpoint(name=endpoint.resource_name)
    operation.cancel()
    with pytest.raises(exceptions.Cancelled):
        operation.result(timeout=60)


def test_ids_filters_and_what_is_refused(sdk: str, project: str) -> None:
    parent = f"projects/{project}/locations/{REGION}"
    named = aiplatform.Endpoint.create(display_name="named", endpoint_id="late-arrival", labels={"team": "x"})
    assert named.name == "late-arrival"
    assert [each.name for each in aiplatform.Endpoint.list(filter="labels.team=x")] == ["late-arrival"]
    assert [each.name for each in aiplatform.Endpoint.list(filter="endpoint=late-arrival")] == ["late-arrival"]
    create = client().create_endpoint
    for arguments, kind, problem in (
        ({"endpoint_id": "Late"}, exceptions.InvalidArgument, "endpoint_id"),
        ({"endpoint_id": "late-arrival"}, exceptions.AlreadyExists, "late-arrival"),
    ):
        with pytest.raises(kind, match=problem):
            create(request={"parent": parent, "endpoint": {"display_name": "x"}, **arguments})
    named.delete()
    with pytest.raises(exceptions.NotFound, match="not found"):
        client().get_endpoint(name=named.resource_name)
    with pytest.raises(exceptions.NotFound, match="not found"):
        named.predict([1])


def test_dedicated_endpoint(upload: Upload, project: str) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="own", dedicated_endpoint_enabled=True)
    deploy(endpoint, upload(), traffic_percentage=100)
    host = endpoint.gca_resource.dedicated_endpoint_dns
    assert host.startswith(f"{endpoint.name}.{REGION}-")
    assert endpoint.predict([1]).predictions == [1]
    raw = endpoint.raw_predict(json.dumps({"instances": [2]}).encode(), JSON)
    assert raw.json()["predictions"] == [2]
    shared = f"https://{REGION}-aiplatform.googleapis.com/v1/{endpoint.resource_name}:rawPredict"
    refused = endpoint.authorized_session.post(shared, data=b'{"instances": [2]}', headers=JSON)
    assert refused.status_code == 400
    assert "dedicated" in refused.json()["error"]["message"]
    endpoint.delete(force=True)


def test_undeploying_ends_the_processes(endpoint: aiplatform.Endpoint, upload: Upload) -> None:
    deploy(endpoint, upload(), traffic_percentage=100)
    told = endpoint.predict(["environment"]).predictions[0]
    scratch = told["LOCALCLOUD_CONTAINER"]
    assert scratch.encode() in _environments()
    endpoint.undeploy_all()
    assert scratch.encode() not in _environments()


def _environments() -> bytes:
    """The environments of this user's processes."""
    found = b""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as file:
                    found += file.read()
            except OSError:
                continue
    return found
