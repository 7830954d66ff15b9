"""What a model has to be better than to be worth anything: the base rate, and a linear model of the same columns."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from accelerator.config import Config
from accelerator.evaluation.held_out import HeldOut
from accelerator.evaluation.metrics import Problem, measure

ROWS = 50_000
"""Training rows that baselines are fitted on, at least where there are as many: evenly spread over all of them."""


def baselines(
    config: Config, held_out: HeldOut, problem: Problem, environment: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Metrics of the baselines on the held-out rows, by the baseline's name.

    Args:
        config: The project.
        held_out: The rows.
        problem: Their truth in the challenger's terms.
        environment: Where Vertex AI's data variables are looked up.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    features, labels = _training_rows(config, environment)
    held = pq.read_table(held_out.file).to_pandas()
    constant = _constant(problem, labels, len(held_out))
    found = {"base rate": measure(problem, constant)}
    text = [name for name in features.columns if not pd.api.types.is_numeric_dtype(features[name])]
    times = [name for name in text if pd.api.types.is_datetime64_any_dtype(features[name])]
    numbers = [name for name in features.columns if name not in text]
    kept = [*numbers, *(name for name in text if name not in times)]
    name = "logistic regression" if problem.classes else "linear regression"
    model = _linear(numbers, [name for name in text if name not in times], bool(problem.classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, which is no matter here
        model.fit(features[kept].astype({column: str for column in kept if column in text}), labels)
        given = held[kept].astype({column: str for column in kept if column in text})
        if problem.classes:
            scores = np.zeros((len(held), len(problem.classes)))
            for position, label in enumerate(model.classes_):
                scores[:, _index(problem, label)] = model.predict_proba(given)[:, position]
        else:
            scores = model.predict(given)
    found[name] = measure(problem, scores)
    return found


def _training_rows(config: Config, environment: Mapping[str, str]) -> tuple[Any, Any]:
    from accelerator.training import sources
    from accelerator.training.columns import Columns

    with tempfile.TemporaryDirectory(prefix="baseline-") as scratch:
        source = sources.splits(config, environment, Path(scratch))["train"]
        columns = Columns.of(source.schema(), config, source.place)
        pieces: list[pa.Table] = []
        stride, seen = 1, 0
        for batch in source.batches(columns.names):
            rows = pa.Table.from_batches([batch.filter(batch.column(columns.label).is_valid())])
            pieces.append(rows.take(list(range(-seen % stride, rows.num_rows, stride))))
            seen += rows.num_rows
            if sum(map(len, pieces)) >= 2 * ROWS:
                kept = pa.concat_tables(pieces)
                pieces, stride = [kept.take(list(range(0, len(kept), 2)))], stride * 2
        frame = pa.concat_tables(pieces).to_pandas()
    return frame[list(columns.features)], frame[columns.label]


def _constant(problem: Problem, labels: Any, rows: int) -> Any:
    if not problem.classes:
        return np.full(rows, float(np.mean(labels)))
    shares = np.array([float(np.mean([label == known for label in labels])) for known in problem.classes])
    return np.tile(shares, (rows, 1))


def _index(problem: Problem, label: Any) -> int:
    return next(index for index, known in enumerate(problem.classes) if known == label)


def _linear(numbers: list[str], texts: list[str], classifies: bool) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore", min_frequency=20), texts),
        ]
    )
    return make_pipeline(prepare, LogisticRegression(max_iter=200) if classifies else Ridge())
