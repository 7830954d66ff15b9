"""A finished file takes another's place in one step, whichever way the system has for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from localcloud.storage import moving


@pytest.fixture(params=("exchanged", "renamed"), autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "renamed":
        monkeypatch.setattr(moving, "_renameat2", None)
    elif moving._renameat2 is None:
        pytest.skip("this system cannot exchange two files")


def test_a_file_comes_to_its_place_and_leaves_nothing(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "new").write_text(content)
        inode = (tmp_path / "new").stat().st_ino
        moving.move(str(tmp_path / "new"), str(tmp_path / "place"))
        assert (tmp_path / "place").read_text() == content
        assert (tmp_path / "place").stat().st_ino == inode
        assert os.listdir(tmp_path) == ["place"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "place").symlink_to(tmp_path / "outside")
    (tmp_path / "new").write_text("ours")
    moving.move(str(tmp_path / "new"), str(tmp_path / "place"))
    assert (tmp_path / "outside").read_text() == "theirs"
    assert not (tmp_path / "place").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["outside", "place"]


def test_a_folder_and_a_missing_place_are_refused_and_all_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("kept")
    (tmp_path / "new").write_text("ours")
    with pytest.raises(IsADirectoryError):
        moving.move(str(tmp_path / "new"), str(tmp_path / "folder"))
    with pytest.raises(FileNotFoundError):
        moving.move(str(tmp_path / "new"), str(tmp_path / "nowhere" / "place"))
    assert (tmp_path / "folder" / "kept").read_text() == "kept"
    assert (tmp_path / "new").read_text() == "ours"


def test_readers_find_the_one_or_the_other(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("0" * 1000)
    over = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not over.is_set():
            seen.add(place.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 300):
        (tmp_path / "new").write_text(str(number % 10) * 1000)
        moving.move(str(tmp_path / "new"), str(place))
    over.set()
    reader.join()
    assert seen <= {str(digit) * 1000 for digit in range(10)}
    assert len(seen) > 1
