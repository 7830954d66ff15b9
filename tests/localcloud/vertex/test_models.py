"""The Model Registry through Google's SDK: versions, aliases, filters, export, copy, deletion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from google.cloud import aiplatform, aiplatform_v1, aiplatform_v1beta1, storage
from tests.conftest import REGION

from localcloud.projects import number_of

Upload = Callable[..., aiplatform.Model]
ENDPOINT = {"api_endpoint": f"{REGION}-aiplatform.googleapis.com"}


@pytest.fixture
def client(sdk: str) -> aiplatform_v1.ModelServiceClient:
    return aiplatform_v1.ModelServiceClient(client_options=ENDPOINT)


def test_versions_and_aliases(upload: Upload, project: str) -> None:
    first = upload(model_id="late-arrival", version_aliases=["champion"], version_description="first")
    assert first.resource_name == f"projects/{number_of(project)}/locations/{REGION}/models/late-arrival"
    assert (first.version_id, sorted(first.version_aliases)) == ("1", ["champion", "default"])
    second = upload(parent_model="late-arrival", is_default_version=False, version_aliases=["challenger"])
    assert (second.version_id, second.version_aliases) == ("2", ["challenger"])
    assert aiplatform.Model("late-arrival").version_id == "1"
    assert aiplatform.Model("late-arrival@2").version_id == "2"
    assert aiplatform.Model("late-arrival@challenger").version_id == "2"
    registry = aiplatform.models.ModelRegistry("late-arrival")
    registry.add_version_aliases(["champion"], "2")
    assert aiplatform.Model("late-arrival@champion").version_id == "2"
    assert aiplatform.Model("late-arrival@1").version_aliases == ["default"]
    registry.remove_version_aliases(["challenger"], "2")
    with pytest.raises(NotFound, match="late-arrival@challenger"):
        aiplatform.Model("late-arrival@challenger")
    third = upload(parent_model="late-arrival", is_default_version=True)
    assert third.version_id == "3"
    assert aiplatform.Model("late-arrival").version_id == "3"
    listed = registry.list_versions()
    assert [version.version_id for version in listed] == ["3", "2", "1"]
    assert [version.version_aliases for version in listed] == [["default"], ["champion"], []]
    assert [model.version_id for model in aiplatform.Model.list()] == ["3"]
    registry.delete_version("1")
    with pytest.raises(FailedPrecondition, match="default version"):
        registry.delete_version("3")
    with pytest.raises(NotFound):
        registry.get_version_info("1")


def test_an_id_is_taken_once_and_well_formed(upload: Upload) -> None:
    upload(model_id="m1")
    with pytest.raises(AlreadyExists, match="parent_model"):
        upload_again(upload)
    with pytest.raises(InvalidArgument, match="model_id"):
        upload(model_id="1m")
    with pytest.raises(NotFound, match="models/absent"):
        upload(parent_model="absent")
    with pytest.raises(InvalidArgument, match="version_aliases"):
        upload(version_aliases=["7"])


def upload_again(upload: Upload) -> None:
    """Without the SDK, which makes a version of a model whose id is there."""
    parent = upload(model_id="m2").resource_name.rsplit("/models/", 1)[0]
    aiplatform_v1.ModelServiceClient(client_options=ENDPOINT).upload_model(
        request={
            "parent": parent,
            "model_id": "m1",
            "model": {"display_name": "x", "container_spec": {"image_uri": "i"}},
        }
    )


def test_the_artifact_must_exist_and_is_frozen(upload: Upload, artifact: str, sdk: str, project: str) -> None:
    with pytest.raises(FailedPrecondition, match="There are no files under"):
        upload(artifact_uri=f"gs://{sdk}/nothing")
    with pytest.raises(FailedPrecondition, match="does not exist"):
        upload(artifact_uri="gs://no-such-bucket-anywhere/model")
    model = upload()
    assert model.uri == artifact
    storage.Client(project=project).bucket(sdk).blob("model/model.joblib").upload_from_string(b"changed")
    exported = model.export_model("custom-trained", artifact_destination=f"gs://{sdk}/exports")
    folder = exported["artifactOutputUri"]
    assert folder.startswith(f"gs://{sdk}/exports/model-export-echo-")
    blob = storage.Client(project=project).bucket(sdk).blob(f"{folder.split('/', 3)[3]}/model.joblib")
    assert blob.download_as_bytes() == b"the model"


def test_update_and_list(upload: Upload, client: aiplatform_v1.ModelServiceClient, project: str) -> None:
    model = upload(display_name="first", labels={"team": "a"})
    upload(display_name="second", labels={"team": "b"})
    model.update(display_name="renamed", description="about", labels={"team": "c"})
    assert aiplatform.Model(model.resource_name).description == "about"

    def found(text: str, order: str = "") -> list[str]:
        return [each.display_name for each in aiplatform.Model.list(filter=text, order_by=order or None)]

    assert found("labels.team=c") == ["renamed"]
    assert found('display_name="*e*"', "display_name") == ["renamed", "second"]
    assert found(f"model={model.name}") == ["renamed"]
    assert found("", "create_time desc") == ["second", "renamed"]
    with pytest.raises(InvalidArgument, match="artifact_uri"):
        client.update_model(
            model={"name": model.resource_name, "artifact_uri": "gs://other"}, update_mask={"paths": ["artifact_uri"]}
        )
    parent = f"projects/{project}/locations/{REGION}"
    pages = client.list_models(request={"parent": parent, "page_size": 1}).pages
    assert [len(page.models) for page in pages] == [1, 1]
    masked = client.list_models(request={"parent": parent, "read_mask": {"paths": ["display_name"]}})
    assert {(each.display_name, each.name) for each in masked} == {("renamed", ""), ("second", "")}
    with pytest.raises(InvalidArgument, match="Label"):
        upload(labels={"Team": "a"})


def test_copy_and_delete(upload: Upload, client: aiplatform_v1.ModelServiceClient) -> None:
    model = upload()
    copied = model.copy(destination_location="europe-west1")
    assert copied.resource_name.split("/")[3] == "europe-west1"
    assert copied.version_id == "1"
    model.delete()
    with pytest.raises(NotFound, match="does not exist"):
        client.get_model(name=model.resource_name)
    with pytest.raises(NotFound, match="does not exist"):
        client.delete_model(name=model.resource_name)


def test_v1beta1_operations_unpack(upload: Upload, project: str) -> None:
    beta = aiplatform_v1beta1.ModelServiceClient(client_options=ENDPOINT)
    operation = beta.upload_model(
        parent=f"projects/{project}/locations/{REGION}",
        model={"display_name": "beta", "container_spec": {"image_uri": "python:3.11"}},
    )
    assert operation.result(timeout=60).model_version_id == "1"
    assert operation.metadata.generic_metadata.create_time


def test_the_sdk_over_rest(upload: Upload) -> None:
    aiplatform.init(api_transport="rest")
    model = upload()
    assert [found.resource_name for found in aiplatform.Model.list()] == [model.resource_name]
    model.delete()
    with pytest.raises(NotFound):
        aiplatform.Model(model.resource_name)
