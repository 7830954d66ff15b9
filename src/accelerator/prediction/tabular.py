"""The Predictor of models without one of their own: data frames in, classes with scores or values out.

Its four methods are also what a team's Predictor falls back on. HTTP and queues are not known here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from accelerator.contract import Predictor
from accelerator.errors import nearest
from accelerator.prediction.artifact import bare_signature, load_model
from accelerator.prediction.columns import Columns, Leniency
from accelerator.prediction.failures import Failure
from accelerator.prediction.values import describe
from accelerator.signature import FILE, Signature

Output = Literal["scores", "label"]

_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "output": ("scores", "label"),
    "unknown_features": ("reject", "ignore"),
    "missing_features": ("reject", "null"),
}
"""What `parameters` may say, the default first."""


class TabularPredictor(Predictor):
    """Predicts from the columns that the signature names.

    `parameters` of a request: `output` is `scores` (classes with their scores, the default) or `label`;
    `unknown_features` is `reject` or `ignore`; `missing_features` is `reject` or `null`. A model without
    model.json answers with labels unless asked, as Vertex AI's prebuilt containers do.
    """

    _columns: Columns
    _default: Output = "scores"

    def load(self, artifacts_uri: str) -> None:
        """Load the model named by the signature.

        Raises:
            ModelError: It cannot be used.
        """
        folder = Path(artifacts_uri)
        signature = Signature.read(folder) if (folder / FILE).is_file() else None
        self.model = load_model(folder, signature)
        if signature is None:
            self._default = "label"
            # A model that was fitted on an array says at every call that it gets named columns.
            warnings.filterwarnings("ignore", message="X has feature names")
        self.prepare_columns(signature or bare_signature(self.model))

    def prepare_columns(self, signature: Signature) -> None:
        """Be ready to check instances against a signature."""
        self.signature = signature
        self._columns = Columns(signature)

    def preprocess(self, prediction_input: dict[str, Any]) -> Any:
        """The instances as a data frame; as they came where nothing is known of the model's features.

        Raises:
            Failure: 400 for instances or parameters that cannot be taken.
        """
        instances = prediction_input["instances"]
        if not hasattr(self, "_columns"):
            return instances
        return self.checked_frame(instances, prediction_input.get("parameters") or {})

    def checked_frame(self, instances: list[Any], parameters: Mapping[str, Any]) -> pd.DataFrame:
        """The checked instances; see `Columns.frame`."""
        return self._columns.frame(instances, leniency_of(parameters))

    def made_up(self) -> list[Any]:
        """An instance of the right types that nobody sent."""
        return self._columns.made_up()

    def predict(self, instances: Any) -> npt.NDArray[Any]:
        """Scores, one column a class, of a classifier that has them; else what `model.predict` gives."""
        return self.call_model(instances, "scores")

    def call_model(self, instances: Any, output: Output) -> npt.NDArray[Any]:
        """Call the model once."""
        model = self.model
        if _is_booster(model):
            import xgboost

            return np.asarray(model.predict(xgboost.DMatrix(instances, enable_categorical=True)))
        if output == "scores" and hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(instances))
        return np.asarray(model.predict(instances))

    def output_of(self, parameters: Mapping[str, Any]) -> Output:
        """The form in which a request wants its predictions.

        Raises:
            Failure: 400 for a parameter or value that there is not.
        """
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                close = nearest(name[:40], _PARAMETERS)
                hint = f"did you mean {close}?" if close else f"there are {', '.join(_PARAMETERS)}."
                raise Failure(400, f"parameters.{name[:40]}: there is no such parameter; {hint}")
            if value not in _PARAMETERS[name]:
                choice = " or ".join(_PARAMETERS[name])
                raise Failure(400, f"parameters.{name}: expected {choice}, got {describe(value)}.")
        output: Output = parameters.get("output", self._default)
        return output

    def postprocess(self, prediction_results: Any) -> Any:
        """Predictions in the response's form.

        Float results with one column a class become `{"classes": [...], "scores": [...]}`, the form of AutoML
        tabular models; the classes are the labels of training, a boolean one true or false. Others are given as
        they are.

        Raises:
            Failure: 500 for a prediction that is not a finite number, which JSON cannot carry.
        """
        results = np.asarray(prediction_results)
        if results.dtype.kind == "f" and not np.isfinite(results).all():
            odd = np.flatnonzero(~np.isfinite(results.reshape(len(results), -1)).all(axis=1))
            raise Failure(
                500,
                f"The model predicted NaN or infinity for {len(odd)} of {len(results)} instances, first for "
                f"instances[{odd[0]}]: check this instance for values that training did not see.",
            )
        classes = self.signature.classes if self.signature is not None else ()
        if results.dtype.kind == "f" and results.ndim == 2 and results.shape[1] == len(classes):
            return {"predictions": [{"classes": classes, "scores": scores} for scores in results.tolist()]}
        return {"predictions": results.tolist()}


def leniency_of(parameters: Mapping[str, Any]) -> Leniency:
    """What a request's parameters let through."""
    return Leniency(
        unknown=parameters.get("unknown_features") == "ignore",
        missing=parameters.get("missing_features") == "null",
    )


def _is_booster(model: Any) -> bool:
    return type(model).__module__.startswith("xgboost") and type(model).__name__ == "Booster"
