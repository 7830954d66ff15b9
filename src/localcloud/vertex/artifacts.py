"""Model artifacts: the copy that is frozen at upload, and the copies that exports make.

Cloud Storage itself is localcloud.objects'.
"""

from __future__ import annotations

import secrets
import shutil
from typing import Any

from localcloud.errors import CloudError, FailedPrecondition, NotFound
from localcloud.objects import Objects
from localcloud.vertex.common import id_of, location_of, project_of

_BUCKET_PREFIX = "vertex-models-"


def frozen_uri(model: Any) -> str:
    """Where the copy of a model version's artifact lies; empty for a model without one.

    As on Vertex AI it is in a bucket that the service keeps, so what is changed at artifact_uri afterwards
    does not reach a model that was uploaded.
    """
    if not model.artifact_uri:
        return ""
    return f"gs://{_bucket(model.name)}/{id_of(model.name)}/{model.version_id}/artifacts"


def _bucket(name: str) -> str:
    return f"{_BUCKET_PREFIX}{project_of(name)}-{location_of(name)}"


def stage(objects: Objects, source: str, name: str) -> str:
    """Copy the artifact of a version that is being uploaded to a place of its own, and name that place.

    Raises:
        FailedPrecondition: There is nothing at the source.
    """
    staged = f"gs://{_bucket(name)}/incoming/{secrets.token_hex(8)}"
    copy(objects, source, staged)
    return staged


def forget_staged(objects: Objects) -> None:
    """Remove what uploads that a former process did not finish have left."""
    for bucket in objects.buckets.glob(f"{_BUCKET_PREFIX}*"):
        shutil.rmtree(bucket / "incoming", ignore_errors=True)


def settle(objects: Objects, staged: str, target: str) -> None:
    """Move a staged artifact to where it stays: at once, so that a version never has half of it."""
    place = objects.path(target + "/")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    objects.path(staged + "/").rename(place)


def copy(objects: Objects, source: str, target: str) -> None:
    """Copy all objects below one prefix to another.

    Raises:
        FailedPrecondition: There are none.
        NotFound: The source's bucket does not exist.
    """
    prefix = source.rstrip("/") + "/"
    if not any(not uri.endswith("/") for uri in objects.list(prefix)):
        raise FailedPrecondition(f'There are no files under "{prefix}" to copy.')
    bucket = target.split("/")[2]
    (objects.buckets / bucket).mkdir(parents=True, exist_ok=True)
    objects.copy_tree(prefix, target)


def check(objects: Objects, uri: str) -> None:
    """Refuse an artifact_uri under which there is nothing.

    Raises:
        FailedPrecondition: As `copy`.
    """
    prefix = uri.rstrip("/") + "/"
    try:
        found = any(not each.endswith("/") for each in objects.list(prefix))
    except NotFound as error:
        raise FailedPrecondition(f"artifact_uri `{uri}`: {error.message}") from None
    if not found:
        raise FailedPrecondition(
            f'There are no files under "{prefix}" to copy. artifact_uri names the folder that holds the model.'
        )


def discard(objects: Objects, model: Any) -> None:
    """Remove the frozen copy of a version that was deleted."""
    uri = frozen_uri(model)
    if not uri:
        return
    try:
        folder = objects.path(uri + "/")
    except CloudError:
        return
    shutil.rmtree(folder.parent, ignore_errors=True)
