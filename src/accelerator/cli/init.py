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
  # time: a TIMESTAMP column, to split by time rather than at random:
  # split: {train: "..2024-06", validation: "2024-07", test: "2024-08"}

model:
  name: $model
  code: model.py
  requirements: requirements.txt
"""
)

_MODEL_PY = '''\
"""The team's code: hyperparameters to search, and how the model is trained."""

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from accelerator.contract import Double, Integer

search_space = {"learning_rate": Double(0.01, 0.3, scale="log"), "max_leaf_nodes": Integer(8, 64)}


def train(train, validation, learning_rate=0.1, max_leaf_nodes=31, seed=0):
    model = HistGradientBoostingClassifier(
        learning_rate=learning_rate,
        max_leaf_nodes=max_leaf_nodes,
        categorical_features="from_dtype",
        random_state=seed,
    )
    model.fit(train.features, train.label)
    scores = model.predict_proba(validation.features)[:, 1]
    return model, {"auc": roc_auc_score(validation.label, scores)}
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
    text = _MLOPS_YAML.substitute(project=project, table=table, label=label, model=model)
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
    console.print(f"  mlops build --config {path}   builds its training and prediction images")
