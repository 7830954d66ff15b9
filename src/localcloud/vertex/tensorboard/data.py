"""TensorboardService: the points of time series are written, read, sampled and exported here.

Which series there are is localcloud.vertex.tensorboard.service's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from localcloud.errors import InvalidArgument
from localcloud.filters import compile_filter
from localcloud.pages import clamp_page_size, decode_token, encode_token
from localcloud.vertex.common import Vertex, id_of, v1
from localcloud.vertex.tensorboard.points import Points

_DEFAULT_POINTS = 1000
"""https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#readtensorboardtimeseriesdatarequest."""
_VALUES = {"SCALAR": "scalar", "TENSOR": "tensor", "BLOB_SEQUENCE": "blobs"}


class TensorboardService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#tensorboardservice, the points.

    Args:
        vertex: The shared facilities.
        points: Where points are kept.
    """

    def __init__(self, vertex: Vertex, points: Points) -> None:
        self._vertex = vertex
        self._points = points

    def write_tensorboard_run_data(self, request: Any) -> Any:
        """Write points of the time series of one run, all of them or none."""
        self._write([request])
        return v1.WriteTensorboardRunDataResponse()

    def write_tensorboard_experiment_data(self, request: Any) -> Any:
        """Write points of the time series of several runs, all of them or none."""
        experiment = self._vertex.name(request.tensorboard_experiment)
        for each in request.write_run_data_requests:
            if not self._vertex.name(each.tensorboard_run).startswith(f"{experiment}/runs/"):
                raise InvalidArgument(f"`{each.tensorboard_run}` is no run of `{experiment}`.")
        self._write(request.write_run_data_requests)
        return v1.WriteTensorboardExperimentDataResponse()

    def read_tensorboard_time_series_data(self, request: Any) -> Any:
        """The points of a series, evenly thinned where there are more than are asked for."""
        name = self._vertex.name(request.tensorboard_time_series)
        data = self._series(name, request.max_data_points or _DEFAULT_POINTS, request.filter)
        return v1.ReadTensorboardTimeSeriesDataResponse(time_series_data=data)

    def batch_read_tensorboard_time_series_data(self, request: Any) -> Any:
        """The points of several series of one instance."""
        tensorboard = self._vertex.name(request.tensorboard)
        names = [self._vertex.name(name) for name in request.time_series]
        for name in names:
            if not name.startswith(f"{tensorboard}/"):
                raise InvalidArgument(f"`{name}` is no time series of `{tensorboard}`.")
        data = [self._series(name, _DEFAULT_POINTS, "") for name in names]
        return v1.BatchReadTensorboardTimeSeriesDataResponse(time_series_data=data)

    def export_tensorboard_time_series_data(self, request: Any) -> Any:
        """All points of a series, page by page."""
        name = self._vertex.name(request.tensorboard_time_series)
        points = self._matching(name, request.filter)
        size = clamp_page_size(request.page_size, 1000, 10_000)
        arguments = (name, request.filter, request.order_by)
        start = int(decode_token(request.page_token, arguments, 1)[0]) if request.page_token else 0
        if request.order_by and request.order_by.split()[-1].lower() == "desc":
            points.reverse()
        token = encode_token(arguments, [start + size]) if len(points) > start + size else ""
        return v1.ExportTensorboardTimeSeriesDataResponse(
            time_series_data_points=points[start : start + size], next_page_token=token
        )

    def read_tensorboard_blob_data(self, request: Any) -> Iterator[Any]:
        """The blobs of a series, one a message."""
        name = self._vertex.name(request.time_series)
        self._vertex.store.get(name, v1.TensorboardTimeSeries)
        for id, data in self._points.blobs(name, request.blob_ids):
            yield v1.ReadTensorboardBlobDataResponse(blobs=[v1.TensorboardBlob(id=id, data=data)])

    def _write(self, requests: Any) -> None:
        series: dict[str, list[Any]] = {}
        blobs: list[tuple[str, str, bytes]] = []
        for request in requests:
            run = self._vertex.name(request.tensorboard_run)
            for data in request.time_series_data:
                name = f"{run}/timeSeries/{data.tensorboard_time_series_id}"
                stored = self._vertex.store.get(name, v1.TensorboardTimeSeries)
                kind = _VALUES[v1.TensorboardTimeSeries.ValueType.Name(stored.value_type)]
                for point in data.values:
                    series.setdefault(name, []).append(self._point(name, kind, point, blobs))
        self._points.add(series, blobs)
        for name, points in series.items():
            self._vertex.store.modify(name, v1.TensorboardTimeSeries, partial(_note, points))

    def _point(self, name: str, kind: str, given: Any, blobs: list[tuple[str, str, bytes]]) -> Any:
        if given.WhichOneof("value") != kind:
            raise InvalidArgument(f"`{name}` takes values of the kind `{kind}`, not `{given.WhichOneof('value')}`.")
        point = v1.TimeSeriesDataPoint()
        point.CopyFrom(given)
        for blob in point.blobs.values:
            blob.id = blob.id or self._vertex.store.new_id()
            blobs.append((name, blob.id, blob.data))
            blob.data = b""
        return point

    def _series(self, name: str, most: int, filter: str) -> Any:
        stored = self._vertex.store.get(name, v1.TensorboardTimeSeries)
        points = self._matching(name, filter)
        if len(points) > most:
            last = len(points) - 1
            points = [points[round(number * last / max(1, most - 1))] for number in range(most)]
        return v1.TimeSeriesData(tensorboard_time_series_id=id_of(name), value_type=stored.value_type, values=points)

    def _matching(self, name: str, filter: str) -> list[Any]:
        self._vertex.store.get(name, v1.TensorboardTimeSeries)
        matches = compile_filter(filter, v1.TimeSeriesDataPoint.DESCRIPTOR)
        return [point for point in self._points.read(name) if matches(point)]


def _note(points: list[Any], stored: Any) -> None:
    """Keep what a series' metadata say of all its points."""
    metadata = stored.metadata
    for point in points:
        metadata.max_step = max(metadata.max_step, point.step)
        if point.wall_time.ToNanoseconds() > metadata.max_wall_time.ToNanoseconds():
            metadata.max_wall_time.CopyFrom(point.wall_time)
        metadata.max_blob_sequence_length = max(metadata.max_blob_sequence_length, len(point.blobs.values))
