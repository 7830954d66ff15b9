"""Private endpoints through Google's SDK: peered with a network, and with Private Service Connect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1
from google.cloud.aiplatform.compat.types import service_networking
from tests.conftest import REGION, LocalCloud
from tests.localcloud.vertex.conftest import SERVER
from tests.localcloud.vertex.test_restart import PARENT, Rest
from urllib3.exceptions import InsecureRequestWarning

Upload = Callable[..., aiplatform.Model]
JSON = {"Content-Type": "application/json"}
NETWORK = "projects/123456789012/global/networks/default"
BODY = json.dumps({"instances": [2]}).encode()


@pytest.fixture
def peered(sdk: str) -> Iterator[aiplatform.PrivateEndpoint]:
    made = aiplatform.PrivateEndpoint.create(display_name="peered", network=NETWORK)
    yield made
    made.delete(force=True)


@pytest.fixture
def connected(sdk: str, project: str) -> Iterator[aiplatform.PrivateEndpoint]:
    config = service_networking.PrivateServiceConnectConfig(
        enable_private_service_connect=True, project_allowlist=[project]
    )
    made = aiplatform.PrivateEndpoint.create(display_name="connected", private_service_connect_config=config)
    yield made
    made.delete(force=True)


def deploy(endpoint: aiplatform.PrivateEndpoint, model: aiplatform.Model, **more: Any) -> str:
    """The id of the deployed model."""
    known = {deployed.id for deployed in endpoint.list_models()}
    endpoint.deploy(model, machine_type="n1-standard-2", **more)
    (new,) = {deployed.id for deployed in endpoint.list_models()} - known
    return str(new)


def client() -> aiplatform_v1.EndpointServiceClient:
    return aiplatform_v1.EndpointServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


def dns(endpoint: aiplatform.PrivateEndpoint) -> str:
    number = endpoint.gca_resource.name.split("/")[1]
    return f"{endpoint.name}-{REGION}-{number}.prediction.p.vertexai.goog"


def test_a_peered_endpoint_has_one_model(peered: aiplatform.PrivateEndpoint, upload: Upload) -> None:
    model = upload()
    deployed = deploy(peered, model)
    assert peered.health_check()
    answer = peered.predict([1, {"carrier": "UA"}], parameters={"threshold": 0.5})
    assert (answer.predictions, answer.metadata) == ([1, {"carrier": "UA"}], {"n": 1})
    assert answer.deployed_model_id == deployed
    raw = peered.raw_predict(b"a,b\n1,2\n", {"Content-Type": "text/csv"})
    assert (raw.status, raw.data) == (200, b"text/csv:a,b\n1,2\n")
    with pytest.raises(RuntimeError, match="503 - Failed to make request.*no such feature"):
        peered.predict(["refuse"], parameters={"status": 503})
    with pytest.raises(RuntimeError, match="400 - .*payload size exceeds the limit: 10000000"):
        peered.predict(["x" * 10_000_001])
    with pytest.raises(ValueError, match="does not support streaming"):
        list(peered.stream_raw_predict(BODY, JSON, endpoint_override="10.0.0.1"))

    assert client().get_endpoint(name=peered.resource_name).traffic_split == {}
    resources = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    for split, kind, problem in (
        ({}, exceptions.FailedPrecondition, "supports one DeployedModel only"),
        ({"0": 100}, exceptions.FailedPrecondition, "supports one DeployedModel only"),
    ):
        with pytest.raises(kind, match=problem):
            client().deploy_model(
                endpoint=peered.resource_name,
                deployed_model={"model": model.resource_name, "dedicated_resources": resources},
                traffic_split=split,
            )
    with pytest.raises(exceptions.InvalidArgument, match="Traffic split is not supported"):
        client().update_endpoint(
            endpoint={"name": peered.resource_name, "traffic_split": {deployed: 100}},
            update_mask={"paths": ["traffic_split"]},
        )
    with pytest.raises(exceptions.InvalidArgument, match="Traffic split is not supported"):
        client().undeploy_model(
            endpoint=peered.resource_name, deployed_model_id=deployed, traffic_split={deployed: 100}
        )

    gone = peered.predict_http_uri
    peered.undeploy(deployed)
    assert peered.list_models() == []
    assert requests.post(gone, data=BODY, headers=JSON, timeout=10).status_code == 404
    with pytest.raises(exceptions.InvalidArgument, match="Traffic split is not supported"):
        client().deploy_model(
            endpoint=peered.resource_name,
            deployed_model={"model": model.resource_name, "dedicated_resources": resources},
            traffic_split={"0": 100},
        )
    assert deploy(peered, upload(display_name="next")) != deployed
    assert peered.predict([3]).predictions == [3]


def test_the_addresses_of_a_peered_endpoint(
    cloud: LocalCloud, peered: aiplatform.PrivateEndpoint, upload: Upload
) -> None:
    deployed = deploy(peered, upload())
    (told,) = client().get_endpoint(name=peered.resource_name).deployed_models
    base = f"{cloud.url}/peered/{peered.gca_resource.name}/v1/models/{deployed}"
    uris = told.private_endpoints
    assert (uris.predict_http_uri, uris.health_http_uri, uris.explain_http_uri) == (f"{base}:predict", base, "")
    assert requests.get(base, timeout=10).status_code == 200
    for method, url in (
        ("GET", f"{base}:predict"),
        ("POST", base),
        ("GET", f"{base}1"),
        ("GET", f"{cloud.url}/peered/x"),
    ):
        assert requests.request(method, url, timeout=10).status_code == 404


def test_a_peered_endpoint_is_not_public(peered: aiplatform.PrivateEndpoint, upload: Upload) -> None:
    deploy(peered, upload())
    public = aiplatform.Endpoint(peered.resource_name)
    with pytest.raises(exceptions.FailedPrecondition, match="peered with a network: it is not accessible here"):
        public.predict([1])
    raw = public.raw_predict(BODY, JSON)
    assert raw.status_code == 400
    assert "not accessible here" in raw.json()["error"]["message"]


def test_an_endpoint_with_private_service_connect(connected: aiplatform.PrivateEndpoint, upload: Upload) -> None:
    one = deploy(connected, upload(display_name="one"), traffic_percentage=100)
    host = dns(connected)
    answer = connected.predict([1], endpoint_override=host)
    assert (answer.predictions, answer.deployed_model_id, answer.model_version_id) == ([1], one, "1")
    raw = connected.raw_predict(b"a,b\n1,2\n", {"Content-Type": "text/csv"}, endpoint_override=host)
    assert (raw.status_code, raw.content) == (200, b"text/csv:a,b\n1,2\n")
    assert raw.headers["X-Vertex-AI-Deployed-Model-Id"] == one
    order = json.dumps({"instances": ["stream"]}).encode()
    with pytest.warns(InsecureRequestWarning):  # the client itself switches the check of the certificate off here
        lines = list(connected.stream_raw_predict(order, JSON, endpoint_override=host))
    assert [line for line in lines if line] == [b"data: 0", b"data: 1", b"data: 2"]
    with pytest.raises(ValueError, match="Status code:503.*no such feature"):
        connected.predict(["refuse"], parameters={"status": 503}, endpoint_override=host)
    with pytest.raises(RuntimeError, match="not supported on PSC"):
        connected.health_check()

    attachment = connected.list_models()[0].private_endpoints.service_attachment
    assert attachment.startswith("projects/")
    assert f"-tp/regions/{REGION}/serviceAttachments/" in attachment
    assert connected.private_service_connect_config.service_attachment == attachment

    two = deploy(connected, upload(display_name="two"), traffic_percentage=50)
    assert connected.traffic_split == {one: 50, two: 50}
    asked = Counter(connected.predict([1], endpoint_override=host).deployed_model_id for _ in range(40))
    assert set(asked) == {one, two}
    connected.undeploy(one, traffic_split={two: 100})
    assert connected.predict([1], endpoint_override=host).deployed_model_id == two


def test_an_endpoint_with_private_service_connect_is_not_public(
    connected: aiplatform.PrivateEndpoint, upload: Upload
) -> None:
    deploy(connected, upload(), traffic_percentage=100)
    public = aiplatform.Endpoint(connected.resource_name)
    with pytest.raises(exceptions.FailedPrecondition, match="answers over HTTP on .*prediction.p.vertexai.goog alone"):
        public.predict([1])
    assert public.raw_predict(BODY, JSON).status_code == 400
    other = dns(connected).replace(connected.name, "1")
    with pytest.raises(ValueError, match="Status code:400"):
        connected.predict([1], endpoint_override=other)


def test_listing_tells_private_from_public(
    peered: aiplatform.PrivateEndpoint, connected: aiplatform.PrivateEndpoint
) -> None:
    public = aiplatform.Endpoint.create(display_name="public", dedicated_endpoint_enabled=True)
    assert {each.name for each in aiplatform.PrivateEndpoint.list()} == {peered.name, connected.name}
    assert [each.name for each in aiplatform.Endpoint.list()] == [public.name]
    assert aiplatform.PrivateEndpoint(peered.resource_name).network == NETWORK
    with pytest.raises(ValueError, match="being retrieved is a PrivateEndpoint"):
        aiplatform.PrivateEndpoint(public.resource_name)
    peered.update(display_name="renamed", labels={"team": "x"})
    assert aiplatform.PrivateEndpoint.list(filter="labels.team=x")[0].display_name == "renamed"
    public.delete()


@pytest.mark.parametrize(
    ("fields", "kind", "problem"),
    [
        ({"network": "default"}, exceptions.InvalidArgument, "projects/PROJECT_NUMBER/global/networks/NETWORK"),
        (
            {"network": "projects/my-project/global/networks/default"},
            exceptions.InvalidArgument,
            "Field: endpoint.network; .*PROJECT_NUMBER",
        ),
        (
            {"network": NETWORK, "private_service_connect_config": {"enable_private_service_connect": True}},
            exceptions.InvalidArgument,
            "mutually exclusive",
        ),
        (
            {"private_service_connect_config": {"project_allowlist": ["my-project"]}},
            exceptions.InvalidArgument,
            "enable_private_service_connect; Message: Required field",
        ),
        (
            {"private_service_connect_config": {"enable_private_service_connect": True, "project_allowlist": ["A b"]}},
            exceptions.InvalidArgument,
            "`A b` is no project",
        ),
        (
            {"network": NETWORK, "dedicated_endpoint_enabled": True},
            exceptions.InvalidArgument,
            "no public dedicated DNS",
        ),
        ({"enable_private_service_connect": True}, exceptions.MethodNotImplemented, "deprecated"),
        (
            {
                "private_service_connect_config": {
                    "enable_private_service_connect": True,
                    "psc_automation_configs": [{"project_id": "my-project", "network": NETWORK}],
                }
            },
            exceptions.MethodNotImplemented,
            "no Compute Engine",
        ),
    ],
)
def test_what_is_refused(project: str, fields: dict[str, Any], kind: type[Exception], problem: str) -> None:
    parent = f"projects/{project}/locations/{REGION}"
    with pytest.raises(kind, match=problem):
        client().create_endpoint(parent=parent, endpoint={"display_name": "x", **fields})


SCRIPT = """
import sys
from google.cloud import aiplatform

project, region, name, network = sys.argv[1:]
aiplatform.init(project=project, location=region)
endpoint = aiplatform.PrivateEndpoint(name)
print(endpoint.predict(instances=["mlops exec"]).predictions, endpoint.network == network)
"""


def test_a_program_of_its_own_reaches_it(
    cloud: LocalCloud, project: str, peered: aiplatform.PrivateEndpoint, upload: Upload
) -> None:
    """Nothing but the variables of the local target, which the SDK's own pool does not read."""
    deploy(peered, upload())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, project, REGION, peered.resource_name, NETWORK],
        env=cloud.environment(project),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split("\n")[0] == "['mlops exec'] True", done.stderr


def test_the_addresses_follow_the_port(own_cloud: LocalCloud) -> None:
    rest = Rest(own_cloud)
    container = {
        "imageUri": "python:3.11",
        "command": ["python3", "-c", SERVER],
        "healthRoute": "/health",
        "predictRoute": "/predict",
    }
    model = rest.done(
        rest("POST", f"{PARENT}/models:upload", {"model": {"displayName": "m", "containerSpec": container}})
    )
    endpoint = rest.done(rest("POST", f"{PARENT}/endpoints", {"displayName": "e", "network": NETWORK}))
    resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
    deployment = {"deployedModel": {"model": model["model"], "dedicatedResources": resources}}
    rest.done(rest("POST", f"v1/{endpoint['name']}:deployModel", deployment))
    rest.close()

    before = own_cloud.port
    own_cloud.stop()
    (own_cloud.root / "port").unlink()
    own_cloud.start()
    assert own_cloud.port != before

    rest = Rest(own_cloud)
    (deployed,) = rest("GET", f"v1/{endpoint['name']}")["deployedModels"]
    assert deployed["privateEndpoints"]["predictHttpUri"].startswith(f"{own_cloud.url}/peered/")
    rest.close()
