"""An artifact in Cloud Storage, brought by Google's client from the local cloud."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from google.cloud import storage
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.accelerator.prediction.container import PATIENCE, Container, instances, save, table

from accelerator.errors import ModelError, StorageError
from accelerator.prediction.artifact import bring

Start = Callable[..., Container]


@pytest.fixture
def bucket(project: str) -> storage.Bucket:
    """A new bucket."""
    return storage.Client().create_bucket(f"models-{uuid.uuid4().hex[:12]}")


def upload(bucket: storage.Bucket, folder: Path, prefix: str) -> str:
    """Put a folder into the bucket: its uri."""
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.blob(f"{prefix}/{path.relative_to(folder)}").upload_from_filename(str(path))
    return f"gs://{bucket.name}/{prefix}"


def test_a_container_serves_from_a_bucket(
    start: Start, bucket: storage.Bucket, tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    code = "class Predictor:\n    def postprocess(self, x): return {'predictions': [self.signature.label] * len(x)}\n"
    uri = upload(bucket, save(tmp_path, model, code), "a/model")
    bucket.blob("a/model-2/model.json").upload_from_string("another model")
    found = start(Path(), AIP_STORAGE_URI=uri + "/", WEB_CONCURRENCY="2")
    found.wait_loaded(2)
    assert found.predict(instances=instances(table(2))).json() == {"predictions": ["late", "late"]}


def test_a_prefix_without_objects(start: Start, bucket: storage.Bucket) -> None:
    found = start(Path(), AIP_STORAGE_URI=f"gs://{bucket.name}/none")
    assert found.process.wait(PATIENCE) == 1
    assert "no object has this prefix\n  at:   gs://" in found.log()[-1]["message"]


def test_a_bucket_that_is_not_there(project: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"at:   gs://nowhere-at-all/model"):
        bring("gs://nowhere-at-all/model", tmp_path)


def test_an_object_whose_name_leads_out(bucket: storage.Bucket, tmp_path: Path) -> None:
    bucket.blob("a/model.json").upload_from_string("{}")
    bucket.blob("a/b//../../../outside").upload_from_string("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises((StorageError, ModelError), match="leads out of the artifact's folder"):
        bring(f"gs://{bucket.name}/a", inside)
    assert not (tmp_path / "outside").exists()
