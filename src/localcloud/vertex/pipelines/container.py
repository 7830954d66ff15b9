"""A task that runs a container: a custom job, given the executor input, whose outputs are read when it is over.

The layout of files is that of Vertex AI Pipelines; the job itself is JobService's.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format

from localcloud.errors import CloudError, Code
from localcloud.vertex.common import v1
from localcloud.vertex.pipelines.graph import Outcome, State, TaskFailure, Values
from localcloud.vertex.pipelines.leaf import Leaf, artifact_json, schema_of
from localcloud.vertex.pipelines.machines import accelerator, machine_type
from localcloud.vertex.pipelines.outputs import read_outputs
from localcloud.vertex.pipelines.placeholders import Resolver, UnknownPlaceholder, mounted
from localcloud.vertex.pipelines.prebuilt import creation_failure, custom_job_task, write_resources
from localcloud.vertex.pipelines.values import from_struct, legacy_map

_SUCCEEDED = "JOB_STATE_SUCCEEDED"


def run_container(leaf: Leaf) -> Outcome:
    """Run a container or customJob executor to its end, or take its outputs from the cache.

    Raises:
        TaskFailure: It failed before, in or after its container.
    """
    task, run = leaf.task, leaf.run
    cached = task.spec.caching_options.enable_cache
    key = run.cache.key(task, leaf.executor) if cached else ""
    if cached:
        lent = run.cache.find(key, run.lineage)
        if lent is not None:
            execution = run.lineage.begin(task, "system.ContainerExecution", "CACHED")
            return Outcome(State.SKIPPED, lent, execution=run.lineage.end(execution, "CACHED", lent))
    task.execution = run.lineage.begin(task, "system.ContainerExecution")
    run.records.started(task)
    try:
        executor_input = _executor_input(leaf)
        state, error = _run_job(leaf, executor_input)
        if state is not State.SUCCEEDED:
            run.lineage.end(task.execution, "CANCELLED" if state is State.CANCELLED else "FAILED", Values())
            return Outcome(state, error=error, execution=task.execution)
        outputs = read_outputs(leaf, executor_input)
    except (TaskFailure, CloudError):
        run.lineage.end(task.execution, "FAILED", Values())
        raise
    execution = run.lineage.end(task.execution, "COMPLETE", outputs)
    if cached:
        run.cache.keep(key, execution, outputs)
    return Outcome(State.SUCCEEDED, outputs, execution=execution)


def _run_job(leaf: Leaf, executor_input: dict[str, Any]) -> tuple[State, TaskFailure | None]:
    """Run the custom job; gives how it ended."""
    run, task = leaf.run, leaf.task
    resolver = Resolver(executor_input, leaf.names)
    is_container = leaf.executor.WhichOneof("spec") == "container"
    try:
        prebuilt = custom_job_task(leaf, resolver) if is_container else None
        job = _custom_job(leaf, resolver) if prebuilt is None else prebuilt.job
    except UnknownPlaceholder as error:
        raise TaskFailure(Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: {error}.") from None
    _make_folders(leaf, executor_input)
    if leaf.cancelled.is_set():
        return State.CANCELLED, None
    if prebuilt is None:
        running = run.jobs.submit(leaf.names["location"], job)
    else:
        try:
            running = run.jobs.submit(run.vertex.parent(prebuilt.parent), job)
        except CloudError as error:
            raise creation_failure(leaf, error.code, error.message) from None
        write_resources(leaf, prebuilt.resources, running.name)
    run.records.job_started(task, running.name, custom_job=prebuilt is not None or not is_container)
    ended = run.jobs.wait(running.name, leaf.cancelled)
    state = v1.JobState.Name(ended.state)
    if state == _SUCCEEDED:
        return State.SUCCEEDED, None
    if state == "JOB_STATE_CANCELLED" and leaf.cancelled.is_set():
        return State.CANCELLED, None
    return State.FAILED, TaskFailure(Code.of_number(ended.error.code), ended.error.message)


def _custom_job(leaf: Leaf, resolver: Resolver) -> Any:
    """The CustomJob that runs the task, its placeholders replaced."""
    run, task = leaf.run, leaf.task
    if leaf.executor.WhichOneof("spec") == "custom_job":
        content = resolver.value(json_format.MessageToDict(leaf.executor.custom_job.custom_job))
        try:
            job = json_format.ParseDict(content, v1.CustomJob())
        except json_format.ParseError as error:
            raise TaskFailure(
                Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: its customJob does not parse: {error}"
            ) from None
        job.display_name = job.display_name or task.display_name
        return job
    container = leaf.executor.container
    machine: dict[str, Any] = {"machine_type": machine_type(container.resources, resolver, task.unique_name)}
    kind, count = accelerator(container.resources, resolver)
    if kind:
        if kind not in list(v1.AcceleratorType.keys()):
            raise TaskFailure(
                Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: there is no accelerator type `{kind}`."
            )
        machine |= {"accelerator_type": v1.AcceleratorType.Value(kind), "accelerator_count": count}
    spec = {
        "image_uri": resolver.text(container.image),
        "command": resolver.words(container.command),
        "args": resolver.words(container.args),
        "env": [
            # what components put on the resources that they create; KFP takes its presence for Vertex AI's
            {"name": "VERTEX_AI_PIPELINES_RUN_LABELS", "value": json.dumps(dict(run.job.labels))},
            *({"name": entry.name, "value": resolver.text(entry.value)} for entry in container.env),
        ],
    }
    job_spec = v1.CustomJobSpec(
        worker_pool_specs=[{"machine_spec": machine, "replica_count": 1, "container_spec": spec}],
        service_account=run.job.service_account,
        network=run.job.network,
        scheduling={"disable_retries": True},
    )
    name = f"{leaf.names['pipeline_job_name']}-{task.display_name}"[-128:]
    return v1.CustomJob(display_name=name, job_spec=job_spec, labels=dict(run.job.labels))


def _executor_input(leaf: Leaf) -> dict[str, Any]:
    """The ExecutorInput of a task as JSON: where its inputs are, and where its outputs belong."""
    task, run = leaf.task, leaf.run
    base = f"{run.root}/{task.name}_{task.id}"
    definitions = task.component.output_definitions
    artifacts = {}
    for name, definition in definitions.artifacts.items():
        title, version = schema_of(definition.artifact_type)
        artifact = v1.Artifact(
            name=run.lineage.artifact_name(), uri=f"{base}/{name}", schema_title=title, schema_version=version
        )
        metadata = from_struct(definition.metadata)
        artifacts[name] = {"artifacts": [artifact_json(artifact, metadata)]}
    folder = mounted(base)
    return {
        "inputs": {
            "parameterValues": task.inputs.parameters,
            "parameters": legacy_map(task.inputs.parameters),
            "artifacts": {
                name: {"artifacts": [artifact_json(found, from_struct(found.metadata)) for found in all]}
                for name, all in task.inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"{folder}/{name}"} for name in definitions.parameters},
            "artifacts": artifacts,
            "outputFile": f"{folder}/executor_output.json",
        },
    }


def _make_folders(leaf: Leaf, executor_input: dict[str, Any]) -> None:
    """The task's folder, in which containers expect to write at once."""
    uri = "gs://" + executor_input["outputs"]["outputFile"].removeprefix("/gcs/")
    try:
        leaf.run.vertex.cloud.objects.path(uri).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskFailure(
            Code.FAILED_PRECONDITION, f"The folder of {uri} cannot be made: {json.dumps(str(error))}."
        ) from None
