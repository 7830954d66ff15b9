"""Whose logs: jobs, pipeline runs and endpoints, found by what a user knows of them, with the entries that are theirs.

How entries are read and shown is accelerator.cli.logs'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from accelerator.cli.run_tree import Node, tree
from accelerator.cli.vertex import OVER, ApiError, Vertex
from accelerator.errors import AcceleratorError, suggestion

_MOST_JOBS = 600
"""Tasks of a run whose logs are read: a filter of Cloud Logging has at most 20,000 characters."""


_COLLECTIONS = ("customJobs", "hyperparameterTuningJobs", "batchPredictionJobs", "endpoints", "pipelineJobs")


class LogsError(AcceleratorError):
    """There is nothing of that name to show."""


class Source(Protocol):
    """Whose entries are shown."""

    name: str

    def filter(self) -> str:
        """Its entries as they stand now, in Cloud Logging's query language; empty where there can be none."""

    def ended(self) -> bool:
        """Whether no more entries will come."""

    def label(self, labels: Mapping[str, str]) -> str:
        """What a line begins with, from the labels of the entry and its resource."""


def find(vertex: Vertex, name: str, task: str) -> Source:
    """The job, run or endpoint of this id, resource name or display name.

    Raises:
        LogsError: There is none.
    """
    last = name.rpartition("/")[2]
    try:
        for collection in (
            "pipelineJobs",
            "customJobs",
            "hyperparameterTuningJobs",
            "batchPredictionJobs",
            "endpoints",
        ):
            found = None
            if last.isdigit() or collection == "pipelineJobs":
                found = vertex.find(f"{vertex.parent}/{collection}/{last}")
            if found is None and not last.isdigit():
                # the newest of that name
                found = vertex.newest(collection, name)
            if found is None:
                continue
            if collection == "pipelineJobs":
                return _Run(vertex, found["name"], task)
            if task:
                raise LogsError(f"{name} has no tasks: it is no pipeline run", next_step=f"write `mlops logs {name}`")
            if collection == "endpoints":
                return _Endpoint(found["name"])
            return _JOBS.get(collection, _Job)(vertex, found["name"])
    except ApiError as error:
        raise LogsError(error.headline, place=error.place) from None
    raise LogsError(
        f"No job, no pipeline run and no endpoint {'has the id' if last.isdigit() else 'is named'} {last}",
        place=vertex.parent,
        next_step="check it, or give a resource name; --project names another project than the default",
    )


class _Endpoint:
    """An endpoint, which never ends."""

    def __init__(self, name: str) -> None:
        self.name = name

    def filter(self) -> str:
        identifier = self.name.rpartition("/")[2]
        return f'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id="{identifier}"'

    def ended(self) -> bool:
        return False

    def label(self, labels: Mapping[str, str]) -> str:
        return labels.get("task_name", "")


class _Job:
    """A custom or batch prediction job."""

    def __init__(self, vertex: Vertex, name: str) -> None:
        self._vertex = vertex
        self.name = name

    def filter(self) -> str:
        return f'resource.type="ml_job" AND resource.labels.job_id="{self.name.rpartition("/")[2]}"'

    def ended(self) -> bool:
        return (self._vertex.find(self.name) or {}).get("state") in OVER

    def label(self, labels: Mapping[str, str]) -> str:
        return labels.get("task_name", "")


class _TuningJob(_Job):
    """A hyperparameter tuning job: each trial is a custom job and writes under that."""

    def filter(self) -> str:
        found = self._vertex.find(self.name) or {}
        jobs = [self.name, *(trial.get("customJob", "") for trial in found.get("trials", []))]
        named = " OR ".join(f'"{job.rpartition("/")[2]}"' for job in jobs[-_MOST_JOBS:] if job)
        return f'resource.type="ml_job" AND resource.labels.job_id=({named})'

    def label(self, labels: Mapping[str, str]) -> str:
        trial = labels.get("ml.googleapis.com/trial_id")
        return f"trial {trial} {super().label(labels)}" if trial else super().label(labels)


_JOBS = {"hyperparameterTuningJobs": _TuningJob}


class _Run:
    """A pipeline run, or one of its tasks: the custom jobs that they ran in."""

    def __init__(self, vertex: Vertex, name: str, task: str) -> None:
        self._vertex = vertex
        self._task = task
        self._over = False
        self._paths: dict[str, str] = {}
        self.name = name
        self._look()

    def filter(self) -> str:
        if not self._over:
            self._look()
        jobs = list(self._paths)[-_MOST_JOBS:]
        named = " OR ".join(f'"{job}"' for job in jobs)
        return f'resource.type="ml_job" AND resource.labels.job_id=({named})' if jobs else ""

    def ended(self) -> bool:
        return self._over

    def label(self, labels: Mapping[str, str]) -> str:
        return self._paths.get(labels.get("job_id", ""), "")

    def _look(self) -> None:
        run = self._vertex.get(self.name)
        nodes = self._nodes(tree(run))
        self._paths = {
            job.rpartition("/")[2]: leaf.path for node in nodes for leaf in node.leaves() for job in leaf.jobs
        }
        self._over = run["state"] in OVER or (bool(self._task) and all(node.over for node in nodes))
        if self._over and not self._paths and self._task and all(node.state == "SKIPPED" for node in nodes):
            raise LogsError(
                f"{self._task} has written nothing in this run: its outputs came from the cache",
                next_step="`mlops run --no-cache` runs everything anew",
            )

    def _nodes(self, root: Node) -> list[Node]:
        """The tasks that were asked for, by their path or by their own name, which iterations share."""
        if not self._task:
            return [root]
        everything = [node for node in root.walk() if node is not root]
        found = [node for node in everything if self._task in (node.path, node.name)]
        if not found:
            names = dict.fromkeys(node.name for node in everything if node.kind != "iteration")
            raise LogsError(
                f"The run has no task {self._task!r}", place=self.name, next_step=suggestion(self._task, names)
            )
        return found
