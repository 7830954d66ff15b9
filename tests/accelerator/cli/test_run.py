"""`mlops run`, `mlops cancel` and `mlops logs` of a run, as a user types them."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.accelerator.cli.conftest import Mlops

from accelerator.cli.pipeline_parameters import ParameterError, parse

PIPELINE = """
from kfp import dsl
from kfp.dsl import Metrics, Output


@dsl.component(base_image="python:3.11")
def add(first: int, second: int) -> int:
    print(f"adding {first} and {second}")
    return first + second


@dsl.component(base_image="python:3.11")
def judge(number: int, metrics: Output[Metrics]) -> str:
    metrics.log_metric("size", number)
    assert number < 100, "that is too much"
    return "fine"


@dsl.component(base_image="python:3.11")
def rest(seconds: int):
    import time

    time.sleep(seconds)


@dsl.pipeline(name="judged-sum")
def judged(number: int, names: list = ["a", "b"]) -> str:
    total = add(first=number, second=1)
    with dsl.ParallelFor(names):
        add(first=number, second=2)
    return judge(number=total.output).outputs["Output"]


@dsl.pipeline(name="resting")
def resting():
    rest(seconds=600)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python file with two pipelines."""
    path = tmp_path_factory.mktemp("pipelines") / "pipelines.py"
    path.write_text(PIPELINE)
    return path


def test_a_run_is_watched_and_told_of(mlops: Mlops, source: Path) -> None:
    said = json.loads(mlops("run", f"{source}:judged", "--param", "number=2", "--json").stdout)
    assert said["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert (said["pipeline"], said["outputs"]) == ("judged-sum", {"Output": "fine"})
    assert said["metrics"] == {"judge": {"size": 3}}
    with urllib.request.urlopen(said["console"], timeout=10) as page:
        assert said["name"].rpartition("/")[2] in page.read().decode()
    assert list(said["tasks"].values()).count("SUCCEEDED") == len(said["tasks"]) == 7
    said_again = mlops("run", f"{source}:judged", "-p", "number=2").stdout
    assert "add  cached" in said_again
    assert "succeeded after" in said_again
    assert "/vertex-ai/locations/us-central1/pipelines/runs/judged-sum-" in said_again
    assert "Output: fine" in said_again
    lines = mlops("logs", said["name"]).stdout
    assert "add adding 2 and 1" in lines
    assert lines.count("adding 2 and 2") == 2


def test_a_failure_names_the_task_and_its_last_words(mlops: Mlops, source: Path) -> None:
    said = mlops("run", f"{source}:judged", "--param", "number=200", "--no-cache", code=1).stdout
    assert "judge" in said
    assert "AssertionError: that is too much" in said
    assert "failed after" in said
    name = next(line.split()[-1] for line in said.splitlines() if line.strip().startswith("logs"))
    assert "that is too much" in mlops("logs", name, "judge").stdout
    assert "The run has no task 'juge'" in mlops("logs", name, "juge", code=1).stderr


def test_what_is_wrong_is_said_before_anything_is_submitted(mlops: Mlops, source: Path, tmp_path: Path) -> None:
    said = mlops("run", f"{source}:judged", "--param", "nunber=2", code=2).stderr
    assert "has no parameter 'nunber'" in said
    assert "number" in said
    assert "needs a value for number (an integer)" in mlops("run", f"{source}:judged", code=2).stderr
    assert "The file has 2 pipelines: judged, resting" in mlops("run", str(source), code=2).stderr
    (tmp_path / "bad.yaml").write_text("a: [")
    assert "It is not YAML" in mlops("run", str(tmp_path / "bad.yaml"), code=2).stderr
    assert "There is no such file" in mlops("run", "absent.yaml", code=2).stderr


def test_a_run_is_cancelled(mlops: Mlops, source: Path) -> None:
    name = json.loads(mlops("run", f"{source}:resting", "--no-wait", "--json").stdout)["name"]
    assert "is being cancelled" in mlops("cancel", name).stdout
    until = time.monotonic() + 60
    while "is over already: cancelled" not in mlops("cancel", name).stdout:
        assert time.monotonic() < until
    assert "No pipeline run and no job is called absent" in mlops("cancel", "absent", code=1).stderr


def _spec(**kinds: str) -> dict[str, Any]:
    parameters = {name: {"parameterType": kind} for name, kind in kinds.items()}
    return {"pipelineInfo": {"name": "p"}, "root": {"inputDefinitions": {"parameters": parameters}}}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("NUMBER_INTEGER", "3", 3),
        ("NUMBER_INTEGER", "3.0", 3),
        ("NUMBER_DOUBLE", "1e-3", 0.001),
        ("BOOLEAN", "True", True),
        ("STRING", "3 = 4", "3 = 4"),
        ("LIST", "[1, 2]", [1, 2]),
        ("STRUCT", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_value_is_read_by_its_type(kind: str, text: str, value: object) -> None:
    found = parse([f"x={text}"], _spec(x=kind), {})["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [("NUMBER_INTEGER", "3.5"), ("NUMBER_DOUBLE", "NaN"), ("BOOLEAN", "1"), ("LIST", "{}"), ("STRUCT", "[1]")],
)
def test_a_value_of_another_type_is_refused_by_name(kind: str, text: str) -> None:
    with pytest.raises(ParameterError, match="Parameter x must be"):
        parse([f"x={text}"], _spec(x=kind), {})
