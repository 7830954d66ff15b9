"""Vertex ML Metadata through the SDK's artifacts, executions and contexts, and the generated clients."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1
from google.cloud.aiplatform.metadata.context import Context
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import REGION, LocalCloud

ENDPOINT = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}


@pytest.fixture
def store(sdk: str, project: str) -> str:
    """The default metadata store, made as the SDK makes it."""
    aiplatform.Artifact.create(schema_title="system.Artifact", resource_id="first-one")
    return f"projects/{project}/locations/{REGION}/metadataStores/default"


def test_artifacts_live_as_the_sdk_has_it(store: str) -> None:
    made = aiplatform.Artifact.create(
        schema_title="system.Dataset", uri="gs://b/x", display_name="x", metadata={"rows": 3, "tags": ["a"]}
    )
    assert made.state.name == "LIVE"
    made.update(metadata={"rows": 4, "more": "b"})
    again = aiplatform.Artifact.get(made.resource_name)
    assert again is not None
    assert again.metadata == {"rows": 4, "tags": ["a"], "more": "b"}
    (found,) = aiplatform.Artifact.list(filter='uri="gs://b/x" AND schema_title="system.Dataset"')
    assert found.name == made.name
    made.delete()
    assert aiplatform.Artifact.get(made.resource_name) is None
    with pytest.raises(exceptions.Conflict):
        aiplatform.Artifact.create(schema_title="system.Artifact", resource_id="first-one")


def test_executions_and_what_they_read_and_wrote(store: str) -> None:
    source = aiplatform.Artifact.create(schema_title="system.Dataset", display_name="in")
    target = aiplatform.Artifact.create(schema_title="system.Model", display_name="out")
    with aiplatform.start_execution(schema_title="system.ContainerExecution", display_name="step") as execution:
        execution.assign_input_artifacts([source])
        execution.assign_output_artifacts([target])
    assert execution.state.name == "COMPLETE"
    assert [a.name for a in execution.get_input_artifacts()] == [source.name]
    assert [a.name for a in execution.get_output_artifacts()] == [target.name]
    assert [e.name for e in aiplatform.Execution.list(filter='schema_title="system.ContainerExecution"')] == [
        execution.name
    ]
    client = aiplatform_v1beta1.MetadataServiceClient(client_options=ENDPOINT, transport="rest")
    request = {"artifact": target.resource_name, "max_hops": 1}
    near = client.query_artifact_lineage_subgraph(request=request)
    assert (len(near.artifacts), len(near.executions), len(near.events)) == (1, 1, 1)
    whole = client.query_artifact_lineage_subgraph(request={"artifact": target.resource_name})
    assert {artifact.display_name for artifact in whole.artifacts} == {"in", "out"}
    assert {(event.artifact.rsplit("/", 1)[1], event.type_.name) for event in whole.events} == {
        (source.name, "INPUT"),
        (target.name, "OUTPUT"),
    }
    with_execution = aiplatform.Artifact.list(filter=f'with_execution("{execution.resource_name}")')
    assert {artifact.name for artifact in with_execution} == {source.name, target.name}
    with pytest.raises(exceptions.BadRequest, match="max_hops"):
        client.query_artifact_lineage_subgraph(request={"artifact": target.resource_name, "max_hops": -1})


def test_contexts_hold_and_are_inside_of_each_other(store: str) -> None:
    parent = Context.create(schema_title="system.Experiment", resource_id="parent")
    child = Context.create(schema_title="system.ExperimentRun", resource_id="child-1", metadata={"a": 1})
    parent.add_context_children([child])
    artifact = aiplatform.Artifact.create(schema_title="system.Metrics", display_name="m")
    child.add_artifacts_and_executions(artifact_resource_names=[artifact.resource_name])
    assert Context.get(child.resource_name).parent_contexts == [parent.gca_resource.name]  # type: ignore[union-attr]
    for text in (f'parent_contexts:"{parent.resource_name}"', f'parent_contexts:"x","{parent.resource_name}"'):
        assert [c.name for c in Context.list(filter=text)] == [child.name]
    assert [c.name for c in Context.list(filter=f'child_contexts:"{child.resource_name}"')] == [parent.name]
    inside = f'in_context("{child.resource_name}") AND (schema_title="system.Metrics" OR schema_title="x.Y")'
    assert [a.name for a in aiplatform.Artifact.list(filter=inside)] == [artifact.name]
    assert aiplatform.Artifact.list(filter=f'in_context("{parent.resource_name}")') == []
    client = aiplatform_v1.MetadataServiceClient(client_options=ENDPOINT)
    with pytest.raises(exceptions.InvalidArgument, match="above it already"):
        client.add_context_children(context=child.resource_name, child_contexts=[parent.resource_name])
    with pytest.raises(exceptions.FailedPrecondition, match="children"):
        client.delete_context(name=parent.resource_name)
    client.remove_context_children(request={"context": parent.resource_name, "child_contexts": [child.resource_name]})
    assert Context.list(filter=f'parent_contexts:"{parent.resource_name}"') == []
    client.delete_context(name=parent.resource_name).result()


def test_names_and_parents_that_are_not_right(store: str) -> None:
    client = aiplatform_v1.MetadataServiceClient(client_options=ENDPOINT)
    with pytest.raises(exceptions.InvalidArgument, match="artifact_id"):
        client.create_artifact(parent=store, artifact={"display_name": "x"}, artifact_id="No Good")
    with pytest.raises(exceptions.NotFound, match="metadataStores/other"):
        client.list_artifacts(parent=store.replace("default", "other"))
    with pytest.raises(exceptions.NotFound):
        client.add_execution_events(execution=f"{store}/executions/none")
    with pytest.raises(exceptions.InvalidArgument, match="unknown function `in_contxt`"):
        list(client.list_artifacts(request={"parent": store, "filter": 'in_contxt("x")'}))
    with pytest.raises(exceptions.InvalidArgument, match="filter"):
        client.purge_artifacts(parent=store)


def test_purging_counts_before_it_deletes(store: str) -> None:
    for number in range(3):
        aiplatform.Artifact.create(schema_title="system.Model", display_name=f"m{number}")
    client = aiplatform_v1.MetadataServiceClient(client_options=ENDPOINT)
    request = {"parent": store, "filter": 'schema_title="system.Model"'}
    counted = client.purge_artifacts(request=request).result()
    assert (counted.purge_count, len(counted.purge_sample)) == (3, 3)
    assert len(aiplatform.Artifact.list(filter='schema_title="system.Model"')) == 3
    assert client.purge_artifacts(request={**request, "force": True}).result().purge_count == 3
    assert [artifact.name for artifact in aiplatform.Artifact.list()] == ["first-one"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_say_what_python_says(store: str, data: st.DataObject) -> None:
    client = aiplatform_v1.MetadataServiceClient(client_options=ENDPOINT)
    if not list(client.list_executions(parent=store)):
        for number in range(12):
            client.create_execution(
                parent=store,
                execution={
                    "display_name": f"n{number % 4}",
                    "metadata": {"x": number, "s": f"t{number % 3}", "b": number > 5},
                },
            )
    tests = {
        'display_name="n1"': lambda e: e.display_name == "n1",
        'display_name!="n1"': lambda e: e.display_name != "n1",
        "metadata.x.number_value>4": lambda e: e.metadata["x"] > 4,
        "metadata.x.number_value<=9": lambda e: e.metadata["x"] <= 9,
        'metadata.s.string_value="t2"': lambda e: e.metadata["s"] == "t2",
        "metadata.b.bool_value=true": lambda e: e.metadata["b"],
        'display_name="n*"': lambda e: True,
    }
    names = data.draw(st.lists(st.sampled_from(sorted(tests)), min_size=1, max_size=3))
    joins = data.draw(st.lists(st.sampled_from(["AND", "OR"]), min_size=len(names) - 1, max_size=len(names) - 1))
    text, python = names[0], tests[names[0]]
    for join, name in zip(joins, names[1:], strict=True):
        text = f"({text}) {join} {name}"
        python = _joined(join, python, tests[name])
    wanted = {e.name for e in client.list_executions(parent=store) if python(e)}
    assert {e.name for e in client.list_executions(request={"parent": store, "filter": text, "page_size": 5})} == wanted


def _joined(join: str, one, other):  # type: ignore[no-untyped-def]
    return (lambda e: one(e) and other(e)) if join == "AND" else (lambda e: one(e) or other(e))


WRITE = """
from google.cloud import aiplatform
aiplatform.init(location="us-central1")
source = aiplatform.Artifact.create(schema_title="system.Dataset", resource_id="source")
with aiplatform.start_execution(schema_title="system.Run", resource_id="run-1") as run:
    run.assign_input_artifacts([source])
"""
READ = """
from google.cloud import aiplatform
aiplatform.init(location="us-central1")
run = aiplatform.Execution("run-1")
print(run.state.name, [a.name for a in run.get_input_artifacts()])
"""


def test_what_was_written_is_there_after_a_kill(own_cloud: LocalCloud) -> None:
    def program(text: str) -> str:
        environment = own_cloud.environment("killed")
        done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    program(WRITE)
    own_cloud.kill()
    own_cloud.start()
    assert program(READ) == "COMPLETE ['source']"
