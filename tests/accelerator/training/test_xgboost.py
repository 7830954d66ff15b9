"""The same contract with XGBoost, where it is installed: a classifier as joblib, a Booster as model.bst."""

from __future__ import annotations

import importlib.util

import pytest

from accelerator.signature import Signature

pytestmark = pytest.mark.skipif(importlib.util.find_spec("xgboost") is None, reason="xgboost is not installed")

CLASSIFIER = """
from xgboost import XGBClassifier

def train(train, validation, max_depth: int = 3):
    model = XGBClassifier(max_depth=max_depth, n_estimators=5, enable_categorical=True, tree_method="hist")
    model.fit(train.features, train.label)
    return model, {"accuracy": float(model.score(validation.features, validation.label))}
"""

BOOSTER = """
import xgboost

def train(train, validation, eta=0.3):
    rows = xgboost.DMatrix(train.features, train.label, enable_categorical=True)
    model = xgboost.train({"eta": eta, "objective": "binary:logistic"}, rows, num_boost_round=5)
    return model, {"trees": model.num_boosted_rounds()}
"""


def test_a_classifier(project):
    project.code(CLASSIFIER)
    run = project.run("--max_depth=2")
    assert run.code == 0, run.err
    assert run.metrics["accuracy"] > 0.8
    assert Signature.read(project.model_dir).model == "model.joblib"


def test_a_booster(project):
    project.code(BOOSTER)
    run = project.run()
    assert run.code == 0, run.err
    assert (project.model_dir / "model.bst").stat().st_size > 0
    assert Signature.read(project.model_dir).model == "model.bst"
