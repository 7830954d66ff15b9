"""Environments that are being built: given up when nobody wants them, never taken for whole, made once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.localcloud.slow import Slow, gone

from localcloud.runtime import Image, Stopped, held, stoppable
from localcloud.runtime.environments import COMPLETE

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    """The package of this test."""
    return Slow(tmp_path)


class Attempt:
    """A build in a thread of its own."""

    def __init__(self, build: Callable[[], Image]) -> None:
        self.unwanted = threading.Event()
        self.result: Image | Exception | None = None
        self._build = build
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with stoppable(self.unwanted):
                self.result = self._build()
        except Exception as error:
            self.result = error

    def end(self, seconds: float) -> Image | Exception | None:
        """What came of it."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it goes on"
        return self.result


def attempt(place: Place, slow: Slow, uri: str) -> Attempt:
    """An image with the package."""
    text = "FROM python:3\nCOPY slow /slow\nRUN pip install /slow\n"
    return Attempt(lambda: place.runtime.images.build(slow.folder, text, uri))


def test_a_build_that_is_stopped_leaves_nothing(place: Place, slow: Slow) -> None:
    (slow.folder / ".dockerignore").write_text("began\ngo\n")
    before = set(place.runtime.images.environments.root.iterdir())  # type: ignore[attr-defined]
    first = attempt(place, slow, "local/slow:1")
    builders = slow.builders()
    first.unwanted.set()
    assert isinstance(first.end(5), Stopped)
    assert gone(builders)
    made = set(place.runtime.images.environments.root.iterdir()) - before  # type: ignore[attr-defined]
    assert [path for path in made if path.is_dir() and not (path / COMPLETE).exists()] == []
    assert "local/slow:1" not in [image.uri for image in place.runtime.images.list()]
    slow.go()
    second = attempt(place, slow, "local/slow:1").end(60)
    assert isinstance(second, Image), second
    assert place.run("python", "-m", "slow", image=second) == (0, ["whole"])


def test_builds_of_the_same_environment_are_one(place: Place, slow: Slow) -> None:
    attempts = [attempt(place, slow, f"local/same:{number}") for number in range(3)]
    slow.builders()
    slow.go()
    images = [each.end(60) for each in attempts]
    assert len({image.python for image in images if isinstance(image, Image)}) == 1, images
    assert len(slow.builders()) == 1


def test_who_waits_for_a_build_can_be_stopped_and_takes_over_one_that_was(place: Place, slow: Slow) -> None:
    first = attempt(place, slow, "local/over:1")
    builders = slow.builders()
    waits, goes = attempt(place, slow, "local/over:2"), attempt(place, slow, "local/over:3")
    waits.unwanted.set()
    assert isinstance(waits.end(5), Stopped)
    assert psutil.pid_exists(builders[0])
    first.unwanted.set()
    assert isinstance(first.end(5), Stopped)
    slow.builders(2)
    slow.go()
    assert isinstance(goes.end(60), Image)


def test_what_is_half_made_is_made_anew(place: Place, slow: Slow) -> None:
    slow.go()
    image = attempt(place, slow, "local/half:1").end(60)
    assert isinstance(image, Image)
    environment = Path(image.python).parent.parent
    (environment / COMPLETE).unlink()
    next(environment.rglob("slow.py")).unlink()
    again = attempt(place, slow, "local/half:2").end(60)
    assert isinstance(again, Image)
    assert again.python == image.python
    assert place.run("python", "-m", "slow", image=again) == (0, ["whole"])


def test_a_lock_that_others_hold_is_not_waited_for_when_stopped() -> None:
    lock, event = threading.Lock(), threading.Event()
    event.set()
    with lock, stoppable(event), pytest.raises(Stopped), held(lock):
        raise AssertionError("it was taken twice")
    with held(lock):
        assert lock.locked()
    assert not lock.locked()
