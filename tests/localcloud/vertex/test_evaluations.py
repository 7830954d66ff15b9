"""Evaluations of models through Google's SDK and generated client: import, slices, annotations, versions, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud import aiplatform, aiplatform_v1
from google.protobuf import json_format, struct_pb2
from tests.conftest import REGION

SCHEMA = "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml"


def metrics(**values: float) -> struct_pb2.Value:
    found: struct_pb2.Value = json_format.ParseDict(values, struct_pb2.Value())
    return found


def evaluation(name: str, **values: float) -> dict[str, Any]:
    return {"display_name": name, "metrics_schema_uri": SCHEMA, "metrics": metrics(**values)}


def part(dimension: str, value: str, **values: float) -> dict[str, Any]:
    return {
        "slice_": {"dimension": dimension, "value": value},
        "metrics_schema_uri": SCHEMA,
        "metrics": metrics(**values),
    }


@pytest.fixture
def client(sdk: str) -> aiplatform_v1.ModelServiceClient:
    return aiplatform_v1.ModelServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


@pytest.fixture
def model(upload: Callable[..., aiplatform.Model]) -> aiplatform.Model:
    return upload(model_id="evaluated")


def test_evaluations_belong_to_versions(
    model: aiplatform.Model, client: aiplatform_v1.ModelServiceClient, upload: Callable[..., aiplatform.Model]
) -> None:
    first = client.import_model_evaluation(parent=model.resource_name, model_evaluation=evaluation("one", auPrc=0.5))
    client.import_model_evaluation(parent=model.resource_name, model_evaluation=evaluation("two", auPrc=0.75))
    second = upload(parent_model="evaluated", is_default_version=False)
    other = client.import_model_evaluation(
        parent=f"{model.resource_name}@2", model_evaluation=evaluation("three", auPrc=0.9)
    )
    assert first.name.startswith(f"{model.resource_name}/evaluations/")
    assert first.create_time is not None
    listed = model.list_model_evaluations()
    assert [found.gca_resource.display_name for found in listed] == ["two", "one"]
    assert [found.name for found in second.list_model_evaluations()] == [other.name.rsplit("/", 1)[1]]
    assert model.get_model_evaluation(listed[1].name).metrics == {"auPrc": 0.5}
    assert aiplatform.ModelEvaluation(f"{model.resource_name}@2/evaluations/{second.get_model_evaluation().name}")
    pages = client.list_model_evaluations({"parent": model.resource_name, "filter": 'display_name="one"'})
    assert [found.name for found in pages] == [first.name]
    with pytest.raises(NotFound, match="does not exist"):
        client.get_model_evaluation(name=f"{model.resource_name}@2/evaluations/{listed[0].name}")
    aiplatform.models.ModelRegistry("evaluated").delete_version("2")
    with pytest.raises(NotFound):
        client.get_model_evaluation(name=other.name)
    assert len(model.list_model_evaluations()) == 2


def test_slices_and_annotations(model: aiplatform.Model, client: aiplatform_v1.ModelServiceClient) -> None:
    whole = client.import_model_evaluation(parent=model.resource_name, model_evaluation=evaluation("all", auPrc=0.5))
    names = client.batch_import_model_evaluation_slices(
        parent=whole.name,
        model_evaluation_slices=[part("annotationSpec", "late", auPrc=0.25), part("slice", "carrier=UA", auPrc=1.0)],
    ).imported_model_evaluation_slices
    assert client.get_model_evaluation(name=whole.name).slice_dimensions == ["annotationSpec", "slice"]
    found = list(client.list_model_evaluation_slices(parent=whole.name))
    assert [each.name for each in found] == names
    assert [each.slice_.value for each in found] == ["late", "carrier=UA"]
    (one,) = client.list_model_evaluation_slices(
        aiplatform_v1.ListModelEvaluationSlicesRequest(parent=whole.name, filter="slice.dimension = annotationSpec")
    )
    assert client.get_model_evaluation_slice(name=one.name).metrics["auPrc"] == 0.25
    annotation = aiplatform_v1.EvaluatedAnnotation(type_="TRUE_POSITIVE", data_item_payload=metrics(late=1))
    counted = client.batch_import_evaluated_annotations(parent=one.name, evaluated_annotations=[annotation] * 3)
    assert counted.imported_evaluated_annotations_count == 3
    model.delete()
    for read, name in ((client.get_model_evaluation, whole.name), (client.get_model_evaluation_slice, one.name)):
        with pytest.raises(NotFound):
            read(name=name)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"metrics_schema_uri": SCHEMA}, "model_evaluation.metrics; Message: Required field is not set"),
        ({"metrics": metrics(a=1)}, "model_evaluation.metrics_schema_uri; Message: Must be the gs:// URI"),
    ],
)
def test_evaluations_that_say_nothing(
    model: aiplatform.Model, client: aiplatform_v1.ModelServiceClient, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        client.import_model_evaluation(parent=model.resource_name, model_evaluation=given)
    assert model.list_model_evaluations() == []


def test_slices_are_imported_together_or_not_at_all(
    model: aiplatform.Model, client: aiplatform_v1.ModelServiceClient
) -> None:
    with pytest.raises(NotFound, match="models/absent"):
        client.import_model_evaluation(
            parent=model.resource_name.replace("evaluated", "absent"), model_evaluation=evaluation("x", a=1)
        )
    whole = client.import_model_evaluation(parent=model.resource_name, model_evaluation=evaluation("all", a=1)).name
    for slices, named in (
        ([part("slice", "a", a=1), part("month", "b", a=1)], "slices.1..slice.dimension; Message: Must be one of"),
        ([part("slice", str(number), a=1) for number in range(51)], "At most 50 .* there are 51"),
    ):
        with pytest.raises(InvalidArgument, match=named):
            client.batch_import_model_evaluation_slices(parent=whole, model_evaluation_slices=slices)
    assert list(client.list_model_evaluation_slices(parent=whole)) == []
