"""The team's code: hyperparameters to search, and how the model is trained."""

import numpy as np
import pandas as pd
from pandas.api import types
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from xgboost import XGBClassifier, XGBRegressor

from accelerator.contract import Double, Integer

search_space = {
    "learning_rate": Double(0.01, 0.3, scale="log"),
    "max_depth": Integer(2, 10),
    "min_child_weight": Double(1, 30, scale="log"),
}


def train(train, validation, learning_rate=0.1, max_depth=6, min_child_weight=1.0, seed=0):
    numeric = is_quantity(train.label)
    classes = None if numeric else np.unique(train.label)
    target, held_out = train.label, validation.label
    if not numeric:
        target, held_out = numbered(target, classes), numbered(held_out, classes)
    # Of a class that training has no row of, nothing can be learnt.
    known = held_out.notna()
    names = taken(train.features)
    kind = XGBRegressor if numeric else XGBClassifier
    boosting = kind(
        learning_rate=learning_rate,
        max_depth=max_depth,
        min_child_weight=min_child_weight,
        enable_categorical=True,
        # Trees are added until the validation rows have not gained by the last 20.
        n_estimators=1000,
        early_stopping_rounds=20,
        random_state=seed,
    )
    stop_by = (prepare(validation.features[known], names), held_out[known])
    boosting.fit(prepare(train.features, names), target, eval_set=[stop_by], verbose=False)
    model = Regressor(boosting, names) if numeric else Classifier(boosting, names, classes)
    return model, (measure_quantity if numeric else measure_classes)(model, validation)


class Regressor:
    """What is saved and served: predicts a quantity for each row."""

    def __init__(self, boosting, names):
        self.boosting, self.names = boosting, names

    def predict(self, features):
        return self.boosting.predict(prepare(features, self.names))


class Classifier:
    """What is saved and served: a score for each class, which XGBoost itself knows by their numbers alone."""

    def __init__(self, boosting, names, classes):
        self.boosting, self.names, self.classes_ = boosting, names, classes

    def predict_proba(self, features):
        return self.boosting.predict_proba(prepare(features, self.names))

    def predict(self, features):
        return self.classes_[self.predict_proba(features).argmax(axis=1)]


def prepare(features, names):
    """Columns as the model takes them, in training and in prediction alike: numbers and categories."""
    prepared = {}
    for name, column in features[names].items():
        if types.is_datetime64_any_dtype(column):
            days = column - pd.Timestamp(0, tz=column.dt.tz)
            prepared[name] = days / pd.Timedelta(days=1)
        elif isinstance(column.dtype, pd.CategoricalDtype):
            prepared[name] = column
        else:
            prepared[name] = column.astype(float).replace([np.inf, -np.inf], np.nan)
    return pd.DataFrame(prepared, index=features.index)


def numbered(label, classes):
    """Classes as the numbers that the model learns; NaN where a class is none of them."""
    return label.map({value: number for number, value in enumerate(classes)})


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
