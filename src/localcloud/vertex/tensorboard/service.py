"""TensorboardService: TensorBoard instances, and the experiments, runs and time series below them.

Points are written and read by localcloud.vertex.tensorboard.data.
"""

from __future__ import annotations

import re
from typing import Any

from localcloud.errors import AlreadyExists, InvalidArgument
from localcloud.fields import select
from localcloud.vertex.common import (
    Vertex,
    check_display_name,
    check_labels,
    copy_fields,
    generic_metadata,
    invalid,
    parent_of,
    v1,
)
from localcloud.vertex.tensorboard.points import Points

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_BELOW = {
    "Tensorboard": "TensorboardExperiment",
    "TensorboardExperiment": "TensorboardRun",
    "TensorboardRun": "TensorboardTimeSeries",
}
"""What lies below what."""
_SETTABLE = {
    "Tensorboard": ("display_name", "description", "encryption_spec", "labels", "is_default"),
    "TensorboardExperiment": ("display_name", "description", "labels", "source"),
    "TensorboardRun": ("display_name", "description", "labels"),
    "TensorboardTimeSeries": ("display_name", "description", "value_type", "plugin_name", "plugin_data"),
}
_COLLECTIONS = {
    "TensorboardExperiment": ("experiments", "tensorboard_experiments"),
    "TensorboardRun": ("runs", "tensorboard_runs"),
    "TensorboardTimeSeries": ("timeSeries", "tensorboard_time_series"),
}


class TensorboardService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#tensorboardservice, resources.

    Args:
        vertex: The shared facilities.
        points: What goes with time series.
    """

    def __init__(self, vertex: Vertex, points: Points) -> None:
        self._vertex = vertex
        self._points = points

    # Instances

    def create_tensorboard(self, request: Any) -> Any:
        """Make an instance; a default one takes that part over from the one before."""
        parent = self._vertex.parent(request.parent)
        given = request.tensorboard
        check_display_name(given.display_name, "tensorboard.display_name")
        check_labels(given.labels, "tensorboard.labels")
        tensorboard = v1.Tensorboard()
        copy_fields(tensorboard, given, _SETTABLE["Tensorboard"])
        id = self._vertex.store.new_id()
        tensorboard.blob_storage_path_prefix = f"cloud-ai-platform-{id}"
        with self._vertex.store.transaction():
            self._only_default(parent, given)
            stored = self._vertex.store.create(f"{parent}/tensorboards/{id}", tensorboard)
        return self._vertex.operations.done(
            stored.name, stored, generic_metadata(v1.CreateTensorboardOperationMetadata)
        )

    def get_tensorboard(self, request: Any) -> Any:
        """The instance, with the number of its runs."""
        return self._counted(self._vertex.store.get(self._vertex.name(request.name), v1.Tensorboard))

    def list_tensorboards(self, request: Any) -> Any:
        """The instances of a location."""
        page = self._page(request, self._vertex.parent(request.parent), v1.Tensorboard)
        found = [select(self._counted(item), request.read_mask.paths) for item in page]
        return v1.ListTensorboardsResponse(tensorboards=found, next_page_token=page.next_page_token)

    def update_tensorboard(self, request: Any) -> Any:
        """Change an instance."""
        given = v1.Tensorboard()
        given.CopyFrom(request.tensorboard)
        given.name = self._vertex.name(given.name)
        with self._vertex.store.transaction():
            self._only_default(parent_of(given.name), given)
            stored = self._vertex.store.update(given, request.update_mask, allowed=_SETTABLE["Tensorboard"])
        return self._vertex.operations.done(
            stored.name, stored, generic_metadata(v1.UpdateTensorboardOperationMetadata)
        )

    def delete_tensorboard(self, request: Any) -> Any:
        """Delete an instance with all that is below it."""
        return self._delete(request, "Tensorboard")

    def read_tensorboard_size(self, request: Any) -> Any:
        """The bytes that an instance's points take."""
        name = self._vertex.name(request.tensorboard)
        self._vertex.store.get(name, v1.Tensorboard)
        return v1.ReadTensorboardSizeResponse(storage_size_byte=self._points.size(name))

    # Experiments

    def create_tensorboard_experiment(self, request: Any) -> Any:
        """Make an experiment."""
        id = _checked_id(request.tensorboard_experiment_id, "tensorboard_experiment_id")
        return self._create(request.parent, request.tensorboard_experiment, "TensorboardExperiment", id)

    def get_tensorboard_experiment(self, request: Any) -> Any:
        """The experiment."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.TensorboardExperiment)

    def list_tensorboard_experiments(self, request: Any) -> Any:
        """The experiments of an instance."""
        return self._list(request, "TensorboardExperiment", v1.ListTensorboardExperimentsResponse)

    def update_tensorboard_experiment(self, request: Any) -> Any:
        """Change an experiment."""
        return self._update(request, request.tensorboard_experiment, "TensorboardExperiment")

    def delete_tensorboard_experiment(self, request: Any) -> Any:
        """Delete an experiment with its runs."""
        return self._delete(request, "TensorboardExperiment")

    # Runs

    def create_tensorboard_run(self, request: Any) -> Any:
        """Make a run; its display name is the only one of its experiment."""
        check_display_name(request.tensorboard_run.display_name, "tensorboard_run.display_name")
        id = _checked_id(request.tensorboard_run_id, "tensorboard_run_id")
        return self._create(request.parent, request.tensorboard_run, "TensorboardRun", id)

    def batch_create_tensorboard_runs(self, request: Any) -> Any:
        """Make several runs, all of them or none."""
        with self._vertex.store.transaction():
            made = [self.create_tensorboard_run(each) for each in _below_parent(request)]
        return v1.BatchCreateTensorboardRunsResponse(tensorboard_runs=made)

    def get_tensorboard_run(self, request: Any) -> Any:
        """The run."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.TensorboardRun)

    def list_tensorboard_runs(self, request: Any) -> Any:
        """The runs of an experiment."""
        return self._list(request, "TensorboardRun", v1.ListTensorboardRunsResponse)

    def update_tensorboard_run(self, request: Any) -> Any:
        """Change a run."""
        return self._update(request, request.tensorboard_run, "TensorboardRun")

    def delete_tensorboard_run(self, request: Any) -> Any:
        """Delete a run with its time series."""
        return self._delete(request, "TensorboardRun")

    # Time series

    def create_tensorboard_time_series(self, request: Any) -> Any:
        """Make a time series; its display name is the only one of its run."""
        given = request.tensorboard_time_series
        check_display_name(given.display_name, "tensorboard_time_series.display_name")
        if not given.value_type:
            raise invalid("tensorboard_time_series.value_type", "Required field is not set.")
        if self._vertex.store.all(
            self._vertex.name(request.parent), v1.TensorboardTimeSeries, filter=f'display_name="{_quoted(given)}"'
        ):
            raise AlreadyExists(f"`{request.parent}` has a time series `{given.display_name}` already.")
        id = request.tensorboard_time_series_id or self._vertex.store.new_id()
        return self._create(request.parent, given, "TensorboardTimeSeries", id)

    def batch_create_tensorboard_time_series(self, request: Any) -> Any:
        """Make several time series, all of them or none; they may belong to several runs of the experiment."""
        with self._vertex.store.transaction():
            made = [self.create_tensorboard_time_series(each) for each in _below_parent(request)]
        return v1.BatchCreateTensorboardTimeSeriesResponse(tensorboard_time_series=made)

    def get_tensorboard_time_series(self, request: Any) -> Any:
        """The time series."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.TensorboardTimeSeries)

    def list_tensorboard_time_series(self, request: Any) -> Any:
        """The time series of a run."""
        return self._list(request, "TensorboardTimeSeries", v1.ListTensorboardTimeSeriesResponse)

    def update_tensorboard_time_series(self, request: Any) -> Any:
        """Change a time series."""
        return self._update(request, request.tensorboard_time_series, "TensorboardTimeSeries")

    def delete_tensorboard_time_series(self, request: Any) -> Any:
        """Delete a time series with its points."""
        return self._delete(request, "TensorboardTimeSeries")

    # What they share

    def _create(self, parent: str, given: Any, kind: str, id: str) -> Any:
        above = self._vertex.name(parent)
        above_kind = next(name for name, below in _BELOW.items() if below == kind)
        self._vertex.store.get(above, getattr(v1, above_kind))
        made = type(given)()
        copy_fields(made, given, _SETTABLE[kind])
        return self._vertex.store.create(f"{above}/{_COLLECTIONS[kind][0]}/{id}", made)

    def _page(self, request: Any, parent: str, message: Any) -> Any:
        return self._vertex.store.list(
            parent,
            message,
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
            default_page_size=50,
        )

    def _list(self, request: Any, kind: str, response: Any) -> Any:
        page = self._page(request, self._vertex.name(request.parent), getattr(v1, kind))
        found = [select(item, request.read_mask.paths) for item in page]
        return response(**{_COLLECTIONS[kind][1]: found}, next_page_token=page.next_page_token)

    def _update(self, request: Any, given: Any, kind: str) -> Any:
        return self._vertex.store.update(
            given, request.update_mask, allowed=_SETTABLE[kind], name=self._vertex.name(given.name)
        )

    def _delete(self, request: Any, kind: str) -> Any:
        name = self._vertex.name(request.name)
        self._vertex.store.get(name, getattr(v1, kind))
        self._remove(name, kind)
        return self._vertex.operations.done(name, metadata=generic_metadata(v1.DeleteOperationMetadata))

    def _remove(self, name: str, kind: str) -> None:
        below = _BELOW.get(kind)
        if below is None:
            self._points.forget(name)
        else:
            for item in self._vertex.store.all(name, getattr(v1, below)):
                self._remove(item.name, below)
        self._vertex.store.delete(name, getattr(v1, kind))

    def _counted(self, tensorboard: Any) -> Any:
        tensorboard.run_count = len(self._vertex.store.all(tensorboard.name, v1.TensorboardRun, descendants=True))
        return tensorboard

    def _only_default(self, parent: str, given: Any) -> None:
        """There is one default instance in a location: the newest that says so."""
        if not given.is_default:
            return
        for other in self._vertex.store.all(parent, v1.Tensorboard, filter="is_default=true"):
            if other.name != given.name:
                self._vertex.store.modify(
                    other.name, v1.Tensorboard, lambda stored: setattr(stored, "is_default", False)
                )


def _checked_id(id: str, field: str) -> str:
    if not _ID.fullmatch(id):
        raise invalid(field, f"Must be 1 to 128 characters out of [a-z0-9-], not `{id}`.")
    return id


def _below_parent(request: Any) -> list[Any]:
    """The requests of a batch; each names a parent at or below the batch's own."""
    for number, each in enumerate(request.requests):
        if each.parent != request.parent and not each.parent.startswith(f"{request.parent}/"):
            raise InvalidArgument(
                f"requests[{number}].parent: `{each.parent}` is not `{request.parent}` or a resource below it."
            )
    return list(request.requests)


def _quoted(given: Any) -> str:
    text: str = given.display_name
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
