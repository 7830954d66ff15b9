"""The values of one feature: JSON values to an array of the dtype the model was trained on.

Each type of feature is one class here; what is done with columns that do not fit is left to `columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from accelerator.signature import Feature

_NULL = type(None)


class Unfit(Exception):
    """Some value of a column is not what the feature takes; which one is found out separately."""


class Column:
    """Makes the array of one feature.

    Args:
        feature: Its name, type, dtype and whether it may be null.
    """

    kinds: frozenset[type] = frozenset()
    """The Python types of the JSON values that are taken."""
    noun = ""
    example: Any = None
    """A value that is taken."""

    def __init__(self, feature: Feature) -> None:
        self.feature = feature
        self._dtype: Any = pd.api.types.pandas_dtype(feature.dtype)
        self._taken = self.kinds | {_NULL} if feature.nullable else self.kinds

    @property
    def expected(self) -> str:
        """What belongs in this feature, for an error message."""
        return f"{self.noun} or null" if self.feature.nullable else self.noun

    def __call__(self, values: Sequence[Any]) -> Any:
        """The array, or Unfit."""
        if not self._taken.issuperset(map(type, values)):
            raise Unfit
        try:
            return self._array(values)
        except (ValueError, OverflowError, TypeError):
            raise Unfit from None

    def accepts(self, value: Any) -> bool:
        """Whether one value fits."""
        try:
            self((value,))
        except Unfit:
            return False
        return True

    def _array(self, values: Sequence[Any]) -> Any:
        raise NotImplementedError


class _Number(Column):
    kinds = frozenset({int, float})
    noun = "a number"
    example = 0.0

    def _array(self, values: Sequence[Any]) -> Any:
        array: Any = np.array(values, dtype=np.float64)
        if self._dtype != np.float64:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused
                array = _as(array, self._dtype)
        if np.isinf(array).any():
            raise Unfit
        return array


class _Integer(Column):
    kinds = frozenset({int, float})  # a whole float is let through: protobuf's Value knows no integers
    noun = "a whole number"
    example = 0

    def _array(self, values: Sequence[Any]) -> Any:
        kinds = set(map(type, values))
        if kinds == {int} and isinstance(self._dtype, np.dtype):
            return np.array(values, dtype=self._dtype)
        present = [value for value in values if value is not None]
        whole = [int(value) for value in present]
        if whole != present:
            raise Unfit
        if len(present) == len(values):
            return _as(np.array(whole, dtype=np.int64), self._dtype)
        if isinstance(self._dtype, np.dtype):  # which has no null: pandas widens such a column to float
            return np.array(values, dtype=np.float64)
        return pd.array(list(values), dtype=self._dtype)


class _Boolean(Column):
    kinds = frozenset({bool, int, float})  # 0 and 1 are let through: CSV and SQL have them
    noun = "true or false"
    example = False

    def _array(self, values: Sequence[Any]) -> Any:
        if not {0, 1, None}.issuperset(values):
            raise Unfit
        flags = [None if value is None else bool(value) for value in values]
        if self._dtype == np.bool_ and None in flags:
            return np.array(flags, dtype=object)
        return _as(flags, self._dtype)


class _String(Column):
    kinds = frozenset({str})
    noun = "a string"
    example = ""

    def _array(self, values: Sequence[Any]) -> Any:
        return _as(list(values), self._dtype)


class _Timestamp(Column):
    kinds = frozenset({str})
    noun = "a timestamp such as 2013-07-01T09:30:00Z"
    example = "2013-07-01T09:30:00Z"

    def _array(self, values: Sequence[Any]) -> Any:
        for value in values:
            if value is not None:
                datetime.fromisoformat(value)
        stamps = pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601", utc=True)
        if getattr(self._dtype, "tz", None) is None:
            stamps = stamps.dt.tz_localize(None)
        return stamps.astype(self._dtype).array


class _Category(Column):
    def __init__(self, feature: Feature) -> None:
        kinds = {type(category) for category in feature.categories}
        self.kinds = frozenset(kinds | {int, float} if kinds & {int, float} else kinds)
        names = {str: "a string", int: "a number", float: "a number", bool: "true or false"}
        self.noun = " or ".join(sorted({names[kind] for kind in kinds})) or "null"
        super().__init__(feature)
        self.example = feature.categories[0] if feature.categories else None
        self._codes: dict[Any, int] = {value: code for code, value in enumerate(feature.categories)}
        self._codes[None] = -1
        self._dtype = pd.CategoricalDtype(list(feature.categories))
        self._small = np.int8 if len(feature.categories) < 128 else np.int32

    def _array(self, values: Sequence[Any]) -> Any:
        codes = self._codes
        try:
            found = [codes[value] for value in values]
        except KeyError:  # a category that training did not see counts as null
            found = [codes.get(value, -1) for value in values]
        return pd.Categorical.from_codes(
            np.array(found, dtype=self._small),
            dtype=self._dtype,
            validate=False,
        )


_COLUMNS: dict[str, type[Column]] = {
    "number": _Number,
    "integer": _Integer,
    "boolean": _Boolean,
    "string": _String,
    "timestamp": _Timestamp,
    "category": _Category,
}


def column_of(feature: Feature) -> Column:
    """The maker of a feature's arrays."""
    return _COLUMNS[feature.type](feature)


def describe(value: Any) -> str:
    """A JSON value in an error message: its kind and, where it is short, itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the string "{value if len(value) <= 40 else value[:40] + "…"}"'
    return f"an array of {len(value)}" if isinstance(value, list) else "an object"


def _as(values: npt.NDArray[Any] | list[Any], dtype: Any) -> Any:
    if isinstance(dtype, np.dtype):
        if dtype.kind in "iu" and isinstance(values, np.ndarray):
            bounds = np.iinfo(dtype)
            if values.min() < bounds.min or values.max() > bounds.max:
                raise OverflowError
        return np.array(values, dtype=dtype)
    return pd.array(values, dtype=dtype)
