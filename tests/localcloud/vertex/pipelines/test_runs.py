"""Pipelines written with the KFP SDK, compiled and run through aiplatform.PipelineJob."""

from google.cloud import aiplatform
from kfp import dsl

SHELL = "python:3.11"


@dsl.container_component
def shout(text: str, said: dsl.OutputPath(str)):  # type: ignore[valid-type]
    return dsl.ContainerSpec(
        image=SHELL, command=["sh", "-c"], args=['printf "%s!" "$0" > "$1"', text, said]
    )


def test_a_container(run) -> None:
    @dsl.pipeline(name="shouting")
    def pipeline(text: str = "hello") -> str:
        first = shout(text=text)
        return shout(text=f"{first.outputs['said']} again").outputs["said"]

    job = run(pipeline)
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    print(job.task_details)
    print(aiplatform.get_pipeline_df("shouting"))
