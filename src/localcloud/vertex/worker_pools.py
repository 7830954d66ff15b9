"""The worker pools of a custom job: what is wrong with a spec, and what each replica is told of the others.

Variables are those of https://cloud.google.com/vertex-ai/docs/training/code-requirements and
/distributed-training; starting the replicas is localcloud.vertex.job_run's work.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from localcloud.errors import InvalidArgument
from localcloud.vertex.common import id_of, invalid, machine_memory, project_of

MAXIMUM_POOLS = 4
MAXIMUM_ENV = 100
MAXIMUM_PACKAGES = 100
# TF_CONFIG names the pools by TensorFlow's roles.
_TF_ROLES = ("chief", "worker", "ps", "evaluator")


@dataclass(frozen=True)
class Replica:
    """One container of a job."""

    pool: int
    index: int
    spec: Any
    """Its WorkerPoolSpec."""

    @property
    def name(self) -> str:
        """`workerpool0-0`."""
        return f"workerpool{self.pool}-{self.index}"

    @property
    def primary(self) -> bool:
        """Whether it is the one whose end decides the job's."""
        return self.pool == 0


def replicas(spec: Any) -> list[Replica]:
    """All replicas of a CustomJobSpec, the primary one first."""
    return [
        Replica(number, index, pool)
        for number, pool in enumerate(spec.worker_pool_specs)
        if not is_skipped(pool)
        for index in range(max(1, pool.replica_count))
    ]


def is_skipped(pool: Any) -> bool:
    """Whether a pool is the empty `{}` that leaves its place in the list unused."""
    return pool.WhichOneof("task") is None


def check_job_spec(spec: Any, field: str = "custom_job.job_spec") -> None:
    """Refuse a CustomJobSpec that could not run.

    Raises:
        InvalidArgument: Naming the field.
    """
    pools = spec.worker_pool_specs
    place = f"{field}.worker_pool_specs"
    if not pools:
        raise invalid(place, "At least one worker pool is required.")
    if len(pools) > MAXIMUM_POOLS:
        raise invalid(place, f"At most {MAXIMUM_POOLS} worker pools are allowed, there are {len(pools)}.")
    for number, pool in enumerate(pools):
        here = f"{place}[{number}]"
        if is_skipped(pool):
            if number == 0:
                raise invalid(here, "The first worker pool needs a container_spec or a python_package_spec.")
            continue
        if number == 0 and pool.replica_count > 1:
            raise invalid(f"{here}.replica_count", "The first worker pool must have exactly one replica.")
        if pool.replica_count < 0:
            raise invalid(f"{here}.replica_count", "Must not be negative.")
        machine_memory(pool.machine_spec.machine_type, f"{here}.machine_spec.machine_type")
        task = getattr(pool, pool.WhichOneof("task"))
        if len(task.env) > MAXIMUM_ENV:
            raise invalid(f"{here}.env", f"At most {MAXIMUM_ENV} variables are allowed, there are {len(task.env)}.")
        if pool.WhichOneof("task") == "python_package_spec" and len(task.package_uris) > MAXIMUM_PACKAGES:
            raise invalid(f"{here}.python_package_spec.package_uris", f"At most {MAXIMUM_PACKAGES} are allowed.")
    if spec.persistent_resource_id:
        raise InvalidArgument(
            f"{field}.persistent_resource_id: the local cloud has no persistent resources; leave it out, a job "
            "starts at once here."
        )


def job_environment(job: Any) -> dict[str, str]:
    """The variables that are the same on every replica of a CustomJob."""
    spec = job.job_spec
    variables = {"CLOUD_ML_PROJECT_ID": project_of(job.name), "CLOUD_ML_JOB_ID": id_of(job.name)}
    base = spec.base_output_directory.output_uri_prefix
    if base:
        base = base.rstrip("/")
        variables["AIP_MODEL_DIR"] = f"{base}/model/"
        variables["AIP_CHECKPOINT_DIR"] = f"{base}/checkpoints/"
        variables["AIP_TENSORBOARD_LOG_DIR"] = f"{base}/logs/"
    if spec.tensorboard:
        variables["AIP_TENSORBOARD_RESOURCE_NAME"] = spec.tensorboard
    if spec.experiment:
        variables["AIP_EXPERIMENT_NAME"] = id_of(spec.experiment)
    if spec.experiment_run:
        # The run's context id is the experiment's, a hyphen and the run's own name.
        run = id_of(spec.experiment_run)
        variables["AIP_EXPERIMENT_RUN_NAME"] = run.removeprefix(f"{id_of(spec.experiment)}-")
    return variables


class Cluster:
    """The addresses of a job's replicas, as CLUSTER_SPEC and TF_CONFIG give them.

    On Google Cloud each replica is a host of its own and listens on port 2222; here they share a machine, so
    each has a free port of the loopback address.

    Args:
        spec: The CustomJobSpec.
        members: Its replicas.
        trial: The id of the tuning trial that the job is; empty where it is none.
    """

    def __init__(self, spec: Any, members: Sequence[Replica], trial: str = "") -> None:
        self._trial = {"trial": trial} if trial else {}
        self._job = json_format.MessageToDict(spec)
        self._members = members
        self._addresses: dict[str, str] = {}
        with ExitStack() as held:  # all ports are held until the last is found: no two are the same
            for member in members:
                listener = held.enter_context(socket.socket())
                listener.bind(("127.0.0.1", 0))
                self._addresses[member.name] = f"127.0.0.1:{listener.getsockname()[1]}"

    def environment(self, replica: Replica) -> dict[str, str]:
        """CLUSTER_SPEC, and TF_CONFIG where there is more than one replica."""
        cluster = self._by_pool(lambda pool: f"workerpool{pool}")
        task = {"type": f"workerpool{replica.pool}", "index": replica.index, **self._trial}
        specification = {"cluster": cluster, "environment": "cloud", "task": task, "job": self._job}
        variables = {"CLUSTER_SPEC": json.dumps(specification)}
        if len(self._members) > 1:
            roles = self._by_pool(lambda pool: _TF_ROLES[pool])
            roles.pop("evaluator", None)  # TensorFlow's evaluator is not part of its cluster
            role = {"type": _TF_ROLES[replica.pool], "index": replica.index, "cloud": "", **self._trial}
            variables["TF_CONFIG"] = json.dumps(
                {"cluster": roles, "task": role, "job": self._job, "environment": "cloud"}
            )
        return variables

    def _by_pool(self, name: Any) -> dict[str, list[str]]:
        pools: dict[str, list[str]] = {}
        for member in self._members:
            pools.setdefault(name(member.pool), []).append(self._addresses[member.name])
        return pools
