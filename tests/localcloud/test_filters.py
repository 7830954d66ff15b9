"""List filters over protobuf messages: what they find, and how they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.cloud import aiplatform_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.errors import InvalidArgument
from localcloud.filters import Vocabulary, compile_filter

Job: Any = aiplatform_v1.CustomJob.pb()
Context: Any = aiplatform_v1.Context.pb()


def job() -> Any:
    message = Job(
        name="projects/1/locations/r/customJobs/7",
        display_name="train flights",
        state="JOB_STATE_SUCCEEDED",
        labels={"team": "delays", "stage": "", "example.com/run": "a-1"},
    )
    message.create_time.FromJsonString("2024-05-01T12:00:00Z")
    message.job_spec.scheduling.timeout.seconds = 90
    pool = message.job_spec.worker_pool_specs.add(replica_count=2)
    pool.container_spec.args.extend(["--epochs", "3"])
    pool.machine_spec.machine_type = "n1-standard-4"
    return message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", True),
        ('display_name="train flights"', True),
        ("displayName='train flights'", True),
        ('display_name="train*"', True),
        ('display_name="TRAIN*"', False),
        ("display_name:FLIGHT", True),
        ('display_name!="x"', True),
        ("state=JOB_STATE_SUCCEEDED", True),
        ('state != "JOB_STATE_FAILED"', True),
        ("state=4", True),
        ("labels.team=delays", True),
        ("labels.team:delay", False),
        ("labels.team:delays", True),
        ('labels."team"="delays"', True),
        ("labels.example.com/run=a-1", True),
        ('labels."example.com/run"=a-1', True),
        ("labels:team", True),
        ("labels:absent", False),
        ("labels.team:*", True),
        ("labels.absent:*", False),
        ("labels.absent!=x", False),
        ("NOT labels.absent=x", True),
        ("-labels.team=delays", False),
        ('create_time>"2024-05-01T11:59:59Z"', True),
        ("create_time<2024-05-01T14:00:00+01:00", True),
        ("create_time>=2024-05-01", True),
        ("end_time:*", False),
        ("job_spec.scheduling.timeout>60s", True),
        ("jobSpec.scheduling.timeout<=1m", None),
        ("job_spec.worker_pool_specs.replica_count>=2", True),
        ("job_spec.worker_pool_specs.container_spec.args:--epochs", True),
        ("job_spec.worker_pool_specs.machine_spec.machine_type=n1-*", True),
        ("job_spec.worker_pool_specs:*", True),
        ("job_spec.enable_web_access=false", True),
        ("display_name:train labels.team=x", False),
        ("display_name:train AND labels.team=x OR labels.team=delays", True),
        ("labels.team=x AND display_name:train OR labels.team=delays", False),
        ("(labels.team=x AND display_name:train) OR labels.team=delays", True),
        ("NOT (labels.team=x OR labels.team=y)", True),
        ("flights", True),
        ("absent", False),
        ("nothing.here=1", None),
        ("state=RUNNING", None),
        ("state>3", None),
        ("create_time>yesterday", None),
        ("labels=x", None),
        ("job_spec=x", None),
        ("job_spec.enable_web_access=perhaps", None),
    ],
)
def test_finds(text: str, found: bool | None) -> None:
    if found is None:
        with pytest.raises(InvalidArgument, match=r"Invalid filter: .*column"):
            compile_filter(text, Job.DESCRIPTOR)
    else:
        assert compile_filter(text, Job.DESCRIPTOR)(job()) is found


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("display_name=", 14),
        ("(display_name=a", 1),
        ("display_name=a)", 15),
        ('display_name="a', 14),
        ("a AND", 6),
        ("OR a", 1),
        ("state = = 3", 9),
        ('without("x")', 1),
        ("(" * 100, 65),
    ],
)
def test_shows_the_place_of_an_error(text: str, column: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_filter(text, Job.DESCRIPTOR)
    headline, shown, arrow = caught.value.message.split("\n")
    assert f"column {column}" in headline
    assert shown == f"  {text}"
    assert arrow == "  " + " " * (column - 1) + "^"


def test_struct_fields_functions_and_virtual_fields() -> None:
    context = Context(schema_title="system.ExperimentRun", parent_contexts=["a/b", "a/c"])
    context.metadata.update({"auc": 0.75, "done": True, "note": "late", "nested": {"deep": [1, 2]}})
    vocabulary = Vocabulary(
        functions={"in_context": lambda message, name: name in message.parent_contexts},
        fields={"context": lambda message: ["x1", "x2"]},
    )

    def found(text: str) -> bool:
        return compile_filter(text, Context.DESCRIPTOR, vocabulary)(context)

    assert found("metadata.auc.number_value > 0.7 AND metadata.done.bool_value = true")
    assert found('metadata.note.string_value="late" AND metadata.auc>=0.75 AND metadata.done=true')
    assert not found("metadata.note.number_value>0")
    assert not found("metadata.absent:*")
    assert found("metadata.nested.deep:2")
    assert found('in_context("a/c")')
    assert not found('in_context("a/d") OR NOT in_context("a/b")')
    assert found('parent_contexts:"a/x","a/b"')
    assert found("context:x2")
    assert not found('parent_contexts:"a"')
    assert not found("context:x")
    assert found("context=x2 AND NOT context=x3")


def test_repeated_messages_and_numbers() -> None:
    descriptor = MetricDescriptor(type="custom/x", labels=[{"key": "a"}, {"key": "b", "value_type": 1}])
    assert compile_filter("labels.key=b type=custom/*", MetricDescriptor.DESCRIPTOR)(descriptor)
    assert compile_filter("labels.value_type=BOOL", MetricDescriptor.DESCRIPTOR)(descriptor)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_either_parses_or_is_refused_with_a_place(text: str) -> None:
    try:
        test = compile_filter(text, Job.DESCRIPTOR)
    except InvalidArgument as error:
        problem = error.message
    else:
        assert test(job()) in (True, False)
        return
    assert "column" in problem


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_a_quoted_string_is_taken_as_it_is(stored: str, wanted: str) -> None:
    quoted = wanted.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    test = compile_filter(f'display_name="{quoted}"', Job.DESCRIPTOR)
    assert test(Job(display_name=wanted))
    assert test(Job(display_name=stored)) is (stored == wanted)


@settings(deadline=None)
@given(
    st.recursive(
        st.sampled_from(["labels.a=1", "labels.b=1", "labels.c=1"]).map(lambda text: ("leaf", text)),
        lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner) | st.tuples(st.just("NOT"), inner),
        max_leaves=8,
    ),
    st.sets(st.sampled_from("abc")),
)
def test_and_or_not_are_those_of_python(tree: Any, keys: set[str]) -> None:
    def written(node: Any) -> str:
        if node[0] == "leaf":
            return str(node[1])
        if node[0] == "NOT":
            return f"NOT ({written(node[1])})"
        return f"({written(node[1])}) {node[0]} ({written(node[2])})"

    def truth(node: Any) -> bool:
        if node[0] == "leaf":
            return node[1][7] in keys
        if node[0] == "NOT":
            return not truth(node[1])
        sides = truth(node[1]), truth(node[2])
        return all(sides) if node[0] == "AND" else any(sides)

    message = Job(labels=dict.fromkeys(keys, "1"))
    assert compile_filter(written(tree), Job.DESCRIPTOR)(message) is truth(tree)
