"""The image registry of the process runtime: names to images, one JSON file a name, durable.

Building is `build`'s business, environments are `environments`', the public images' Dockerfiles `public`'s.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.runtime import bases, public
from localcloud.runtime.build import Build, State, digest_of, image_of
from localcloud.runtime.environments import Environments, locked
from localcloud.runtime.installs import package_install
from localcloud.runtime.spec import BuildFailed, Image, ImageNotFound
from localcloud.runtime.stopping import held
from localcloud.runtime.trees import digest, remove


def quiet(line: str) -> None:
    """A log that nobody reads."""


class Images:
    """The images below a folder; see `ImageStore`."""

    def __init__(self, root: Path) -> None:
        self.names = root / "images"
        self.trees = root / "trees"
        self.staging = root / "staging"
        for folder in (self.names, self.trees, self.staging):
            folder.mkdir(parents=True, exist_ok=True)
        self.environments = Environments(root / "environments")
        self._building = threading.Lock()

    def build(
        self,
        context: Path,
        dockerfile: Path | str,
        uri: str,
        *,
        build_args: Mapping[str, str] | None = None,
        log: Callable[[str], None] = quiet,
    ) -> Image:
        """See `ImageStore.build`."""
        uri = full_name(uri)
        if not context.is_dir():
            raise BuildFailed(f"the build context {context} is no folder")
        path: Path | None = None
        if isinstance(dockerfile, str) and "\n" in dockerfile:
            text = dockerfile
        else:
            path = Path(dockerfile) if Path(dockerfile).is_absolute() else context / dockerfile
            if not path.is_file():
                raise BuildFailed(f"there is no Dockerfile {dockerfile} in {context}: name it with -f FILE")
            text = path.read_text()
        staging = self.staging / uuid.uuid4().hex
        staging.mkdir()
        try:
            job = Build(context, path, staging, self.environments, self.resolve, build_args or {}, log)
            state = job.run(text)
            image = self._keep(state, uri, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        log(f"Built {image.digest[:19]}")
        log(f"Tagged {uri}")
        return image

    def resolve(self, uri: str, log: Callable[[str], None] = quiet) -> Image:
        """See `ImageStore.resolve`."""
        name = full_name(uri)
        found = self._find(name)
        if found is not None:
            return found
        if bases.find(uri) is not None:
            return self.build(self.staging, f"FROM {uri}\n", uri)
        known = public.find(name)
        if known is not None:
            # Two first uses at once build it once.
            with held(self._building):
                found = self._find(name)
                if found is not None:
                    return found
                log(f"{uri}: building the equivalent environment at its first use (it is kept)")
                return self.build(known, "Dockerfile", uri, log=log)
        raise ImageNotFound(self._not_found(uri))

    def list(self) -> list[Image]:
        """See `ImageStore.list`."""
        found = (load(path) for path in self.names.glob("*.json"))
        return sorted((image for image in found if image is not None), key=lambda image: image.uri)

    def tag(self, source: str, target: str) -> Image:
        """See `ImageStore.tag`."""
        image = dataclasses.replace(self.resolve(source), uri=full_name(target))
        self._write(image)
        return image

    def delete(self, uri: str) -> None:
        """See `ImageStore.delete`."""
        image = self._find(full_name(uri))
        if image is None:
            raise ImageNotFound(self._not_found(uri))
        self._path(image.uri).unlink(missing_ok=True)
        if image.tree not in {other.tree for other in self.list()}:
            remove(Path(image.tree))

    def with_packages(
        self, image: str | Image, packages: Sequence[Path], *, log: Callable[[str], None] = quiet
    ) -> Image:
        """See `ImageStore.with_packages`."""
        base = self.resolve(image, log) if isinstance(image, str) else image
        install = package_install([str(path.resolve()) for path in packages])
        environment = self.environments.derive(self.environments.at(base.python), [install], Path("/"), log)
        derived = dataclasses.replace(base, python=str(environment.python))
        return dataclasses.replace(derived, digest=digest_of(derived))

    def prune(self) -> None:
        """Removes what no image needs and what broken builds left; not while containers run."""
        images = self.list()
        kept = {image.tree for image in images}
        for path in self.trees.iterdir():
            if str(path) not in kept:
                remove(path)
        for path in self.staging.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        self.environments.prune({image.python for image in images})

    def _keep(self, state: State, uri: str, staging: Path) -> Image:
        """Puts a built tree in its place and names the image."""
        tree = self.trees / digest(staging)[:24]
        with locked(self.names / ".lock"):
            if not tree.exists():
                staging.rename(tree)
            image = image_of(state, uri, tree, time.time())
            self._write(image)
        return image

    def _find(self, name: str) -> Image | None:
        """The image of a full name, or with this digest."""
        repository, at, wanted = name.partition("@")
        if at:
            same = (image for image in self.list() if image.digest == wanted)
            return next((image for image in same if image.uri.rpartition(":")[0] == repository), None)
        return load(self._path(name))

    def _write(self, image: Image) -> None:
        """Names an image, atomically and durably."""
        path = self._path(image.uri)
        partial = path.with_suffix(f".{uuid.uuid4().hex[:8]}")
        with partial.open("w") as file:
            json.dump(dataclasses.asdict(image), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def _path(self, name: str) -> Path:
        return self.names / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _not_found(self, uri: str) -> str:
        """What to say of a name that is none: the nearest that are."""
        known = [image.uri for image in self.list()] + public.names()
        near = difflib.get_close_matches(full_name(uri), known, n=3, cutoff=0.5)
        last = uri.rpartition("/")[2].partition(":")[0]
        near += [name for name in known if last and last in name and name not in near]
        hint = f"the nearest are {', '.join(near[:3])}" if near else "there are none yet"
        return (
            f"Image {uri} is not in the local registry: {hint}. Build it with `mlops build`, or with the "
            "Cloud Build API; images are not pulled from registries by the process runtime"
        )


def load(path: Path) -> Image | None:
    """The image that a file describes, or None if there is none or its environment is gone."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    for name in ("entrypoint", "cmd", "ports", "remarks"):
        fields[name] = tuple(fields.get(name, ()))
    image = Image(**fields)
    return image if Path(image.python).exists() and Path(image.tree).exists() else None


def full_name(uri: str) -> str:
    """A name with its tag: `a/b` is `a/b:latest`."""
    if "@" in uri:
        return uri
    last = uri.rpartition("/")[2]
    return uri if ":" in last else f"{uri}:latest"
