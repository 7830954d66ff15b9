"""The gate on small models: what opens it, and everything that keeps it closed."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.errors import ConfigError
from accelerator.evaluation import gate, report
from accelerator.evaluation.gate import Verdict
from accelerator.signature import Signature

ROWS = 1200
CODE = """
class Predictor:
    def predict(self, instances):
        {body}
"""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Rows whose label follows `x`; `shop` is text, `month` no feature, `use` the split."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=ROWS)
    return pd.DataFrame(
        {
            "x": x,
            "shop": generator.choice(["north", "south"], ROWS),
            "month": generator.integers(1, 3, ROWS),
            "late": x + generator.normal(size=ROWS) > 0,
            "use": np.array(["training", "validation", "test", "test"])[np.arange(ROWS) % 4],
        }
    )


@pytest.fixture
def config(frame: pd.DataFrame, tmp_path: Path) -> Callable[..., Config]:
    """A project on files; its `validation` section is given."""

    def make(validation: str = "{}", label: str = "late", rows: pd.DataFrame | None = None) -> Config:
        (frame if rows is None else rows).to_parquet(tmp_path / "rows.parquet")
        (tmp_path / "mlops.yaml").write_text(
            textwrap.dedent(f"""
                project: my-project
                data: {{files: [rows.parquet], label: {label}, ignore: [month], split: {{column: use}}}}
                model: {{name: m}}
                validation: {validation}
            """)
        )
        return configuration.load(tmp_path)

    return make


@pytest.fixture
def artifact(frame: pd.DataFrame, tmp_path: Path) -> Callable[..., str]:
    """Saves a model as the training container does; gives the folder."""

    def save(model: Any, name: str = "model", label: str = "late", code: str = "") -> str:
        folder = tmp_path / name
        (folder / "code").mkdir(parents=True)
        features = frame[["x", "shop"]].astype({"shop": "category"})
        joblib.dump(model, folder / "model.joblib")
        if code:
            (folder / "code" / "model.py").write_text(code)
        classes = list(model.classes_) if hasattr(model, "classes_") else None
        file = "code/model.py" if code else ""
        Signature.of(features, label, classes=classes, code=file).write(folder)
        return str(folder)

    return save


@pytest.fixture
def good(frame: pd.DataFrame, artifact: Callable[..., str]) -> str:
    train = frame[frame["use"] == "training"]
    return artifact(_pipeline().fit(train[["x", "shop"]], train["late"]), "good")


def _pipeline() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(make_column_transformer(("passthrough", ["x"])), LogisticRegression())


@pytest.fixture
def dummy(frame: pd.DataFrame, artifact: Callable[..., str]) -> str:
    return artifact(DummyClassifier(strategy="prior").fit(frame[["x", "shop"]], frame["late"]), "dummy")


def test_a_good_first_model_is_valid(config: Callable[..., Config], good: str) -> None:
    verdict = gate.evaluate(
        config("{thresholds: {auc: 0.7, log_loss: 0.6}, slices: [shop, month], beat: champion}"), good
    )
    assert verdict.valid, verdict.reasons
    assert (verdict.split, verdict.rows) == ("test", 600)
    assert "no version has the alias champion" in verdict.reasons[0]
    assert set(verdict.slices) == {"shop=north", "shop=south", "month=1", "month=2"}
    assert sum(part["rows"] for name, part in verdict.slices.items() if "month" in name) == 600
    assert verdict.baselines["base rate"]["auc"] == 0.5
    assert verdict.baselines["logistic regression"]["auc"] > 0.7
    assert sum(map(sum, verdict.confusion)) == 600
    assert verdict.roc[0][1:] == (0.0, 0.0)
    assert Verdict.of_json(json.loads(json.dumps(verdict.to_json()))).metrics == verdict.metrics
    text = report.markdown(verdict, "m")
    assert "# m: valid" in text
    assert "| shop=north |" in text
    assert set(report.classification_metadata(verdict)) == {"confusionMatrix", "confidenceMetrics"}


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ("{thresholds: {auc: 0.99}}", r"auc is 0\.\d+, less than 0.99"),
        ("{thresholds: {log_loss: 0.01}}", r"log_loss is 0\.\d+, more than 0.01"),
        ("{thresholds: {rmse: 1}}", "rmse has no value"),
        ("{slices: [shop], slice_thresholds: {accuracy: 0.99}}", "accuracy of shop=north is"),
        ("{thresholds: {calibration_error: 0.0001}}", "calibration_error is"),
    ],
)
def test_thresholds_close_the_gate(config: Callable[..., Config], good: str, validation: str, words: str) -> None:
    verdict = gate.evaluate(config(validation), good)
    assert not verdict.valid
    assert any(re.search(words, reason) for reason in verdict.reasons), verdict.reasons


def test_small_slices_have_no_thresholds(config: Callable[..., Config], good: str) -> None:
    assert gate.evaluate(config("{slices: [shop], slice_thresholds: {accuracy: 0.99}, slice_rows: 5000}"), good).valid


def test_a_champion_must_be_beaten(config: Callable[..., Config], good: str, dummy: str) -> None:
    settings = config("{beat: champion, metric: auc, resamples: 100}")
    better = gate.evaluate(settings, good, dummy)
    assert better.valid
    assert better.interval is not None
    assert better.interval.low > 0.2
    assert better.champion["auc"] == 0.5
    worse = gate.evaluate(settings, dummy, good)
    assert not worse.valid
    assert "not shown to be better than the champion: auc -0." in worse.reasons[0]
    equal = gate.evaluate(settings, good, good)
    assert not equal.valid
    assert gate.evaluate(config("{beat: champion, by: -0.01, resamples: 100}"), good, good).valid


def test_what_cannot_be_evaluated_is_not_valid(
    config: Callable[..., Config], artifact: Callable[..., str], good: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    model = joblib.load(Path(good) / "model.joblib")

    def closed(words: str, challenger: str, champion: str = "") -> None:
        verdict = gate.evaluate(config(), challenger, champion)
        assert not verdict.valid
        assert words in verdict.reasons[0], verdict.reasons

    nan = CODE.format(body="return [float('nan')] * len(instances)")
    closed("NaN", artifact(model, "nan", code="import numpy as np" + nan))
    closed("predictions for", artifact(model, "short", code=CODE.format(body="return [0.5] * (len(instances) - 1)")))
    closed("wrong on purpose", artifact(model, "raises", code=CODE.format(body="raise ValueError('wrong on purpose')")))
    closed("metrics need numbers", artifact(model, "words", code=CODE.format(body="return ['late'] * len(instances)")))
    closed("ended with code", artifact(model, "dies", code=CODE.format(body="import os; os._exit(3)")))
    closed("is not there", str(tmp_path / "none"))
    closed("champion cannot be evaluated", good, str(tmp_path / "none"))
    broken = artifact(model, "broken")
    (Path(broken) / "model.joblib").write_bytes(b"no pickle")
    closed("does not load", broken)


def test_rows_that_show_nothing_close_the_gate(config: Callable[..., Config], good: str, frame: pd.DataFrame) -> None:
    nothing = gate.evaluate(config(rows=frame[frame["use"] != "test"]), good)
    assert not nothing.valid
    assert "no rows with a label in the test split" in nothing.reasons[0]
    validated = frame[frame["use"] != "test"].reset_index(drop=True)
    told = gate.evaluate(config(rows=validated), good, split="validation")
    assert (told.valid, told.split, told.rows) == (True, "validation", 300)
    one_class = frame.assign(late=frame["late"] | (frame["use"] == "test"))
    unknown = gate.evaluate(config("{slices: [shp]}"), good)
    assert not unknown.valid
    assert "'shp'" in unknown.reasons[0]
    alone = gate.evaluate(config("{thresholds: {auc: 0.5}}", rows=one_class), good)
    assert not alone.valid
    assert "auc has no value" in alone.reasons[0]


def test_a_regressor_is_judged_by_errors(
    config: Callable[..., Config], artifact: Callable[..., str], frame: pd.DataFrame
) -> None:
    rows = frame.assign(delay=frame["x"] * 3 + 1).drop(columns="late")
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(make_column_transformer(("passthrough", ["x"])), LinearRegression())
    folder = artifact(model.fit(rows[["x", "shop"]], rows["delay"]), "regressor", label="delay")
    settings = config("{thresholds: {rmse: 0.1, r2: 0.9}, beat: champion, resamples: 60}", label="delay", rows=rows)
    verdict = gate.evaluate(settings, folder)
    assert verdict.valid, verdict.reasons
    assert verdict.baselines["base rate"]["r2"] < 0.1
    assert not report.classification_metadata(verdict)


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ("{thresholds: {acu: 0.7}}", "Did you mean 'auc'"),
        ("{metric: nonsense}", "There is no metric 'nonsense', which validation.metric names"),
    ],
)
def test_what_there_is_not_is_a_mistake_in_the_file(
    config: Callable[..., Config], good: str, validation: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        gate.evaluate(config(validation), good)
