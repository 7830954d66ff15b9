"""ModelService: the Model Registry. Models are uploaded, versioned, aliased, listed, exported and deleted here.

Finding a version is localcloud.vertex.versions, copying files localcloud.vertex.artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from localcloud.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from localcloud.fields import select
from localcloud.filters import Vocabulary
from localcloud.operations import OperationHandle
from localcloud.vertex import artifacts
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    invalid,
    now,
    parent_of,
    v1,
)
from localcloud.vertex.versions import DEFAULT, Versions, check_aliases, model_id_of

UPDATABLE = (
    "display_name",
    "description",
    "version_description",
    "labels",
    "predict_schemata",
    "metadata_schema_uri",
    "metadata",
    "explanation_spec",
)
_GIVEN = (*UPDATABLE, "container_spec", "artifact_uri", "pipeline_job", "encryption_spec", "model_source_info")
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_FILTERS = Vocabulary(fields={"model": lambda model: model_id_of(model.name)})


class ModelService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#modelservice."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self.versions = Versions(vertex)

    def start(self) -> None:
        """Clear away what a former process left half done."""
        artifacts.forget_staged(self._vertex.cloud.objects)

    # Uploading

    def upload_model(self, request: Any) -> Any:
        """Register a model, or a further version of one; its artifact is copied and from then on frozen."""
        name, work = self._upload(request)

        def respond(handle: OperationHandle) -> Any:
            stored = work()
            return v1.UploadModelResponse(model=stored.name, model_version_id=stored.version_id)

        return self._vertex.operations.start(name, respond, generic_metadata(v1.UploadModelOperationMetadata))

    def upload_trained(self, request: Any, training_pipeline: str) -> Any:
        """The same for the model of a training pipeline, at once; gives the version.

        Args:
            request: An UploadModelRequest.
            training_pipeline: The resource name.
        """
        _, work = self._upload(request, training_pipeline)
        return work()

    def _upload(self, request: Any, training_pipeline: str = "") -> tuple[str, Callable[[], Any]]:
        """Check an upload; gives the model's name and what does it."""
        given = request.model
        check_display_name(given.display_name, "model.display_name")
        check_labels(given.labels, "model.labels")
        check_aliases(list(given.version_aliases), "model.version_aliases")
        if not given.container_spec.image_uri:
            raise invalid("model.container_spec.image_uri", "Required field is not set.")
        if given.artifact_uri:
            artifacts.check(self._vertex.cloud.objects, given.artifact_uri)
        name, earlier = self._place(request)
        model = v1.Model()
        copy_fields(model, given, _GIVEN)
        model.training_pipeline = training_pipeline
        aliases = list(given.version_aliases)
        return name, lambda: self._add_version(name, model, aliases, earlier, given.artifact_uri)

    def copy_model(self, request: Any) -> Any:
        """Copy a model version, with its artifact, to a location or into another model."""
        source = self.versions.find(request.source_model)
        name, earlier = self._place(request)
        model = v1.Model()
        model.CopyFrom(source)
        for field in ("name", "version_id", "version_aliases", "etag", "deployed_models", "version_create_time"):
            model.ClearField(field)
        model.model_source_info.copy = True
        metadata = generic_metadata(v1.CopyModelOperationMetadata)

        def work(handle: OperationHandle) -> Any:
            stored = self._add_version(name, model, [], earlier, artifacts.frozen_uri(source))
            return v1.CopyModelResponse(model=stored.name, model_version_id=stored.version_id)

        return self._vertex.operations.start(name, work, metadata)

    def check_place(self, parent: str, parent_model: str, model_id: str) -> tuple[str, bool]:
        """(The name of a model to be uploaded, whether it is there already and gets a version more).

        Args:
            parent: `projects/1/locations/r`.
            parent_model: The model that gets a version; empty for a model of its own.
            model_id: The id of a new model; empty for one of ours.

        Raises:
            CloudError: There is no such parent, or the model is there already.
        """
        if parent_model:
            name, _ = self.versions.split(parent_model)
            if parent_of(name) != parent:
                raise invalid("parent_model", f"`{parent_model}` is not in `{parent}`.")
            if not self.versions.of(name):
                raise NotFound(f"The Model `{name}` does not exist.")
            return name, True
        is_given, model_id = bool(model_id), model_id or self._vertex.store.new_id()
        if is_given and not _MODEL_ID.fullmatch(model_id):
            raise invalid(
                "model_id", "At most 63 characters of `[a-z0-9_-]`; the first may not be a digit or a hyphen."
            )
        name = f"{parent}/models/{model_id}"
        if self.versions.of(name):
            raise AlreadyExists(
                f"The Model `{name}` already exists. To upload a version of it, name it as parent_model."
            )
        return name, False

    def _place(self, request: Any) -> tuple[str, bool]:
        return self.check_place(self._vertex.parent(request.parent), request.parent_model, request.model_id)

    def _add_version(self, name: str, model: Any, aliases: list[str], earlier: bool, source: str) -> Any:
        store, objects = self._vertex.store, self._vertex.cloud.objects
        staged = artifacts.stage(objects, source, name) if source else ""
        with store.transaction():
            versions = self.versions.of(name)
            if versions and not earlier:
                raise AlreadyExists(f"The Model `{name}` already exists.")
            number = 1 + max((int(version.version_id) for version in versions), default=0)
            model.name, model.version_id = name, str(number)
            stamp = now()
            model.version_create_time.CopyFrom(stamp)
            model.version_update_time.CopyFrom(stamp)
            _describe(model)
            key = self.versions.key(name, model.version_id)
            stored = store.create(key, model)
            if staged:
                artifacts.settle(objects, staged, artifacts.frozen_uri(stored))
            if versions:
                created = versions[0].create_time
                store.modify(key, v1.Model, lambda message: message.create_time.CopyFrom(created))
            wanted = aliases if versions or DEFAULT in aliases else [*aliases, DEFAULT]
            self.versions.assign(name, stored.version_id, wanted)
        return stored

    # Reading

    def get_model(self, request: Any) -> Any:
        """A model's default version, or the one after `@`."""
        return self._with_deployments(self.versions.find(request.name))

    def list_models(self, request: Any) -> Any:
        """The models of a location, newest first, each by its default version."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.Model,
            filter=request.filter,
            order_by=request.order_by or "create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=_FILTERS,
            where=lambda model: DEFAULT in model.version_aliases,
        )
        models = [select(self._with_deployments(model), request.read_mask.paths) for model in page]
        return v1.ListModelsResponse(models=models, next_page_token=page.next_page_token)

    def list_model_versions(self, request: Any) -> Any:
        """The versions of a model, newest first."""
        name, _ = self.versions.split(request.name)
        self.versions.find(name)
        page = self._vertex.store.list(
            parent_of(name),
            v1.Model,
            filter=request.filter,
            order_by=request.order_by or "version_create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=_FILTERS,
            where=lambda model: model.name == name,
        )
        models = [select(self._with_deployments(model), request.read_mask.paths) for model in page]
        return v1.ListModelVersionsResponse(models=models, next_page_token=page.next_page_token)

    def _with_deployments(self, model: Any) -> Any:
        del model.deployed_models[:]
        model.deployed_models.extend(self._deployments(model.name, model.version_id))
        return model

    def _deployments(self, name: str, version: str = "") -> list[Any]:
        """Where a model is deployed, or one version of it."""
        endpoints = self._vertex.store.all(parent_of(name), v1.Endpoint)
        return [
            v1.DeployedModelRef(endpoint=endpoint.name, deployed_model_id=deployed.id)
            for endpoint in endpoints
            for deployed in endpoint.deployed_models
            if deployed.model == name and version in ("", deployed.model_version_id)
        ]

    # Changing

    def update_model(self, request: Any) -> Any:
        """Change the default version, or the one after `@`."""
        stored = self.versions.find(request.model.name)
        request.model.name = stored.name
        if "display_name" in request.update_mask.paths:
            check_display_name(request.model.display_name, "model.display_name")
        check_labels(request.model.labels, "model.labels")
        key = self.versions.key(stored.name, stored.version_id)
        with self._vertex.store.transaction():
            self._vertex.store.update(request.model, request.update_mask, allowed=UPDATABLE, name=key)
            updated = self._vertex.store.modify(key, v1.Model, lambda model: model.version_update_time.CopyFrom(now()))
        return self._with_deployments(updated)

    def merge_version_aliases(self, request: Any) -> Any:
        """Give a version aliases (`champion`) and take them away (`-champion`)."""
        stored = self.versions.find(request.name)
        given = list(request.version_aliases)
        removed = [alias[1:] for alias in given if alias.startswith("-")]
        added = [alias for alias in given if not alias.startswith("-")]
        check_aliases([*added, *removed], "version_aliases")
        if DEFAULT in removed:
            raise InvalidArgument("The alias `default` cannot be removed: give it to another version instead.")
        with self._vertex.store.transaction():
            self.versions.unassign(stored.name, stored.version_id, removed)
            self.versions.assign(stored.name, stored.version_id, added)
        return self.get_model(v1.GetModelRequest(name=f"{stored.name}@{stored.version_id}"))

    # Exporting and deleting

    def export_model(self, request: Any) -> Any:
        """Copy a version's artifact to a folder of its own below the destination."""
        model = self.versions.find(request.name)
        destination = request.output_config.artifact_destination.output_uri_prefix
        if not destination:
            raise invalid("output_config.artifact_destination", "The model's artifact needs a destination.")
        if request.output_config.HasField("image_destination"):
            raise invalid("output_config.image_destination", "Only the artifact of this model can be exported.")
        if not model.artifact_uri:
            raise FailedPrecondition(f"The Model `{model.name}` has no artifact to export.")
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        target = f"{destination.rstrip('/')}/model-export-{model.display_name}-{stamp}".replace(" ", "_")
        self._vertex.cloud.objects.path(destination.rstrip("/") + "/")
        metadata = generic_metadata(v1.ExportModelOperationMetadata)
        metadata.output_info.artifact_output_uri = target

        def work(handle: OperationHandle) -> Any:
            artifacts.copy(self._vertex.cloud.objects, artifacts.frozen_uri(model), target)
            return v1.ExportModelResponse()

        return self._vertex.operations.start(model.name, work, metadata)

    def delete_model(self, request: Any) -> Any:
        """Delete a model with all its versions, unless one is deployed."""
        name, _ = self.versions.split(request.name)
        versions = self.versions.of(name)
        if not versions:
            raise NotFound(f"The Model `{name}` does not exist.")
        self._refuse_deployed(name)
        with self._vertex.store.transaction():
            for version in versions:
                self._forget(version)
        for version in versions:
            artifacts.discard(self._vertex.cloud.objects, version)
        return self._vertex.operations.done(name, metadata=generic_metadata(v1.DeleteOperationMetadata))

    def delete_model_version(self, request: Any) -> Any:
        """Delete one version, which is neither deployed nor the default."""
        if "@" not in request.name:
            raise invalid("name", "Name the version to delete, as in `models/5@2`.")
        model = self.versions.find(request.name)
        if len(self.versions.of(model.name)) == 1:
            raise FailedPrecondition(
                f"`{model.name}@{model.version_id}` is the only version of the Model: delete the Model instead."
            )
        if DEFAULT in model.version_aliases:
            raise FailedPrecondition(
                f"`{model.name}@{model.version_id}` is the default version: give the alias `default` to another "
                "version first."
            )
        self._refuse_deployed(model.name, model.version_id)
        with self._vertex.store.transaction():
            self._forget(model)
        artifacts.discard(self._vertex.cloud.objects, model)
        return self._vertex.operations.done(model.name, metadata=generic_metadata(v1.DeleteOperationMetadata))

    def _forget(self, version: Any) -> None:
        """Delete a version with its evaluations."""
        key = self.versions.key(version.name, version.version_id)
        self._vertex.store.delete_below(key)
        self._vertex.store.delete(key, v1.Model)

    def _refuse_deployed(self, name: str, version: str = "") -> None:
        deployments = self._deployments(name, version)
        if deployments:
            places = ", ".join(sorted({place.endpoint for place in deployments}))
            raise FailedPrecondition(
                f"The Model `{name}` cannot be deleted because it is deployed at the Endpoint(s) {places}. "
                "Undeploy it there first."
            )


def _describe(model: Any) -> None:
    """Fill in what Vertex AI tells about every custom model."""
    kinds = v1.Model.DeploymentResourcesType
    model.supported_deployment_resources_types[:] = [kinds.Value("DEDICATED_RESOURCES")]
    model.supported_input_storage_formats[:] = ["jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip", "file-list"]
    model.supported_output_storage_formats[:] = ["jsonl", "bigquery", "csv"]
    if model.artifact_uri and not model.supported_export_formats:
        export = model.supported_export_formats.add(id="custom-trained")
        export.exportable_contents.append(v1.Model.ExportFormat.ExportableContent.Value("ARTIFACT"))
    if not model.model_source_info.source_type:
        model.model_source_info.source_type = v1.ModelSourceInfo.ModelSourceType.Value("CUSTOM")
