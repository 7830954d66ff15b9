"""What the store keeps of a run's tasks: one PipelineTaskDetail each, so that a change costs the same in any run.

They are put together into `job_detail.task_details` when a run is read.
"""

from __future__ import annotations

from typing import Any

from localcloud.vertex.common import Vertex, now, v1
from localcloud.vertex.pipelines.graph import State, Task, Values


class Records:
    """The task details of one run.

    Args:
        vertex: The shared facilities.
        job: The run's resource name.
    """

    def __init__(self, vertex: Vertex, job: str) -> None:
        self._store = vertex.store
        self._job = job

    def create(self, task: Task) -> None:
        """A task that is there from now on, PENDING."""
        detail = v1.PipelineTaskDetail(
            task_id=task.id,
            parent_task_id=task.parent.id if task.parent is not None else 0,
            task_name=task.name,
            task_unique_name=task.unique_name,
            state=_number(State.PENDING),
        )
        self._store.create(self._name(task), detail, collection="tasks")

    def started(self, task: Task) -> None:
        """A task runs, with its inputs."""

        def change(detail: Any) -> None:
            detail.state = _number(State.RUNNING)
            if not detail.HasField("start_time"):
                detail.start_time.CopyFrom(now())
            _set_artifacts(detail.inputs, task.inputs)
            if task.execution is not None:
                detail.execution.CopyFrom(task.execution)

        self._modify(task, change)

    def job_started(self, task: Task, job: str, *, custom_job: bool) -> None:
        """The CustomJob in which a task runs."""

        def change(detail: Any) -> None:
            if custom_job:
                detail.executor_detail.custom_job_detail.job = job
            else:
                detail.executor_detail.container_detail.main_job = job

        self._modify(task, change)

    def failed_attempt(self, task: Task) -> None:
        """An attempt failed and another will follow."""

        def change(detail: Any) -> None:
            _add_status(detail, task)
            executor = detail.executor_detail
            if executor.HasField("container_detail"):
                executor.container_detail.failed_main_jobs.append(executor.container_detail.main_job)
            elif executor.HasField("custom_job_detail"):
                executor.custom_job_detail.failed_jobs.append(executor.custom_job_detail.job)

        self._modify(task, change)

    def ended(self, task: Task) -> None:
        """A task is over."""

        def change(detail: Any) -> None:
            detail.state = _number(task.state)
            if task.state is State.SKIPPED:
                detail.ClearField("executor_detail")
            detail.end_time.CopyFrom(now())
            if task.attempt:
                _add_status(detail, task)
            if task.error is not None:
                detail.error.code = task.error.code.number
                detail.error.message = task.error.message
            if not detail.inputs:
                _set_artifacts(detail.inputs, task.inputs)
            _set_artifacts(detail.outputs, task.outputs)
            if task.execution is not None:
                detail.execution.CopyFrom(task.execution)

        self._modify(task, change)

    def _modify(self, task: Task, change: Any) -> None:
        self._store.modify(self._name(task), v1.PipelineTaskDetail, change)

    def _name(self, task: Task) -> str:
        return f"{self._job}/tasks/{task.id}"


def read(vertex: Vertex, job: str) -> list[Any]:
    """The task details of a run, in the order in which the tasks came up."""
    return list(vertex.store.all(job, v1.PipelineTaskDetail, collection="tasks"))


def close(vertex: Vertex, job: str, reason: str) -> None:
    """End the tasks that a former process left running: they ended with it."""
    for detail in read(vertex, job):
        if State(v1.PipelineTaskDetail.State.Name(detail.state)).over:
            continue

        def change(stored: Any) -> None:
            started = stored.state == _number(State.RUNNING)
            stored.state = _number(State.FAILED if started else State.NOT_TRIGGERED)
            stored.end_time.CopyFrom(now())
            if started:
                stored.error.code = 10  # ABORTED
                stored.error.message = reason

        vertex.store.modify(f"{job}/tasks/{detail.task_id}", v1.PipelineTaskDetail, change)


def delete(vertex: Vertex, job: str) -> None:
    """Forget the task details of a run."""
    with vertex.store.transaction():
        for detail in read(vertex, job):
            vertex.store.delete(f"{job}/tasks/{detail.task_id}", v1.PipelineTaskDetail)


def _add_status(detail: Any, task: Task) -> None:
    status = detail.pipeline_task_status.add(state=_number(task.state))
    status.update_time.CopyFrom(now())
    if task.error is not None:
        status.error.code = task.error.code.number
        status.error.message = task.error.message


def _set_artifacts(target: Any, values: Values) -> None:
    for name, artifacts in values.artifacts.items():
        entry = target[name]
        del entry.artifacts[:]
        entry.artifacts.extend(artifacts)


def _number(state: State) -> int:
    return int(v1.PipelineTaskDetail.State.Value(state.value))
