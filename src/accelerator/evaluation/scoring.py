"""`python -m accelerator.evaluation.scoring URI ROWS OUT`: one model's predictions, made exactly as its container does.

A process for each model: each has code of its own, and one that hangs or dies takes nobody along.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerator.errors import AcceleratorError

_ROWS = 4096
"""Instances a request."""
_TIMEOUT = 3600.0


class ScoringError(AcceleratorError):
    """A model that cannot be evaluated."""


@dataclass(frozen=True)
class Scores:
    """A model's predictions of all held-out rows.

    Args:
        classes: The labels that a classifier knows, in the order of its scores; empty for a regressor.
        values: Of a classifier, scores of shape (rows, classes); of a regressor, predictions of shape (rows,).
    """

    classes: tuple[Any, ...]
    values: NDArray[np.float64]


def score(uri: str, rows: Path, count: int, what: str) -> Scores:
    """Have a model predict the held-out rows in a process of its own.

    Args:
        uri: The artifact's folder.
        rows: The Parquet file of the features.
        count: How many rows there are.
        what: `challenger` or `champion`, for errors.

    Raises:
        ScoringError: It does not load, raises, predicts what is no number, or not one prediction a row.
    """
    with tempfile.TemporaryDirectory(prefix="scores-") as folder:
        out = Path(folder) / "scores.npz"
        command = [sys.executable, "-m", "accelerator.evaluation.scoring", uri, str(rows), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise ScoringError(f"The {what} has not predicted the rows within {_TIMEOUT:g} s", place=uri) from None
        if done.returncode != 0 or not out.exists():
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            said = "\n".join(lines[-8:]) or f"its process ended with code {done.returncode}"
            raise ScoringError(f"The {what} cannot be evaluated: {said}", place=uri)
        with np.load(out, allow_pickle=False) as found:
            scores = Scores(tuple(json.loads(str(found["classes"]))), found["values"])
    if len(scores.values) != count:
        raise ScoringError(f"The {what} gave {len(scores.values)} predictions for {count} rows", place=uri)
    odd = ~np.isfinite(scores.values.reshape(count, -1)).all(axis=1)
    if odd.any():
        raise ScoringError(
            f"The {what} predicts NaN or infinity for {odd.sum()} of {count} rows, first for row {odd.argmax()}",
            place=uri,
        )
    return scores


def main(uri: str, rows: Path, out: Path) -> None:
    """What the process does."""
    import orjson
    import pyarrow.parquet as pq

    from accelerator.prediction.artifact import bring, open_artifact
    from accelerator.prediction.failures import Failure
    from accelerator.prediction.service import Service

    with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
        artifact = open_artifact(bring(uri, Path(folder)))
        service = Service.load(artifact)
        found: list[Any] = []
        for batch in pq.ParquetFile(rows).iter_batches(_ROWS):
            body = orjson.dumps({"instances": list(_instances(batch))}, default=_plain)
            (answer,) = service.answer([service.parse(body)])
            if isinstance(answer, Failure):
                raise ScoringError(answer.message)
            found += orjson.loads(answer)["predictions"]
    classes, values = _numbers(found)
    np.savez(out, classes=json.dumps(classes), values=values)


def _instances(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows as clients would send them: what is NaN is null."""
    names = batch.schema.names
    columns = [[None if value != value else value for value in column.to_pylist()] for column in batch.columns]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _numbers(predictions: list[Any]) -> tuple[list[Any], NDArray[np.float64]]:
    """Classes and scores of what a container answers: `{"classes", "scores"}`, or one number a row.

    Raises:
        ScoringError: It is neither.
    """
    first = predictions[0] if predictions else 0.0
    if isinstance(first, dict) and "scores" in first and "classes" in first:
        classes = list(first["classes"])
        return classes, np.array([prediction["scores"] for prediction in predictions], dtype=np.float64)
    if isinstance(first, int | float) and not isinstance(first, bool):
        return [], np.array(predictions, dtype=np.float64)
    raise ScoringError(
        f"Its predictions are like {str(first)[:80]}: metrics need numbers, or classes with scores, "
        'as in {"classes": [false, true], "scores": [0.8, 0.2]}'
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except AcceleratorError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(1)
