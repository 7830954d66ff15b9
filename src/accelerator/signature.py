"""`model.json`: what a trained model takes and gives, written by the trainer beside the model.

The prediction container checks requests against it. Standard library alone, so that any image can read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

FILE = "model.json"
"""The signature's name in the artifact folder."""
FORMAT = 1
"""Raised when a reader of the old form could not read the new one."""
CODE = "code"
"""The folder of the artifact that the plugged-in code is copied to."""

Type = Literal["number", "integer", "boolean", "string", "category", "timestamp"]
Task = Literal["classification", "regression"]


class SignatureError(ValueError):
    """A model.json that cannot be read, or data that no signature can be made of."""


@dataclass(frozen=True)
class Feature:
    """One column the model was trained on.

    Args:
        name: The column's name.
        type: What a request may give for it; `category` is one of `categories`, another counts as null.
        dtype: The pandas dtype in training (`float64`, `category`, `str`), which the model gets again.
        nullable: Whether training saw nulls in it; where it did not, a request with one is refused.
        categories: Only for `category`: the values, in the order of their codes.
    """

    name: str
    type: Type
    dtype: str
    nullable: bool
    categories: tuple[str | int | float | bool, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Everything the prediction container knows of a model before it loads it.

    Args:
        task: What `predict` means.
        features: In the order in which an instance given as an array has them.
        label: The name of the column that was learnt.
        classes: Only for classification: the labels, in the order of the columns of `predict_proba`.
        model: The model file in the artifact folder, `model.joblib` or `model.bst`.
        code: The plugged-in file in the artifact folder, such as `code/model.py`; empty if there is none.
        libraries: Version by name of what the model was made with, `python` among them.
    """

    task: Task
    features: tuple[Feature, ...]
    label: str
    classes: tuple[str | int | float | bool, ...] = ()
    model: str = "model.joblib"
    code: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        features: pd.DataFrame,
        label: str,
        *,
        classes: Sequence[Any] | None = None,
        model: str = "model.joblib",
        code: str = "",
        nullable: Mapping[str, bool] | None = None,
    ) -> Signature:
        """The signature of a model that was fitted on `features`.

        Args:
            features: The training features, from which names, types, nulls and categories are read.
            label: The name of the label column.
            classes: `model.classes_` of a classifier; None for a regressor.
            model: The name of the model file.
            code: The plugged-in file, relative to the artifact folder.
            nullable: By column, where it is known otherwise than by whether `features` has nulls in it.

        Raises:
            SignatureError: A column of a type that cannot be sent in JSON.
        """
        known = nullable or {}
        return cls(
            task="regression" if classes is None else "classification",
            features=tuple(_feature(features[name], known.get(str(name))) for name in features.columns),
            label=label,
            classes=tuple(_plain(value) for value in classes) if classes is not None else (),
            model=model,
            code=code,
            libraries=_versions("scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "torch", "pandas", "numpy"),
        )

    def write(self, folder: Path) -> None:
        """Write `model.json` into the artifact folder."""
        text = json.dumps(
            {"format": FORMAT, **asdict(self)},
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Signature:
        """Read `model.json` from the artifact folder.

        Raises:
            FileNotFoundError: There is none.
            SignatureError: It is not one of ours, or is of a later format.
        """
        path = folder / FILE
        return cls.parse(path.read_text(encoding="utf-8"), str(path))

    @classmethod
    def parse(cls, text: str | bytes, place: str) -> Signature:
        """Read the content of a `model.json`.

        Args:
            text: The content.
            place: Where it is from, for an error.

        Raises:
            SignatureError: It is not one of ours, or is of a later format.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise SignatureError(f"{place} is of a format that this version does not know")
            content["features"] = tuple(
                Feature(**{**feature, "categories": tuple(feature["categories"])}) for feature in content["features"]
            )
            content["classes"] = tuple(content["classes"])
            return cls(**content)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, SignatureError):
                raise
            raise SignatureError(f"{place} is not a model signature: {type(error).__name__}: {error}") from error


def _feature(column: pd.Series[Any], nullable: bool | None) -> Feature:
    name, dtype = str(column.name), str(column.dtype)
    categories: tuple[Any, ...] = ()
    if dtype == "category":
        categories = tuple(_plain(value) for value in column.cat.categories)
    return Feature(
        name=name,
        type=_type(column, name),
        dtype=dtype,
        nullable=bool(column.isna().any()) if nullable is None else nullable,
        categories=categories,
    )


def _type(column: pd.Series[Any], name: str) -> Type:
    from pandas.api import types

    dtype = column.dtype
    if str(dtype) == "category":
        return "category"
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_integer_dtype(dtype):
        return "integer"
    if types.is_float_dtype(dtype):
        return "number"
    if types.is_datetime64_any_dtype(dtype):
        return "timestamp"
    inferred = types.infer_dtype(column, skipna=True)
    if types.is_string_dtype(dtype) and inferred in ("string", "empty"):
        return "string"
    if inferred == "boolean":
        return "boolean"
    raise SignatureError(
        f"column {name} holds {inferred} values (dtype {dtype}), which a prediction request cannot carry: "
        "convert it to numbers, booleans, strings, categories or timestamps"
    )


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python value that JSON has."""
    return value.item() if hasattr(value, "item") else value


def _versions(*names: str) -> dict[str, str]:
    found = {"python": python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
