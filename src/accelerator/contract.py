"""What a team's `model.py` may define, and how the containers load and check it.

The containers of `training`, `tuning` and `prediction` leave everything about a team's file to this module.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from accelerator.errors import CodeError, Place

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from accelerator.signature import Signature

Scale = Literal["linear", "log", "reverse_log"]
"""How the values of a parameter are spread: Vertex AI's UNIT_LINEAR_SCALE and its two siblings."""
When = Mapping[str, Sequence[str | float]]
"""A condition: one other parameter, and the values of it under which this parameter is searched at all."""


@dataclass(frozen=True, kw_only=True)
class _Conditional:
    when: When = field(default_factory=dict)
    """Searched only where another parameter has one of these values, such as `{"booster": ["tree"]}`; `train` gives
    it a default for all other trials."""


@dataclass(frozen=True)
class Double(_Conditional):
    """A real hyperparameter between `minimum` and `maximum`, both included."""

    minimum: float
    maximum: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_range(self.minimum, self.maximum, self.scale)


@dataclass(frozen=True)
class Integer(_Conditional):
    """A whole hyperparameter between `minimum` and `maximum`, both included."""

    minimum: int
    maximum: int
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_range(self.minimum, self.maximum, self.scale)


@dataclass(frozen=True)
class Discrete(_Conditional):
    """A hyperparameter that takes one of a few numbers, which have an order."""

    values: Sequence[float]
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_values(self.values, (int, float), "Discrete", "numbers")
        _check_range(min(self.values), max(self.values), self.scale)


@dataclass(frozen=True)
class Categorical(_Conditional):
    """A hyperparameter that takes one of a few strings."""

    values: Sequence[str]

    def __post_init__(self) -> None:
        _check_values(self.values, (str,), "Categorical", "strings")


Parameter = Double | Integer | Discrete | Categorical
"""One entry of `search_space`; the four kinds are those of Vertex AI's StudySpec.ParameterSpec."""


class Reject(Exception):
    """Raised by a preprocessing function over rows: this row is put aside, with the text as the reason."""


class Rows(Protocol):
    """Examples, one a row: a whole split or one of its batches."""

    @property
    def features(self) -> pd.DataFrame:
        """All feature columns, one row an example."""

    @property
    def label(self) -> pd.Series[Any]:
        """The label column, aligned with `features`."""

    @property
    def arrow(self) -> pa.Table:
        """The feature columns and the label as they were read."""

    def __len__(self) -> int:
        """How many rows there are."""


class Data(Rows, Protocol):
    """One split of the data as `train` gets it; nothing is read before it is asked for."""

    def batches(self, rows: int = 65_536) -> Iterator[Rows]:
        """The split in pieces of `rows` rows, the last one shorter; memory stays bounded.

        May be called again for another pass.
        """


class Train(Protocol):
    """`train(train, validation, **hyperparameters) -> (model, metrics)`.

    The model has `predict`, and `predict_proba` where it is a classifier that gives scores. The metrics are
    numbers by name, measured on the validation split.
    """

    def __call__(self, train: Data, validation: Data, **hyperparameters: Any) -> tuple[Any, Mapping[str, float]]:
        """Fit a model and measure it."""


class Predictor(Protocol):
    """Prediction code, in the interface of Vertex AI's Custom Prediction Routines.

    A class named `Predictor` in `model.py` may define any of the four methods, whether it inherits from
    this class, from google.cloud.aiplatform.prediction.predictor.Predictor or from nothing. A method that
    neither the class nor its bases define is the one that serves models without a Predictor.
    https://cloud.google.com/vertex-ai/docs/predictions/custom-prediction-routines
    """

    model: Any
    """What `load` loaded; the default `predict` calls it."""
    signature: Signature | None
    """What the trainer wrote about the model's input and output; None if the artifact has no model.json."""

    def load(self, artifacts_uri: str) -> None:
        """Load the model, once, before the container reports healthy.

        Args:
            artifacts_uri: The folder the artifact is in: AIP_STORAGE_URI, downloaded if it is on gs://.
        """

    def preprocess(self, prediction_input: dict[str, Any]) -> Any:
        """Turn the request body, `{"instances": [...], "parameters": {...}}`, into what `predict` takes."""

    def predict(self, instances: Any) -> Any:
        """Predict all instances of one request: what `preprocess` returned."""

    def postprocess(self, prediction_results: Any) -> Any:
        """Turn what `predict` returned into the response body, `{"predictions": [...]}`."""


@dataclass(frozen=True)
class Plugin:
    """A team's module and what was found in it."""

    path: Path
    module: ModuleType
    train: Train | None
    predictor: type[Any] | None
    search_space: Mapping[str, Parameter]

    def trainer(self) -> Train:
        """The `train` function.

        Raises:
            CodeError: There is none.
        """
        if self.train is None:
            raise CodeError(
                f"{self.path.name} defines no function named train",
                place=str(self.path),
                next_step="define train(train, validation, **hyperparameters) that returns (model, metrics)",
            )
        return self.train


def load_plugin(path: str | Path) -> Plugin:
    """Import a team's file and check what it defines, without calling any of it.

    The module is imported under the name of its file and its folder is put on the import path, so that it may
    have modules of its own beside it and pickled objects of its classes load wherever this was called first.

    Raises:
        CodeError: The file is missing, does not import, or defines something of another shape.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise CodeError(
            "The code to plug in is not there",
            place=str(path),
            next_step="check the path of the model code, such as model.py",
        )
    module = _import(path)
    train = getattr(module, "train", None)
    predictor = getattr(module, "Predictor", None)
    search_space = getattr(module, "search_space", {})
    _check_search_space(search_space, path)
    if train is not None:
        _check_train(train, search_space, path)
    if predictor is Predictor:  # imported for its name alone
        predictor = None
    if predictor is not None and not isinstance(predictor, type):
        raise CodeError(
            f"Predictor must be a class, not a {type(predictor).__name__}",
            place=str(path),
            next_step="write `class Predictor:` with any of load, preprocess, predict, postprocess",
        )
    return Plugin(path, module, train, predictor, search_space)


def place_of(error: BaseException, folder: Path) -> Place:
    """The innermost line below `folder` that an error passed through; else the folder."""
    if isinstance(error, SyntaxError) and error.filename:
        return Place(error.filename, error.lineno)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(folder) and "site-packages" not in frame.filename:
            return Place(frame.filename, frame.lineno)
    return Place(str(folder))


def _import(path: Path) -> ModuleType:
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None or path.stem in sys.stdlib_module_names:
        raise CodeError(
            f"The file name {path.name} hides the module {path.stem} that is there already",
            place=str(path),
            next_step="give the file another name, such as model.py",
        )
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CodeError(
            f"{path.name} is not a Python file",
            place=str(path),
            next_step="name a file that ends in .py",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[path.stem]
        raise CodeError(
            f"{path.name} imports {error.name}, which is not installed",
            place=place_of(error, path.parent),
            next_step=f"add what has {error.name} to the project's requirements.txt and rebuild the image; "
            "outside of images, install that file",
        ) from error
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise CodeError(
            f"{path.name} does not import: {type(error).__name__}: {error}",
            place=place_of(error, path.parent),
            next_step=f"run `python {path.name}` to see it; move what needs data into a function",
        ) from error
    return module


def _check_search_space(search_space: object, path: Path) -> None:
    if not isinstance(search_space, Mapping):
        raise CodeError(
            f"search_space must be a dict, not a {type(search_space).__name__}",
            place=str(path),
            next_step='write search_space = {"learning_rate": Double(0.01, 0.3, scale="log")}',
        )
    for name, parameter in search_space.items():
        if not isinstance(name, str) or not isinstance(parameter, Parameter):
            raise CodeError(
                f"search_space[{name!r}] must be a Double, Integer, Discrete or Categorical, "
                f"not a {type(parameter).__name__}",
                place=str(path),
                next_step="import the four from accelerator.contract",
            )
    for name, parameter in search_space.items():
        if wrong := _wrong_condition(name, parameter, search_space):
            raise CodeError(
                f"search_space[{name!r}]: {wrong}",
                place=str(path),
                next_step='write when={"booster": ["tree"]}: one Categorical, Discrete or Integer and values of it',
            )


def _wrong_condition(name: str, parameter: Parameter, space: Mapping[str, Parameter]) -> str:
    """What is wrong with a parameter's `when`; empty if nothing is."""
    if not parameter.when:
        return ""
    if len(parameter.when) > 1:
        return f"its `when` names {len(parameter.when)} parameters, and Vertex AI knows one parent"
    ((parent_name, values),) = parameter.when.items()
    parent = space.get(parent_name)
    if parent is None:
        return f"its `when` names '{parent_name}', which is not in search_space"
    match parent:
        case Double():
            return f"its parent '{parent_name}' is a Double: a condition names single values"
        case Integer():
            strange = [value for value in values if value not in range(parent.minimum, parent.maximum + 1)]
        case _:
            strange = [value for value in values if value not in parent.values]
    if isinstance(values, str) or not values or strange:
        return f"'{parent_name}' is never {strange[0]!r}" if strange else "its `when` lists no values"
    seen, above = {name}, parent_name
    while above:
        if above in seen:
            return f"'{above}' would depend on itself"
        seen.add(above)
        above = next(iter(space[above].when), "") if above in space else ""
    return ""


def _check_train(train: object, search_space: Mapping[str, Parameter], path: Path) -> None:
    if not callable(train):
        raise CodeError(
            f"train must be a function, not a {type(train).__name__}",
            place=str(path),
            next_step="define train(train, validation, **hyperparameters) that returns (model, metrics)",
        )
    try:
        # Partial: hyperparameters that are not searched may come from mlops.yaml or the command line.
        inspect.signature(train).bind_partial(None, None, **dict.fromkeys(search_space))
    except TypeError as error:
        raise CodeError(
            f"train does not take what it is called with: {error}",
            place=Place(str(path), _line_of(train)),
            next_step="take the two splits first and every name of search_space as a keyword argument",
        ) from None
    for name, parameter in inspect.signature(train).parameters.items():
        if name in search_space and search_space[name].when and parameter.default is parameter.empty:
            raise CodeError(
                f"train gives '{name}' no default, and not every trial has a value for it",
                place=Place(str(path), _line_of(train)),
                next_step=f"write a default: {name}=…; search_space searches it under a condition",
            )


def _line_of(function: Callable[..., Any]) -> int | None:
    code = getattr(function, "__code__", None)
    return code.co_firstlineno if code is not None else None


def _check_range(minimum: float, maximum: float, scale: Scale) -> None:
    if minimum > maximum:
        raise ValueError(f"the minimum {minimum} is greater than the maximum {maximum}")
    if scale not in ("linear", "log", "reverse_log"):
        raise ValueError(f"scale is linear, log or reverse_log, not {scale!r}")
    if scale == "log" and minimum <= 0:
        raise ValueError(f"a log scale needs a minimum above 0, not {minimum}")


def _check_values(values: object, kinds: tuple[type, ...], name: str, what: str) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ValueError(f"{name} needs a list of at least one value, not {values!r}")
    for value in values:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name} takes {what}, not {value!r}")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} has a value twice: {list(values)!r}")
