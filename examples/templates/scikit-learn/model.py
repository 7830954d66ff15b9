"""The team's code: hyperparameters to search, and how the model is trained."""

import numpy as np
import pandas as pd
from pandas.api import types
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from accelerator.contract import Double, Integer

search_space = {"learning_rate": Double(0.01, 0.3, scale="log"), "max_leaf_nodes": Integer(8, 64)}


def train(train, validation, learning_rate=0.1, max_leaf_nodes=31, seed=0):
    numeric = is_quantity(train.label)
    kind = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
    boosting = kind(
        learning_rate=learning_rate,
        max_leaf_nodes=max_leaf_nodes,
        categorical_features="from_dtype",
        early_stopping=False,
        random_state=seed,
    )
    names = taken(train.features)
    model = make_pipeline(FunctionTransformer(prepare, kw_args={"names": names}), boosting)
    model.fit(train.features, train.label)
    return model, (measure_quantity if numeric else measure_classes)(model, validation)


def prepare(features, names):
    """Columns as the model takes them, in training and in prediction alike: numbers and categories."""
    prepared = {}
    for name, column in features[names].items():
        if types.is_datetime64_any_dtype(column):
            days = column - pd.Timestamp(0, tz=column.dt.tz)
            prepared[name] = days / pd.Timedelta(days=1)
        elif isinstance(column.dtype, pd.CategoricalDtype):
            # The model takes up to 255 categories: more are ordered numbers.
            few = len(column.cat.categories) <= 255
            prepared[name] = column if few else column.cat.codes.where(column.notna()).astype(float)
        else:
            prepared[name] = column.astype(float).replace([np.inf, -np.inf], np.nan)
    return pd.DataFrame(prepared, index=features.index)


def taken(features):
    """The columns that the model takes: numbers, times, and text whose values repeat; it names no single rows."""
    names = [name for name, column in features.items() if teaches(column)]
    if not names:
        raise ValueError("no column has numbers, times or text that repeats: there is nothing to learn from")
    return names


def teaches(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        return 0 < 2 * column.nunique() <= column.count()
    return column.notna().any() and (types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column))


def is_quantity(label):
    """Whether the label is a number to be estimated rather than one of a few classes."""
    if types.is_bool_dtype(label) or not types.is_numeric_dtype(label):
        return False
    return label.nunique() > 20 or bool((label % 1 != 0).any())


def measure_quantity(model, validation):
    predicted = model.predict(validation.features)
    metrics = {"mae": mean_absolute_error(validation.label, predicted)}
    if validation.label.nunique() > 1:
        metrics["r2"] = r2_score(validation.label, predicted)
    return metrics


def measure_classes(model, validation):
    metrics = {"accuracy": accuracy_score(validation.label, model.predict(validation.features))}
    if len(model.classes_) == 2 and validation.label.nunique() == 2:
        metrics["auc"] = roc_auc_score(validation.label, model.predict_proba(validation.features)[:, 1])
    return metrics
