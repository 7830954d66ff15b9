"""The components that the pipelines of these tests are made of.

No postponed annotations here: KFP reads the types of components.
"""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

IMAGE = "python:3.11"


def light(function):
    """A lightweight Python component."""
    return dsl.component(base_image=IMAGE)(function)


@dsl.container_component
def shout(text: str, said: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c"], args=['printf "%s!" "$0" > "$1"', text, said])


@light
def say(text: str = "nothing") -> str:
    print(f"saying {text}")
    return text


@light
def double(number: int) -> int:
    return 2 * number


@light
def total(numbers: list[int]) -> int:
    return sum(numbers)


@light
def numbers(count: int) -> list:
    return list(range(count))


@light
def rows() -> list:
    return [{"label": "a", "size": 1}, {"label": "b", "size": 2}]


@light
def kinds(i: int, f: float, b: bool, s: str, items: list, pairs: dict) -> str:
    import json

    return json.dumps([i, f, b, s, items, pairs, type(i).__name__, type(f).__name__, type(b).__name__])


@light
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["length"] = len(text)


@light
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{file.read()} {data.metadata['length']}"


@light
def join(texts: Input[list[Dataset]]) -> str:
    return "+".join(open(text.path).read() for text in texts)


@light
def train(data: Input[Dataset], model: Output[Model], metrics: Output[Metrics]):
    with open(model.path, "w") as file:
        file.write("model")
    metrics.log_metric("accuracy", 0.75)


@light
def fail(text: str = "") -> str:
    raise ValueError(f"it cannot be {text}")


@light
def fail_until(path: str, times: int) -> int:
    import os

    os.makedirs(os.path.dirname(path), exist_ok=True)
    tries = int(open(path).read()) if os.path.exists(path) else 0
    with open(path, "w") as file:
        file.write(str(tries + 1))
    if tries < times:
        raise RuntimeError(f"try {tries}")
    return tries


@light
def report(status: PipelineTaskFinalStatus, note: str) -> str:
    return f"{note}: {status.state} {status.pipeline_task_name} {status.error_message}"


@light
def sleep(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@light
def uri_of(thing: Input[Artifact]) -> str:
    return f"{thing.uri} {thing.metadata}"


@dsl.pipeline
def twice(number: int) -> int:
    return double(number=double(number=number).output).output


@dsl.pipeline
def written(texts: list) -> list[Dataset]:
    with dsl.ParallelFor(texts) as text:
        made = write(text=text)
    return dsl.Collected(made.outputs["data"])
