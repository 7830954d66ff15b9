"""Images: built from Dockerfiles, kept by name, found again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from localcloud.runtime import BuildFailed, ContainerSpec, ImageNotFound, Runtime

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A build context with a package of our own, so that nothing is downloaded."""
    (tmp_path / "ownpackage").mkdir()
    (tmp_path / "ownpackage" / "pyproject.toml").write_text(
        '[project]\nname = "ownpackage"\nversion = "1.2"\n[project.scripts]\nown = "ownpackage:main"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tmp_path / "ownpackage" / "backend.py").write_text(BACKEND)
    (tmp_path / "main.py").write_text("import ownpackage, os, sys\nprint(ownpackage.NAME, os.getcwd(), sys.argv[1:])\n")
    return tmp_path


BACKEND = """
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "ownpackage-1.2-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("ownpackage.py", "NAME = 'own'\\ndef main(): print('script')\\n")
        info = "ownpackage-1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: ownpackage\\nVersion: 1.2\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nown = ownpackage:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""

DOCKERFILE = """
ARG BASE=python:3
FROM $BASE
ARG VERSION=0
ENV APP_VERSION=$VERSION APP="two words"
LABEL team=flights
WORKDIR /app
COPY ownpackage /src/ownpackage
RUN pip install --no-cache-dir --no-deps /src/ownpackage && mkdir -p /app/data
COPY main.py ./
EXPOSE 8080
USER 1000
ENTRYPOINT ["python", "/app/main.py"]
CMD ["--default"]
"""


def test_an_image_is_what_its_dockerfile_says(place: Place, package: Path) -> None:
    said: list[str] = []
    image = place.runtime.images.build(package, DOCKERFILE, "local/own", build_args={"VERSION": "7"}, log=said.append)
    assert image.uri == "local/own:latest"
    assert (image.env["APP_VERSION"], image.env["APP"]) == ("7", "two words")
    assert (image.workdir, image.ports, image.user, image.labels) == ("/app", (8080,), "1000", {"team": "flights"})
    assert place.runtime.images.resolve("local/own") == image
    assert "Step 5/13 : LABEL team=flights" in said
    code, output = place.run("own", image=image)
    assert (code, output) == (0, ["script"])
    container = place.runtime.start(ContainerSpec("x", image))
    assert (container.wait(30), container.tail()) == (0, ["own /app ['--default']"]), container.tail()


def test_a_folder_that_is_named_first_is_installed_by_its_content(place: Place, package: Path) -> None:
    text = "FROM python:3\nWORKDIR /src\nCOPY ownpackage .\nRUN pip install .\n"
    first = place.image(text, package, "local/first:1")
    backend = package / "ownpackage" / "backend.py"
    backend.write_text(backend.read_text().replace("NAME = 'own'", "NAME = 'other'"))
    second = place.image(text, package, "local/first:2")
    names = [place.run("python", "-c", "import ownpackage as p; print(p.NAME)", image=x)[1] for x in (first, second)]
    assert names == [["own"], ["other"]]


def test_the_same_content_is_the_same_image_and_environment(place: Place, package: Path) -> None:
    first = place.image(DOCKERFILE, package, "local/one:1")
    (package / "main.py").write_text("print('other')\n")
    second = place.image(DOCKERFILE, package, "local/two:1")
    assert first.python == second.python
    assert first.digest != second.digest
    assert first.tree != second.tree
    assert place.image(DOCKERFILE, package, "local/three:1").digest == second.digest


def test_an_image_from_an_image(place: Place, package: Path) -> None:
    base = place.image(DOCKERFILE, package, "local/base:1")
    derived = place.image(
        'FROM local/base:1\nENV MORE=$APP_VERSION\nCOPY main.py /app/extra/\nCMD ["--other"]', package
    )
    assert derived.env["MORE"] == "0"
    assert (derived.python, derived.entrypoint, derived.cmd) == (base.python, base.entrypoint, ("--other",))
    assert (Path(derived.tree) / "app/extra/main.py").exists()
    assert (Path(derived.tree) / "app/main.py").exists()
    assert not (Path(base.tree) / "app/extra").exists()


def test_packages_on_top_of_an_image_leave_it_alone(place: Place, package: Path) -> None:
    plain = place.image("FROM python:3", package, "local/plain:1")
    more = place.runtime.images.with_packages(plain, [package / "ownpackage"])
    assert place.run("python", "-c", "import ownpackage; print(ownpackage.NAME)", image=more) == (0, ["own"])
    code, _ = place.run("python", "-c", "import ownpackage", image=plain)
    assert code == 1
    # what a build may leave in the folder is no part of the package
    (package / "ownpackage" / "build").mkdir(exist_ok=True)
    (package / "ownpackage" / "build" / "left.txt").write_text("left")
    assert place.runtime.images.with_packages(plain, [package / "ownpackage"]) == more


def test_copy_and_ignore(place: Place, tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "notes.md", "data/x.csv", "data/keep.csv", "data/deep/y.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("data\n!data/keep.csv\n*.md\n")
    image = place.image("FROM python:3\nWORKDIR /w\nCOPY . all/\nCOPY *.py code/\nCOPY a.py renamed.py", tmp_path)
    tree = Path(image.tree)
    found = sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    assert found == [
        "w/all/.dockerignore",
        "w/all/a.py",
        "w/all/b.py",
        "w/all/data/keep.csv",
        "w/code/a.py",
        "w/code/b.py",
        "w/renamed.py",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM python:3\nHEALTHCHECK CMD true", "line 2: HEALTHCHECK: this instruction is not carried out"),
        ('FROM python:3\nSHELL ["bash"]', "line 2: SHELL"),
        ("FROM python:3\nVOLUME /x", "line 2: VOLUME"),
        ("FROM python:3\nONBUILD RUN x", "line 2: ONBUILD"),
        ("FROM python:3\nCOPY --from=builder /a /b", "line 2: COPY: --from=builder"),
        ("FROM python:3 AS a\nFROM python:3", "line 2: FROM: builds of several stages"),
        ("FROM python:3\nADD https://example.com/x /x", "line 2: ADD: .*nothing is downloaded"),
        ("FROM python:3\nCOPY ../secret /x", "line 2: COPY: .*outside the build context"),
        ("FROM python:3\nCOPY missing.py /x", "line 2: COPY: missing.py is not in the build context .*no such file"),
        ("FROM python:3\nFLY away", "line 2: FLY: there is no such instruction"),
        ("RUN pip install six\nFROM python:3", "line 1: RUN: FROM must come before it"),
        ("ENV A=1\n", "has no FROM"),
        ("FROM python:3\nRUN pip install -r none.txt", "line 2: RUN: none.txt: no such file"),
    ],
)
def test_a_wrong_dockerfile_names_the_line(place: Place, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BuildFailed, match=message):
        place.image(text, tmp_path)


def test_a_link_cannot_lead_out_of_the_image(place: Place, tmp_path: Path) -> None:
    context, outside = tmp_path / "context", tmp_path / "outside"
    context.mkdir()
    outside.mkdir()
    os.symlink(outside, context / "link")
    (context / "f").write_text("x")
    with pytest.raises(BuildFailed, match="leads outside the image"):
        place.image("FROM python:3\nCOPY link /app/\nCOPY link /app\nCOPY f /app/link/f", context)
    assert not list(outside.iterdir())


def test_an_installer_that_fails_says_why(place: Place, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    with pytest.raises(BuildFailed, match=r"(?s)line 3: RUN: the packages could not be installed:.*broken"):
        place.image("FROM python:3\nCOPY broken /broken\nRUN pip install --no-index /broken", tmp_path)


def test_names(place: Place, tmp_path: Path) -> None:
    images = place.runtime.images
    image = place.image("FROM python:3\nENV UNIQUE=1", tmp_path, "us-docker.pkg.dev/p/r/training:1")
    tagged = images.tag("us-docker.pkg.dev/p/r/training:1", "us-docker.pkg.dev/p/r/training:stable")
    assert tagged.digest == image.digest
    assert images.resolve(f"us-docker.pkg.dev/p/r/training@{image.digest}").digest == image.digest
    assert {i.uri for i in images.list()} >= {image.uri, tagged.uri}
    with pytest.raises(ImageNotFound, match=r"nearest are .*us-docker\.pkg\.dev/p/r/training:1"):
        images.resolve("us-docker.pkg.dev/p/r/trianing:1")
    images.delete(image.uri)
    assert Path(tagged.tree).exists()
    assert images.resolve(tagged.uri).digest == image.digest
    with pytest.raises(ImageNotFound):
        images.resolve(image.uri)
    with pytest.raises(ImageNotFound, match=r"prediction/sklearn-cpu\.1-6"):
        images.resolve("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.0-1:latest")


def test_images_outlive_the_runtime_and_leftovers_do_not(place: Place, tmp_path: Path) -> None:
    root = tmp_path / "runtime"
    first = Runtime(root, place.logs, dict, place.buckets)
    image = first.images.build(tmp_path, "FROM python:3\nENV KEPT=1\n", "local/kept:1")
    dropped = first.images.build(tmp_path, "FROM python:3\nWORKDIR /gone\n", "local/dropped:1")
    first.images.delete("local/dropped:1")
    (root / "staging" / "half").mkdir()
    (root / "containers" / "dead").mkdir()
    first.close()
    second = Runtime(root, place.logs, dict, place.buckets)
    assert second.images.resolve("local/kept:1") == image
    assert not Path(dropped.tree).exists()
    assert not list((root / "staging").iterdir())
    assert not list((root / "containers").iterdir())
    second.close()
