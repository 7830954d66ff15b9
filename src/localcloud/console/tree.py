"""The tasks of a pipeline run as a tree: its specification says which there are, its task details how they stand.

What a run has not come to yet is in the tree as well, without details. How it is drawn is console.drawing's.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from google.protobuf import json_format

from localcloud.catalog import Package
from localcloud.console.values import plain, seconds_of
from localcloud.pipeline_spec import messages

v1 = Package("google.cloud.aiplatform.v1")

Kind = Literal["pipeline", "task", "condition", "branches", "exit handler", "loop", "iteration"]
GROUPS: tuple[Kind, ...] = ("pipeline", "condition", "branches", "exit handler", "loop", "iteration")
WORDS = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "CANCEL_PENDING": "being cancelled",
    "CANCELLING": "being cancelled",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "not triggered",
}
"""The states of tasks in words of the field; a skipped task is one whose outputs came from the cache."""
SIGNS = {
    "waiting": "○",
    "running": "▶",
    "succeeded": "✓",
    "being cancelled": "◧",
    "cancelled": "■",
    "failed": "✗",
    "cached": "↺",
    "not triggered": "⊘",
}
"""One sign for each of them, so that no state is told by colour alone."""
_OVER = ("SUCCEEDED", "CANCELLED", "FAILED", "SKIPPED", "NOT_TRIGGERED")
_GROUP_NAMES: tuple[tuple[str, Kind], ...] = (
    ("comp-exit-handler", "exit handler"),
    ("comp-condition-branches", "branches"),
    ("comp-condition", "condition"),
)
"""What the compiler calls the components of its groups."""


@dataclass(eq=False)
class Node:
    """A task, a group of tasks, a loop, or one iteration of a loop.

    Args:
        tree: The run.
        name: Its name in the DAG it belongs to.
        kind: What it is.
        spec: Its PipelineTaskSpec; None for the run itself.
        component: Its ComponentSpec.
        detail: Its PipelineTaskDetail; None as long as there is none.
        parent: What it is in; None for the run itself.
    """

    tree: Tree
    name: str
    kind: Kind
    spec: Any
    component: Any
    detail: Any
    parent: Node | None

    @property
    def id(self) -> str:
        """Its task id; empty as long as the run has not come to it."""
        return str(self.detail.task_id) if self.detail is not None else ""

    @property
    def title(self) -> str:
        """What it is called on screens."""
        shown = self.spec.task_info.name if self.spec is not None and self.kind != "iteration" else ""
        return shown or self.name

    @property
    def path(self) -> str:
        """Its name below those of the tasks that it is in, joined by dots, as `mlops logs RUN TASK` takes it."""
        above = self.parent.path if self.parent is not None else ""
        if self.parent is None:
            return ""
        return f"{above}.{self.name}" if above else self.name

    @property
    def state(self) -> str:
        """A name of PipelineTaskDetail.State."""
        return v1.PipelineTaskDetail.State.Name(self.detail.state) if self.detail is not None else "PENDING"

    @property
    def word(self) -> str:
        """Its state in words."""
        if self.detail is None and self.tree.over:
            return "not triggered"
        return WORDS.get(self.state, self.state.lower().replace("_", " "))

    @property
    def sign(self) -> str:
        """The sign of its state."""
        return SIGNS.get(self.word, "?")

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in _OVER

    @property
    def seconds(self) -> float | None:
        """How long it has run; None where it has not."""
        if self.detail is None or not self.detail.HasField("start_time") or self.state == "SKIPPED":
            return None
        end = seconds_of(self.detail.end_time) if self.detail.HasField("end_time") else time.time()
        return max(0.0, end - seconds_of(self.detail.start_time))

    @property
    def waited(self) -> float | None:
        """How long it was pending; None where it still is, or never was."""
        if self.detail is None or not self.detail.HasField("start_time") or not self.detail.HasField("create_time"):
            return None
        return max(0.0, seconds_of(self.detail.start_time) - seconds_of(self.detail.create_time))

    @property
    def attempts(self) -> int:
        """How often it was tried, once more than once."""
        return len(self.detail.pipeline_task_status) if self.detail is not None else 0

    @property
    def error(self) -> str:
        """Why it failed."""
        return str(self.detail.error.message) if self.detail is not None else ""

    @property
    def condition(self) -> str:
        """The expression that must hold for it to run."""
        return str(self.spec.trigger_policy.condition) if self.spec is not None and self.kind != "iteration" else ""

    @property
    def jobs(self) -> list[str]:
        """The custom jobs it ran in, by resource name, the last attempt's last."""
        if self.detail is None:
            return []
        container = self.detail.executor_detail.container_detail
        custom = self.detail.executor_detail.custom_job_detail
        found = [*container.failed_main_jobs, container.main_job, *custom.failed_jobs, custom.job]
        return list(dict.fromkeys(job for job in found if job))

    @property
    def waits(self) -> set[str]:
        """The names of the tasks beside it that come before it."""
        if self.spec is None or self.kind == "iteration":
            return set()
        found = set(self.spec.dependent_tasks)
        for source in self.spec.inputs.parameters.values():
            found |= {source.task_output_parameter.producer_task, source.task_final_status.producer_task}
        for source in self.spec.inputs.artifacts.values():
            found.add(source.task_output_artifact.producer_task)
        return found - {""}

    @cached_property
    def children(self) -> list[Node]:
        """A loop's iterations, or the tasks of its DAG."""
        details = self.tree.below(self)
        if self.kind == "loop":
            ordered = sorted(details, key=lambda detail: _number(detail.task_name))
            return [self._child(d.task_name, "iteration", self.spec, self.component, d) for d in ordered]
        tasks = self.component.dag.tasks if self.component is not None else {}
        by_name = {detail.task_name: detail for detail in details}
        found = []
        for name in sorted(tasks, key=_natural):
            component = self.tree.components.get(tasks[name].component_ref.name)
            found.append(self._child(name, _kind(tasks[name], component), tasks[name], component, by_name.get(name)))
        return found

    @property
    def iterations(self) -> int | None:
        """How many iterations a loop has or will have; None where that is not known yet."""
        if self.over:
            return len(self.children)
        if self.spec.WhichOneof("iterator") == "artifact_iterator":
            name = self.spec.artifact_iterator.items.input_artifact
            return len(self.detail.inputs[name].artifacts) if self.detail and name in self.detail.inputs else None
        items = self.spec.parameter_iterator.items
        value = items.raw or self.parameters("input").get(items.input_parameter)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return None
        return len(value) if isinstance(value, list) else None

    @property
    def summary(self) -> str:
        """How the iterations of a loop stand: `187 ✓ 3 ✗ of 200`."""
        counts = Counter(child.word for child in self.children)
        total = self.iterations
        parts = [f"{counts[word]} {sign}" for word, sign in SIGNS.items() if counts[word]]
        return " ".join([*parts, f"of {total}" if total is not None else ""]).strip()

    def parameters(self, side: str) -> dict[str, Any]:
        """Its parameters: of the side `input` or `output`."""
        if self.detail is None:
            return {}
        fields = self.detail.execution.metadata.fields
        prefix = f"{side}:"
        return {key.removeprefix(prefix): plain(fields[key]) for key in sorted(fields) if key.startswith(prefix)}

    def artifacts(self, side: str) -> dict[str, list[Any]]:
        """Its artifacts: of the side `inputs` or `outputs`."""
        entries = getattr(self.detail, side) if self.detail is not None else {}
        return {name: list(entries[name].artifacts) for name in sorted(entries)}

    def above(self) -> Iterator[Node]:
        """It and all that it is in, from below."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def walk(self) -> Iterator[Node]:
        """It and all below it, from above."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def _child(self, name: str, kind: Kind, spec: Any, component: Any, detail: Any) -> Node:
        return Node(self.tree, name, kind, spec, component, detail, self)


class Tree:
    """A run.

    Args:
        job: Its PipelineJob, as GetPipelineJob gives it.
    """

    def __init__(self, job: Any) -> None:
        self.job = job
        spec = messages().PipelineSpec()
        content = json_format.MessageToDict(job.pipeline_spec)
        for other in ("deploymentSpec", "deployment_spec", "deploymentConfig"):  # how tasks run is not drawn
            content.pop(other, None)
        json_format.ParseDict(content, spec, ignore_unknown_fields=True)
        self.name: str = spec.pipeline_info.name
        self.components: dict[str, Any] = dict(spec.components)
        self.over: bool = job.HasField("end_time")
        self._below: dict[int, list[Any]] = {}
        self._by_id: dict[int, Any] = {}
        for detail in job.job_detail.task_details:
            self._below.setdefault(detail.parent_task_id, []).append(detail)
            self._by_id[detail.task_id] = detail
        root = next(iter(self._below.get(0, [])), None)
        self.root = Node(self, root.task_name if root is not None else "", "pipeline", None, spec.root, root, None)

    def below(self, node: Node) -> list[Any]:
        """The details of the tasks inside of one."""
        return self._below.get(node.detail.task_id, []) if node.detail is not None else []

    def find(self, id: str) -> Node | None:
        """The task of this id."""
        detail = self._by_id.get(int(id)) if id.isdecimal() and len(id) < 20 else None
        chain = []
        while detail is not None and detail.task_id not in chain:
            chain.append(detail.task_id)
            detail = self._by_id.get(detail.parent_task_id)
        node: Node | None = self.root if chain and self.root.id == str(chain[-1]) else None
        for number in reversed(chain[:-1]):
            if node is None:
                break
            node = next((child for child in node.children if child.id == str(number)), None)
        return node

    def failed(self, most: int) -> tuple[list[Node], int]:
        """The first tasks that failed by themselves, not because of one inside of them, and how many did."""
        wrong = v1.PipelineTaskDetail.State.Value("FAILED")
        causes = [
            detail.task_id
            for detail in self.job.job_detail.task_details
            if detail.state == wrong
            and detail.parent_task_id
            and all(inside.state != wrong for inside in self._below.get(detail.task_id, ()))
        ]
        found = (self.find(str(id)) for id in causes[:most])
        return [node for node in found if node is not None], len(causes)


def _kind(spec: Any, component: Any) -> Kind:
    if spec.WhichOneof("iterator") is not None:
        return "loop"
    if component is None or component.WhichOneof("implementation") != "dag":
        return "task"
    name = spec.component_ref.name
    return next((kind for prefix, kind in _GROUP_NAMES if name.startswith(prefix)), "pipeline")


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in names count as numbers: `say-10` after `say-9`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _number(name: str) -> int:
    """The number of an iteration, which its name ends in."""
    last = name.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0
