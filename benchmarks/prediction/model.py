"""The model under test: histogram gradient boosting on columns like those of the flights example.

Writes the artifact for every contender into one folder: `model.joblib`, `model.json`, and the request bodies.
Categories are strings that the pipeline encodes, so that the same file serves in every server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from accelerator.signature import Signature

ROWS = 20_000
SIZES = (1, 100)
TEXT = ("carrier", "origin", "dest")


def flights(rows: int) -> pd.DataFrame:
    """Made-up departures, the same at every call."""
    draw = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "carrier": draw.choice(["AA", "B6", "DL", "EV", "MQ", "UA", "US", "WN"], rows),
            "origin": draw.choice(["EWR", "JFK", "LGA"], rows),
            "dest": draw.choice([f"D{number:02}" for number in range(90)], rows),
            "month": draw.integers(1, 13, rows).astype(float),
            "hour": draw.integers(5, 24, rows).astype(float),
            "distance": draw.gamma(3, 350, rows).round(),
            "temperature": draw.normal(56, 17, rows).round(1),
            "wind_speed": draw.gamma(4, 2.6, rows).round(1),
            "visibility": draw.choice([10.0, 9.0, 5.0, 1.0], rows, p=[0.85, 0.08, 0.05, 0.02]),
            "seats": draw.choice([55.0, 140.0, 178.0, 200.0], rows),
            "late_yesterday": draw.beta(2, 6, rows).round(3),
            "late_last_week": draw.beta(3, 9, rows).round(3),
        }
    )


def mlserver_body(frame: pd.DataFrame) -> dict[str, Any]:
    """The rows as a request of the Open Inference Protocol, which MLServer speaks."""
    inputs = [
        {
            "name": name,
            "shape": [len(frame), 1],
            "datatype": "BYTES" if name in TEXT else "FP64",
            "data": frame[name].tolist(),
            **({"parameters": {"content_type": "str"}} if name in TEXT else {}),
        }
        for name in frame.columns
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": [{"name": "predict_proba"}]}


def main(folder: Path) -> None:
    """Train and write."""
    frame = flights(ROWS)
    score = frame["hour"] / 12 + frame["wind_speed"] / 20 + frame["late_last_week"] * 3
    late = score + np.random.default_rng(8).normal(size=ROWS) > 3.2
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), list(TEXT)),
        remainder="passthrough",
    )
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=100, random_state=0)).fit(frame, late)
    joblib.dump(model, folder / "model.joblib")
    Signature.of(frame, "late", classes=model.classes_).write(folder)
    for size in SIZES:
        rows = frame.head(size)
        rows.to_pickle(folder / f"{size}.pickle")
        body = {"instances": rows.to_dict(orient="records")}
        (folder / f"{size}.json").write_text(json.dumps(body))
        (folder / f"{size}.mlserver.json").write_text(json.dumps(mlserver_body(rows)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
