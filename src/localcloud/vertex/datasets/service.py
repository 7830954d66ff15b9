"""DatasetService: tabular datasets are created, read, listed, changed, exported and deleted here.

A dataset holds no rows: its metadata says where they are. How they are split is localcloud.vertex.datasets.splits'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from localcloud.errors import AlreadyExists, FailedPrecondition, Unimplemented
from localcloud.fields import select
from localcloud.operations import OperationHandle
from localcloud.vertex.bigquery import BigQuery
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    id_of,
    invalid,
    parent_of,
    project_of,
    v1,
)
from localcloud.vertex.datasets.materialize import Materializer
from localcloud.vertex.datasets.source import TABULAR, TabularSource
from localcloud.vertex.datasets.splits import Split

_SETTABLE = ("display_name", "description", "metadata_schema_uri", "metadata", "labels", "encryption_spec")
_UPDATABLE = ("display_name", "description", "labels")
_METADATA = "google.cloud.aiplatform.v1.MetadataService"
_SCHEMA_LABEL = "aiplatform.googleapis.com/dataset_metadata_schema"


class DatasetService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#datasetservice."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex

    def create_dataset(self, request: Any) -> Any:
        """Register where tabular data is, with its artifact in the metadata store."""
        given = request.dataset
        parent = self._vertex.parent(request.parent)
        check_display_name(given.display_name, "dataset.display_name")
        check_labels(given.labels, "dataset.labels")
        if not given.metadata_schema_uri:
            raise invalid("dataset.metadata_schema_uri", "Required field is not set.")
        if given.metadata_schema_uri != TABULAR:
            raise Unimplemented(
                f"dataset.metadata_schema_uri: the local cloud has tabular Datasets ({TABULAR}), not those of "
                f"{given.metadata_schema_uri}."
            )
        TabularSource.of(given.metadata)
        dataset = v1.Dataset()
        copy_fields(dataset, given, _SETTABLE)
        dataset.labels[_SCHEMA_LABEL] = "TABULAR"
        name = f"{parent}/datasets/{self._vertex.store.new_id()}"

        def work(handle: OperationHandle) -> Any:
            dataset.metadata_artifact = self._artifact(parent, name, dataset.display_name)
            return self._vertex.store.create(name, dataset)

        return self._vertex.operations.start(name, work, generic_metadata(v1.CreateDatasetOperationMetadata))

    def get_dataset(self, request: Any) -> Any:
        """The dataset."""
        dataset = self._vertex.store.get(self._vertex.name(request.name), v1.Dataset)
        return select(dataset, request.read_mask.paths)

    def list_datasets(self, request: Any) -> Any:
        """The datasets of a location, newest first."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent),
            v1.Dataset,
            filter=request.filter,
            order_by=request.order_by or "create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListDatasetsResponse(
            datasets=[select(dataset, request.read_mask.paths) for dataset in page],
            next_page_token=page.next_page_token,
        )

    def update_dataset(self, request: Any) -> Any:
        """Change display name, description or labels."""
        dataset = request.dataset
        dataset.name = self._vertex.name(dataset.name)
        if "display_name" in request.update_mask.paths:
            check_display_name(dataset.display_name, "dataset.display_name")
        check_labels(dataset.labels, "dataset.labels")
        return self._vertex.store.update(dataset, request.update_mask, allowed=_UPDATABLE)

    def delete_dataset(self, request: Any) -> Any:
        """Forget a dataset; its table or files stay."""
        name = self._vertex.name(request.name)
        self._vertex.store.delete(name, v1.Dataset)
        return self._vertex.operations.done(name, metadata=generic_metadata(v1.DeleteOperationMetadata))

    def import_data(self, request: Any) -> Any:
        """Refused: a tabular dataset refers to its data, it holds none that could be added to."""
        dataset = self._vertex.store.get(self._vertex.name(request.name), v1.Dataset)
        raise FailedPrecondition(
            f"Import is not supported for the tabular Dataset `{dataset.name}`: its data stays where its metadata says."
        )

    def export_data(self, request: Any) -> Any:
        """Write the rows as CSV files below the destination, by split."""
        dataset = self._vertex.store.get(self._vertex.name(request.name), v1.Dataset)
        config = request.export_config
        destination = config.gcs_destination.output_uri_prefix
        if not destination.startswith("gs://"):
            raise invalid("export_config.gcs_destination.output_uri_prefix", "Must be gs://bucket/folder.")
        if config.WhichOneof("split") == "filter_split":
            raise invalid("export_config.filter_split", "Filter split is not supported for tabular Datasets.")
        if config.annotations_filter or config.annotation_schema_uri or config.saved_query_id:
            raise Unimplemented("export_config: tabular Datasets have no annotations to choose by.")
        given = config.fraction_split
        split = Split("fraction", "", (given.training_fraction, given.validation_fraction, given.test_fraction))
        if config.WhichOneof("split") is None:
            split = Split("fraction", "", (1.0, 0.0, 0.0))
        project = self._vertex.projects.id(project_of(dataset.name))

        def work(handle: OperationHandle) -> Any:
            bigquery = BigQuery(self._vertex.cloud, project)
            try:
                made = Materializer(self._vertex, dataset, bigquery).to_files(split, destination)
            finally:
                bigquery.close()
            folder = made.uris["training"].rpartition("/")[0]
            response = v1.ExportDataResponse(exported_files=sorted(self._vertex.cloud.objects.list(f"{folder}/")))
            for name, count in made.rows.items():
                setattr(response.data_stats, f"{name}_data_items_count", count)
            return response

        metadata = generic_metadata(v1.ExportDataOperationMetadata, gcs_output_directory=destination)
        return self._vertex.operations.start(dataset.name, work, metadata)

    def _artifact(self, parent: str, name: str, display_name: str) -> str:
        """The dataset's artifact in the default metadata store, as pipelines' lineage shows it."""
        call: Callable[[str, Any], Any] = self._vertex.cloud.call
        try:
            operation = call(
                f"{_METADATA}.CreateMetadataStore",
                v1.CreateMetadataStoreRequest(
                    parent=parent, metadata_store_id="default", metadata_store=v1.MetadataStore()
                ),
            )
            self._vertex.operations.wait(operation.name)
        except AlreadyExists:
            pass
        location = name.split("/")[3]
        artifact = v1.Artifact(
            display_name=display_name,
            schema_title="google.VertexDataset",
            schema_version="0.0.1",
            uri=f"https://{location}-aiplatform.googleapis.com/v1/{name}",
        )
        json_format.ParseDict({"resourceName": name}, artifact.metadata)
        created = call(
            f"{_METADATA}.CreateArtifact",
            v1.CreateArtifactRequest(
                parent=f"{parent_of(name)}/metadataStores/default",
                artifact=artifact,
                artifact_id=f"dataset-{id_of(name)}",
            ),
        )
        return str(created.name)
