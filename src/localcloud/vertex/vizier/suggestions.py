"""VizierService: which trial a client evaluates next, and whether it should go on with it.

Both are long-running operations; choosing parameters is localcloud.vertex.vizier.suggesting's work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from localcloud.errors import CloudError, FailedPrecondition, Internal
from localcloud.operations import OperationHandle
from localcloud.vertex.common import Vertex, generic_metadata, invalid, now, v1
from localcloud.vertex.vizier.space import Value, fill_parameters
from localcloud.vertex.vizier.stopping import is_study_over, should_stop_trial
from localcloud.vertex.vizier.studies import Search, find_study, read_search
from localcloud.vertex.vizier.suggesting import suggest
from localcloud.vertex.vizier.trials import add_trial, study_of

_log = logging.getLogger(__name__)
_MOST = 1000


class VizierService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#vizierservice, what is next."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._lock = threading.Lock()
        """One at a time: each suggestion knows of those before it."""

    def suggest_trials(self, request: Any) -> Any:
        """Give a client trials to evaluate: its own that are pending, then requested ones, then new ones."""
        study = find_study(self._vertex, request.parent)
        search = read_search(study.study_spec, "study_spec")
        if not 0 < request.suggestion_count <= _MOST:
            raise invalid("suggestion_count", f"Must be from 1 to {_MOST}, not {request.suggestion_count}.")
        if request.contexts and len(request.contexts) != request.suggestion_count:
            raise invalid(
                "contexts",
                f"There must be none, or as many as suggestion_count: {len(request.contexts)} for "
                f"{request.suggestion_count}.",
            )
        contexts = [
            search.space.read(context.parameters, f"contexts[{number}].parameters", partial=True)
            for number, context in enumerate(request.contexts)
        ] or [{} for _ in range(request.suggestion_count)]
        metadata = generic_metadata(v1.SuggestTrialsMetadata, client_id=request.client_id)

        def work(handle: OperationHandle) -> Any:
            response = v1.SuggestTrialsResponse(start_time=now())
            with self._lock:
                handle.check()
                response.trials.extend(self._suggest(study.name, search, request.client_id, contexts))
            response.study_state = self._vertex.store.get(study.name, v1.Study).state
            response.end_time.CopyFrom(now())
            return response

        return self._vertex.operations.start(study.name, work, metadata)

    def check_trial_early_stopping_state(self, request: Any) -> Any:
        """Whether a trial should stop by the study's automated stopping rule; one that should is then STOPPING."""
        name = self._vertex.name(request.trial_name)
        study = study_of(self._vertex, name)
        search = read_search(study.study_spec, "study_spec")
        metadata = generic_metadata(v1.CheckTrialEarlyStoppingStateMetatdata, study=study.name, trial=name)

        def work(_: OperationHandle) -> Any:
            trials = self._vertex.store.all(study.name, v1.Trial)
            stops = False

            def change(trial: Any) -> None:
                nonlocal stops
                if trial.state not in (v1.Trial.ACTIVE, v1.Trial.STOPPING):
                    state = v1.Trial.State.Name(trial.state)
                    raise FailedPrecondition(f"Trial `{name}` is in state {state}: there is nothing to stop.")
                stops = trial.state == v1.Trial.STOPPING or should_stop_trial(
                    search.spec, search.metrics, trial, trials
                )
                if stops:
                    trial.state = v1.Trial.STOPPING

            self._vertex.store.modify(name, v1.Trial, change)
            return v1.CheckTrialEarlyStoppingStateResponse(should_stop=stops)

        return self._vertex.operations.start(name, work, metadata)

    def _suggest(self, study: str, search: Search, client: str, contexts: Sequence[Mapping[str, Value]]) -> list[Any]:
        """As many trials as contexts; fewer where the study ends."""
        trials = list(self._vertex.store.all(study, v1.Trial))
        pending = [trial for trial in trials if trial.state == v1.Trial.ACTIVE and trial.client_id == client]
        requested = [trial for trial in trials if trial.state == v1.Trial.REQUESTED]
        found, open_contexts = [], list[Mapping[str, Value]]()
        for context in contexts:
            taken = _take(pending, search, context)
            if taken is not None:
                found.append(taken)
                continue
            taken = _take(requested, search, context)
            if taken is None:
                open_contexts.append(context)
                continue
            given = search.space.read(taken.parameters, "parameters", partial=True) | dict(context)
            [values] = self._choose(study, search, trials, [given])
            found.append(self._hand_out(taken.name, values, client))
        if open_contexts and self._goes_on(study, search, trials):
            known = list(self._vertex.store.all(study, v1.Trial))
            chosen = self._choose(study, search, known, open_contexts)
            for values in chosen:
                if not self._goes_on(study, search, known):
                    break
                trial = v1.Trial(state=v1.Trial.ACTIVE, client_id=client, start_time=now())
                fill_parameters(trial, values)
                known.append(add_trial(self._vertex, study, trial))
                found.append(known[-1])
            if len(chosen) < len(open_contexts):
                self._complete(study)
        return found

    def _choose(
        self, study: str, search: Search, trials: Sequence[Any], wanted: Sequence[Mapping[str, Value]]
    ) -> list[dict[str, Value]]:
        if all(search.space.is_whole(given) for given in wanted):
            return [dict(given) for given in wanted]
        try:
            return suggest(search.spec, search.space, search.metrics, trials, wanted)
        except CloudError:
            raise
        except Exception as error:
            _log.exception("no suggestion for %s", study)
            reason = f"Choosing the next trial failed: {type(error).__name__}: {error}"

            def change(stored: Any) -> None:
                stored.state, stored.inactive_reason = v1.Study.INACTIVE, reason

            self._vertex.store.modify(study, v1.Study, change)
            raise Internal(f"Study `{study}` is now INACTIVE. {reason}") from error

    def _goes_on(self, study: str, search: Search, trials: Sequence[Any]) -> bool:
        """Whether there are new trials to come; ends the study where its conditions say so."""
        stored = self._vertex.store.get(study, v1.Study)
        if stored.state == v1.Study.INACTIVE:
            raise FailedPrecondition(f"Study `{study}` is INACTIVE: {stored.inactive_reason}")
        if stored.state == v1.Study.COMPLETED:
            return False
        if not is_study_over(search.spec, search.metrics, stored.create_time.ToDatetime(UTC), trials):
            return True
        self._complete(study)
        if search.spec.study_stopping_config.should_stop_asap.value:
            for trial in trials:
                if trial.state == v1.Trial.ACTIVE:
                    self._vertex.store.modify(trial.name, v1.Trial, _stop)
        return False

    def _complete(self, study: str) -> None:
        def change(stored: Any) -> None:
            stored.state = v1.Study.COMPLETED

        self._vertex.store.modify(study, v1.Study, change)

    def _hand_out(self, name: str, values: Mapping[str, Value], client: str) -> Any:
        def change(trial: Any) -> None:
            fill_parameters(trial, values)
            trial.state, trial.client_id = v1.Trial.ACTIVE, client
            trial.start_time.CopyFrom(now())

        return self._vertex.store.modify(name, v1.Trial, change)


def _take(trials: list[Any], search: Search, context: Mapping[str, Value]) -> Any | None:
    """Take the first trial out of the list that a context allows: none of its parameters says otherwise."""
    for index, trial in enumerate(trials):
        values = search.space.read(trial.parameters, "parameters", partial=True)
        if all(values.get(name, value) == value for name, value in context.items()):
            return trials.pop(index)
    return None


def _stop(trial: Any) -> None:
    if trial.state == v1.Trial.ACTIVE:
        trial.state = v1.Trial.STOPPING
