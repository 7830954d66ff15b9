"""The held-out rows: read once, kept in a file for the models and in memory only what metrics need."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from accelerator.config import Config
from accelerator.errors import DataError, suggestion
from accelerator.training import sources
from accelerator.training.columns import Columns


@dataclass(frozen=True)
class HeldOut:
    """Rows that no model has learned from.

    Args:
        split: `test`, or `validation` where there is no test split.
        place: Where they are from, for people.
        file: A Parquet file with the features of all rows that have a label, in order.
        labels: Their labels, as Python values.
        slices: By slice column, each row's value as text.
    """

    split: str
    place: str
    file: Path
    labels: NDArray[Any]
    slices: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)


def read(
    config: Config, slices: Sequence[str], scratch: Path, environment: Mapping[str, str], split: str = ""
) -> HeldOut:
    """Read the held-out rows.

    Args:
        config: The project.
        slices: Columns that need not be features.
        scratch: A folder for the file.
        environment: Where Vertex AI's data variables are looked up.
        split: Which they are; where it is empty, `test`, or `validation` where the project names no other.

    Raises:
        DataError: A column that is not there, or no rows.
    """
    with tempfile.TemporaryDirectory(prefix="data-", dir=scratch) as fetched:
        found = sources.splits(config, environment, Path(fetched))
        split = split or ("test" if "test" in found else "validation")
        source = found[split]
        schema = source.schema()
        columns = Columns.of(schema, config, source.place)
        for name in slices:
            if name not in schema.names:
                raise DataError(
                    f"There is no column '{name}' in {source.place}, which validation.slices names",
                    place=config.place("validation.slices"),
                    next_step=suggestion(name, schema.names),
                )
        wanted = list(dict.fromkeys([*columns.names, *slices]))
        file = scratch / "held-out.parquet"
        labels: list[pa.Array] = []
        values: dict[str, list[NDArray[Any]]] = {name: [] for name in slices}
        with pq.ParquetWriter(file, pa.schema([schema.field(name) for name in columns.features])) as writer:
            for batch in source.batches(wanted):
                rows = batch.filter(batch.column(columns.label).is_valid())
                writer.write_batch(rows.select(list(columns.features)).cast(writer.schema))
                labels.append(rows.column(columns.label))
                for name in slices:
                    values[name].append(_texts(rows.column(name)))
        together = pa.chunked_array(labels, schema.field(columns.label).type).to_pylist() if labels else []
    if not together:
        raise DataError(
            f"There are no rows with a label in the {split} split: nothing can be evaluated",
            place=source.place,
            next_step=f"check data.split.{split}",
        )
    return HeldOut(
        split=split,
        place=source.place,
        file=file,
        labels=np.array(together, dtype=object),
        slices={name: np.concatenate(parts) for name, parts in values.items()},
    )


def _texts(column: pa.Array) -> NDArray[Any]:
    return np.array(["NULL" if value is None else str(value) for value in column.to_pylist()], dtype=object)
