"""VizierService: the trials of a study, from what was measured to the best of them.

Who gets which trial to evaluate is localcloud.vertex.vizier.suggestions' business.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import FailedPrecondition
from localcloud.vertex.common import Vertex, id_of, invalid, now, v1
from localcloud.vertex.vizier.metrics import Metrics
from localcloud.vertex.vizier.space import fill_parameters
from localcloud.vertex.vizier.studies import Search, find_study, read_search

UNDER_WAY = frozenset({v1.Trial.ACTIVE, v1.Trial.STOPPING})
_NOTHING_MEASURED = "No measurement with all metrics of the study was reported."


class VizierService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#vizierservice, the trials."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex

    def create_trial(self, request: Any) -> Any:
        """Put a trial of one's own into a study.

        One with a final measurement is done, one with an infeasible reason infeasible; any other is REQUESTED: it is
        what somebody who asks for suggestions gets next. Then it may leave parameters open.
        """
        study, given = find_study(self._vertex, request.parent), request.trial
        search = read_search(study.study_spec, "study_spec")
        trial = v1.Trial(state=v1.Trial.REQUESTED)
        if given.HasField("final_measurement"):
            search.metrics.check(given.final_measurement, "trial.final_measurement", whole=True)
            trial.state = v1.Trial.SUCCEEDED
            trial.final_measurement.CopyFrom(given.final_measurement)
        elif given.infeasible_reason or given.state == v1.Trial.INFEASIBLE:
            trial.state, trial.infeasible_reason = v1.Trial.INFEASIBLE, given.infeasible_reason
        waits = trial.state == v1.Trial.REQUESTED
        fill_parameters(trial, search.space.read(given.parameters, "trial.parameters", partial=waits))
        if not waits:
            trial.start_time.CopyFrom(now())
            trial.end_time.CopyFrom(trial.start_time)
        return add_trial(self._vertex, study.name, trial)

    def get_trial(self, request: Any) -> Any:
        """The trial."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.Trial)

    def list_trials(self, request: Any) -> Any:
        """The trials of a study, by id."""
        page = self._vertex.store.list(
            find_study(self._vertex, request.parent).name,
            v1.Trial,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListTrialsResponse(trials=page, next_page_token=page.next_page_token)

    def add_trial_measurement(self, request: Any) -> Any:
        """Note what was measured on the way; the time that it took is seen from the clock where it is not given."""
        name = self._vertex.name(request.trial_name)
        given = request.measurement
        self._search(name).metrics.check(given, "measurement", whole=False)

        def change(trial: Any) -> None:
            _check_under_way(trial)
            if not given.HasField("elapsed_duration"):
                given.elapsed_duration.FromTimedelta(now().ToDatetime() - trial.start_time.ToDatetime())
            if any(_place(measurement) == _place(given) for measurement in trial.measurements):
                raise invalid(
                    "measurement",
                    f"Trial `{name}` has a measurement with this step_count ({given.step_count}) and elapsed_duration.",
                )
            ordered = sorted([*trial.measurements, given], key=_place)
            del trial.measurements[:]
            trial.measurements.extend(ordered)

        return self._vertex.store.modify(name, v1.Trial, change)

    def complete_trial(self, request: Any) -> Any:
        """Mark a trial as done, with the measurement given or one of those reported on the way."""
        name = self._vertex.name(request.name)
        metrics = self._search(name).metrics
        given = request.final_measurement if request.HasField("final_measurement") else None
        if request.infeasible_reason and not request.trial_infeasible:
            raise invalid("infeasible_reason", "Only for a trial that is infeasible: set trial_infeasible.")
        if given is not None and not request.trial_infeasible:
            metrics.check(given, "final_measurement", whole=True)

        def change(trial: Any) -> None:
            _check_under_way(trial)
            if request.trial_infeasible:
                end_infeasible(trial, request.infeasible_reason)
            else:
                complete(trial, metrics, given)

        return self._vertex.store.modify(name, v1.Trial, change)

    def stop_trial(self, request: Any) -> Any:
        """Ask whoever evaluates a trial to stop."""

        def change(trial: Any) -> None:
            _check_under_way(trial)
            trial.state = v1.Trial.STOPPING

        return self._vertex.store.modify(self._vertex.name(request.name), v1.Trial, change)

    def delete_trial(self, request: Any) -> Empty:
        """Delete a trial."""
        self._vertex.store.delete(self._vertex.name(request.name), v1.Trial)
        return Empty()

    def list_optimal_trials(self, request: Any) -> Any:
        """The best trial; of several objectives, the Pareto-optimal ones."""
        study = find_study(self._vertex, request.parent)
        metrics = read_search(study.study_spec, "study_spec").metrics
        return v1.ListOptimalTrialsResponse(
            optimal_trials=metrics.optimal(self._vertex.store.all(study.name, v1.Trial))
        )

    def _search(self, trial: str) -> Search:
        return read_search(study_of(self._vertex, trial).study_spec, "study_spec")


def study_of(vertex: Vertex, trial: str) -> Any:
    """The study of a trial, by the trial's name as it is stored.

    Raises:
        NotFound: There is no such trial.
    """
    vertex.store.get(trial, v1.Trial)
    return vertex.store.get(trial.rpartition("/trials/")[0], v1.Study)


def add_trial(vertex: Vertex, study: str, trial: Any) -> Any:
    """Store a new trial under the next free id; the study must still be there."""
    with vertex.store.transaction():
        vertex.store.get(study, v1.Study)
        ids = [int(id_of(other.name)) for other in vertex.store.all(study, v1.Trial)]
        trial.id = str(max(ids, default=0) + 1)
        return vertex.store.create(f"{study}/trials/{trial.id}", trial)


def complete(trial: Any, metrics: Metrics, final: Any | None = None) -> None:
    """End a trial; without a final measurement it is one of those reported, and without any of them infeasible."""
    final = final or metrics.final(trial.measurements)
    if final is None:
        end_infeasible(trial, _NOTHING_MEASURED)
        return
    trial.final_measurement.CopyFrom(final)
    trial.state = v1.Trial.SUCCEEDED
    trial.end_time.CopyFrom(now())


def end_infeasible(trial: Any, reason: str) -> None:
    """End a trial that came to nothing."""
    trial.state, trial.infeasible_reason = v1.Trial.INFEASIBLE, reason
    trial.end_time.CopyFrom(now())


def _check_under_way(trial: Any) -> None:
    if trial.state not in UNDER_WAY:
        state = v1.Trial.State.Name(trial.state)
        raise FailedPrecondition(f"Trial `{trial.name}` is in state {state}, not ACTIVE or STOPPING.")


def _place(measurement: Any) -> tuple[int, int]:
    return measurement.step_count, measurement.elapsed_duration.ToNanoseconds()
