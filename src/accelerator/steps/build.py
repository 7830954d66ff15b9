"""Images by Cloud Build: the two generic containers, and the team's project on top of each.

The source goes to the project's bucket, the images to its registry; their tag is the digest of what they are made of.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerator import shipped
from accelerator.config import Config
from accelerator.errors import AcceleratorError
from accelerator.steps.images import Images
from accelerator.steps.storage import ensure_bucket

REPOSITORY = "mlops"
"""The Artifact Registry repository that all images are in."""
KINDS = {
    "training": "training",
    "prediction": "prediction",
    "preprocessing": "preprocessing",
    "data_validation": "data-validation",
}
"""By field of `Images`, the folder of `images/` and the end of the image's name."""
TIMEOUT = 3600.0
"""Seconds that a build may take."""
_LEFT_OUT = {"__pycache__", "node_modules", "venv"}


class BuildError(AcceleratorError):
    """Cloud Build could not build the images."""


def images_of(config: Config) -> Images:
    """The images that the project is built into, named by what they would be made of now."""
    return _named(config, _archive(config))


def build(config: Config, progress: Callable[[str], None] = lambda _: None) -> Images:
    """Build the images of a project.

    Args:
        config: The project's configuration; its folder is the team's code.
        progress: Told of what is going on.

    Raises:
        BuildError: A step failed; the message ends with what it wrote.
    """
    from google.cloud.devtools import cloudbuild_v1
    from google.cloud.storage import Client

    source = _archive(config)
    images = _named(config, source)
    client = Client(project=config.project)
    bucket = ensure_bucket(client, config.bucket_name, config.region)
    name = f"source/{config.model.name}-{images.tag}.tgz"
    bucket.blob(name).upload_from_string(source, content_type="application/gzip")
    uris = {field: uri for field, uri in asdict(images).items() if uri}
    request = cloudbuild_v1.Build(
        source=cloudbuild_v1.Source(storage_source=cloudbuild_v1.StorageSource(bucket=bucket.name, object_=name)),
        steps=[step for field, uri in uris.items() for step in _steps(config, KINDS[field], uri, images.tag)],
        images=list(uris.values()),
        logs_bucket=f"gs://{bucket.name}/builds",
        timeout={"seconds": int(TIMEOUT)},
        tags=["mlops", config.model.name],
    )
    progress(f"building {', '.join(uris.values())}")
    operation = cloudbuild_v1.CloudBuildClient().create_build(project_id=config.project, build=request)
    build_id = operation.metadata.build.id
    try:
        operation.result(timeout=TIMEOUT + 60)
    except Exception as error:
        log = bucket.blob(f"builds/log-{build_id}.txt")
        written = log.download_as_text().splitlines()[-15:] if log.exists() else [str(error)]
        raise BuildError(
            "The images could not be built\n" + "\n".join(f"  | {line}" for line in written),
            place=f"Cloud Build {build_id} in {config.project}, log gs://{bucket.name}/{log.name}",
            next_step=f"correct {config.model.requirements} or the code and build again",
        ) from error
    return images


def _named(config: Config, source: bytes) -> Images:
    tag = hashlib.sha256(gzip.decompress(source)).hexdigest()[:12]
    optional = {"preprocessing": config.preprocessing, "data_validation": config.data_validation}
    unused = {field for field, section in optional.items() if section is None}
    return Images(
        **{
            field: image(config, f"{config.model.name}-{kind}", tag)
            for field, kind in KINDS.items()
            if field not in unused
        }
    )


def image(config: Config, name: str, tag: str) -> str:
    """The URI of an image in the project's registry."""
    return f"{config.region}-docker.pkg.dev/{config.project}/{REPOSITORY}/{name}:{tag}"


def _steps(config: Config, kind: str, uri: str, tag: str) -> list[dict[str, Any]]:
    """The generic container, then the team's on top; the kinds are built side by side."""
    docker = "gcr.io/cloud-builders/docker"
    base = image(config, kind, tag)
    generic = ["build", "-f", f"images/{kind}/Dockerfile", "-t", base, "."]
    has_requirements = kind in ("training", "prediction")  # the others do not run the model's code
    file = "Dockerfile" if has_requirements else "files.Dockerfile"
    team = ["build", "-f", f"images/team/{file}", "--build-arg", f"BASE={base}"]
    if has_requirements:
        team += ["--build-arg", f"REQUIREMENTS={config.model.requirements}"]
    section = config.preprocessing
    on_dataflow = kind == "preprocessing" and section is not None and section.runner == "DataflowRunner"
    built = f"{uri}-base" if on_dataflow else uri
    team += ["-t", built, "project"]
    name = f"{config.model.name}-{kind}"
    steps = [
        {"name": docker, "id": kind, "args": generic, "wait_for": ["-"]},
        {"name": docker, "id": name, "args": team, "wait_for": [kind]},
    ]
    if on_dataflow:
        boot = ["build", "-f", f"images/{kind}/dataflow.Dockerfile", "--build-arg", f"BASE={built}"]
        boot += ["--build-arg", f"BEAM={_beam_version()}", "-t", uri, "images"]
        steps.append({"name": docker, "id": f"{name}-dataflow", "args": boot, "wait_for": [name]})
    return steps


def _beam_version() -> str:
    """The version of Apache Beam that the preprocessing image has: a worker's boot program must be of the same."""
    lock = (shipped.folder("images") / "preprocessing" / "requirements.txt").read_text()
    found = re.search(r"^apache-beam==([\w.]+)", lock, re.MULTILINE)
    assert found is not None
    return found[1]


def _archive(config: Config) -> bytes:
    """What is built: `images/`, `src/accelerator/` and the team's `project/`, the same bytes for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        folders = {
            "images": shipped.folder("images"),
            "src/accelerator": shipped.package(),
            "project": config.directory.resolve(),
        }
        for prefix, folder in folders.items():
            for path in _files(folder):
                entry = tarfile.TarInfo(f"{prefix}/{path.relative_to(folder).as_posix()}")
                entry.size = path.stat().st_size
                entry.mode = 0o644
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    return gzip.compress(content.getvalue(), compresslevel=1, mtime=0)


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder in the order of their names; hidden ones, caches and environments are left out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.name not in (".dockerignore", ".gcloudignore"):
            continue
        if path.is_dir() and not path.is_symlink():
            if path.name not in _LEFT_OUT and not (path / "pyvenv.cfg").exists():
                yield from _files(path)
        elif path.is_file():
            yield path
