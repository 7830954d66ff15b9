"""Vertex Pipelines: the time that a task costs, tasks at once, runs from the cache, and a long loop, beside kfp.local.

Ours are submitted by google-cloud-aiplatform's client and looked at twenty times a second until they are over;
kfp.local's SubprocessRunner runs them from this process, each task in an environment of its own, as it does by default.
It runs one task at a time and knows no cache, so the chain alone is run on both sides.
"""

import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import psutil
import yaml
from kfp import compiler, dsl, local

from localcloud import control

PROJECT, REGION = "bench", "us-central1"
ROUNDS = 3
CHAIN, TASKS, ITERATIONS = 5, 20, 200
TASK_BELOW, PARALLEL_BELOW, CACHED_BELOW, GROWTH_BELOW = 0.25, 12.0, 1.0, 100.0
"""Goals: seconds a task, seconds, seconds, MB."""


@dsl.component(base_image="python:3.11")
def add(number: int) -> int:
    """A task that costs nothing of its own."""
    return number + 1


@dsl.component(base_image="python:3.11")
def pause(number: int, seconds: float) -> int:
    """A task that takes its time, and none of the processors'."""
    import time

    time.sleep(seconds)
    return number


@dsl.pipeline(name="chain")
def chain(number: int) -> None:
    """Tasks one after another."""
    task = add(number=number)
    for _ in range(CHAIN - 1):
        task = add(number=task.output)


@dsl.pipeline(name="fan")
def fan(seconds: float) -> None:
    """Tasks that may run all at once."""
    for number in range(TASKS):
        pause(number=number, seconds=seconds)


@dsl.pipeline(name="loop")
def loop(first: int) -> None:
    """A task for every item of a long list."""
    with dsl.ParallelFor(list(range(ITERATIONS))) as item:
        add(number=item)


class Ours:
    """The local cloud, through Google's client."""

    def __init__(self) -> None:
        from google.cloud import aiplatform_v1, storage

        self._parent = f"projects/{PROJECT}/locations/{REGION}"
        self._client = aiplatform_v1.PipelineServiceClient(
            client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}
        )
        self._root = f"gs://{storage.Client(project=PROJECT).create_bucket(f'bench-{uuid.uuid4().hex[:8]}').name}"

    def run(self, function: Any, caching: bool = False, **parameters: Any) -> float:
        """Seconds from the submission to the end that the client sees."""
        spec = _compiled(function)
        for task in spec["root"]["dag"]["tasks"].values():
            task["cachingOptions"] = {"enableCache": caching}
        began = time.perf_counter()
        job = self._client.create_pipeline_job(
            parent=self._parent,
            pipeline_job={
                "pipeline_spec": spec,
                "runtime_config": {"gcs_output_directory": self._root, "parameter_values": parameters},
            },
        )
        while job.state.name in ("PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING"):
            time.sleep(0.05)
            job = self._client.get_pipeline_job(name=job.name)
        seconds = time.perf_counter() - began
        if job.state.name != "PIPELINE_STATE_SUCCEEDED":
            raise RuntimeError(f"{job.state.name}: {job.error.message}")
        return seconds


def _compiled(function: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(function, str(path))
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found


def _theirs(function: Any, **parameters: Any) -> float:
    """Seconds that kfp.local takes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        local.init(runner=local.SubprocessRunner(), pipeline_root=folder)
        began = time.perf_counter()
        function(**parameters)
        return time.perf_counter() - began


def _server() -> psutil.Process:
    running = control.find(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).parent)
    assert running is not None
    return psutil.Process(running.pid)


def _row(what: str, values: list[float], unit: str, goal: float, theirs: float = 0.0) -> None:
    middle = statistics.median(values)
    beside = f"; kfp.local {theirs:.2f}, {theirs / middle:.0f} times that" if theirs else ""
    print(
        f"{what:36} {middle:7.2f} {unit} [{min(values):.2f} to {max(values):.2f}]  goal {goal:g}: "
        f"{'met' if middle <= goal else 'MISSED'}{beside}",
        flush=True,
    )


def main() -> None:
    """Prints the rows."""
    logging.disable(logging.INFO)
    ours = Ours()
    print(f"first run of a task, environment and all: {ours.run(fan, seconds=0.0):.1f} s", flush=True)
    mine = [ours.run(chain, number=1) / CHAIN for _ in range(ROUNDS)]
    _row("a warm task in a chain", mine, "s", TASK_BELOW, _theirs(chain, number=1) / CHAIN)
    _row(f"{TASKS} tasks of a second", [ours.run(fan, seconds=1.0) for _ in range(ROUNDS)], "s", PARALLEL_BELOW)
    ours.run(fan, caching=True, seconds=0.01)
    cached = [ours.run(fan, caching=True, seconds=0.01) for _ in range(ROUNDS)]
    _row(f"{TASKS} tasks from the cache", cached, "s", CACHED_BELOW)
    server = _server()
    before = server.memory_info().rss
    seconds = ours.run(loop, first=0)
    growth = (server.memory_info().rss - before) / 1e6
    _row(f"server's growth by {ITERATIONS} iterations", [growth], "MB", GROWTH_BELOW)
    print(f"  which took {seconds:.1f} s, {seconds / ITERATIONS:.2f} s each", flush=True)


if __name__ == "__main__":
    main()
