"""Expressions, placeholders, values, machines and start-up commands: each against what Python or KFP says."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.localcloud.vertex.pipelines import components as c
from tests.localcloud.vertex.pipelines.conftest import compiled

from localcloud.vertex.kfp_startup import read_startup
from localcloud.vertex.pipelines.expressions import ExpressionError, evaluate, holds, select
from localcloud.vertex.pipelines.graph import TaskFailure
from localcloud.vertex.pipelines.machines import machine_type
from localcloud.vertex.pipelines.placeholders import Resolver, UnknownPlaceholder, with_names
from localcloud.vertex.pipelines.values import WrongType, as_text, check, convert, parse

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


# Expressions


@given(st.integers(-99, 99), st.integers(-99, 99), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_comparisons_are_pythons(left: int, right: int, sign: str) -> None:
    assert holds(f"int({left}) {sign} inputs.parameter_values['r']", {"r": right}) == eval(f"{left} {sign} {right}")


@given(st.text(), st.text())
def test_texts_are_compared_as_they_are(left: str, right: str) -> None:
    parameters = {"a": left, "b": right}
    assert holds("inputs.parameter_values['a'] == inputs.parameter_values['b']", parameters) == (left == right)
    assert holds("inputs.parameter_values['a'] < inputs.parameter_values['b']", parameters) == (left < right)


@given(st.recursive(
    st.sampled_from(["true", "false"]),
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    | inner.map(lambda text: f"!{text}"),
    max_leaves=8,
))  # fmt: skip
def test_logic_is_pythons(text: str) -> None:
    python = text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    python = python.replace("true", "True").replace("false", "False")
    assert evaluate(text, {}) == eval(python)


keys = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="'\\"))


@given(st.dictionaries(keys, json_values, min_size=1, max_size=3))
def test_parts_are_selected_from_json(value: dict[str, Any]) -> None:
    for key, part in value.items():
        assert select(f"parseJson(string_value)['{key}']", value) == part


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it ends too early"),
        ("1 +", "it ends too early"),
        ("(1 == 1", "`)` expected"),
        ("1 == 1 1", "unexpected `1`"),
        ("'a' > 1", "cannot be compared"),
        ("1 && true", "neither true nor false"),
        ("open('/etc/passwd')", "there is no function `open`"),
        ("inputs.parameter_values['y'] == 1", "there is no y in"),
        ("1 / 0 == 1", "division by zero"),
        ("§", "unexpected `§`"),
        ("1 + 1", "neither true nor false"),
        ("(" * 500, "levels of nesting"),
    ],
)
def test_expressions_without_a_value_say_why(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as error:
        holds(text, {"x": 1})
    assert problem in str(error.value)


def test_old_conditions_and_escapes() -> None:
    assert holds("inputs.parameters['x'].string_value == 'it\\'s'", {"x": "it's"})
    assert holds("inputs.parameters['x'].int_value == 3 && 'a' in inputs.parameter_values['y']", {"x": 3, "y": ["a"]})


# Placeholders

INPUT: dict[str, Any] = {
    "inputs": {
        "parameterValues": {"x": "text", "n": 3, "d": {"a": 1}},
        "artifacts": {"data": {"artifacts": [{"uri": "gs://b/o", "metadata": {"k": "v"}}]}},
    },
    "outputs": {
        "parameters": {"out": {"outputFile": "/gcs/b/out"}},
        "artifacts": {"model": {"artifacts": [{"uri": "gs://b/m"}]}},
        "outputFile": "/gcs/b/executor_output.json",
    },
}
RESOLVER = Resolver(INPUT, {"pipeline_job_name": "job-1"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{$.inputs.parameters['x']}}-{{$.inputs.parameters['n']}}", "text-3"),
        ("{{$.inputs.parameters['d']}}", '{"a": 1}'),
        ("{{$.inputs.artifacts['data'].path}}", "/gcs/b/o"),
        ("{{$.inputs.artifacts['data'].uri}}", "gs://b/o"),
        ("{{$.inputs.artifacts['data'].metadata['k']}}", "v"),
        ("{{$.inputs.artifacts['data'].metadata['z']}}", "{{$.inputs.artifacts['data'].metadata['z']}}"),
        ("{{$.inputs.artifacts['absent'].uri}}", ""),
        ("{{$.outputs.artifacts['model'].path}}", "/gcs/b/m"),
        ("{{$.outputs.parameters['out'].output_file}}", "/gcs/b/out"),
        ("{{$.outputs.output_file}}", "/gcs/b/executor_output.json"),
        ("{{$.pipeline_job_name}}", "job-1"),
        ("{{ mustache }} {{$.other.thing}} {{$}", "{{ mustache }} {{$.other.thing}} {{$}"),
    ],
)
def test_placeholders(text: str, found: str) -> None:
    assert RESOLVER.text(text) == found
    assert json.loads(RESOLVER.text("{{$}}")) == INPUT


def test_placeholders_inside_of_parameters() -> None:
    """Prebuilt components have them in defaults, and hand their executor input on inside of JSON."""
    pools = [{"args": ["--executor_input", "{{$.json_escape[1]}}"], "image": "{{$.inputs.parameters['image']}}"}]
    said = "{{$.outputs.parameters['absent'].output_file}} {{$.nothing}}"
    looped = "{{$.inputs.parameters['looped']}}"
    given = {"pools": pools, "image": "python:3.11", "said": said, "looped": looped}
    resolver = Resolver({"inputs": {"parameterValues": given}, "outputs": {}}, {"pipeline_job_name": "job-1"})
    (pool,) = json.loads(resolver.text("{{$.inputs.parameters['pools']}}"))
    assert pool["image"] == "python:3.11"
    assert json.loads(pool["args"][1])["inputs"]["parameterValues"] == given
    assert resolver.text("{{$.inputs.parameters['said']}}") == given["said"]
    assert resolver.text("{{$.inputs.parameters['looped']}}") == given["looped"]
    value = {"a": ["{{$.pipeline_job_name}}", "{{$.inputs.parameters['x']}}", 1]}
    assert with_names(value, {"pipeline_job_name": "j"}) == {"a": ["j", "{{$.inputs.parameters['x']}}", 1]}


@pytest.mark.parametrize("text", ["{{$.outputs.artifacts['data'].uri}}", "{{$.outputs.parameters['x'].output_file}}"])
def test_placeholders_that_name_nothing(text: str) -> None:
    with pytest.raises(UnknownPlaceholder, match="names nothing"):
        RESOLVER.text(text)


@given(st.text())
def test_what_has_no_placeholder_stays(text: str) -> None:
    assert RESOLVER.text(text) == text or "{{$" in text
    assert RESOLVER.value({"a": [text, 1, None]}) == {"a": [text, 1, None]} or "{{$" in text


# Values


@given(json_values)
def test_values_come_back_from_text(value: Any) -> None:
    for kind, python in (("LIST", list), ("STRUCT", dict), ("BOOLEAN", bool)):
        if isinstance(value, python):
            assert convert(as_text(value), kind) == value
            assert parse(as_text(value), kind) == value
    if isinstance(value, int) and not isinstance(value, bool):
        assert convert(float(value), "NUMBER_INTEGER") == parse(str(value), "NUMBER_INTEGER") == value
    assert convert(value, "STRING") == (value if isinstance(value, str) or value is None else json.dumps(value))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3", "NUMBER_INTEGER"),
        (1.5, "NUMBER_INTEGER"),
        (True, "NUMBER_INTEGER"),
        (1, "STRING"),
        ({}, "LIST"),
        ("a", "BOOLEAN"),
    ],
)
def test_values_of_another_type(value: Any, kind: str) -> None:
    with pytest.raises(WrongType, match=kind):
        check(value, kind)


# Machines


@pytest.mark.parametrize(
    ("limits", "machine"),
    [
        ({}, "e2-standard-4"),
        ({"resource_cpu_limit": "500m"}, "e2-standard-2"),
        ({"resource_memory_limit": "16G"}, "e2-highmem-2"),
        ({"cpu_limit": 8.0, "memory_limit": 32.0}, "e2-standard-8"),
        ({"resource_memory_limit": "200Gi"}, "n1-highmem-32"),
    ],
)
def test_the_smallest_machine_that_has_it(limits: dict[str, Any], machine: str) -> None:
    assert machine_type(resources(limits), RESOLVER, "t") == machine


@pytest.mark.parametrize(("limit", "problem"), [("much", "is no quantity"), ("2Ti", "no machine type has")])
def test_limits_that_no_machine_has(limit: str, problem: str) -> None:
    with pytest.raises(TaskFailure) as failure:
        machine_type(resources({"resource_memory_limit": limit}), RESOLVER, "t")
    assert problem in failure.value.message


def resources(limits: dict[str, Any]) -> Any:
    numbers = dict.fromkeys(("cpu_limit", "cpu_request", "memory_limit", "memory_request"), 0.0)
    texts = [f"resource_{what}_{which}" for what in ("cpu", "memory") for which in ("limit", "request")]
    return SimpleNamespace(**{**numbers, **dict.fromkeys(texts, ""), **limits})


# Start-up commands


def command(component: Any) -> list[str]:
    (executor,) = compiled(component)["deploymentSpec"]["executors"].values()
    return [*executor["container"]["command"], *executor["container"]["args"]]


def test_the_compilers_start_up_commands_are_read() -> None:
    from kfp import dsl

    def work(): ...  # type: ignore[no-untyped-def]

    plain = read_startup(command(c.say))
    assert plain is not None
    assert plain.installs[0][:4] == ("python3", "-m", "pip", "install")
    assert "--no-deps" in plain.installs[0]
    assert plain.rest[:2] == ("sh", "-ec")
    indexes = ["https://a.example/simple", "https://b.example/simple"]
    more = read_startup(
        command(
            dsl.component(packages_to_install=["pandas>=2,<3", "a[b]"], pip_index_urls=indexes, base_image=c.IMAGE)(
                work
            )
        )
    )
    assert more is not None
    assert more.installs[0][-2:] == ("pandas>=2,<3", "a[b]")
    assert more.installs[0][more.installs[0].index("--extra-index-url") + 1] == indexes[1]
    assert read_startup(command(dsl.component(install_kfp_package=False, base_image=c.IMAGE)(work))) is None
    bare, venv = (
        read_startup(command(dsl.component(packages_to_install=packages, use_venv=True, base_image=c.IMAGE)(work)))
        for packages in ([], ["pandas"])
    )
    assert bare is not None
    assert venv is not None
    assert bare.installs == plain.installs
    assert [install[-1] for install in venv.installs] == ["pandas", plain.installs[0][-1]]
    assert venv.rest[:2] == ("sh", "-ec")


@pytest.mark.parametrize(
    "script",
    [
        'python3 -m pip install x; rm -rf / && "$0" "$@"',
        'python3 -m pip install $(cat x) && "$0" "$@"',
        'python3 -m pip install `x` && "$0" "$@"',
        'python3 -m pip install x > /tmp/y && "$0" "$@"',
        'python3 -m pip install x && touch y && "$0" "$@"',
        'python3 -m pip install && "$0" "$@"',
        'python3 -m pip install \'x && "$0" "$@"',
        "python3 -m pip install x",
    ],
)
def test_other_commands_run_as_they_are(script: str) -> None:
    assert read_startup(["sh", "-c", script, "sh", "-ec", "true"]) is None
