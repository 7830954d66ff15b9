"""Worker pools: what is refused, and the variables each replica gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.errors import InvalidArgument
from localcloud.vertex.common import expand, machine_memory, v1
from localcloud.vertex.worker_pools import Cluster, check_job_spec, job_environment, replicas


def pool(count: int = 1, **more: Any) -> Any:
    return v1.WorkerPoolSpec(
        replica_count=count,
        container_spec={"image_uri": "i", "env": [{"name": f"V{n}", "value": "x"} for n in range(more.pop("env", 0))]},
        **more,
    )


def spec(*pools: Any, **more: Any) -> Any:
    return v1.CustomJobSpec(worker_pool_specs=pools, **more)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (spec(), "worker_pool_specs"),
        (spec(*[pool()] * 5), "worker_pool_specs"),
        (spec(v1.WorkerPoolSpec()), r"worker_pool_specs\[0\]"),
        (spec(pool(2)), r"worker_pool_specs\[0\].replica_count"),
        (spec(pool(), pool(env=101)), r"worker_pool_specs\[1\].env"),
        (spec(pool(machine_spec={"machine_type": "big"})), "Machine type big is not supported"),
        (spec(pool(), persistent_resource_id="p"), "persistent_resource_id"),
    ],
)
def test_what_could_not_run_is_refused(wrong: Any, field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        check_job_spec(wrong)


def test_replicas_and_skipped_pools() -> None:
    job = spec(pool(), v1.WorkerPoolSpec(), pool(2))
    check_job_spec(job)
    assert [replica.name for replica in replicas(job)] == ["workerpool0-0", "workerpool2-0", "workerpool2-1"]


def test_cluster_spec_and_tf_config() -> None:
    job = spec(pool(), pool(2), pool(), pool())
    members = replicas(job)
    cluster = Cluster(job, members)
    variables = cluster.environment(members[2])
    given = json.loads(variables["CLUSTER_SPEC"])
    assert {name: len(hosts) for name, hosts in given["cluster"].items()} == {
        "workerpool0": 1,
        "workerpool1": 2,
        "workerpool2": 1,
        "workerpool3": 1,
    }
    addresses = [address for hosts in given["cluster"].values() for address in hosts]
    assert len(set(addresses)) == 5
    assert given["task"] == {"type": "workerpool1", "index": 1}
    assert given["environment"] == "cloud"
    assert given["job"]["workerPoolSpecs"][1]["replicaCount"] == "2"
    tensorflow = json.loads(variables["TF_CONFIG"])
    assert set(tensorflow["cluster"]) == {"chief", "worker", "ps"}
    assert tensorflow["task"]["type"] == "worker"
    assert json.loads(cluster.environment(members[4])["TF_CONFIG"])["task"]["type"] == "evaluator"
    alone = spec(pool())
    assert set(Cluster(alone, replicas(alone)).environment(replicas(alone)[0])) == {"CLUSTER_SPEC"}


def test_the_variables_of_a_job() -> None:
    job = v1.CustomJob(
        name="projects/123/locations/r/customJobs/456",
        job_spec=spec(pool(), base_output_directory={"output_uri_prefix": "gs://b/out/"}, tensorboard="t"),
    )
    assert job_environment(job) == {
        "CLOUD_ML_PROJECT_ID": "123",
        "CLOUD_ML_JOB_ID": "456",
        "AIP_MODEL_DIR": "gs://b/out/model/",
        "AIP_CHECKPOINT_DIR": "gs://b/out/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://b/out/logs/",
        "AIP_TENSORBOARD_RESOURCE_NAME": "t",
    }
    job.job_spec.experiment = "projects/123/locations/r/metadataStores/default/contexts/exp"
    job.job_spec.experiment_run = "projects/123/locations/r/metadataStores/default/contexts/exp-run-1"
    assert job_environment(job)["AIP_EXPERIMENT_NAME"] == "exp"
    assert job_environment(job)["AIP_EXPERIMENT_RUN_NAME"] == "run-1"


def test_machine_memory() -> None:
    assert machine_memory("n1-standard-4", "f") == 15 * 2**30
    assert machine_memory("", "f") is None
    assert machine_memory("a2-highgpu-1g", "f") is None


def test_variables_are_expanded_as_kubernetes_does() -> None:
    assert expand("$(A)/$(B)/$$(A)", {"A": "x"}) == "x/$(B)/$(A)"
