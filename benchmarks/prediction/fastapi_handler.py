"""The contender that a team would write for itself: a plain FastAPI handler around the model.

Run by uvicorn in the benchmark's own environment.
"""

from __future__ import annotations

import os
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL_FILE"])


class Body(BaseModel):
    """The request, as Vertex AI sends it."""

    instances: list[dict[str, Any]]


@app.get("/health")
def health() -> dict[str, str]:
    """The model is loaded on import, so this is all."""
    return {}


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    """One model call a request, in the thread pool."""
    return {"predictions": model.predict_proba(pd.DataFrame(body.instances)).tolist()}
