"""VizierService by Google's client: studies, workers side by side, measurements, early stopping, the best trials."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    MethodNotImplemented,
    NotFound,
)
from google.cloud import aiplatform_v1, aiplatform_v1beta1
from tests.conftest import REGION, LocalCloud

from localcloud.projects import number_of

Client = aiplatform_v1.VizierServiceClient
RATE = {
    "parameter_id": "rate",
    "double_value_spec": {"min_value": 0.001, "max_value": 1.0, "default_value": 0.1},
    "scale_type": "UNIT_LOG_SCALE",
}
KIND = {
    "parameter_id": "kind",
    "categorical_value_spec": {"values": ["tree", "line"]},
    "conditional_parameter_specs": [
        {
            "parent_categorical_values": {"values": ["tree"]},
            "parameter_spec": {"parameter_id": "depth", "integer_value_spec": {"min_value": 2, "max_value": 4}},
        }
    ],
}
AUC = {"metric_id": "auc", "goal": "MAXIMIZE"}
OPTIONS = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}


@pytest.fixture(scope="module")
def client(cloud: LocalCloud) -> Client:
    return Client(client_options=OPTIONS)


@pytest.fixture
def create(client: Client, project: str) -> Callable[..., Any]:
    names = itertools.count()

    def make(*parameters: Any, **spec: Any) -> Any:
        spec = {"metrics": [AUC], "parameters": list(parameters), **spec}
        study = {"display_name": f"study-{next(names)}", "study_spec": spec}
        return client.create_study(parent=f"projects/{project}/locations/{REGION}", study=study)

    return make


def suggest(client: Client, study: Any, client_id: str = "worker", count: int = 1, **more: Any) -> Any:
    request = {"parent": study.name, "suggestion_count": count, "client_id": client_id, **more}
    return client.suggest_trials(request=request).result(timeout=60)


def values(trial: Any) -> dict[str, Any]:
    return {parameter.parameter_id: parameter.value for parameter in trial.parameters}


def measurement(value: float, step: int = 0, metric: str = "auc") -> dict[str, Any]:
    return {"step_count": step, "metrics": [{"metric_id": metric, "value": value}]}


def complete(client: Client, trial: Any, value: float) -> Any:
    return client.complete_trial(request={"name": trial.name, "final_measurement": measurement(value)})


def test_studies_are_made_found_listed_and_deleted(client: Client, create: Callable[..., Any], project: str) -> None:
    parent = f"projects/{project}/locations/{REGION}"
    study = create(RATE)
    assert study.name.startswith(f"projects/{number_of(project)}/locations/{REGION}/studies/")
    assert study.state.name == "ACTIVE"
    assert client.get_study(name=study.name) == study
    assert client.lookup_study(request={"parent": parent, "display_name": study.display_name}) == study
    with pytest.raises(AlreadyExists, match="study-0"):
        client.create_study(parent=parent, study=study)
    create(KIND)
    assert [each.display_name for each in client.list_studies(parent=parent)] == ["study-0", "study-1"]
    [trial] = suggest(client, study).trials
    client.delete_study(name=study.name)
    for call in (client.get_study, client.delete_study):
        with pytest.raises(NotFound, match="Study"):
            call(name=study.name)
    with pytest.raises(NotFound):
        client.get_trial(name=trial.name)
    with pytest.raises(NotFound, match="study-0"):
        client.lookup_study(request={"parent": parent, "display_name": study.display_name})


def test_a_worker_gets_its_pending_trial_again_and_a_new_one_when_it_is_done(
    client: Client, create: Callable[..., Any]
) -> None:
    study = create(RATE, KIND)
    [first] = suggest(client, study).trials
    assert (first.id, first.state.name, first.client_id) == ("1", "ACTIVE", "worker")
    assert first.start_time
    assert values(first)["rate"] == 0.1, "the first trial starts from the default value"
    assert suggest(client, study).trials == [first]
    [other] = suggest(client, study, "another").trials
    assert other.id == "2"
    assert ("depth" in values(other)) == (values(other)["kind"] == "tree")
    done = complete(client, first, 0.7)
    assert done.state.name == "SUCCEEDED"
    assert done.end_time >= done.start_time
    assert [trial.id for trial in suggest(client, study, count=2).trials] == ["3", "4"]
    infeasible = client.complete_trial(
        request={"name": other.name, "trial_infeasible": True, "infeasible_reason": "it exploded"}
    )
    assert (infeasible.state.name, infeasible.infeasible_reason) == ("INFEASIBLE", "it exploded")
    assert [trial.id for trial in client.list_trials(parent=study.name)] == ["1", "2", "3", "4"]
    optimal = client.list_optimal_trials(request={"parent": study.name}).optimal_trials
    assert [trial.id for trial in optimal] == ["1"]
    client.delete_trial(name=other.name)
    with pytest.raises(NotFound):
        client.get_trial(name=other.name)


def test_workers_side_by_side_never_share_a_trial(client: Client, create: Callable[..., Any]) -> None:
    study = create(RATE)

    def work(worker: int) -> list[str]:
        done = []
        for _ in range(4):
            [trial] = suggest(client, study, f"worker-{worker}").trials
            complete(client, trial, -abs(values(trial)["rate"] - 0.02))
            done.append(trial.id)
        return done

    with ThreadPoolExecutor(4) as pool:
        ids = [trial for trials in pool.map(work, range(4)) for trial in trials]
    assert sorted(map(int, ids)) == list(range(1, 17))


def test_a_grid_ends_the_study_when_every_point_was_tried(client: Client, create: Callable[..., Any]) -> None:
    study = create(KIND, algorithm="GRID_SEARCH")
    answer = suggest(client, study, count=5)
    assert [(values(t)["kind"], values(t).get("depth")) for t in answer.trials] == [
        ("tree", 2.0),
        ("tree", 3.0),
        ("tree", 4.0),
        ("line", None),
    ]
    assert answer.study_state.name == "COMPLETED"
    assert client.get_study(name=study.name).state.name == "COMPLETED"
    assert not suggest(client, study, "another").trials


def test_a_study_stops_by_its_own_conditions(client: Client, create: Callable[..., Any]) -> None:
    study = create(RATE, study_stopping_config={"max_num_trials": 3, "should_stop_asap": True})
    assert len(suggest(client, study, count=5).trials) == 3
    assert client.get_study(name=study.name).state.name == "COMPLETED"
    assert {trial.state.name for trial in client.list_trials(parent=study.name)} == {"STOPPING"}
    patient = create(RATE, study_stopping_config={"max_num_trials_no_progress": 2, "min_num_trials": 3})
    for value in (0.9, 0.5, 0.4):
        complete(client, *suggest(client, patient).trials, value)
    assert suggest(client, patient).study_state.name == "COMPLETED"


def test_requested_trials_and_contexts_come_first(client: Client, create: Callable[..., Any]) -> None:
    study = create(RATE, KIND)
    known = [{"parameter_id": "rate", "value": 0.5}, {"parameter_id": "kind", "value": "line"}]
    done = client.create_trial(parent=study.name, trial={"parameters": known, "final_measurement": measurement(0.6)})
    assert done.state.name == "SUCCEEDED"
    requested = client.create_trial(parent=study.name, trial={"parameters": known[1:]})
    assert requested.state.name == "REQUESTED"
    [trial] = suggest(client, study).trials
    assert (trial.id, trial.state.name, values(trial)["kind"]) == (requested.id, "ACTIVE", "line")
    assert 0.001 <= values(trial)["rate"] <= 1
    context = {"parameters": [{"parameter_id": "kind", "value": "tree"}, {"parameter_id": "depth", "value": 3}]}
    [trial] = suggest(client, study, "another", contexts=[context]).trials
    assert (values(trial)["kind"], values(trial)["depth"]) == ("tree", 3.0)
    with pytest.raises(InvalidArgument, match="`kind` must be one of tree, line"):
        client.create_trial(parent=study.name, trial={"parameters": [{"parameter_id": "kind", "value": "bush"}]})
    with pytest.raises(InvalidArgument, match="`kind` has no value"):
        client.create_trial(parent=study.name, trial={"parameters": known[:1], "final_measurement": measurement(0.6)})
    with pytest.raises(InvalidArgument, match="suggestion_count: 1 for 2"):
        suggest(client, study, count=2, contexts=[context])


@pytest.mark.parametrize(("selection", "value"), [("BEST_MEASUREMENT", 0.9), ("LAST_MEASUREMENT", 0.8)])
def test_the_final_measurement_is_chosen_from_those_reported(
    client: Client, create: Callable[..., Any], selection: str, value: float
) -> None:
    study = create(RATE, measurement_selection_type=selection)
    [trial, empty] = suggest(client, study, count=2).trials
    for step, reported in ((2, 0.9), (1, 0.5), (3, 0.8)):
        client.add_trial_measurement(request={"trial_name": trial.name, "measurement": measurement(reported, step)})
    done = client.complete_trial(request={"name": trial.name})
    assert [each.step_count for each in done.measurements] == [1, 2, 3]
    assert done.final_measurement.metrics[0].value == value
    nothing = client.complete_trial(request={"name": empty.name})
    assert nothing.state.name == "INFEASIBLE"
    assert "No measurement" in nothing.infeasible_reason
    with pytest.raises(FailedPrecondition, match="SUCCEEDED"):
        complete(client, trial, 0.1)
    with pytest.raises(FailedPrecondition, match="SUCCEEDED"):
        client.add_trial_measurement(request={"trial_name": trial.name, "measurement": measurement(0.1, 9)})


def test_several_objectives_have_a_front_and_unsafe_trials_are_not_on_it(
    client: Client, create: Callable[..., Any]
) -> None:
    study = create(
        RATE,
        metrics=[
            AUC,
            {"metric_id": "cost", "goal": "MINIMIZE"},
            {"metric_id": "heat", "goal": "MINIMIZE", "safety_config": {"safety_threshold": 50}},
        ],
    )
    results = [(0.9, 9.0, 10.0), (0.8, 5.0, 10.0), (0.7, 7.0, 10.0), (0.99, 1.0, 90.0)]
    for trial, numbers in zip(suggest(client, study, count=4).trials, results, strict=True):
        metrics = [
            {"metric_id": name, "value": number} for name, number in zip(("auc", "cost", "heat"), numbers, strict=True)
        ]
        client.complete_trial(request={"name": trial.name, "final_measurement": {"metrics": metrics}})
    optimal = client.list_optimal_trials(request={"parent": study.name}).optimal_trials
    assert [trial.id for trial in optimal] == ["1", "2"]
    [trial] = suggest(client, study).trials
    with pytest.raises(InvalidArgument, match="`cost` is missing"):
        complete(client, trial, 0.5)


def test_a_trial_below_the_median_is_told_to_stop(client: Client, create: Callable[..., Any]) -> None:
    study = create(RATE, median_automated_stopping_spec={})
    for trial in suggest(client, study, count=3).trials:
        for step in (1, 2):
            client.add_trial_measurement(request={"trial_name": trial.name, "measurement": measurement(0.8, step)})
        client.complete_trial(request={"name": trial.name})
    bad, good = suggest(client, study, count=2).trials
    for trial, value, stops in ((bad, 0.1, True), (good, 0.9, False)):
        client.add_trial_measurement(request={"trial_name": trial.name, "measurement": measurement(value, 1)})
        check = client.check_trial_early_stopping_state(request={"trial_name": trial.name})
        assert check.result(timeout=60).should_stop is stops
    assert client.get_trial(name=bad.name).state.name == "STOPPING"
    assert client.stop_trial(request={"name": good.name}).state.name == "STOPPING"
    assert complete(client, bad, 0.1).state.name == "SUCCEEDED"


def test_wrong_requests_name_the_field(client: Client, create: Callable[..., Any], project: str) -> None:
    with pytest.raises(InvalidArgument, match=r"study_spec\.parameters\[0\]\.double_value_spec\.max_value"):
        create({**RATE, "double_value_spec": {"min_value": 2, "max_value": 1}})
    with pytest.raises(MethodNotImplemented, match="convex_automated_stopping_spec"):
        create(RATE, convex_automated_stopping_spec={})
    study = create(RATE)
    with pytest.raises(InvalidArgument, match="suggestion_count"):
        suggest(client, study, count=-1)
    with pytest.raises(InvalidArgument, match="parent"):
        client.list_trials(parent=f"projects/{project}/locations/{REGION}")
    [trial] = suggest(client, study).trials
    with pytest.raises(InvalidArgument, match="no metric `acu`, it has auc"):
        client.add_trial_measurement(request={"trial_name": trial.name, "measurement": measurement(1, metric="acu")})
    with pytest.raises(InvalidArgument, match="is nan"):
        complete(client, trial, float("nan"))


def test_v1beta1_over_rest_is_the_same_service(client: Client, create: Callable[..., Any]) -> None:
    study = create(RATE)
    beta = aiplatform_v1beta1.VizierServiceClient(client_options=OPTIONS, transport="rest")
    request = {"parent": study.name, "suggestion_count": 1, "client_id": "beta"}
    [trial] = beta.suggest_trials(request=request).result(timeout=60).trials
    assert trial.name == client.get_trial(name=trial.name).name
