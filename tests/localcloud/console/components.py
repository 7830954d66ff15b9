"""A pipeline with everything that a page of a run shows, and hostile text wherever a user can put some.

No postponed annotations here: KFP reads the types of components.
"""

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

IMAGE = "python:3.11"
HOSTILE = "<script>alert('x')</script>"


def light(function):
    return dsl.component(base_image=IMAGE)(function)


@light
def prepare(text: str, rows: Output[Dataset]) -> list:
    print(text)
    with open(rows.path, "w") as file:
        file.write(f"name,size\n{text},1\n")
    rows.metadata["note"] = text
    return [1, 2, 3]


@light
def train(rows: Input[Dataset], size: int, model: Output[Model]) -> float:
    with open(model.path, "w") as file:
        file.write("model")
    print(f"training with {size}")
    return size / 4


@light
def evaluate(
    model: Input[Model],
    figures: Output[Metrics],
    classes: Output[ClassificationMetrics],
    report: Output[Markdown],
    page: Output[HTML],
) -> float:
    figures.log_metric("accuracy", 0.875)
    figures.log_metric("rows", 40)
    classes.log_roc_curve([0.0, 0.25, 1.0], [0.0, 0.75, 1.0], [0.9, 0.5, 0.1])
    classes.log_confusion_matrix(["late", "<b>on time</b>"], [[30, 10], [5, 55]])
    with open(report.path, "w") as file:
        file.write("# Report\n\nA **bold** word, <script>alert(1)</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
        file.write("\n[link](javascript:alert(1)) [web](https://example.com/)\n")
    with open(page.path, "w") as file:
        file.write("<!doctype html><h1>Plot</h1><script>document.title = 'ran'</script>")
    return 0.875


@light
def announce(text: str) -> str:
    print(text)
    return text


@light
def refuse(text: str) -> str:
    raise ValueError(f"no such model: {text}")


@light
def clean_up():
    print("cleaned up")


@dsl.pipeline(name="fit")
def fit(rows: Input[Dataset], size: int) -> float:
    trained = train(rows=rows, size=size)
    return evaluate(model=trained.outputs["model"]).outputs["Output"]


@dsl.pipeline(name="everything")
def everything(text: str = "hello", limit: float = 0.5):
    last = clean_up()
    with dsl.ExitHandler(last, name="guarded"):
        prepared = prepare(text=text)
        with dsl.ParallelFor(prepared.outputs["Output"], name="sizes") as size:
            train(rows=prepared.outputs["rows"], size=size)
        best = fit(rows=prepared.outputs["rows"], size=2)
        with dsl.If(best.output > limit, name="good-enough"):
            announce(text=text)
        with dsl.Else(name="too-bad"):
            announce(text="nothing")
        refuse(text=text).after(best)


@light
def numbers(count: int) -> list:
    return list(range(count))


@light
def rest(seconds: int):
    import time

    print("resting", flush=True)
    time.sleep(seconds)


@dsl.pipeline(name="many")
def many(count: int):
    with dsl.ParallelFor(numbers(count=count).output, name="each") as number, dsl.If(number >= 0):
        announce(text="the same").set_caching_options(True)


@dsl.pipeline(name="resting")
def resting():
    first = announce(text="first")
    rest(seconds=600).after(first)


@dsl.pipeline(name="importing")
def importing():
    dsl.importer(artifact_uri="gs://bucket/thing", artifact_class=Dataset)
