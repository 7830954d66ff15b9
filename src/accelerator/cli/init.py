"""`mlops init`: a new project for a table of one's own: configuration, code, requirements."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import typer

from accelerator import config
from accelerator.cli.output import console
from accelerator.errors import ConfigError

_MLOPS_YAML = Template(
    """\
# Names once, for the code, the pipelines and the dashboards: docs/configuration.md has all keys.
project: $project
region: us-central1

data:
  table: $table
  label: $label
  split: {train: 0.7, validation: 0.15, test: 0.15}
  # in place of fractions, windows over a TIMESTAMP, DATETIME or DATE column:
  # time: created_at
  # split: {train: "..2024-06", validation: "2024-07", test: "2024-08"}

model:
  name: $model
  code: model.py
  requirements: requirements.txt

# tuning: {metric: auc, goal: maximize, trials: 12, parallel: 2}    # auc, accuracy; for quantities mae, r2
validation: {beat: champion}     # thresholds: {auc: 0.7}, slices: [column]
deployment: {machine: n1-standard-2, replicas: [1, 2], canary: 10}
batch_prediction: {to: $predictions}
"""
)

_MODEL_PY = '''\
"""The team's code: hyperparameters to search, and how the model is trained."""

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
    # A column without any value teaches nothing, and the model does not take it.
    filled = [name for name, column in train.features.items() if column.notna().any()]
    model = make_pipeline(FunctionTransformer(prepare, kw_args={"names": filled}), boosting)
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
        elif types.is_numeric_dtype(column):
            prepared[name] = column.astype(float)
        # What is left is free text, of which every row may have its own.
    return pd.DataFrame(prepared, index=features.index)


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
'''

_REQUIREMENTS = "# What model.py needs beside the training image (scikit-learn, pandas, numpy, pyarrow).\n"


def init(directory: Path, table: str, label: str, project: str) -> None:
    """Makes the folder; what it is not told it asks for.

    Raises:
        ConfigError: The folder has a project already, or a name cannot be used.
    """
    taken = [name for name in ("mlops.yaml", "model.py", "requirements.txt") if (directory / name).exists()]
    if taken:
        raise ConfigError(
            f"There is a project here already: {', '.join(taken)}",
            place=str(directory),
            next_step="choose another folder; nothing was changed",
        )
    table = table or typer.prompt("The BigQuery table with the examples (dataset.table)")
    label = label or typer.prompt("Its column to predict")
    model = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-") or "model"
    model = model if model[0].isalpha() else f"model-{model}"
    predictions = f"{table.rpartition('.')[0]}.{model.replace('-', '_')}_predictions"
    text = _MLOPS_YAML.substitute(project=project, table=table, label=label, model=model, predictions=predictions)
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "mlops.yaml"
    path.write_text(text)
    try:
        config.load(path)
    except ConfigError:
        # nothing half made stays behind
        path.unlink()
        if made:
            directory.rmdir()
        raise
    (directory / "model.py").write_text(_MODEL_PY)
    (directory / "requirements.txt").write_text(_REQUIREMENTS)
    console.print(f"A project for {table} is in {directory}: mlops.yaml, model.py, requirements.txt.")
    console.print(f"  mlops run training --config {path}   trains, validates, deploys and predicts")
