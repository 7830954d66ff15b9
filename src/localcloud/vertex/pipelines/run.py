"""One run of a pipeline: its tasks start when those before them are over, and end in the job's own end.

A thread of its own schedules; leaves run in the pool's threads and report back. What a leaf does is the work of
localcloud.vertex.pipelines.container and .importer, the state of the tasks that of localcloud.vertex.pipelines.graph.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from localcloud.errors import CloudError, Code
from localcloud.vertex.common import id_of, parent_of, project_of, v1
from localcloud.vertex.pipelines.checks import MAXIMUM_TASKS
from localcloud.vertex.pipelines.container import run_container
from localcloud.vertex.pipelines.expressions import ExpressionError, holds
from localcloud.vertex.pipelines.graph import Dag, Loop, Outcome, State, Task, TaskFailure, Values
from localcloud.vertex.pipelines.importer import run_importer, run_resolver
from localcloud.vertex.pipelines.inputs import dag_outputs, iteration_inputs, loop_items, loop_outputs, task_inputs
from localcloud.vertex.pipelines.leaf import Leaf, RunContext
from localcloud.vertex.pipelines.placeholders import with_names
from localcloud.vertex.pipelines.pool import TaskPool
from localcloud.vertex.pipelines.spec import Spec
from localcloud.vertex.schedules.timetable import schedule_time

_log = logging.getLogger(__name__)
_FAIL_FAST = "PIPELINE_FAILURE_POLICY_FAIL_FAST"
_WHATEVER_CAME = "ALL_UPSTREAM_TASKS_COMPLETED"
_RUNNERS: dict[str, Callable[[Leaf], Outcome]] = {
    "container": run_container,
    "custom_job": run_container,
    "importer": run_importer,
    "resolver": run_resolver,
}


class PipelineRun:
    """Runs a stored PipelineJob in a thread of its own.

    Args:
        context: What its tasks share.
        spec: Its pipeline.
        inputs: The pipeline's inputs.
        pool: Where leaves run.
        ended: Called with the root task when all is over.
    """

    def __init__(
        self, context: RunContext, spec: Spec, inputs: Values, pool: TaskPool, ended: Callable[[Task], None]
    ) -> None:
        self.name: str = context.job.name
        self._context = context
        self._spec = spec
        self._pool = pool
        self._ended = ended
        self._root = Task(id_of(self.name), None, spec.root, None, None)
        self._root.inputs = inputs
        self._events: queue.SimpleQueue[tuple[Task, Outcome] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._tasks = 0
        self._failed = False
        self._abandoned = False
        self._cancelled = threading.Event()
        policy = context.job.runtime_config.failure_policy
        self._fail_fast = v1.PipelineFailurePolicy.Name(policy) == _FAIL_FAST
        self._thread = threading.Thread(target=self._run, name=f"pipeline-{id_of(self.name)}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """End what runs, and start nothing more."""
        self._cancelled.set()
        self._events.put(None)

    def describe(self, detail: Any) -> None:
        """Write the contexts of the run into a PipelineJobDetail, once they are there."""
        lineage = self._context.lineage
        if lineage.run_context is not None:
            detail.pipeline_context.CopyFrom(lineage.pipeline_context)
            detail.pipeline_run_context.CopyFrom(lineage.run_context)

    def abandon(self) -> None:
        """Leave everything as it is, because the server ends."""
        self._abandoned = True
        self.cancel()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    # The schedule

    def _run(self) -> None:
        root = self._root
        try:
            self._context.lineage.open()
            self._context.records.create(root)
            root.inputs.parameters = with_names(root.inputs.parameters, self._names(root))
            self._begin(root, "system.Run")
            self._open_dag(root)
            while not root.state.over and not self._abandoned:
                self._next()
        except Exception as unexpected:
            _log.exception("pipeline %s failed", self.name)
            self._cancelled.set()
            root.state = State.FAILED
            message = unexpected.message if isinstance(unexpected, CloudError) else type(unexpected).__name__
            root.error = TaskFailure(Code.INTERNAL, f"Internal error occurred: {message}.")
        if not self._abandoned:
            self._ended(root)

    def _next(self) -> None:
        """Wait for a leaf that ended, a retry that is due, or cancellation."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            self._start(heapq.heappop(self._timers)[2])
            return
        if event is None:
            waiting, self._timers = self._timers, []
            for _, _, task in waiting:
                self._post(task, Outcome(State.CANCELLED))
            return
        self._end(*event)

    def _trigger(self, task: Task) -> None:
        """Start a task whose upstream tasks are over, if its trigger policy has it."""
        assert task.dag is not None
        policy = task.spec.trigger_policy
        strategy = policy.DESCRIPTOR.fields_by_name["strategy"].enum_type.values_by_number[policy.strategy].name
        whatever_came = strategy == _WHATEVER_CAME
        if self._cancelled.is_set():
            return self._post(task, Outcome(State.CANCELLED))
        stopped = self._failed and self._fail_fast
        if not whatever_came and (stopped or not all(other.state.good for other in task.dag.upstream(task))):
            return self._post(task, Outcome(State.NOT_TRIGGERED))
        try:
            task.inputs = task_inputs(task, self._root.inputs, self._names(task), self._final_status)
            if policy.condition and not holds(policy.condition, task.inputs.parameters):
                return self._post(task, Outcome(State.NOT_TRIGGERED))
        except TaskFailure as failure:
            return self._post(task, Outcome(State.FAILED, error=failure))
        except ExpressionError as error:
            problem = TaskFailure(Code.INVALID_ARGUMENT, f"Task `{task.unique_name}`: its condition: {error}.")
            return self._post(task, Outcome(State.FAILED, error=problem))
        return self._start(task)

    def _start(self, task: Task) -> None:
        """Start a task that has its inputs."""
        task.state = State.RUNNING
        if task.is_loop and not _is_iteration(task):
            self._open_loop(task)
        elif task.is_leaf:
            self._submit(task)
        else:
            self._begin(task, "system.DagExecution")
            self._open_dag(task)

    def _begin(self, task: Task, schema: str) -> None:
        task.state = State.RUNNING
        task.execution = self._context.lineage.begin(task, schema)
        self._context.records.started(task)

    def _open_dag(self, task: Task) -> None:
        task.inner = dag = Dag(task)
        for name, spec in sorted(task.component.dag.tasks.items()):
            dag.tasks[name] = self._new(Task(name, spec, self._spec.component(spec), dag, task))
        for first in dag.first():
            self._trigger(first)

    def _open_loop(self, task: Task) -> None:
        try:
            items = loop_items(task)
        except TaskFailure as failure:
            return self._post(task, Outcome(State.FAILED, error=failure))
        self._begin(task, "system.DagExecution")
        task.loop = Loop(items, task.spec.iterator_policy.parallelism_limit)
        self._iterate(task, task.loop)
        return None

    def _iterate(self, task: Task, loop: Loop) -> None:
        """Start the iterations that may start; end the loop after the last."""
        while loop.may_start:
            if self._cancelled.is_set() or (self._failed and self._fail_fast):
                del loop.items[len(loop.iterations) :]
                break
            index = len(loop.iterations)
            iteration = self._new(Task(f"{task.name}-{index}", task.spec, task.component, None, task))
            loop.iterations.append(iteration)
            loop.running += 1
            try:
                iteration.inputs = iteration_inputs(task, loop.items[index])
            except TaskFailure as failure:
                self._post(iteration, Outcome(State.FAILED, error=failure))
                continue
            self._start(iteration)
        if loop.over:
            self._close(task, loop.iterations, loop_outputs(task))

    def _new(self, task: Task) -> Task:
        self._tasks += 1
        if self._tasks > MAXIMUM_TASKS:
            raise CloudError(f"The run has more than {MAXIMUM_TASKS} tasks")
        self._context.records.create(task)
        return task

    def _submit(self, task: Task) -> None:
        """Hand a leaf to the pool."""
        executor = self._spec.executor(task.component)
        leaf = Leaf(self._context, task, executor, self._names(task), self._cancelled)
        runner = _RUNNERS[executor.WhichOneof("spec")]

        def work() -> None:
            self._post(task, self._outcome(leaf, runner))

        self._pool.submit(self.name, work)

    def _outcome(self, leaf: Leaf, runner: Callable[[Leaf], Outcome]) -> Outcome:
        """Run a leaf; whatever goes wrong is how it ended."""
        name = leaf.task.unique_name
        try:
            return Outcome(State.CANCELLED) if self._cancelled.is_set() else runner(leaf)
        except TaskFailure as failure:
            return Outcome(State.FAILED, error=failure)
        except CloudError as error:
            return Outcome(State.FAILED, error=TaskFailure(error.code, f"Task `{name}`: {error.message}"))
        except Exception as unexpected:
            _log.exception("task %s of %s failed", name, self.name)
            problem = f"Task `{name}`: internal error: {type(unexpected).__name__}."
            return Outcome(State.FAILED, error=TaskFailure(Code.INTERNAL, problem))

    # The ends

    def _post(self, task: Task, outcome: Outcome) -> None:
        """Have a task end in its turn: ends that follow from one another do not nest, however long the chain."""
        self._events.put((task, outcome))

    def _end(self, task: Task, outcome: Outcome) -> None:
        """A task is over, or tried again; its followers, or what it is part of, go on."""
        task.state, task.outputs, task.error = outcome.state, outcome.outputs, outcome.error
        task.execution = outcome.execution or task.execution
        if task.state is State.FAILED and self._retried(task):
            return
        self._context.records.ended(task)
        if task.state is State.FAILED:
            self._failed = True
        task.inner = task.loop = None  # what is over needs no memory
        if task.dag is not None:
            dag = task.dag
            for follower in dag.ended(task):
                self._trigger(follower)
            if dag.over:
                self._close(dag.owner, list(dag.tasks.values()), dag_outputs(dag))
        elif task.parent is not None and task.parent.loop is not None:
            task.parent.loop.running -= 1
            self._iterate(task.parent, task.parent.loop)

    def _retried(self, task: Task) -> bool:
        """Whether a task that failed is tried again, later."""
        if task.spec is None or _is_iteration(task) or self._cancelled.is_set():
            return False
        policy = task.spec.retry_policy
        if task.attempt >= policy.max_retry_count:
            return False
        self._context.records.failed_attempt(task)
        delay = policy.backoff_duration.ToTimedelta().total_seconds() * (policy.backoff_factor or 2.0) ** task.attempt
        longest = policy.backoff_max_duration.ToTimedelta().total_seconds() or 3600.0
        task.attempt += 1
        task.state, task.error = State.PENDING, None
        heapq.heappush(self._timers, (time.monotonic() + min(delay, longest), next(self._order), task))
        return True

    def _close(self, owner: Task, parts: list[Task], outputs: Values) -> None:
        """End a task whose parts, tasks or iterations, are all over."""
        failed = [part.display_name for part in parts if part.state is State.FAILED]
        if failed:
            message = f"The DAG failed because some tasks failed. The failed tasks are: [{', '.join(failed)}]."
            outcome = Outcome(State.FAILED, outputs, TaskFailure(Code.FAILED_PRECONDITION, message))
        elif any(part.state is State.CANCELLED for part in parts) or self._cancelled.is_set():
            outcome = Outcome(State.CANCELLED, outputs)
        else:
            outcome = Outcome(State.SUCCEEDED, outputs)
        states = {State.FAILED: "FAILED", State.CANCELLED: "CANCELLED", State.SUCCEEDED: "COMPLETE"}
        outcome.execution = self._context.lineage.end(owner.execution, states[outcome.state], outputs)
        self._post(owner, outcome)

    # What tasks are told

    def _names(self, task: Task) -> dict[str, str]:
        """The placeholders without a path (kfp.dsl, and google_cloud_pipeline_components.types)."""
        job = self._context.job
        return {
            "pipeline_job_name": id_of(self.name),
            "pipeline_job_resource_name": self.name,
            "pipeline_job_uuid": str(self._root.id),
            "pipeline_task_name": task.name,
            "pipeline_task_uuid": str(task.id),
            "pipeline_root": job.runtime_config.gcs_output_directory,
            "pipeline_job_create_time_utc": job.create_time.ToJsonString(),
            "pipeline_job_schedule_time_utc": schedule_time(job).ToJsonString(),
            "pipeline_google_cloud_location": self.name.split("/")[3],
            "pipeline_google_cloud_project_id": self._context.vertex.projects.id(project_of(self.name)),
            "pipeline_service_account": job.service_account,
            "pipeline_network": job.network,
            "pipeline_persistent_resource_id": "",
            "pipeline_encryption_key_name": job.encryption_spec.kms_key_name,
            "location": parent_of(self.name),
        }

    def _final_status(self, task: Task) -> dict[str, Any]:
        """A task's PipelineTaskFinalStatus."""
        state = State.SUCCEEDED if task.state.good else task.state
        status: dict[str, Any] = {
            "state": state.value,
            "pipelineJobResourceName": self.name,
            "pipelineTaskName": task.name,
        }
        if task.error is not None:
            status["error"] = {"code": task.error.code.number, "message": task.error.message}
        return status


def _is_iteration(task: Task) -> bool:
    """Whether it is one round of a looping task, which has the same specification."""
    return task.dag is None
