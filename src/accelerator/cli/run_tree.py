"""The tasks of a pipeline run as a tree: what PipelineJob's flat list of task details and its specification say.

How the tree is shown is accelerator.cli.run_view's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
OVER = frozenset({"SUCCEEDED", "CANCELLED", "FAILED", "SKIPPED", "NOT_TRIGGERED"})


@dataclass
class Node:
    """A task as it stands."""

    name: str
    path: str
    """Its name below those of the tasks it runs inside of, joined by dots; the root's is empty."""
    kind: str
    """`task`, `group` (a pipeline inside a pipeline, a condition, an exit handler), `loop` or `iteration`."""
    detail: Mapping[str, Any]
    """Its PipelineTaskDetail as JSON."""
    children: list[Node] = field(default_factory=list)
    items: int | None = None
    """How many iterations a loop will have, where that is known."""

    @property
    def state(self) -> str:
        """A name of PipelineTaskDetail.State."""
        return str(self.detail.get("state", "PENDING"))

    @property
    def word(self) -> str:
        """Its state in words."""
        return WORDS.get(self.state, self.state.lower().replace("_", " "))

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in OVER

    @property
    def error(self) -> str:
        """Why it failed."""
        return str(self.detail.get("error", {}).get("message", ""))

    @property
    def jobs(self) -> list[str]:
        """The custom jobs it ran in, the last attempt's last."""
        executor = self.detail.get("executorDetail", {})
        container, custom = executor.get("containerDetail", {}), executor.get("customJobDetail", {})
        found = [*container.get("failedMainJobs", []), *custom.get("failedJobs", [])]
        for job in (container.get("mainJob"), custom.get("job")):
            if job and job not in found:
                found.append(job)
        return found

    def seconds(self, now: datetime) -> float | None:
        """How long it has run; None before it starts."""
        if "startTime" not in self.detail or self.state == "SKIPPED":
            return None
        end = time_of(self.detail["endTime"]) if "endTime" in self.detail else now
        return max(0.0, (end - time_of(self.detail["startTime"])).total_seconds())

    def walk(self) -> Iterator[Node]:
        """It and all below it, from above."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Node]:
        """The tasks in it that run something."""
        return (node for node in self.walk() if node.kind == "task")

    def counts(self) -> Counter[str]:
        """How many of its children stand in which state, by the word for it."""
        return Counter(child.word for child in self.children)

    def values(self, side: str) -> dict[str, Any]:
        """Its parameters: of the side `input` or `output`."""
        metadata = self.detail.get("execution", {}).get("metadata", {})
        prefix = f"{side}:"
        return {name.removeprefix(prefix): whole(v) for name, v in metadata.items() if name.startswith(prefix)}

    def artifacts(self, side: str) -> dict[str, list[Mapping[str, Any]]]:
        """Its artifacts: of the side `inputs` or `outputs`."""
        return {name: entry.get("artifacts", []) for name, entry in self.detail.get(side, {}).items()}


def tree(job: Mapping[str, Any]) -> Node:
    """The root task of a PipelineJob (as JSON) with all that is below it; tasks in the order in which they started."""
    details = job.get("jobDetail", {}).get("taskDetails", [])
    below: dict[str, list[Mapping[str, Any]]] = {}
    for detail in details:
        below.setdefault(detail.get("parentTaskId", ""), []).append(detail)
    root = next(iter(below.get("", [])), {})
    spec = job.get("pipelineSpec", {})
    node = Node(str(root.get("taskName", "")), "", "group", root)
    stack = [(node, spec.get("root", {}))]
    while stack:
        parent, component = stack.pop()
        tasks = component.get("dag", {}).get("tasks", {})
        children = below.get(str(parent.detail.get("taskId", "no id")), [])
        for detail in sorted(children, key=lambda child: child.get("startTime") or "9"):
            name = str(detail.get("taskName", ""))
            path = f"{parent.path}.{name}" if parent.path else name
            if parent.kind == "loop":
                child, inner = Node(name, path, "iteration", detail), component
            else:
                task = tasks.get(name, {})
                inner = spec.get("components", {}).get(task.get("componentRef", {}).get("name"), {})
                child = Node(name, path, _kind(task, inner), detail)
                child.items = _items(task, child) if child.kind == "loop" else None
            parent.children.append(child)
            stack.append((child, inner))
    return node


def whole(value: Any) -> Any:
    """Numbers without a fraction as integers: a Struct knows floating point alone."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def time_of(text: str) -> datetime:
    """A timestamp of the API; Python 3.11 takes no nanoseconds."""
    head, dot, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{head}{dot}{fraction[:6]}+00:00")


def _kind(task: Mapping[str, Any], component: Mapping[str, Any]) -> str:
    if "parameterIterator" in task or "artifactIterator" in task:
        return "loop"
    return "group" if "dag" in component else "task"


def _items(task: Mapping[str, Any], loop: Node) -> int | None:
    """The length of what a loop goes over, from its specification or its inputs."""
    items = task.get("parameterIterator", {}).get("items", {})
    value = items.get("raw") or loop.values("input").get(items.get("inputParameter", ""))
    if "artifactIterator" in task:
        name = task["artifactIterator"].get("items", {}).get("inputArtifact", "")
        return len(loop.artifacts("inputs").get(name, [])) or None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return len(value) if isinstance(value, list) else None
