"""What the columns of the training data are for, and how Arrow columns become what models take.

Where the rows come from is not known here: that is accelerator.training.sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from accelerator.config import Config
from accelerator.errors import DataError, suggestion

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 1000
"""A text column with more values than this in training stays text."""


@dataclass(frozen=True)
class Columns:
    """The columns a model learns from and the one it learns, in the order of the table."""

    features: tuple[str, ...]
    label: str

    @property
    def names(self) -> list[str]:
        """Every column that has to be read."""
        return [*self.features, self.label]

    @classmethod
    def of(cls, schema: pa.Schema, config: Config, place: str) -> Columns:
        """The columns that mlops.yaml names, looked up in the schema of the data.

        Raises:
            DataError: One is not there, or is of a type that no model takes.
        """
        data = config.data
        there = schema.names
        named = {"label": (data.label,), "features": data.features, "ignore": data.ignore}
        for setting, names in named.items():
            for name in names:
                if name not in there:
                    raise DataError(
                        f"There is no column '{name}' in {place}, which data.{setting} names",
                        place=config.place(f"data.{setting}"),
                        next_step=suggestion(name, there),
                    )
        others = {data.label, data.time, data.key, data.split.column if data.split is not None else None, *data.ignore}
        features = data.features or tuple(name for name in there if name not in others)
        if not features:
            raise DataError(
                f"There are no columns to learn from in {place}",
                place=config.place("data"),
                next_step="Leave a column beside the label and the time, or list some under data.features.",
            )
        for name in (*features, data.label):
            if not usable(schema.field(name).type, is_label=name == data.label):
                raise DataError(
                    f"Column '{name}' of {place} is of type {schema.field(name).type}, which no model takes",
                    place=config.place("data"),
                    next_step=f"Make numbers or text of it in the table, or put '{name}' under data.ignore.",
                )
        return cls(features, data.label)


@dataclass
class Profile:
    """What one pass over a split found: enough to refuse data that cannot be learned from."""

    rows: int = 0
    unlabelled: int = 0
    labels: set[Any] = field(default_factory=set)
    """Distinct labels, of which no more than two are kept."""
    nulls: dict[str, int] = field(default_factory=dict)
    """By feature, the rows without a value; NaN is one."""
    values: dict[str, set[str] | None] = field(default_factory=dict)
    """By text feature, its distinct values; None once there are more than MAX_CATEGORIES."""

    def add(self, batch: pa.Table, columns: Columns) -> pa.Table:
        """Count one batch in and give back its rows that have a label."""
        before = batch.num_rows
        batch = labelled(batch, columns)
        self.unlabelled += before - batch.num_rows
        self.rows += batch.num_rows
        if len(self.labels) < 2:
            self.labels.update(pc.unique(batch[columns.label]).to_pylist()[:2])
        for name in columns.features:
            column = batch[name]
            floating = pa.types.is_floating(column.type)
            absent = pc.sum(pc.is_null(column, nan_is_null=floating)).as_py() or 0
            self.nulls[name] = self.nulls.get(name, 0) + absent
            if is_text(column.type):
                self._add_values(name, column)
        return batch

    def categories(self) -> dict[str, list[str]]:
        """The values of each text column that has few of them, sorted."""
        return {name: sorted(values) for name, values in self.values.items() if values is not None}

    def _add_values(self, name: str, column: pa.ChunkedArray) -> None:
        known = self.values.setdefault(name, set())
        if known is None:
            return
        known.update(value for value in pc.unique(column).to_pylist() if value is not None)
        if len(known) > MAX_CATEGORIES:
            self.values[name] = None


def labelled(batch: pa.Table, columns: Columns) -> pa.Table:
    """The rows that have a label: the others can neither teach nor test."""
    label = batch[columns.label]
    missing = pc.is_null(label, nan_is_null=pa.types.is_floating(label.type))
    return batch.filter(pc.invert(missing)) if pc.any(missing).as_py() else batch


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds strings, encoded as a dictionary or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # By name: the Arrow that TensorFlow Data Validation asks for knows no string_view.
    return str(kind) in ("string", "large_string", "string_view")


def feature(column: pa.ChunkedArray, *, categories: list[str] | None, nullable: bool, name: str) -> pd.Series[Any]:
    """One feature as pandas has it in training, and in prediction again.

    Text with few values is a category with the values of the training split, numbers are int64 or float64
    (float64 wherever NULL occurs), BOOL is bool or, with NULLs, boolean; dates and times are datetime64.
    """
    import pandas as pd

    kind = column.type
    if categories is not None:
        codes = pc.fill_null(pc.index_in(_plain_text(column), value_set=pa.array(categories, pa.string())), -1)
        dtype = pd.CategoricalDtype(pd.Index(categories, dtype="str"))
        return pd.Series(pd.Categorical.from_codes(codes.to_numpy(), dtype=dtype), name=name)
    if is_text(kind):
        return pd.Series(_plain_text(column).to_pandas(), name=name, dtype="str")
    if pa.types.is_boolean(kind):
        if nullable:
            return pd.Series(column.to_pylist(), name=name, dtype="boolean")
        return pd.Series(column.to_numpy(), name=name)
    if pa.types.is_temporal(kind):
        stamps = column.cast(pa.timestamp("us")) if pa.types.is_date(kind) else column
        return pd.Series(stamps.to_pandas(), name=name)
    target = pa.int64() if pa.types.is_integer(kind) and not nullable else pa.float64()
    if pa.types.is_float32(kind):
        target = kind
    return pd.Series(column.cast(target).to_numpy(), name=name)


def label(column: pa.ChunkedArray, name: str) -> pd.Series[Any]:
    """The label, which has no NULLs: bool, int64, float64 or text."""
    import pandas as pd

    if is_text(column.type):
        return pd.Series(_plain_text(column).to_pandas(), name=name, dtype="str")
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return pd.Series(column.to_numpy(), name=name)


def frame(table: pa.Table, columns: Columns, categories: Mapping[str, list[str]], nullable: set[str]) -> pd.DataFrame:
    """The features of some rows."""
    import pandas as pd

    series = {
        name: feature(table[name], categories=categories.get(name), nullable=name in nullable, name=name)
        for name in columns.features
    }
    return pd.DataFrame(series, copy=False)


def _plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def select(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Some columns of a batch, in this order; Arrow's own `select` is not in the version that TFDV asks for."""
    fields = [batch.schema.field(name) for name in names]
    return pa.RecordBatch.from_arrays([batch.column(name) for name in names], schema=pa.schema(fields))


def usable(kind: pa.DataType, *, is_label: bool = False) -> bool:
    """Whether a column of this type can be a feature or, which times cannot, the label."""
    types = pa.types
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if number or types.is_boolean(kind) or is_text(kind):
        return True
    # A CSV or JSON column without any value is of type null.
    return not is_label and bool(types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind))
