"""What all kinds of jobs have in common: how they are listed, waited for, cancelled and deleted.

What a job of a kind is, and how it runs, is told by the services that are made of this.
"""

from __future__ import annotations

import threading
from typing import Any, Generic, Protocol, TypeVar

from localcloud.errors import FailedPrecondition
from localcloud.fields import select
from localcloud.service import patience
from localcloud.vertex.common import Vertex, generic_metadata, parent_of, v1

JOB_PATIENCE = 18.0
"""Seconds that a read waits for a job's end, for clients that would look again only after that time."""
_END_SECONDS = 15
_OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"})


class Run(Protocol):
    """What the run of a job can do."""

    name: str

    def start(self) -> None:
        """Begin, in a thread of its own."""

    def cancel(self) -> None:
        """End as cancelled, soon."""

    def shut_down(self) -> None:
        """End because the server does."""

    def join(self, timeout: float) -> object:
        """Wait for the end, so many seconds at most."""


R = TypeVar("R", bound=Run)


class JobKind(Generic[R]):
    """The jobs of one kind: all of them in the store, and the runs of those that are under way in this process.

    Args:
        vertex: The shared facilities.
        message: Their message, such as v1.CustomJob.
        state: The enum of its `state`: v1.JobState or v1.PipelineState.
    """

    def __init__(self, vertex: Vertex, message: Any, state: Any = v1.JobState) -> None:
        self._vertex = vertex
        self._message = message
        self._state = state
        self._runs: dict[str, R] = {}
        self._lock = threading.Lock()

    def word(self, job: Any) -> str:
        """A job's state without the enum's prefix: `RUNNING`."""
        return str(self._state.Name(job.state)).rpartition("STATE_")[2]

    def unfinished(self) -> list[Any]:
        """The jobs that are not over: at a start those that a former process left."""
        found = self._vertex.store.all("", self._message, descendants=True)
        return [job for job in found if self.word(job) not in _OVER]

    def begin(self, run: R) -> None:
        """Start a run and keep it until `forget`."""
        with self._lock:
            self._runs[run.name] = run
        run.start()

    def find(self, name: str) -> R | None:
        """The run of a job; None if it is over."""
        return self._runs.get(name)

    def forget(self, name: str) -> None:
        """Called by a run at its end."""
        with self._lock:
            self._runs.pop(name, None)

    def stop(self) -> None:
        """End all runs."""
        runs = list(self._runs.values())
        for run in runs:
            run.shut_down()
        for run in runs:
            run.join(_END_SECONDS)

    # Requests

    def get(self, request: Any) -> Any:
        """A job as it is now, or at its end for a client that would rather wait than look again."""
        name = self._vertex.name(request.name)
        run = self.find(name)
        if run is not None and (seconds := patience(JOB_PATIENCE)):
            run.join(seconds)
        return self._vertex.store.get(name, self._message)

    def list(self, request: Any, response: Any, field: str) -> Any:
        """Jobs of a location, newest first.

        Args:
            request: The list request.
            response: The message of the answer.
            field: Its field for the jobs.
        """
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            self._message,
            filter=request.filter,
            order_by="create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        jobs = [select(job, request.read_mask.paths) for job in page]
        return response(**{field: jobs}, next_page_token=page.next_page_token)

    def cancel(self, name: str) -> None:
        """Ask a job to end; one that is over stays as it is."""
        name = self._vertex.name(name)

        def change(job: Any) -> None:
            if self.word(job) not in _OVER:
                prefix = str(self._state.Name(job.state)).removesuffix(self.word(job))
                job.state = self._state.Value(f"{prefix}CANCELLING")

        self._vertex.store.modify(name, self._message, change)
        if run := self.find(name):
            run.cancel()

    def delete(self, name: str) -> Any:
        """Forget a job that is over; gives the operation.

        Raises:
            FailedPrecondition: It is not over.
        """
        name = self._vertex.name(name)
        job = self._vertex.store.get(name, self._message)
        if self.word(job) not in _OVER:
            kind = job.DESCRIPTOR.name
            state = self._state.Name(job.state)
            raise FailedPrecondition(f"{kind} `{name}` is in state {state}: cancel it before deleting it.")
        self._vertex.store.delete(name, self._message)
        return self._vertex.operations.done(parent_of(name), metadata=generic_metadata(v1.DeleteOperationMetadata))
