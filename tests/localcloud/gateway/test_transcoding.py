"""Google's HTTP rules, applied to real methods of the catalog."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from localcloud import catalog
from localcloud.catalog import HttpRule
from localcloud.errors import InvalidArgument
from localcloud.gateway.transcoding import Route, to_request

v1 = catalog.Package("google.cloud.aiplatform.v1")
pubsub = catalog.Package("google.pubsub.v1")
segments = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and text not in (".", ".."))


def _request(template: str, message, path: str, *, body: str = "", data: bytes = b"", query=()):  # type: ignore[no-untyped-def]
    route = Route.of(HttpRule("POST", template, body))
    fields = route.match(path)
    assert fields is not None
    to_request(route, message, fields, query, data, "application/json")
    return message


@given(segments, segments)
def test_path_variables_survive_percent_encoding(project: str, topic: str) -> None:
    path = f"/v1/projects/{quote(project, safe='')}/topics/{quote(topic, safe='')}:publish"
    request = _request("/v1/{topic=projects/*/topics/*}:publish", pubsub.PublishRequest(), path, body="*")
    assert request.topic == f"projects/{project}/topics/{topic}"


def test_body_field_query_and_path_meet_in_one_message() -> None:
    request = _request(
        "/v1/{custom_job.name=projects/*/locations/*/customJobs/*}",
        v1.CreateCustomJobRequest(),
        "/v1/projects/p/locations/l/customJobs/7",
        body="custom_job",
        data=b'{"displayName": "x", "name": "ignored", "jobSpec": {"workerPoolSpecs": [{"replicaCount": "3"}]}}',
        query=[("parent", "projects/p/locations/l"), ("$alt", "json;enum-encoding=int")],
    )
    assert request.custom_job.name == "projects/p/locations/l/customJobs/7"
    assert request.custom_job.job_spec.worker_pool_specs[0].replica_count == 3
    assert request.parent == "projects/p/locations/l"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            [("pageSize", "5"), ("readMask", "name,displayName")],
            {"page_size": 5, "read_mask": ["name", "display_name"]},
        ),
        (
            [("page_size", "5"), ("read_mask", "name,display_name")],
            {"page_size": 5, "read_mask": ["name", "display_name"]},
        ),
    ],
)
def test_query_parameters_in_either_case(query: list[tuple[str, str]], expected: dict[str, object]) -> None:
    request = _request("/v1/{parent=projects/*}", v1.ListModelsRequest(), "/v1/projects/p", query=query)
    assert request.page_size == expected["page_size"]
    assert list(request.read_mask.paths) == expected["read_mask"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b'{"customJob": {"jobSpec": {"nonsense": 1}}}',
            "Unknown name \"nonsense\" at 'custom_job.job_spec': Cannot find field.",
        ),
        (b'{"nonsense": 1}', 'Unknown name "nonsense": Cannot find field.'),
        (b"{", "Invalid JSON payload received."),
        (b"[1]", "Root element must be a message."),
        (b'{"customJob": {"displayName": 5}}', "Invalid JSON payload received."),
    ],
)
def test_what_does_not_fit_is_named(data: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        _request("/v1/{parent=projects/*}", v1.CreateCustomJobRequest(), "/v1/projects/p", body="*", data=data)
    assert words in raised.value.message


def test_unknown_query_parameter() -> None:
    with pytest.raises(InvalidArgument, match='Unknown name "nonsense": Cannot bind query parameter'):
        _request("/v1/{parent=projects/*}", v1.ListModelsRequest(), "/v1/projects/p", query=[("nonsense", "1")])


def test_a_raw_body_fills_http_body() -> None:
    request = _request(
        "/v1/{endpoint=projects/*/locations/*/endpoints/*}:rawPredict",
        v1.RawPredictRequest(),
        "/v1/projects/p/locations/l/endpoints/1:rawPredict",
        body="*",
        data=b"\x00any bytes",
    )
    assert request.http_body.data == b"\x00any bytes"
    assert request.http_body.content_type == "application/json"


def test_more_specific_routes_weigh_less() -> None:
    verb = Route.of(HttpRule("POST", "/v1/{name=projects/*/locations/*/customJobs/*}:cancel", "*"))
    plain = Route.of(HttpRule("POST", "/v1/{name=**}", "*"))
    assert verb.weight < plain.weight
    assert verb.match("/v1/projects/a/locations/b/customJobs/c:cancel") == {
        "name": "projects/a/locations/b/customJobs/c"
    }
    assert verb.match("/v1/projects/a/locations/b/customJobs/c") is None


def test_every_rule_of_the_catalog_binds_fields_that_exist() -> None:
    for method in catalog.load().methods.values():
        descriptor = catalog.message_class(method.request).DESCRIPTOR
        for rule in method.http:
            for dotted in Route.of(rule).fields:
                at = descriptor
                for name in dotted.split("."):
                    field = at.fields_by_name[name]
                    at = field.message_type


def test_answers_leave_defaults_out() -> None:
    job = v1.CustomJob(display_name="x", state=3)
    assert json_format.MessageToDict(job) == {"displayName": "x", "state": "JOB_STATE_RUNNING"}
