"""Parts of the runtime that are of use on their own: process tables, bytecode, interpreters, translated paths."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import localcloud.runtime
from localcloud.runtime import public
from localcloud.runtime.dockerfile import parse
from localcloud.runtime.environments import share_bytecode
from localcloud.runtime.interpreters import interpreter
from localcloud.runtime.processes import View, grafts

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place

SUPERVISOR = Path(localcloud.runtime.__file__).parent / "supervisor"


@pytest.fixture
def tree() -> Any:
    """The supervisor's module about processes, which is not imported by its package."""
    spec = importlib.util.spec_from_file_location("supervisor_tree", SUPERVISOR / "tree.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ps_tells_what_proc_tells(tree: Any) -> None:
    """What other systems than Linux go by."""
    listed = tree.portable_processes()[os.getpid()]
    assert listed[:2] == (os.getppid(), os.getpgid(0))
    assert listed[2] > 1 << 20
    if sys.platform == "linux":
        assert tree.linux_processes()[os.getpid()][:2] == listed[:2]


def test_the_processes_below_one(tree: Any) -> None:
    table = {2: (1, 2, 0), 3: (2, 3, 0), 4: (3, 3, 0), 5: (1, 5, 0), 6: (2, 2, 0)}
    assert tree.below(2, table) == {3, 4, 6}


def test_the_supervisor_needs_the_standard_library_alone() -> None:
    """It is started without site-packages, so that it is quick."""
    for path in SUPERVISOR.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                name = line.split()[1].partition(".")[0]
                assert name in {*sys.stdlib_module_names, "mounts", "tree"}, (path, line)


def test_bytecode_is_shared_by_the_same_file_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache.py"
    cache.write_text("x = 1\n")
    one, two = tmp_path / "one/lib/site", tmp_path / "two/lib/site"
    for folder in (one, two):
        folder.mkdir(parents=True)
        os.link(cache, folder / "same.py")
        (folder / "own.py").write_text("y = 1\n")
    (one / "__pycache__").mkdir()
    for name in ("same", "own"):
        (one / f"__pycache__/{name}.cpython-311.pyc").write_text(name)
    share_bytecode([tmp_path / "one"], tmp_path / "two")
    assert [path.name for path in (two / "__pycache__").iterdir()] == ["same.cpython-311.pyc"]


def test_the_nearest_interpreter_stands_in() -> None:
    own = sys.version_info
    assert interpreter(own.minor)[1][:2] == (3, own.minor)
    assert interpreter(None)[1] == own[:3]
    path, version = interpreter(99)
    assert path.exists()
    assert version[0] == 3


def test_the_build_log_names_a_stand_in(place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    place.runtime.images.build(tmp_path, "FROM python:3.99\nENV A=1\n", "local/future", log=said.append)
    assert any(line.startswith("WARNING: this machine has no Python 3.99; Python 3.") for line in said)


def test_paths_in_words_are_translated(tmp_path: Path) -> None:
    (tmp_path / "tree/app").mkdir(parents=True)
    (tmp_path / "tree/app/main.py").touch()
    view = View(tmp_path / "tree", {"/gcs": tmp_path / "buckets", "/gcs/own": tmp_path / "own"})
    app = f"{tmp_path}/tree/app"
    assert view.translate("/app/main.py") == f"{app}/main.py"
    assert view.translate("--config=/app/main.py,/etc/hosts") == f"--config={app}/main.py,/etc/hosts"
    assert view.translate("/app:/usr/lib:x/app") == f"{app}:/usr/lib:x/app"
    assert view.translate("cat /app/main.py '/app/main.py'") == f"cat {app}/main.py '{app}/main.py'"
    assert not view.used_buckets
    assert view.translate("/gcs/b/o") == f"{tmp_path}/buckets/b/o"
    assert view.used_buckets
    assert view.translate("/gcs/own/o") == f"{tmp_path}/own/o"
    for same in ("gs://app/main.py", "https://app/x", "/usr", "/", "a/app/main.py", "/gcsx"):
        assert view.translate(same) == same


def test_only_folders_of_the_images_own_hide_the_machines(tmp_path: Path) -> None:
    for name in ("app/deep", "usr/src/app", "opt/ml/code", "etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/own.conf").touch()
    assert grafts(tmp_path) == ["/app", "/etc/own.conf", "/opt/ml", "/usr/src/app"]


@pytest.mark.parametrize("name", [name for name in public.names() if not name.startswith("python")])
def test_public_images_are_locked(name: str) -> None:
    folder = public.find(name)
    assert folder is not None
    assert parse((folder / "Dockerfile").read_text())[0].name == "FROM"
    locked = (folder / "requirements.txt").read_text()
    assert "--hash=sha256:" in locked
    assert "://" not in locked
    for line in (folder / "requirements.in").read_text().splitlines():
        wanted = line.partition(";")[0].partition("[")[0].partition("=")[0].partition(">")[0].strip().lower()
        assert f"\n{wanted}" in f"\n{locked}", wanted


def test_every_region_of_a_public_image_is_known() -> None:
    for region in ("us", "europe", "asia"):
        assert public.find(f"{region}-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest") is not None
    assert public.find("us-docker.pkg.dev/other/prediction/sklearn-cpu.1-6:latest") is None
