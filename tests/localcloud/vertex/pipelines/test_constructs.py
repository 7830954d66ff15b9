"""Each construct of KFP v2, compiled and run through aiplatform.PipelineJob.

No postponed annotations here: KFP reads the types of pipelines.
"""

import json

import pytest
from google.cloud import storage
from kfp import dsl
from tests.localcloud.vertex.pipelines import components as c
from tests.localcloud.vertex.pipelines.conftest import Run, outputs, states, task


def test_parameters_of_all_types(run: Run) -> None:
    @dsl.pipeline(name="kinds")
    def pipeline(
        i: int = 3, f: float = 2.0, b: bool = True, s: str = "x", items: list = [1, "a"], pairs: dict = {"k": [1]}
    ):
        c.kinds(i=i, f=f, b=b, s=s, items=items, pairs=pairs)

    job = run(pipeline, {"f": 4.0, "pairs": {"n": None, "x": 1.5}})
    said = json.loads(outputs(job, "kinds")["Output"])
    assert said == [3, 4.0, True, "x", [1, "a"], {"n": None, "x": 1.5}, "int", "float", "bool"]


def test_artifacts_go_from_task_to_task(run: Run, sdk: str) -> None:
    @dsl.pipeline(name="artifacts")
    def pipeline(text: str):
        written = c.write(text=text)
        c.read(data=written.outputs["data"])

    job = run(pipeline, {"text": "hello"})
    assert outputs(job, "read")["Output"] == "hello 5"
    (artifact,) = task(job, "write").outputs["data"].artifacts
    assert artifact.schema_title == "system.Dataset"
    assert artifact.metadata["length"] == 5
    number = job.resource_name.split("/")[1]
    assert artifact.uri.startswith(f"gs://{sdk}/root/{number}/{job.name}/write_")
    blob = storage.Client().bucket(sdk).blob(artifact.uri.removeprefix(f"gs://{sdk}/"))
    assert blob.download_as_text() == "hello"
    assert [a.name for a in task(job, "read").inputs["data"].artifacts] == [artifact.name]


def test_a_container_and_its_placeholders(run: Run) -> None:
    @dsl.container_component
    def placeholders(text: str, missing: str = None, said: dsl.OutputPath(str) = None):  # type: ignore[valid-type]  # noqa: RUF013
        return dsl.ContainerSpec(
            image=c.IMAGE,
            command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf "%s|" "$@" > "$0"', said],
            args=[
                dsl.ConcatPlaceholder(["--text=", text, "."]),
                dsl.IfPresentPlaceholder("text", then=["given", text], else_=["not given"]),
                dsl.IfPresentPlaceholder("missing", then=["given"], else_=["absent"]),
                "{{$.pipeline_task_name}}",
                "{{$.inputs.parameters['text']}}",
                "{{$.unknown.template}}",
            ],
        )

    @dsl.pipeline(name="placeholders")
    def pipeline():
        said = c.say(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        placeholders(text=f"job {said.output}")

    job = run(pipeline)
    text = f"job {job.name}"
    expected = [f"--text={text}.", "given", text, "absent", "placeholders", text, "{{$.unknown.template}}", ""]
    assert outputs(job, "placeholders")["said"].split("|") == expected


def test_conditions_and_one_of(run: Run) -> None:
    @dsl.pipeline(name="conditions")
    def pipeline(number: int) -> str:
        with dsl.If(number > 5, name="many"):
            many = c.say(text="many")
        with dsl.Elif(number == 5):
            five = c.say(text="five")
        with dsl.Else():
            few = c.say(text="few")
        return c.say(text=dsl.OneOf(many.output, five.output, few.output)).output

    for number, word in ((9, "many"), (5, "five"), (1, "few")):
        job = run(pipeline, {"number": number})
        assert outputs(job, "say-4")["Output"] == word
        skipped = [name for name, state in states(job).items() if state == "NOT_TRIGGERED"]
        assert len(skipped) == 2


def test_loops_over_items_of_many_kinds(run: Run) -> None:
    @dsl.pipeline(name="loops")
    def pipeline(items: list = [1, 2]):
        with dsl.ParallelFor([1, 2, 3], parallelism=2) as item:
            doubled = c.twice(number=item)
        c.total(numbers=dsl.Collected(doubled.output))
        with dsl.ParallelFor(items) as given, dsl.ParallelFor(c.numbers(count=given).output) as inner:
            c.say(text=f"number {inner}")
        with dsl.ParallelFor(c.rows().output) as row, dsl.If(row.size > 1):
            c.say(text=row.label)

    job = run(pipeline)
    assert outputs(job, "total")["Output"] == 24
    said = {d.execution.metadata["output:Output"] for d in job.task_details if d.task_name.startswith("say")}
    assert said == {"number 0", "number 1", "b"}


def test_loops_over_artifacts_and_collected_ones(run: Run) -> None:
    @dsl.pipeline(name="artifact-loops")
    def pipeline():
        written = c.written(texts=["a", "b"])
        c.join(texts=written.output)
        with dsl.ParallelFor(written.output) as data:
            c.read(data=data)

    job = run(pipeline)
    assert outputs(job, "join")["Output"] == "a+b"
    read = {d.execution.metadata["output:Output"] for d in job.task_details if d.task_name == "read"}
    assert read == {"a 1", "b 1"}


def test_an_empty_loop(run: Run) -> None:
    @dsl.pipeline(name="empty-loop")
    def pipeline():
        with dsl.ParallelFor(c.numbers(count=0).output) as item:
            doubled = c.double(number=item)
        c.total(numbers=dsl.Collected(doubled.output))

    assert outputs(run(pipeline), "total")["Output"] == 0


def test_an_importer(run: Run, sdk: str) -> None:
    @dsl.pipeline(name="importing")
    def pipeline(name: str, fresh: bool = False):
        imported = dsl.importer(
            artifact_uri=f"gs://{sdk}/{name}", artifact_class=dsl.Dataset, metadata={"who": name}, reimport=False
        )
        c.uri_of(thing=imported.output)

    first = run(pipeline, {"name": "x"})
    assert outputs(first, "uri-of")["Output"] == f"gs://{sdk}/x {{'who': 'x'}}"
    again = run(pipeline, {"name": "x"})
    other = run(pipeline, {"name": "y"})
    names = [task(job, "importer").outputs["artifact"].artifacts[0].name for job in (first, again, other)]
    assert names[0] == names[1] != names[2]


def test_an_exit_handler_hears_how_it_went(run: Run) -> None:
    @dsl.pipeline(name="handled")
    def pipeline(text: str):
        with dsl.ExitHandler(c.report(note="end")):
            c.say(text=c.fail(text=text).output)

    with pytest.raises(RuntimeError, match=r"The DAG failed because some tasks failed. The failed tasks are: \[exit-"):
        run(pipeline, {"text": "so"})
    job = run.last
    said = outputs(job, "report")["Output"]
    assert said.startswith("end: FAILED exit-handler-1 The DAG failed because some tasks failed.")
    assert states(job)["exit-handler-1.say"] == "NOT_TRIGGERED"
    assert "ValueError: it cannot be so" in task(job, "fail").error.message


def test_upstream_failure_can_be_ignored(run: Run) -> None:
    @dsl.pipeline(name="ignoring")
    def pipeline():
        c.say(text=c.fail().output).ignore_upstream_failure()

    with pytest.raises(RuntimeError):
        run(pipeline)
    assert outputs(run.last, "say")["Output"] == "nothing"


def test_a_task_is_tried_again(run: Run, sdk: str) -> None:
    @dsl.pipeline(name="trying")
    def pipeline():
        c.fail_until(path=f"/gcs/{sdk}/tries/n", times=2).set_retry(3, backoff_duration="0s")

    job = run(pipeline)
    found = task(job, "fail-until")
    assert outputs(job, "fail-until")["Output"] == 2
    assert len(found.executor_detail.container_detail.failed_main_jobs) == 2
    assert [status.state.name for status in found.pipeline_task_status] == ["FAILED", "FAILED", "SUCCEEDED"]


def test_what_was_done_is_not_done_again(run: Run) -> None:
    @dsl.pipeline(name="cached")
    def pipeline(number: int):
        doubled = c.double(number=number)
        c.double(number=doubled.output).set_caching_options(False)
        c.read(data=c.write(text="same").outputs["data"])

    assert set(states(run(pipeline, {"number": 2})).values()) == {"SUCCEEDED"}
    again = run(pipeline, {"number": 2})
    found = states(again)
    assert [found[name] for name in ("double", "double-2", "write", "read")] == [
        "SKIPPED",
        "SUCCEEDED",
        "SKIPPED",
        "SKIPPED",
    ]
    assert task(again, "double").execution.state.name == "CACHED"
    assert outputs(again, "read")["Output"] == "same 4"
    assert states(run(pipeline, {"number": 3}))["double"] == "SUCCEEDED"
    assert set(states(run(pipeline, {"number": 2}, enable_caching=False)).values()) == {"SUCCEEDED"}


def test_fail_fast_starts_nothing_more(run: Run) -> None:
    @dsl.pipeline(name="policy")
    def pipeline():
        c.fail()
        c.say(text=f"after {c.sleep(seconds=2.0).output}")

    for policy, state in (("slow", "SUCCEEDED"), ("fast", "NOT_TRIGGERED")):
        with pytest.raises(RuntimeError):
            run(pipeline, failure_policy=policy, enable_caching=False)
        assert states(run.last)["say"] == state


def test_variables_and_resources(run: Run) -> None:
    @dsl.component(base_image=c.IMAGE)
    def variable() -> str:
        import os

        return os.environ["COLOUR"]

    @dsl.pipeline(name="settings")
    def pipeline():
        coloured = variable().set_env_variable("COLOUR", "green")
        coloured.set_cpu_limit("3").set_memory_limit("20G")

    job = run(pipeline)
    assert outputs(job, "variable")["Output"] == "green"
