"""What `mlops init` writes, by framework: it trains unchanged on columns and labels of any kind, and predicts."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from accelerator.cli.init import init
from accelerator.evaluation.scoring import score

MODULES = {"scikit-learn": "sklearn", "xgboost": "xgboost", "pytorch": "torch"}
TEMPLATES = Path(__file__).parents[3] / "examples" / "templates"
FILES = ("--set", "data.table=null", "--set", "data.files=[rows.parquet]")


@pytest.fixture(params=MODULES)
def framework(request) -> str:
    if importlib.util.find_spec(MODULES[request.param]) is None:
        pytest.skip(f"{MODULES[request.param]} is not installed")
    return request.param


def labels(rows: pa.Table) -> dict[str, pa.Array]:
    """Labels that the rows tell, but for a tenth of them."""
    carrier, hour = np.asarray(rows["carrier"]), np.asarray(rows["hour"])
    kind = np.where(carrier == "AA", "long", np.where(hour > 14, "late", "early"))
    odd = np.random.default_rng(1).random(len(rows)) < 0.1
    return {
        "boolean": pa.array((carrier == "AA") ^ odd),
        "class": pa.array(np.where(odd, "early", kind)),
        "amount": pa.array(hour * 10.0 + np.where(carrier == "AA", 100, 0) + np.where(odd, 20, 0)),
    }


def write(folder: Path, label: str) -> pa.Table:
    """Rows with columns of every kind and one label; gives the features."""
    rows = pq.read_table(folder.parent / "project" / "rows.parquet").drop_columns("late")
    gust = rows["gust"].to_pylist()
    gust[0] = float("inf")
    features = (
        rows.set_column(rows.column_names.index("gust"), "gust", pa.array(gust))
        .append_column("day", pc.cast(rows["time"], pa.date32()))
        .append_column("order", pa.array([f"order {one}" for one in range(len(rows))]))
        .append_column("paid", pa.array([None, True, False] * (len(rows) // 3)))
        .append_column("empty", pa.nulls(len(rows), pa.string()))
    )
    pq.write_table(features.append_column(label, labels(rows)[label]), folder / "rows.parquet")
    return features


@pytest.mark.parametrize("label", ["boolean", "class", "amount"])
def test_a_project_of_init_trains_unchanged_and_predicts(project, framework, label, tmp_path):
    made = tmp_path / "made"
    init(made, "shop.orders", label, "my-project", framework)
    features = write(made, label)
    run = project.run("--config", str(made / "mlops.yaml"), *FILES)
    assert (run.code, run.err) == (0, "")
    assert set(run.metrics) == {"amount": {"mae", "r2"}, "boolean": {"accuracy", "auc"}, "class": {"accuracy"}}[label]
    good = {name: value > 0.8 for name, value in run.metrics.items() if name != "mae"}
    assert all(good.values()), run.metrics

    # as its container predicts: with a carrier that training has not seen, and without any gust
    strange = features.slice(0, 1)
    for name, value in {"carrier": pa.array(["ZZ"]), "gust": pa.nulls(1, pa.float64())}.items():
        strange = strange.set_column(strange.column_names.index(name), name, value)
    pq.write_table(pa.concat_tables([features, strange]), tmp_path / "features.parquet")
    scores = score(str(project.model_dir), tmp_path / "features.parquet", len(features) + 1, "challenger")
    truth = np.asarray(labels(features)[label])
    if label == "amount":
        assert abs(scores.values[:-1] - truth).mean() < 15
    else:
        assert list(scores.classes) == sorted(set(truth.tolist()))
        assert scores.values.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (np.asarray(scores.classes)[scores.values[:-1].argmax(axis=1)] == truth).mean() > 0.85


def test_a_run_can_be_repeated(project, framework, tmp_path):
    made = tmp_path / "made"
    init(made, "shop.orders", "amount", "my-project", framework)
    write(made, "amount")
    found = []
    for _ in range(2):
        run = project.run("--config", str(made / "mlops.yaml"), *FILES)
        assert (run.code, run.err) == (0, "")
        found.append(json.loads((project.model_dir / "metrics.json").read_text()))
    assert found[0] == found[1]


def test_rows_that_teach_nothing_are_told_of(project, tmp_path):
    made = tmp_path / "made"
    init(made, "shop.orders", "amount", "my-project", "scikit-learn")
    table = {"order": [f"order {one}" for one in range(100)], "amount": [one / 2 for one in range(100)]}
    pq.write_table(pa.table(table), made / "rows.parquet")
    run = project.run("--config", str(made / "mlops.yaml"), *FILES)
    assert run.code == 1
    assert "train raised ValueError: no column has numbers, times or text that repeats" in run.err


def test_what_the_templates_have_in_common_is_the_same():
    found = [
        {node.name: ast.dump(node) for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        for path in TEMPLATES.glob("*/model.py")
    ]
    assert len(found) == len(MODULES)
    for name in ("taken", "teaches", "is_quantity", "measure_quantity", "measure_classes"):
        assert len({functions[name] for functions in found}) == 1
