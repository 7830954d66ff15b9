"""One small project for the steps' tests: its table, images and a finished training."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.accelerator.project import load_orders, make
from tests.conftest import LocalCloud

from accelerator.config import Config
from accelerator.steps import build, dataset, train, training_set
from accelerator.steps.images import Images
from accelerator.steps.train import Trained
from accelerator.steps.training_set import TrainingSet


@pytest.fixture(scope="session")
def config(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A project with its table in BigQuery."""
    folder = tmp_path_factory.mktemp("steps")
    made = make(folder / "project", f"test-{uuid.uuid4().hex[:12]}")
    load_orders(made, folder)
    return made


@pytest.fixture(scope="session")
def images(config: Config) -> Images:
    """Its images, built once."""
    return build.build(config)


@pytest.fixture(scope="session")
def rows(config: Config) -> TrainingSet:
    """Its training set."""
    return training_set.make(config, "training_set")


@pytest.fixture(scope="session")
def orders(config: Config, rows: TrainingSet) -> Any:
    """The dataset of the training set."""
    return dataset.create(config, rows.table, "orders")


@pytest.fixture(scope="session")
def trained(config: Config, images: Images, orders: Any) -> Trained:
    """A finished training job."""
    return train.train(config, images.training, orders, "first", {"c": 2.0})
