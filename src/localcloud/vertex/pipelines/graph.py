"""The tasks and DAGs of one run as they stand; how they get there is localcloud.vertex.pipelines.run's work.

A task runs a component: a leaf (a container, say), a sub-DAG, or in a loop one iteration after the other.
"""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field
from typing import Any

from localcloud.errors import Code
from localcloud.vertex.pipelines.checks import upstream


class State(enum.StrEnum):
    """PipelineTaskDetail.State."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    """Its outputs came from the cache."""
    NOT_TRIGGERED = "NOT_TRIGGERED"

    @property
    def over(self) -> bool:
        """Whether nothing will come after it."""
        return self not in (State.PENDING, State.RUNNING)

    @property
    def good(self) -> bool:
        """Whether the task has its outputs."""
        return self in (State.SUCCEEDED, State.SKIPPED)


@dataclass
class Values:
    """What goes into a task and comes out of it."""

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[Any]] = field(default_factory=dict)
    """Each a list of aiplatform.v1.Artifact."""


class TaskFailure(Exception):
    """How a task failed: what becomes its `error`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Outcome:
    """How a task ended."""

    state: State
    outputs: Values = field(default_factory=Values)
    error: TaskFailure | None = None
    execution: Any = None
    """Its aiplatform.v1.Execution."""


class Task:
    """One task of a DAG, or one iteration of a loop.

    Args:
        name: Its name in the DAG.
        spec: Its PipelineTaskSpec.
        component: The ComponentSpec that it runs.
        dag: The DAG it belongs to; None for the root.
        parent: The task that it runs inside of; None for the root.
    """

    def __init__(self, name: str, spec: Any, component: Any, dag: Dag | None, parent: Task | None) -> None:
        self.id = secrets.randbelow(2**62) + 2**60
        self.name = name
        self.spec = spec
        self.component = component
        self.dag = dag
        self.parent = parent
        self.unique_name: str = name if parent is None or parent.parent is None else f"{parent.unique_name}.{name}"
        self.state = State.PENDING
        self.inputs = Values()
        self.outputs = Values()
        self.error: TaskFailure | None = None
        self.execution: Any = None
        self.attempt = 0
        self.inner: Dag | None = None
        """The DAG it runs, once it runs."""
        self.loop: Loop | None = None
        """The iterations it runs, once it runs."""

    @property
    def is_leaf(self) -> bool:
        """Whether an executor runs it."""
        return bool(self.component.WhichOneof("implementation") == "executor_label")

    @property
    def is_loop(self) -> bool:
        """Whether it runs its component once for each item."""
        return self.spec is not None and self.spec.WhichOneof("iterator") is not None

    @property
    def display_name(self) -> str:
        """What it is called on screens."""
        return (self.spec.task_info.name if self.spec is not None else "") or self.name


class Dag:
    """The tasks of one DagSpec in one place of the run.

    Args:
        owner: The task that runs it.
    """

    def __init__(self, owner: Task) -> None:
        specs = owner.component.dag.tasks
        self.owner = owner
        self.tasks: dict[str, Task] = {}
        """Its tasks by name."""
        self._waits = {name: upstream(spec) for name, spec in specs.items()}
        self._followers: dict[str, list[str]] = {}
        for name, others in self._waits.items():
            for other in others:
                self._followers.setdefault(other, []).append(name)
        self._left = len(specs)

    @property
    def over(self) -> bool:
        """Whether all tasks are."""
        return self._left == 0

    def first(self) -> list[Task]:
        """The tasks that wait for none."""
        return [self.tasks[name] for name, others in self._waits.items() if not others]

    def ended(self, task: Task) -> list[Task]:
        """Note that a task is over; gives those that waited for it last."""
        self._left -= 1
        ready = []
        for follower in self._followers.get(task.name, ()):
            self._waits[follower].discard(task.name)
            if not self._waits[follower]:
                ready.append(self.tasks[follower])
        return ready

    def upstream(self, task: Task) -> list[Task]:
        """The tasks that a task waited for."""
        return [self.tasks[name] for name in upstream(task.spec)]


class Loop:
    """The iterations of a looping task.

    Args:
        items: What it loops over, in order.
        limit: How many iterations run at a time; 0 for all.
    """

    def __init__(self, items: list[Any], limit: int) -> None:
        self.items = items
        self.limit = limit or len(items)
        self.iterations: list[Task] = []
        self.running = 0

    @property
    def may_start(self) -> bool:
        """Whether a further iteration may start now."""
        return self.running < self.limit and len(self.iterations) < len(self.items)

    @property
    def over(self) -> bool:
        """Whether all iterations are."""
        return self.running == 0 and len(self.iterations) == len(self.items)
