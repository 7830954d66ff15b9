"""One hyperparameter tuning job as it runs: trials are started, listened to, stopped early, and counted when they fail.

The API in front is localcloud.vertex.tuning.service; what is tried next, localcloud.vertex.vizier's choice.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from localcloud.errors import CloudError, Code
from localcloud.vertex.common import Vertex, id_of, now, parent_of, v1
from localcloud.vertex.job_run import METRIC_FILE, JobFailure, TrialOf, finish
from localcloud.vertex.jobs import OVER, JobService
from localcloud.vertex.tuning.reports import Reports
from localcloud.vertex.tuning.trial import custom_job
from localcloud.vertex.vizier.metrics import succeeded
from localcloud.vertex.vizier.space import fill_parameters
from localcloud.vertex.vizier.stopping import is_study_over, should_stop_trial
from localcloud.vertex.vizier.studies import Search
from localcloud.vertex.vizier.suggesting import suggest
from localcloud.vertex.vizier.trials import UNDER_WAY, complete, end_infeasible

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
"""How often the trials are looked after."""
_MANY_FAILED = 3
"""Where max_failed_trial_count is not set: so many failures, if they are more than half of the ended trials."""
_PRIMARY = "workerpool0-0"


@dataclass
class _Active:
    """A trial under way."""

    job: str
    """Its CustomJob."""
    reports: Reports


class TuningRun:
    """Runs a stored HyperparameterTuningJob in a thread of its own.

    Args:
        vertex: The shared facilities.
        jobs: What runs custom jobs.
        job: The job as it was stored, PENDING.
        search: Its study_spec.
        ended: Called with the job's name when all is over.
    """

    def __init__(
        self, vertex: Vertex, jobs: JobService, job: Any, search: Search, ended: Callable[[str], None]
    ) -> None:
        self.name: str = job.name
        self._vertex = vertex
        self._jobs = jobs
        self._job = job
        self._search = search
        self._ended = ended
        self._folder = reports_folder(vertex) / id_of(job.name)
        self._events: queue.Queue[str] = queue.Queue()
        self._active: dict[str, _Active] = {}
        self._exhausted = False
        self._thread = threading.Thread(target=self._run, name=f"tuning-{id_of(job.name)}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to end as CANCELLED."""
        self._events.put("cancel")

    def shut_down(self) -> None:
        """Ask the job to end because the server does."""
        self._events.put("shutdown")

    def join(self, timeout: float) -> bool:
        """Wait for the end; gives whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The run

    def _run(self) -> None:
        error: JobFailure | None = None
        try:
            self._supervise()
            state = "JOB_STATE_SUCCEEDED"
        except JobFailure as failure:
            state = "JOB_STATE_CANCELLED" if failure.code is Code.CANCELLED else "JOB_STATE_FAILED"
            error = failure
        except Exception as unexpected:
            _log.exception("tuning job %s failed", self.name)
            state = "JOB_STATE_FAILED"
            error = JobFailure(Code.INTERNAL, f"Internal error occurred: {type(unexpected).__name__}.")
        self._end_all(error)
        finish(self._vertex, self.name, state, error, v1.HyperparameterTuningJob)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._ended(self.name)

    def _supervise(self) -> None:
        self._change(_begin)
        while True:
            for trial_id, active in list(self._active.items()):
                self._look_after(trial_id, active)
            trials = self._stored().trials
            self._check_failures(trials)
            if self._goes_on(trials):
                while len(self._active) < self._job.parallel_trial_count and self._start_next():
                    pass
            if not self._active:
                break
            try:
                event = self._events.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if event == "cancel":
                raise JobFailure(Code.CANCELLED, "CANCELED")
            raise JobFailure(
                Code.ABORTED, "The local cloud was stopped while the job was running. Submit the job again."
            )
        trials = self._stored().trials
        if not succeeded(trials):
            raise self._failure("No trial succeeded.", trials)

    def _goes_on(self, trials: Sequence[Any]) -> bool:
        """Whether there may be new trials."""
        if self._exhausted or len(trials) >= self._job.max_trial_count:
            return False
        spec = self._search.spec
        if is_study_over(spec, self._search.metrics, self._job.create_time.ToDatetime(UTC), trials):
            self._exhausted = True
            if spec.study_stopping_config.should_stop_asap.value:
                for trial_id, active in self._active.items():
                    self._stop_early(trial_id, active)
        return not self._exhausted

    def _start_next(self) -> bool:
        """Start a further trial; gives whether there was one to start."""
        trials = list(self._stored().trials)
        if len(trials) >= self._job.max_trial_count:
            return False
        search = self._search
        found = suggest(search.spec, search.space, search.metrics, trials, [{}], use_defaults=False)
        if not found:
            self._exhausted = True
            return False
        trial = v1.Trial(id=str(len(trials) + 1), state=v1.Trial.ACTIVE, start_time=now())
        fill_parameters(trial, found[0])
        place = TrialOf(trial.id, self._folder / trial.id)
        try:
            job = self._jobs.submit(parent_of(self.name), custom_job(self._job, trial), place)
        except CloudError as error:
            raise JobFailure(error.code, f"Trial {trial.id} could not be started: {error.message}") from None
        trial.custom_job = job.name
        path = place.reports / _PRIMARY / METRIC_FILE.name
        self._active[trial.id] = _Active(job.name, Reports(path, search.metrics.ids, trial.start_time))
        self._change(lambda stored: stored.trials.append(trial))
        return True

    def _look_after(self, trial_id: str, active: _Active) -> None:
        job = self._vertex.store.find(active.job, v1.CustomJob)
        state = v1.JobState.Name(job.state) if job is not None else "JOB_STATE_CANCELLED"
        # after the state: what was written before the end is read too
        news = active.reports.read()
        if news:
            self._note(trial_id, active.reports.measurements())
        if state in OVER:
            del self._active[trial_id]
            self._change_trial(trial_id, lambda trial: self._end(trial, state, job, active.reports))
        elif news:
            trials = self._stored().trials
            [trial] = [one for one in trials if one.id == trial_id]
            if trial.state == v1.Trial.ACTIVE and should_stop_trial(
                self._search.spec, self._search.metrics, trial, trials
            ):
                self._stop_early(trial_id, active)

    def _note(self, trial_id: str, measurements: Sequence[Any]) -> None:
        def change(trial: Any) -> None:
            del trial.measurements[:]
            trial.measurements.extend(measurements)

        self._change_trial(trial_id, change)

    def _stop_early(self, trial_id: str, active: _Active) -> None:
        def change(trial: Any) -> None:
            if trial.state == v1.Trial.ACTIVE:
                trial.state = v1.Trial.STOPPING

        self._change_trial(trial_id, change)
        self._jobs.cancel_custom_job(v1.CancelCustomJobRequest(name=active.job))

    def _end(self, trial: Any, state: str, job: Any, reports: Reports) -> None:
        """A trial whose job is over: with a measurement where it ended well or was stopped early."""
        if state == "JOB_STATE_SUCCEEDED" or trial.state == v1.Trial.STOPPING:
            complete(trial, self._search.metrics)
            if trial.state == v1.Trial.INFEASIBLE:
                trial.infeasible_reason = reports.why_nothing()
        elif state == "JOB_STATE_CANCELLED":
            end_infeasible(trial, f"The trial's job `{trial.custom_job}` was cancelled.")
        else:
            end_infeasible(trial, job.error.message)

    def _check_failures(self, trials: Sequence[Any]) -> None:
        failed = [trial for trial in trials if trial.state == v1.Trial.INFEASIBLE]
        most = self._job.max_failed_trial_count
        if not failed:
            return
        if most:
            if len(failed) >= most:
                raise self._failure(f"{len(failed)} trials failed, and max_failed_trial_count is {most}.", trials)
            return
        if failed[0].id == "1":
            raise self._failure("The first trial failed, and max_failed_trial_count is not set.", trials)
        done = len(failed) + len(succeeded(trials))
        if len(failed) >= _MANY_FAILED and len(failed) * 2 > done:
            raise self._failure(
                f"{len(failed)} of {done} trials failed, and max_failed_trial_count is not set.", trials
            )

    def _failure(self, what: str, trials: Sequence[Any]) -> JobFailure:
        failed = [trial for trial in trials if trial.state == v1.Trial.INFEASIBLE]
        last = failed[-1] if failed else None
        why = f" Trial {last.id} (`{last.custom_job}`): {last.infeasible_reason}" if last is not None else ""
        return JobFailure(Code.INVALID_ARGUMENT, f"{what}{why}")

    def _end_all(self, error: JobFailure | None) -> None:
        """End what is still under way, all at once, and its trials with it."""
        cancelled = threading.Event()
        cancelled.set()
        goes_down = error is not None and error.code is Code.ABORTED  # then the custom jobs end with the server
        for active in () if goes_down else self._active.values():
            self._jobs.cancel_custom_job(v1.CancelCustomJobRequest(name=active.job))
        for trial_id, active in () if goes_down else self._active.items():
            self._jobs.wait(active.job, cancelled)
            if active.reports.read():
                self._note(trial_id, active.reports.measurements())
        self._active.clear()
        reason = "The tuning job was cancelled."
        if error is not None and error.code is not Code.CANCELLED:
            reason = f"The tuning job ended before the trial did. {error.message}"
        self._change(lambda stored: end_trials(stored, reason))

    def _stored(self) -> Any:
        return self._vertex.store.get(self.name, v1.HyperparameterTuningJob)

    def _change(self, change: Callable[[Any], None]) -> None:
        self._vertex.store.modify(self.name, v1.HyperparameterTuningJob, change)

    def _change_trial(self, trial_id: str, change: Callable[[Any], None]) -> None:
        self._change(lambda stored: change(next(trial for trial in stored.trials if trial.id == trial_id)))


def end_trials(job: Any, reason: str) -> None:
    """End the trials of a tuning job that are under way still."""
    for trial in job.trials:
        if trial.state in UNDER_WAY:
            end_infeasible(trial, reason)


def reports_folder(vertex: Vertex) -> Path:
    """Where trials report to."""
    return vertex.cloud.root / "vertex-tuning"


def _begin(stored: Any) -> None:
    if stored.state == v1.JobState.Value("JOB_STATE_PENDING"):
        stored.state = v1.JobState.Value("JOB_STATE_RUNNING")
    stored.start_time.CopyFrom(now())
