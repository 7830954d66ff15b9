"""Draws docs/console-run.svg: the graph of a run, as the console's page of it has it.

It runs a pipeline on a local cloud of its own, as a client of Google's does. `python scripts/picture_of_run.py`.
No postponed annotations here: KFP reads the types of components.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import google.cloud.logging_v2
import google.cloud.resourcemanager_v3  # noqa: F401
from google.cloud import aiplatform, storage
from google.cloud import aiplatform_v1 as v1
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from localcloud import control, environment
from localcloud.console.drawing import draw
from localcloud.console.render import Pages
from localcloud.console.tree import Tree

PICTURE = Path(__file__).parents[1] / "docs" / "console-run.svg"
PROJECT, REGION, BUCKET = "flights", "us-central1", "flights-runs"


def light(function):
    return dsl.component(base_image="python:3.11")(function)


@light
def training_set(months: int, rows: Output[Dataset]) -> list:
    with open(rows.path, "w") as file:
        file.write("carrier,delay\n" * months)
    return [0.05, 0.1, 0.2]


@light
def validate_data(rows: Input[Dataset]) -> bool:
    return True


@light
def train(rows: Input[Dataset], rate: float, model: Output[Model]) -> float:
    open(model.path, "w").close()
    if rate > 0.15:
        raise ValueError("it does not converge")
    return rate


@light
def evaluate(model: Input[Model], metrics: Output[Metrics]) -> float:
    metrics.log_metric("auc", 0.755)
    return 0.755


@light
def register(model: Input[Model]):
    pass


@light
def deploy():
    pass


@light
def notify():
    pass


@dsl.pipeline(name="best-model")
def best_model(rows: Input[Dataset], rate: float) -> Model:
    trained = train(rows=rows, rate=rate)
    return trained.outputs["model"]


@dsl.pipeline(name="late-arrivals")
def late_arrivals(months: int = 7):
    with dsl.ExitHandler(notify(), name="training"):
        made = training_set(months=months)
        checked = validate_data(rows=made.outputs["rows"])
        with dsl.ParallelFor(made.outputs["Output"], name="rates") as rate:
            train(rows=made.outputs["rows"], rate=rate).after(checked)
        best = best_model(rows=made.outputs["rows"], rate=0.1).after(checked)
        scored = evaluate(model=best.output)
        with dsl.If(scored.outputs["Output"] > 0.7, name="good-enough"):
            register(model=best.output)
            with dsl.If(scored.outputs["Output"] > 0.9, name="much-better"):
                deploy()


def run(folder: Path):
    """The run, once it is over, as a plain protobuf message."""
    storage.Client(project=PROJECT).create_bucket(BUCKET, location=REGION)
    template = folder / "pipeline.yaml"
    compiler.Compiler().compile(late_arrivals, str(template))
    aiplatform.init(project=PROJECT, location=REGION)
    job = aiplatform.PipelineJob(
        display_name="late-arrivals", template_path=str(template), pipeline_root=f"gs://{BUCKET}/root"
    )
    job.submit()
    while not job.done():
        time.sleep(0.2)
    return v1.PipelineJob.pb(job.gca_resource)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen([sys.executable, "-m", "localcloud", "--root", str(folder / "cloud")])
        try:
            while (running := control.find(folder / "cloud")) is None:
                if server.poll() is not None:
                    return 1
                time.sleep(0.1)
            os.environ.update(environment.variables(folder / "cloud", running.port, project=PROJECT))
            job = run(folder)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    PICTURE.write_text(Pages.svg(draw(Tree(job).root, None)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
