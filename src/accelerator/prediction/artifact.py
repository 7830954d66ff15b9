"""The artifact of a model: brought here from AIP_STORAGE_URI, its signature read, its code and model loaded.

Every way in which an artifact can be unusable is told here; predicting with it is left to `tabular`.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from accelerator.contract import load_plugin
from accelerator.errors import CodeError, ModelError, StorageError
from accelerator.prediction.logs import log
from accelerator.signature import FILE, Feature, Signature, SignatureError

MODEL_FILES = ("model.joblib", "model.pkl", "model.bst")
"""What a model file without a signature may be called: the names of Vertex AI's prebuilt containers."""
_COMPLETE = ".complete"


def bring(uri: str, scratch: Path) -> Path:
    """The local folder of an artifact.

    Args:
        uri: AIP_STORAGE_URI: `gs://bucket/folder`, or a folder, which is used where it is.
        scratch: A folder to download to, where several processes may come with one download; the first does it.

    Raises:
        ModelError: The folder is not named or not there.
        StorageError: Cloud Storage refuses or fails.
    """
    if not uri:
        raise ModelError(
            "AIP_STORAGE_URI is empty, so there is no model to serve",
            place="AIP_STORAGE_URI",
            next_step="upload the model with artifact_uri set to the folder that the trainer saved to",
        )
    if uri.startswith("gs://"):
        with _alone(scratch):
            if not (scratch / _COMPLETE).exists():
                _download(uri, scratch)
                (scratch / _COMPLETE).touch()
        return scratch
    folder = Path(uri)
    if not folder.is_dir():
        raise ModelError(
            "The folder of the model is not there",
            place=uri,
            next_step="set AIP_STORAGE_URI to the folder that has model.json and the model file in it",
        )
    return folder.resolve()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder while no other process does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _download(uri: str, folder: Path) -> None:
    # Imported here: a container that serves a local folder does not pay for Google's client.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    bucket_name, _, prefix = uri.removeprefix("gs://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    try:
        bucket = storage.Client().bucket(bucket_name)
        blobs = [blob for blob in bucket.list_blobs(prefix=prefix) if not blob.name.endswith("/")]
        if not blobs:
            raise ModelError(
                "There is no model artifact: no object has this prefix",
                place=uri,
                next_step="check that the training job finished, and artifact_uri of the model",
            )
        for blob in blobs:
            target = (folder / blob.name.removeprefix(prefix)).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise StorageError(
                    f"The object name {blob.name} leads out of the artifact's folder",
                    place=uri,
                    next_step="remove this object",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(target))
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise StorageError(
            f"The model artifact could not be read: {error}",
            place=uri,
            next_step="check that the bucket exists and that the service account may read it",
        ) from error


@dataclass(frozen=True)
class Artifact:
    """An artifact's folder and what is known of it before the model is loaded.

    Args:
        folder: Where its files are.
        signature: `model.json`; None where there is none, as in artifacts for the prebuilt containers.
        predictor: The team's Predictor class, if there is one.
    """

    folder: Path
    signature: Signature | None
    predictor: type[Any] | None


def open_artifact(folder: Path, code: str = "") -> Artifact:
    """Read the signature and import the plugged-in code.

    Args:
        folder: What `bring` returned.
        code: A file to take the Predictor from instead of the artifact's own code.

    Raises:
        ModelError: The signature cannot be read, or there is neither model nor Predictor.
        CodeError: The code does not import.
    """
    try:
        signature = Signature.read(folder) if (folder / FILE).is_file() else None
    except (SignatureError, OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"The model's signature cannot be read: {error}",
            place=str(folder / FILE),
            next_step="train again with this version's training container, or remove model.json",
        ) from error
    file = Path(code) if code else folder / signature.code if signature and signature.code else None
    if file is not None and not file.is_file():
        raise CodeError(
            "The prediction code is not there",
            place=str(file),
            next_step="correct MLOPS_CODE" if code else "save the code with the model: it belongs in code/",
        )
    predictor = load_plugin(file).predictor if file is not None else None
    return Artifact(folder, signature, predictor)


def load_model(folder: Path, signature: Signature | None) -> Any:
    """Load the model file and hold it against the signature.

    Raises:
        ModelError: It is missing, cannot be loaded, or is not the model of this signature.
    """
    names = (signature.model,) if signature is not None else MODEL_FILES
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        there = ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.name != _COMPLETE))
        raise ModelError(
            f"The model file {' or '.join(names)} is missing: the artifact has {there or 'no files'}",
            place=str(folder),
            next_step="save the model to AIP_MODEL_DIR, or define Predictor.load to load it another way",
        )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _load_file(path)
    except Exception as error:  # unpickling runs whatever the pickle says
        raise ModelError(
            f"{path.name} does not load: {type(error).__name__}: {error}",
            place=str(path),
            next_step=_versions_hint(signature),
        ) from error
    for message in {str(warning.message) for warning in caught}:
        log("WARNING", f"{path.name}: {message.splitlines()[0]}")
    if signature is not None:
        _check(model, signature, path)
    return model


def _load_file(path: Path) -> Any:
    if path.suffix == ".bst":
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(path.read_bytes()))  # by name it would warn of the suffix, which is Vertex AI's
        return booster
    import joblib

    return joblib.load(path)


def _versions_hint(signature: Signature | None) -> str:
    here = {"python": python_version()}
    made = signature.libraries if signature is not None else {}
    for name in made.keys() - {"python"}:
        try:
            here[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            here[name] = "none"
    other = [f"{name} {made[name]} (here {here[name]})" for name in sorted(made) if made[name] != here[name]]
    if other:
        return f"serve it with the libraries it was made with: {', '.join(other)}"
    return "add the packages it needs to the project's requirements.txt and rebuild the image"


def _check(model: Any, signature: Signature, path: Path) -> None:
    expected = [feature.name for feature in signature.features]
    names = getattr(model, "feature_names_in_", None)
    count = getattr(model, "n_features_in_", len(expected))
    if names is not None and [str(name) for name in names] != expected:
        known = {str(name) for name in names}
        odd = sorted(known ^ set(expected)) or ["their order"]
        detail = f"the features of the two differ in {', '.join(odd)}"
    elif count != len(expected):
        detail = f"the model takes {count} features, the signature names {len(expected)}"
    elif not _same_classes(getattr(model, "classes_", None), signature.classes):
        detail = f"the classes of the model are {list(model.classes_)}, the signature's {signature.classes}"
    else:
        return
    raise ModelError(
        f"{path.name} is not the model that {FILE} describes: {detail}",
        place=str(path.parent),
        next_step="save model and signature by the same training run, into an empty folder",
    )


def _same_classes(model: Any, signature: Sequence[Any]) -> bool:
    return model is None or not signature or list(model) == list(signature)


def bare_signature(model: Any) -> Signature:
    """What can be told of a model without model.json: every feature a number that may be null.

    Raises:
        ModelError: The model does not even say how many features it takes.
    """
    names = getattr(model, "feature_names_in_", None)
    if names is None and hasattr(model, "num_features"):  # an xgboost.Booster
        names = model.feature_names or [f"f{index}" for index in range(model.num_features())]
    if names is None and hasattr(model, "n_features_in_"):
        names = [f"f{index}" for index in range(model.n_features_in_)]
    if names is None:
        raise ModelError(
            f"A {type(model).__name__} without {FILE} does not tell what it takes",
            place=FILE,
            next_step="save it with the training container, or define a Predictor",
        )
    features = tuple(Feature(str(name), "number", "float64", nullable=True) for name in names)
    classes = tuple(value.item() if hasattr(value, "item") else value for value in getattr(model, "classes_", ()))
    return Signature("classification" if classes else "regression", features, label="", classes=classes)
