"""Statistics by TFDV's own generators, batch by batch, and what of them a report shows.

TFDV takes a DataFrame in memory or runs Beam. Its generators, which both call, take batches one after another: so
memory is bounded without Beam's cost. They are not of its public API; the image pins the version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from accelerator.data_validation.data import Rows
from accelerator.data_validation.library import array_util, schema_pb2, statistics_pb2, stats_impl, tfdv
from accelerator.data_validation.results import Dataset, Feature
from accelerator.errors import DataError

_TOP = 12


def generate(rows: Rows, categories: Iterable[str] = ()) -> Any | None:
    """The statistics of a data set, a DatasetFeatureStatisticsList; None of optional rows that are not there.

    Args:
        rows: The data set, read once.
        categories: Columns of whole numbers that stand for categories.

    Raises:
        DataError: There are no rows, or they cannot be read.
    """
    whole = set(rows.whole)
    hints = [schema_pb2.Feature(name=name, type=schema_pb2.INT, bool_domain={}) for name in rows.truths]
    hints += [
        schema_pb2.Feature(name=name, type=schema_pb2.INT, int_domain={"is_categorical": True})
        for name in categories
        if name in whole
    ]
    generators = stats_impl.get_generators(tfdv.StatsOptions(schema=schema_pb2.Schema(feature=hints)), in_memory=True)
    states = [generator.create_accumulator() for generator in generators]
    empty = True
    for batch in rows.batches():
        # A value is a list of one for TFDV, and NULL none.
        lists = [array_util.ToSingletonListArray(column) for column in batch.columns]
        listed = pa.RecordBatch.from_arrays(lists, batch.schema.names)
        states = [generator.add_input(state, listed) for generator, state in zip(generators, states, strict=True)]
        empty = False
    if empty and rows.optional:
        return None
    if empty:
        raise DataError(
            f"There are no rows in the {rows.name} data",
            place=rows.source.place,
            next_step="Check the windows of data.split and data_validation.serving against the times in the table; "
            "windows are in UTC.",
        )
    found = stats_impl.extract_statistics_output(states, generators)
    found.datasets[0].name = rows.name
    return found


def summary(statistics: Any, rows: Rows) -> Dataset:
    """The numbers of a data set's statistics that a report shows."""
    (dataset,) = statistics.datasets
    features = {feature.path.step[0]: _feature(feature, dataset.num_examples) for feature in dataset.features}
    return Dataset(rows.name, rows.source.place, int(dataset.num_examples), features)


def _feature(feature: Any, rows: int) -> Feature:
    if feature.WhichOneof("stats") == "num_stats":
        found = feature.num_stats
        present = int(found.common_stats.num_non_missing)
        standard = next((h for h in found.histograms if h.type == statistics_pb2.Histogram.STANDARD), None)
        numbers = {
            "mean": found.mean,
            "standard deviation": found.std_dev,
            "minimum": found.min,
            "median": found.median,
            "maximum": found.max,
            "zeros": float(found.num_zeros),
        }
        bars = tuple((b.low_value, b.high_value, b.sample_count) for b in standard.buckets) if standard else ()
        return Feature(present, rows - present, numbers if present else {}, histogram=bars)
    texts = feature.string_stats
    present = int(texts.common_stats.num_non_missing)
    top = tuple((bucket.label, bucket.sample_count) for bucket in texts.rank_histogram.buckets[:_TOP])
    return Feature(present, rows - present, unique=int(texts.unique), top=top)
