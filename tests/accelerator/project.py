"""A small project of a team's: four months of orders, and whether they came back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import bigquery

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.steps import data

MODEL = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from accelerator.contract import Double

search_space = {"c": Double(0.1, 10, scale="log")}


def train(train, validation, c=1.0, boom=0, noise=0):
    if boom:
        raise RuntimeError("the trainer gave up")
    label = train.label.sample(frac=1, random_state=0).to_numpy() if noise else train.label
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(train.features, label)
    return model, {"accuracy": float(model.score(validation.features, validation.label))}
"""
YAML = """
project: {project}
data:
  table: shop.orders
  label: returned
  time: ordered
  ignore: [shop]
  split: {{train: "..2026-02", validation: "2026-03", test: "2026-04"}}
model: {{name: returns}}
tuning: {{metric: accuracy, trials: 2}}
validation: {{thresholds: {{accuracy: 0.7}}, slices: [shop], beat: champion, metric: auc, resamples: 60}}
deployment:
  machine: n1-standard-2
  replicas: [1, 1]
  canary: 50
  check: {{requests: 5, max_latency: 30}}
batch_prediction: {{to: shop.predictions}}
"""
ROWS = 400


def make(folder: Path, project: str, model: str = MODEL, requirements: str = "") -> Config:
    """The project's folder."""
    folder.mkdir()
    (folder / "mlops.yaml").write_text(YAML.format(project=project))
    (folder / "model.py").write_text(model)
    (folder / "requirements.txt").write_text(requirements)
    return configuration.load(folder)


def load_orders(config: Config, folder: Path) -> None:
    """Its table."""
    numbers = np.arange(ROWS)
    rows = pd.DataFrame({"price": (numbers * 7 % 50).astype(float), "items": numbers % 7})
    rows["returned"] = rows["price"] + 8 * np.sin(numbers * 1.7) > 25
    rows["shop"] = np.array(["north", "south"])[numbers % 2]
    rows["ordered"] = pd.date_range("2026-01-01", periods=ROWS, freq="7h", tz="UTC")
    path = folder / "orders.parquet"
    rows.to_parquet(path)
    assert data.load(config, {"shop.orders": path}) == {"shop.orders": ROWS}


def row(config: Config, run: str) -> dict[str, Any]:
    """The run's row in the run-metadata table."""
    client = bigquery.Client(project=config.project)
    (found,) = client.query_and_wait(f"SELECT * FROM mlops.runs WHERE run = '{run}'")
    return dict(found)
