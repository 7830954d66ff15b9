"""Which names are images that the machine itself stands in for, and what each container's log says of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from localcloud.runtime import BuildFailed, ContainerSpec, bases
from localcloud.runtime.interpreters import interpreter

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place


@pytest.mark.parametrize(
    ("uri", "minor", "command"),
    [
        ("python:3.8-slim-bookworm", 8, ("python3",)),
        ("public.ecr.aws/docker/library/python:3.12", 12, ("python3",)),
        ("registry.access.redhat.com/ubi9/python-311:latest", 11, ("python3",)),
        ("python", None, ("python3",)),
        ("alpine", None, ("/bin/sh",)),
        ("docker.io/library/busybox:1.36", None, ("/bin/sh",)),
        ("ghcr.io/containerd/busybox", None, ("/bin/sh",)),
        ("mirror.gcr.io/library/ubuntu:24.04", None, ("/bin/bash",)),
        ("bash:5", None, ("/bin/bash",)),
    ],
)
def test_names_of_bases(uri: str, minor: int | None, command: tuple[str, ...]) -> None:
    base = bases.find(uri)
    assert base is not None
    assert (base.minor, base.command) == (minor, command)


@pytest.mark.parametrize(
    "uri", ["alpine/git", "my/alpine", "gcr.io/p/ubuntu", "pythonic:3", "alpine@sha256:0", "node:20"]
)
def test_names_of_other_images(uri: str) -> None:
    assert bases.find(uri) is None


def test_gcloud_is_the_machines_own_or_the_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("google/cloud-sdk:slim", "gcr.io/google.com/cloudsdktool/google-cloud-cli:stable")
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/google-cloud-sdk/bin/{name}")
    for name in names:
        base = bases.find(name)
        assert base is not None
        assert base.path.split(":")[0] == "/opt/google-cloud-sdk/bin"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in names:
        with pytest.raises(BuildFailed, match="this machine has no gcloud"):
            bases.find(name)


def test_every_container_says_that_another_python_stands_in(place: Place) -> None:
    _, version = interpreter(7)
    for _ in range(2):
        said: list[str] = []
        container = place.runtime.start(ContainerSpec("x", "python:3.7", ["true"], tee=said.append))
        assert container.wait(30) == 0
        assert said[0].startswith(f"this machine has no Python 3.7; Python {'.'.join(map(str, version))} stands in")
    image = place.runtime.images.build(place.root, "FROM python:3.7\nENV A=1\n", "local/old:1")
    assert image.remarks == place.runtime.images.resolve("local/old:1").remarks != ()


def test_the_log_of_an_operating_system_says_whose_programs_they_are(place: Place) -> None:
    said: list[str] = []
    for image in ("alpine:3.20", "docker.io/library/ubuntu", "gcr.io/google-containers/busybox:1.27"):
        container = place.runtime.start(
            ContainerSpec("x", image, ["sh", "-c", "echo $((6*7)) | tr 4 5"], tee=said.append)
        )
        assert (container.wait(30), container.tail()[-1]) == (0, "52")
        assert said[0] == f"the programs of {image} are those of this machine, not the image's"
        said.clear()


def test_the_sh_of_busybox_knows_what_dash_does_not(place: Place) -> None:
    script = 'set -e; [[ "$1" == *b* ]] && echo "$0 $1"'
    for image in ("busybox", "alpine:3.20"):
        assert place.run("sh", "-ec", script, "said", "abc", image=image) == (0, ["said abc"])
