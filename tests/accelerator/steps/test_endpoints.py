"""The life of an endpoint of each kind: made, deployed to, checked, given back, rolled back, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import aiplatform

from accelerator import config as configuration
from accelerator.cli import project
from accelerator.cli.run import Settings, submit
from accelerator.config import Config
from accelerator.steps import deploy, endpoints, register
from accelerator.steps.deploy import DeploymentError
from accelerator.steps.endpoints import OtherKindError, Unanswered
from accelerator.steps.images import Images
from accelerator.steps.train import Trained

NETWORK = "projects/123456789012/global/networks/default"
SETTINGS = {
    "dedicated": "endpoint: dedicated, canary: 50",
    "peered": f"endpoint: private, network: {NETWORK}",
    "connected": "endpoint: private, project_allowlist: [my-project], canary: 50",
}
GOOD = [{"price": 3.0, "items": 1}, {"price": 30.0, "items": 2}]
BAD = [{"price": "cheap", "items": 1}]


@pytest.fixture(params=SETTINGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def configured(config: Config, kind: str) -> Config:
    """The project with an endpoint of a kind, under a name of its own."""
    settings = f"{SETTINGS[kind]}, check: {{requests: 5, max_latency: 30}}"
    overrides = [f"model.name=returns-{kind}", f"deployment={{{settings}}}"]
    return configuration.load(config.path, overrides=overrides, environment={})


@pytest.fixture
def own(config: Config, kind: str) -> Iterator[Config]:
    """The project with an endpoint of this kind, which goes at the end."""
    made = configured(config, kind)
    yield made
    deploy.undeploy(made)


@pytest.fixture
def versions(own: Config, images: Images, trained: Trained) -> list[Any]:
    """Two versions of its model."""
    return [register.register(own, trained, images.prediction) for _ in range(2)]


def served(config: Config) -> list[str]:
    """The versions that are deployed, by their traffic."""
    endpoint = endpoints.find(config)
    assert endpoint is not None
    return [deployed.model_version_id for deployed in endpoint.list_models()]


def test_the_life_of_an_endpoint(own: Config, kind: str, versions: list[Any]) -> None:
    first = deploy.start_canary(own, versions[0])
    endpoint = endpoints.get(first.endpoint)
    assert isinstance(endpoint, aiplatform.PrivateEndpoint) == (kind != "dedicated")
    assert endpoint.dedicated_endpoint_enabled == (kind == "dedicated")
    assert (endpoint.network, first.share) == (NETWORK if kind == "peered" else "", 100)
    assert deploy.check(own, first, GOOD).answered >= 5
    deploy.promote(own, first, versions[0].version_id)
    answer = endpoints.ask(endpoints.get(first.endpoint), [{"price": 1.0, "items": 2}])
    assert answer.deployed_model_id == first.deployed_model
    with pytest.raises(Unanswered, match="price"):
        endpoints.ask(endpoints.get(first.endpoint), BAD)

    # a further version that does not show itself leaves what was there
    canary = deploy.start_canary(own, versions[1])
    assert canary.endpoint == first.endpoint
    assert (canary.share, served(own)) == ((100, ["2"]) if kind == "peered" else (50, ["1", "2"]))
    assert bool(canary.former) == (kind == "peered")
    with pytest.raises(DeploymentError, match=f"requests failed with {canary.share} % of the traffic"):
        deploy.check(own, canary, BAD)
    deploy.withdraw(own, canary)
    assert served(own) == ["1"]
    assert endpoints.ask(endpoints.get(first.endpoint), GOOD).predictions

    # one that does takes its place, until it is rolled back
    canary = deploy.start_canary(own, versions[1])
    assert deploy.check(own, canary, GOOD).failed == 0
    deploy.promote(own, canary, versions[1].version_id)
    assert served(own) == ["2"]
    assert deploy.rollback(own) == ("2", "1")
    assert served(own) == ["1"]
    assert endpoints.ask(endpoints.get(first.endpoint), GOOD).predictions

    assert deploy.undeploy(own) == first.endpoint
    assert endpoints.find(own) is None


def test_a_version_that_does_not_come_up_leaves_what_was_there(
    config: Config, images: Images, trained: Trained
) -> None:
    own = configured(config, "peered")
    good = register.register(own, trained, images.prediction)
    canary = deploy.start_canary(own, good)
    deploy.promote(own, canary, good.version_id)
    broken = aiplatform.Model.upload(
        parent_model=good.resource_name,
        display_name=own.model.name,
        serving_container_image_uri="python:3.11",
        serving_container_command=["python3", "-c", "import no_such_module"],
    )
    with pytest.raises(Exception, match="No module named 'no_such_module'"):
        deploy.start_canary(own, broken)
    assert served(own) == [good.version_id]
    assert endpoints.ask(endpoints.get(canary.endpoint), GOOD).predictions
    deploy.undeploy(own)


def test_an_endpoint_stays_of_its_kind(config: Config, images: Images, trained: Trained) -> None:
    dedicated = configured(config, "dedicated")
    model = register.register(dedicated, trained, images.prediction)
    made = endpoints.find_or_create(dedicated, dedicated.deployment)
    private = configuration.load(
        config.path,
        overrides=["model.name=returns-dedicated", f"deployment={{endpoint: private, network: {NETWORK}}}"],
        environment={},
    )
    with pytest.raises(
        OtherKindError, match=f"is dedicated, and .* one that is private, peered with {NETWORK}"
    ) as caught:
        deploy.start_canary(private, model)
    assert caught.value.place == made.resource_name
    assert "mlops undeploy" in caught.value.next_step
    assert deploy.undeploy(private) == made.resource_name


class Sent:
    """Takes a pipeline job in the place of Vertex AI, and gives it back."""

    project, location, parent = "p", "us-central1", "projects/p/locations/us-central1"

    def ask(self, method: str, url: str, **arguments: Any) -> None:
        """The bucket is there."""

    def post(self, name: str, body: Any, **query: str) -> Any:
        return body


@pytest.mark.parametrize(("kind", "network"), [("peered", {"network": NETWORK}), ("dedicated", {})])
def test_the_jobs_of_a_run_are_in_the_network(
    config: Config, images: Images, kind: str, network: dict[str, str]
) -> None:
    pipeline = project.pipeline(configured(config, kind), "training", None)
    job = submit(Sent(), pipeline, {}, Settings("local"))  # type: ignore[arg-type]
    assert {key: value for key, value in job.items() if key == "network"} == network
