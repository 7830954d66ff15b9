"""The store against a dict: API writes, files from outside, restarts and versions, in any order."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localcloud.storage import errors, files, moving
from localcloud.storage.content import Content, hash_file
from localcloud.storage.database import StoredObject
from localcloud.storage.listing import Query, list_objects
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.recovery import recover
from localcloud.storage.store import Store

NAMES = ["a", "a/", "a/b", "a/b/c", "a//b", "../a", "b", "b/c", "b.txt", "ü"]
names = st.sampled_from(NAMES)
contents = st.binary(max_size=20)


def incoming(store: Store, data: bytes) -> Content:
    """Content as an upload leaves it."""
    path = store.incoming / f"new-{os.urandom(8).hex()}"
    path.write_bytes(data)
    with path.open("rb") as file:
        hashes = hash_file(file.fileno())
    return Content(os.fspath(path), len(data), hashes.md5, hashes.crc32c)


class StoreMachine(RuleBasedStateMachine):
    """What the store holds must be what a dict would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = Store(self.root)
        self.store.create_bucket("bucket", "project", {})
        self.model: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.generation = 0

    def teardown(self) -> None:
        self.store.database.close()
        shutil.rmtree(self.root)

    def file(self, name: str) -> Path | None:
        """Where something outside would write the object, if a file can be there."""
        path = self.root / "buckets" / "bucket" / name
        if name.endswith("/") or "//" in name or ".." in name or path.is_dir():
            return None
        return path if all(not parent.is_file() for parent in path.parents) else None

    @rule(name=names, data=contents, label=st.text(max_size=3))
    def put(self, name: str, data: bytes, label: str) -> None:
        version = self.store.put("bucket", name, incoming(self.store, data), {"metadata": {"label": label}})
        assert version.generation > self.generation
        self.generation = version.generation
        self.model[name] = (data, {"label": label})

    @rule(name=names, data=contents)
    def guarded_put(self, name: str, data: bytes) -> None:
        new = Preconditions(generation=0)
        content = incoming(self.store, data)
        if name in self.model:
            with pytest.raises(errors.StorageError, match="pre-conditions"):
                self.store.put("bucket", name, content, {}, new)
            os.unlink(content.path)
        else:
            self.store.put("bucket", name, content, {}, new)
            self.model[name] = (data, {})

    @rule(name=names)
    def delete(self, name: str) -> None:
        if name in self.model:
            self.store.delete("bucket", name)
            del self.model[name]
        else:
            with pytest.raises(errors.StorageError, match="No such object"):
                self.store.delete("bucket", name)

    @rule(name=names, data=contents)
    def write_from_outside(self, name: str, data: bytes) -> None:
        path = self.file(name)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self.root / "scratch"
            scratch.write_bytes(data)
            scratch.replace(path)
            self.model[name] = (data, {})

    @rule(name=names)
    def delete_from_outside(self, name: str) -> None:
        path = self.file(name)
        if path and path.is_file():
            path.unlink()
            del self.model[name]

    @rule(name=names, label=st.text(max_size=3))
    def patch(self, name: str, label: str) -> None:
        if name in self.model:
            self.store.change("bucket", name, None, Preconditions(), lambda old: {**old, "metadata": {"label": label}})
            self.model[name] = (self.model[name][0], {"label": label})

    @precondition(lambda self: self.model)
    @rule()
    def restart(self) -> None:
        self.store.database.close()
        self.store = Store(self.root)
        recover(self.store)

    @rule(prefix=st.sampled_from(["", "a", "a/", "b", "x"]), size=st.integers(1, 4))
    def list_with_delimiter(self, prefix: str, size: int) -> None:
        items, prefixes, page = [], [], ""
        while True:
            query = Query(prefix=prefix, delimiter="/", size=size, page=page)
            answer = list_objects(self.store, "bucket", query)
            items += [version.name for version in answer.items]
            prefixes += answer.prefixes
            page = answer.next_page
            if not page:
                break
        below = {name: name[len(prefix) :].find("/") for name in sorted(self.model) if name.startswith(prefix)}
        assert items == [name for name, at in below.items() if at < 0]
        groups = [name[: len(prefix) + at + 1] for name, at in below.items() if at >= 0]
        assert prefixes == list(dict.fromkeys(groups))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        listed = list_objects(self.store, "bucket", Query()).items
        assert [version.name for version in listed] == sorted(self.model)
        for version in listed:
            data, metadata = self.model[version.name]
            opened, descriptor = self.store.open("bucket", version.name)
            try:
                assert os.read(descriptor, 100) == data
                assert self.store.hashed(opened).md5 == hash_file(descriptor).md5
            finally:
                os.close(descriptor)
            assert opened.generation == version.generation
            assert opened.properties.get("metadata", {}) == metadata


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStore = StoreMachine.TestCase


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create_bucket("bucket", "project", {"versioning": {"enabled": True}})
    return store


class Killed(BaseException):
    """Stands for the end of the process at this point."""


def _raise(*args: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("versioned", "point"),
    [
        (False, "before the commit"),
        (True, "before the commit"),
        (False, "before the move"),
        (True, "before the move"),
        (False, "before the old file goes"),
    ],
)
def test_a_write_cut_short_is_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versioned: bool, point: str
) -> None:
    if point == "before the old file goes" and moving._renameat2 is None:
        pytest.skip("this system cannot exchange two files")
    store = Store(tmp_path)
    store.create_bucket("bucket", "project", {"versioning": {"enabled": versioned}})
    old = store.put("bucket", "x", incoming(store, b"old"), {"metadata": {"is": "old"}})
    target, name = {
        "before the commit": (store, "listener"),
        "before the move": (files, "move"),
        "before the old file goes": (os, "unlink"),
    }[point]
    content = incoming(store, b"new")
    with monkeypatch.context() as patch:
        patch.setattr(target, name, _raise)
        with pytest.raises(Killed):
            store.put("bucket", "x", content, {"metadata": {"is": "new"}})
    again = Store(tmp_path)
    recover(again)
    version, descriptor = again.open("bucket", "x")
    data = os.read(descriptor, 10).decode()
    os.close(descriptor)
    assert version.properties["metadata"] == {"is": data}
    assert data == ("old" if point == "before the commit" else "new")
    kept = [found.generation for found in list_objects(again, "bucket", Query(versions=True)).items]
    assert kept == ([version.generation] if not versioned or data == "old" else [old.generation, version.generation])
    assert list(again.incoming.iterdir()) == []


def test_a_deletion_cut_short_keeps_the_version(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = store.put("bucket", "x", incoming(store, b"1"), {})
    monkeypatch.setattr(store, "listener", _raise)
    with pytest.raises(Killed):
        store.delete("bucket", "x")
    store.database.close()
    again = Store(tmp_path)
    recover(again)
    assert again.live("bucket", "x") is None
    kept = list_objects(again, "bucket", Query(versions=True)).items
    assert [version.generation for version in kept] == [first.generation]
    _, descriptor = again.open("bucket", "x", first.generation)
    assert os.read(descriptor, 10) == b"1"
    os.close(descriptor)


def test_a_folder_that_cannot_be_written_leaves_everything_as_it_was(store: Store) -> None:
    old = store.put("bucket", "x", incoming(store, b"old"), {})
    content = incoming(store, b"new")
    os.unlink(content.path)
    with pytest.raises(FileNotFoundError):
        store.put("bucket", "x", content, {})
    assert store.live("bucket", "x") == old


def test_changes_are_told(store: Store, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    def listen(event: str, version: StoredObject, attributes: dict[str, str]) -> None:
        told.append((event, version.name))

    store.listener = listen
    store.put("bucket", "x", incoming(store, b"1"), {})
    store.put("bucket", "x", incoming(store, b"2"), {})
    (tmp_path / "buckets/bucket/outside").write_text("1")
    list(store.scan("bucket"))
    (tmp_path / "buckets/bucket/outside").unlink()
    list(store.scan("bucket"))
    assert told == [
        ("OBJECT_FINALIZE", "x"),
        ("OBJECT_ARCHIVE", "x"),
        ("OBJECT_FINALIZE", "x"),
        ("OBJECT_FINALIZE", "outside"),
        ("OBJECT_DELETE", "outside"),
    ]
