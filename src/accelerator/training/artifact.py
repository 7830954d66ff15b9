"""The trained model in AIP_MODEL_DIR: model, code, metrics and, last, the signature that makes it complete.

What the signature says is accelerator.signature's; reading an artifact is the prediction container's.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerator import signature
from accelerator.errors import CodeError, DataError, Place
from accelerator.signature import Signature, SignatureError
from accelerator.storage import Folder
from accelerator.training.data import Data

METRICS = "metrics.json"
RECORD = "training.json"
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def save(
    model: Any,
    metrics: Mapping[str, float],
    record: Mapping[str, Any],
    *,
    train: Data,
    code: Path,
    to: Folder,
) -> None:
    """Write the artifact. Until model.json is there, and it is written last, nobody takes it for a model.

    Args:
        model: What `train` returned.
        metrics: Its metrics.
        record: What it was made with: hyperparameters, data, seed.
        train: The training split, which gives the names and types of the features.
        code: The plugged-in file; the Python files below its folder go along.
        to: AIP_MODEL_DIR.

    Raises:
        CodeError: The model cannot be saved.
        DataError: A feature that no prediction request could carry.
        StorageError: The folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        folder = Path(scratch)
        file = _dump(model, folder, code)
        for path in _sources(code.parent):
            copy = folder / signature.CODE / path.relative_to(code.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        _write_json(folder / METRICS, metrics)
        _write_json(folder / RECORD, record)
        _sign(model, train, file, code).write(folder)
        to.remove(signature.FILE)
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for name in sorted(names, key=lambda name: name == signature.FILE):
            to.upload(name, folder / name)


def _dump(model: Any, folder: Path, code: Path) -> str:
    """Save the model under the name that Vertex AI's prebuilt containers know too; returns the name."""
    if type(model).__name__ == "Booster" and type(model).__module__.startswith("xgboost"):
        # By its suffix XGBoost chooses the format, and it warns of suffixes that say none.
        model.save_model(folder / "model.ubj")
        (folder / "model.ubj").rename(folder / "model.bst")
        return "model.bst"
    import joblib

    try:
        joblib.dump(model, folder / "model.joblib", compress=3)
    except OSError:
        raise
    except Exception as error:
        raise CodeError(
            f"The model that train returned, a {type(model).__name__}, cannot be saved: {error}",
            place=Place(str(code)),
            next_step="Return an object that pickles: no lambdas, open files or functions defined inside train.",
        ) from error
    return "model.joblib"


def _sign(model: Any, train: Data, file: str, code: Path) -> Signature:
    nulls = train.profile.nulls
    try:
        return Signature.of(
            train.sample().features,
            train.columns.label,
            classes=list(model.classes_) if hasattr(model, "classes_") else None,
            model=file,
            code=f"{signature.CODE}/{code.name}",
            nullable={name: bool(nulls[name]) for name in train.columns.features},
        )
    except SignatureError as error:
        raise DataError(
            f"The model cannot be described: {error}",
            place=train.source.place,
            next_step="Change the column in the table, or put it under data.ignore.",
        ) from error


def _sources(folder: Path) -> Iterator[Path]:
    """The Python files of a project: not those of environments, caches and hidden folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED and not name.startswith(".") and not (Path(place) / name / "pyvenv.cfg").exists()
        )
        yield from (Path(place) / name for name in sorted(files) if name.endswith(".py"))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
