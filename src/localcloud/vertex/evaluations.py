"""ModelService: evaluations of models, their slices and annotations are imported, read and listed here.

What computes metrics is others' work (a component, the team's own code); the models are localcloud.vertex.models'.
"""

from __future__ import annotations

import re
from typing import Any

from localcloud.errors import NotFound
from localcloud.fields import select
from localcloud.filters import Vocabulary
from localcloud.vertex.common import Vertex, invalid, v1
from localcloud.vertex.versions import Versions

BATCH_LIMIT = 50
"""Slices or annotations in one request."""
_DIMENSIONS = ("annotationSpec", "slice")
_EVALUATION = re.compile(r"(?P<model>.+/models/[^/]+)/evaluations/(?P<evaluation>[^/]+)")
_SLICE = re.compile(r"(?P<evaluation>.+/models/[^/]+/evaluations/[^/]+)/slices/(?P<slice>[^/]+)")
_SLICES = Vocabulary(
    fields={
        "slice.dimension": lambda found: found.slice_.dimension,
        "slice.value": lambda found: found.slice_.value,
    }
)


class ModelService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#modelservice.

    An evaluation belongs to one version of a model and is stored below it; its name has the model alone.
    """

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex
        self._versions = Versions(vertex)

    # Importing

    def import_model_evaluation(self, request: Any) -> Any:
        """Store the metrics of a model's default version, or of the one after `@`."""
        given = request.model_evaluation
        _check_metrics(given, "model_evaluation")
        model = self._versions.find(request.parent)
        evaluation = v1.ModelEvaluation()
        evaluation.CopyFrom(given)
        del evaluation.slice_dimensions[:]
        id = self._vertex.store.new_id()
        evaluation.name = f"{model.name}/evaluations/{id}"
        return self._vertex.store.create(
            f"{self._versions.key(model.name, model.version_id)}/evaluations/{id}", evaluation
        )

    def batch_import_model_evaluation_slices(self, request: Any) -> Any:
        """Store the metrics of an evaluation on parts of its data, all of them or none."""
        given = request.model_evaluation_slices
        _check_count(given, "model_evaluation_slices")
        for index, part in enumerate(given):
            place = f"model_evaluation_slices[{index}]"
            _check_metrics(part, place)
            if part.slice_.dimension not in _DIMENSIONS:
                raise invalid(
                    f"{place}.slice.dimension",
                    f"Must be one of {', '.join(_DIMENSIONS)}, not `{part.slice_.dimension}`.",
                )
        names = []
        with self._vertex.store.transaction():
            key, evaluation = self._evaluation(request.parent)
            for part in given:
                stored = v1.ModelEvaluationSlice()
                stored.CopyFrom(part)
                id = self._vertex.store.new_id()
                stored.name = f"{evaluation.name}/slices/{id}"
                names.append(self._vertex.store.create(f"{key}/slices/{id}", stored).name)
            found = {*evaluation.slice_dimensions, *(part.slice_.dimension for part in given)}
            self._vertex.store.modify(key, v1.ModelEvaluation, lambda kept: _set_dimensions(kept, found))
        return v1.BatchImportModelEvaluationSlicesResponse(imported_model_evaluation_slices=names)

    def batch_import_evaluated_annotations(self, request: Any) -> Any:
        """Store what a model said of single rows, below a slice."""
        given = request.evaluated_annotations
        _check_count(given, "evaluated_annotations")
        with self._vertex.store.transaction():
            key, _ = self._slice(request.parent)
            for annotation in given:
                self._vertex.store.create(f"{key}/annotations/{self._vertex.store.new_id()}", annotation)
        return v1.BatchImportEvaluatedAnnotationsResponse(imported_evaluated_annotations_count=len(given))

    # Reading

    def get_model_evaluation(self, request: Any) -> Any:
        """One evaluation."""
        return self._evaluation(request.name)[1]

    def list_model_evaluations(self, request: Any) -> Any:
        """The evaluations of a model's default version, or of the one after `@`, newest first."""
        model = self._versions.find(request.parent)
        page = self._vertex.store.list(
            self._versions.key(model.name, model.version_id),
            v1.ModelEvaluation,
            filter=request.filter,
            order_by="create_time desc",
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return v1.ListModelEvaluationsResponse(
            model_evaluations=[select(found, request.read_mask.paths) for found in page],
            next_page_token=page.next_page_token,
        )

    def get_model_evaluation_slice(self, request: Any) -> Any:
        """One slice of an evaluation."""
        return self._slice(request.name)[1]

    def list_model_evaluation_slices(self, request: Any) -> Any:
        """The slices of an evaluation, in the order in which they were imported; filter by `slice.dimension`."""
        key, _ = self._evaluation(request.parent)
        page = self._vertex.store.list(
            key,
            v1.ModelEvaluationSlice,
            filter=request.filter,
            page_size=request.page_size,
            page_token=request.page_token,
            vocabulary=_SLICES,
        )
        return v1.ListModelEvaluationSlicesResponse(
            model_evaluation_slices=[select(found, request.read_mask.paths) for found in page],
            next_page_token=page.next_page_token,
        )

    # Parts

    def _evaluation(self, name: str) -> tuple[str, Any]:
        """(where it is stored, the evaluation) by a name that may have the version or not."""
        parts = _EVALUATION.fullmatch(self._vertex.name(name))
        if parts is not None:
            model, version = self._versions.split(parts["model"])
            asked = "@" in parts["model"]
            versions = [self._versions.find(f"{model}@{version}")] if asked else self._versions.of(model)
            for candidate in versions:
                key = f"{self._versions.key(model, candidate.version_id)}/evaluations/{parts['evaluation']}"
                found = self._vertex.store.find(key, v1.ModelEvaluation)
                if found is not None:
                    return key, found
        raise NotFound(f"The ModelEvaluation `{self._vertex.name(name)}` does not exist.")

    def _slice(self, name: str) -> tuple[str, Any]:
        """(where it is stored, the slice)."""
        parts = _SLICE.fullmatch(self._vertex.name(name))
        if parts is not None:
            key = f"{self._evaluation(parts['evaluation'])[0]}/slices/{parts['slice']}"
            found = self._vertex.store.find(key, v1.ModelEvaluationSlice)
            if found is not None:
                return key, found
        raise NotFound(f"The ModelEvaluationSlice `{self._vertex.name(name)}` does not exist.")


def _check_metrics(given: Any, field: str) -> None:
    """Metrics and the schema that says what they mean go together."""
    if not given.HasField("metrics"):
        raise invalid(f"{field}.metrics", "Required field is not set.")
    if not given.metrics_schema_uri.startswith("gs://"):
        raise invalid(
            f"{field}.metrics_schema_uri",
            "Must be the gs:// URI of the metrics' schema, such as gs://google-cloud-aiplatform/schema/"
            f"modelevaluation/classification_metrics_1.0.0.yaml, not `{given.metrics_schema_uri}`.",
        )


def _check_count(given: Any, field: str) -> None:
    if len(given) > BATCH_LIMIT:
        raise invalid(field, f"At most {BATCH_LIMIT} can be imported in one request, there are {len(given)}.")


def _set_dimensions(evaluation: Any, dimensions: set[str]) -> None:
    evaluation.slice_dimensions[:] = sorted(dimensions)
