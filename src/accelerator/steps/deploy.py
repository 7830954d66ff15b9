"""The life of the endpoint: a new version gets a share of the traffic, shows itself, and gets all of it, or none.

https://cloud.google.com/vertex-ai/docs/general/deployment
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from accelerator.config import Config
from accelerator.config.sections import Deployment
from accelerator.errors import AcceleratorError, ConfigError
from accelerator.steps import endpoints, register
from accelerator.steps.endpoints import Unanswered

_MOST_PER_ANSWER = 4
"""How many times the requests that a share of the traffic needs on average are sent at most."""

_AT_ONCE = 4
"""Requests under way at a time."""


class DeploymentError(AcceleratorError):
    """The endpoint serves what it served before."""


@dataclass(frozen=True)
class Canary:
    """A version with its share of the traffic.

    Args:
        endpoint: Resource name.
        deployed_model: The id of the deployed version.
        share: Percent of the traffic.
        former: `projects/…/models/NAME@VERSION` that it took the place of; empty where the others are still deployed.
    """

    endpoint: str
    deployed_model: str
    share: int
    former: str = ""


@dataclass(frozen=True)
class Checked:
    """What requests to a canary have shown.

    Args:
        answered: Requests that the new version answered.
        failed: Requests that nobody answered.
        latency: Seconds within which 95 % of its answers were there, as the client saw them.
    """

    answered: int
    failed: int
    latency: float


def start_canary(config: Config, model: Any) -> Canary:
    """Deploy a version on the project's endpoint, which is made at the first call.

    The first version gets all traffic; a further one `deployment.canary` percent of it. An endpoint that is peered
    with a network has room for one model: there the version takes the place of the one that serves.

    Args:
        config: The project.
        model: The google.cloud.aiplatform.Model of the version.
    """
    deployment = _deployment(config)
    endpoint = endpoints.find_or_create(config, deployment)
    if endpoints.has_room_for_one(endpoint):
        return _replace(config, endpoint, model)
    shares = endpoint.traffic_split
    share = deployment.canary if any(shares.get(known.id) for known in endpoint.list_models()) else 100
    return Canary(endpoint.resource_name, _deploy(config, endpoint, model, share), share)


def _replace(config: Config, endpoint: Any, model: Any) -> Canary:
    """Put a version in the place of the one that is deployed, which is put back if the new one does not come up."""
    former = ""
    for deployed in endpoint.list_models():
        former = f"{deployed.model.partition('@')[0]}@{deployed.model_version_id}"
        endpoint.undeploy(deployed.id)
    try:
        return Canary(endpoint.resource_name, _deploy(config, endpoint, model, 100), 100, former)
    except BaseException:
        _put_back(config, endpoint, former)
        raise


def _put_back(config: Config, endpoint: Any, former: str) -> None:
    from google.cloud import aiplatform

    if former:
        _deploy(config, endpoint, aiplatform.Model(former), 100)


def _deploy(config: Config, endpoint: Any, model: Any, share: int) -> str:
    """Deploy a version with a percentage of the traffic; gives the id of the deployed model."""
    deployment = _deployment(config)
    serving = {deployed.id for deployed in endpoint.list_models()}
    least, most = deployment.replicas
    endpoint.deploy(
        model,
        deployed_model_display_name=f"{config.model.name}-{model.version_id}",
        machine_type=deployment.machine,
        min_replica_count=max(1, least),
        max_replica_count=max(1, most),
        traffic_percentage=share,
    )
    (new,) = [deployed.id for deployed in endpoint.list_models() if deployed.id not in serving]
    return str(new)


def check(config: Config, canary: Canary, instances: Sequence[Mapping[str, Any]]) -> Checked:
    """Ask the endpoint until the canary has answered as often as `deployment.check.requests` wants.

    Who would have answered a request that failed is not known: all failures count against the new version.

    Args:
        config: The project.
        canary: What is to be checked.
        instances: Instances to ask with, one a request, in turn.

    Raises:
        DeploymentError: Too many failures, answers too slow, or no answers of the canary's.
    """
    wanted = _deployment(config).check
    endpoint = endpoints.get(canary.endpoint)
    took: list[float] = []
    failures: list[str] = []

    def ask(number: int) -> None:
        if len(took) + len(failures) >= wanted.requests:
            return
        began = time.monotonic()
        try:
            answer = endpoints.ask(endpoint, [instances[number % len(instances)]])
        except Unanswered as error:
            failures.append(error.headline)
        else:
            if answer.deployed_model_id == canary.deployed_model:
                took.append(time.monotonic() - began)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(ask, range(wanted.requests * 100 // canary.share * _MOST_PER_ANSWER)))
    place = f"{canary.endpoint}, deployed model {canary.deployed_model}"
    tried = len(took) + len(failures)
    if not took or len(failures) > wanted.max_error_rate * tried:
        said = f": {failures[0]}" if failures else ""
        raise DeploymentError(
            f"{len(failures)} of {tried} requests failed with {canary.share} % of the traffic on the new version{said}",
            place=place,
            next_step=f"`mlops logs {canary.endpoint.rpartition('/')[2]}` shows what its container wrote",
        )
    latency = sorted(took)[max(0, -(-len(took) * 95 // 100) - 1)]
    if latency > wanted.max_latency:
        raise DeploymentError(
            f"The new version's answers take {latency:.2f} s (95 %), and {wanted.max_latency:g} s are allowed",
            place=place,
            next_step="give deployment.machine more processors, or raise deployment.check.max_latency",
        )
    return Checked(len(took), len(failures), latency)


def promote(config: Config, canary: Canary, version: str) -> None:
    """Give a version all traffic, take the others off, and make it the champion."""
    endpoint = endpoints.get(canary.endpoint)
    others = [deployed.id for deployed in endpoint.list_models() if deployed.id != canary.deployed_model]
    if others:
        endpoint.update(traffic_split={canary.deployed_model: 100})
    register.crown(config, version)
    for other in others:
        endpoint.undeploy(other)


def withdraw(config: Config, canary: Canary) -> None:
    """Take a canary off again; what served before gets its traffic back, or is deployed again where it had to go.

    Where nothing served before the endpoint is left without a model: there is nothing to go back to.
    """
    endpoint = endpoints.get(canary.endpoint)
    split = {known: percent for known, percent in endpoint.traffic_split.items() if known != canary.deployed_model}
    left = sum(split.values())
    if left:
        # in whole percent that make a hundred: what rounding leaves goes to the largest
        shares = {known: percent * 100 // left for known, percent in split.items()}
        shares[max(shares, key=lambda known: shares[known])] += 100 - sum(shares.values())
        endpoint.undeploy(canary.deployed_model, traffic_split=shares)
    else:
        endpoint.undeploy(canary.deployed_model)
    _put_back(config, endpoint, canary.former)


def rollback(config: Config) -> tuple[str, str]:
    """Serve the version that was champion before; it is deployed again, and the present one taken off.

    Returns:
        The version that served, and the one that serves now.

    Raises:
        DeploymentError: There is no endpoint, or no version before.
    """
    endpoint = endpoints.find(config)
    before = register.with_alias(config, register.BEFORE)
    present = register.with_alias(config, register.CHAMPION)
    if endpoint is None or before is None or present is None:
        raise DeploymentError(
            f"There is nothing to roll back to: no version of {config.model.name} has the alias {register.BEFORE}"
            if endpoint is not None
            else f"{config.model.name} has no endpoint",
            place=f"{config.project}, {config.region}",
            next_step="a version gets the alias when another takes its place on the endpoint",
        )
    canary = start_canary(config, before)
    promote(config, canary, before.version_id)
    return present.version_id, before.version_id


def undeploy(config: Config) -> str:
    """Take every version off the project's endpoint and delete it; gives its resource name, empty if there was none."""
    endpoint = endpoints.find(config)
    if endpoint is None:
        return ""
    name = str(endpoint.resource_name)
    endpoint.delete(force=True)
    return name


def _deployment(config: Config) -> Deployment:
    if config.deployment is None:
        raise ConfigError(
            "The project deploys nothing", place=config.place("deployment"), next_step="take `deployment: off` out"
        )
    return config.deployment
