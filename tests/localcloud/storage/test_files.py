"""Names of objects and names of files: every name round-trips, and none leaves the bucket's folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud import errors
from localcloud.objects import Objects, split_uri
from localcloud.storage.files import (
    ESCAPED,
    Folder,
    Walk,
    bucket_problem,
    escaped_name,
    escaped_path,
    name_problem,
    plain_path,
)

parts = st.sampled_from(["", ".", "..", "a", "b", ESCAPED, "a+", "%2F", "~", "x" * 250, "ü"]) | st.text(max_size=12)
names = (st.lists(parts, min_size=1, max_size=8).map("/".join) | st.text(min_size=1, max_size=400)).filter(
    lambda name: not name_problem(name)
)


@given(names)
def test_escaped_paths_round_trip_and_stay_below_their_folder(name: str) -> None:
    path = escaped_path(name)
    assert escaped_name(path) == name
    pieces = path.split("/")
    assert all(piece not in ("", ".", "..") and len(piece.encode()) <= 255 for piece in pieces)
    assert len(path) < 3400


@given(st.text(max_size=60))
def test_a_file_that_is_no_escaped_object_is_none(path: str) -> None:
    name = escaped_name(path)
    assert name is None or escaped_path(name) == path


@given(names)
def test_plain_paths_are_the_name_itself(name: str) -> None:
    path = plain_path(name)
    assert path in (None, name)
    if path:
        assert os.path.normpath(path) == path
        assert not os.path.isabs(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=1, max_size=6, unique=True))
def test_any_names_live_side_by_side(some: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        bucket = Path(root, "buckets", "bucket")
        bucket.mkdir(parents=True)
        folder = Folder(bucket)
        for name in some:
            source = Path(root, "incoming")
            source.write_text(name, encoding="utf-8", newline="")
            folder.put(os.fspath(source), name)
        assert [found.name for found in Walk(os.fspath(bucket))] == sorted(some)
        for name in some:
            found = folder.find(name)
            assert found
            assert Path(found.path).read_bytes().decode() == name
            assert Path(os.path.realpath(found.path)).is_relative_to(os.path.realpath(bucket))
        assert sorted(os.listdir(root)) == ["buckets"]
        for name in some:
            folder.remove(name)
        assert os.listdir(bucket) == []


def test_links_are_neither_objects_nor_ways_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    bucket = tmp_path / "buckets" / "bucket"
    bucket.mkdir(parents=True)
    (bucket / "file-link").symlink_to(outside / "secret")
    (bucket / "folder-link").symlink_to(outside)
    folder = Folder(bucket)
    assert folder.find("file-link") is None
    assert folder.find("folder-link/secret") is None
    assert list(Walk(os.fspath(bucket))) == []
    objects = Objects(tmp_path)
    objects.write_bytes("gs://bucket/folder-link/secret", b"mine")
    objects.write_bytes("gs://bucket/file-link", b"mine")
    assert (outside / "secret").read_text() == "secret"
    assert objects.read_bytes("gs://bucket/folder-link/secret") == b"mine"
    assert objects.path("gs://bucket/folder-link/new").is_relative_to(bucket / ESCAPED)


def test_walks_are_narrowed_and_skip(tmp_path: Path) -> None:
    for name in ("a-b", "a/1", "a/2", "a/b/3", "a0", "b/4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def walked(prefix: str = "", start: str = "") -> list[str]:
        return [found.name for found in Walk(os.fspath(tmp_path), prefix, start)]

    assert walked() == ["a-b", "a/1", "a/2", "a/b/3", "a0", "b/4"]
    assert walked("a/") == ["a/1", "a/2", "a/b/3"]
    assert walked("a/b") == ["a/b/3"]
    assert walked(start="a/2") == ["a/2", "a/b/3", "a0", "b/4"]
    walk = Walk(os.fspath(tmp_path))
    seen = []
    for found in walk:
        seen.append(found.name)
        if found.name == "a/1":
            walk.skip = "a/"
    assert seen == ["a-b", "a/1", "a0", "b/4"]


@pytest.mark.parametrize("name", ["ab", "Bucket", "-a-", "a..b", "192.168.0.1", "a" * 64, "a/b", "..", "bücket"])
def test_bucket_names_that_cannot_be(name: str) -> None:
    assert bucket_problem(name)


@pytest.mark.parametrize("name", ["abc", "my_bucket-1", "a.b.example.com", "0" * 63])
def test_bucket_names_that_can_be(name: str) -> None:
    assert bucket_problem(name) is None


def test_objects_for_other_services(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    (tmp_path / "buckets" / "bucket").mkdir(parents=True)
    objects.write_bytes("gs://bucket/models/1/model.bin", b"weights")
    objects.write_bytes("gs://bucket/models/1/odd//name", b"odd")
    assert objects.path("gs://bucket/models/1/model.bin") == tmp_path / "buckets/bucket/models/1/model.bin"
    assert objects.path("gs://bucket/models/1/") == tmp_path / "buckets/bucket/models/1"
    assert objects.read_bytes("gs://bucket/models/1/odd//name") == b"odd"
    assert objects.exists("gs://bucket/models/1/model.bin")
    assert not objects.exists("gs://bucket/models/1")
    assert objects.exists("gs://bucket")
    assert not objects.exists("gs://other-bucket/x")
    assert objects.list("gs://bucket/models/") == [
        "gs://bucket/models/1/model.bin",
        "gs://bucket/models/1/odd//name",
    ]
    assert objects.copy_tree("gs://bucket/models/1", "gs://bucket/copy") == 2
    assert objects.read_bytes("gs://bucket/copy/model.bin") == b"weights"
    with pytest.raises(errors.InvalidArgument, match="cannot be a local file"):
        objects.copy_tree("gs://bucket/models/1", tmp_path / "local")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "x").write_text("x")
    assert objects.copy_tree(tmp_path / "tree", "gs://bucket/tree/") == 1
    assert objects.copy_tree("gs://bucket/tree", tmp_path / "back") == 1
    assert (tmp_path / "back/sub/x").read_text() == "x"
    with pytest.raises(errors.NotFound, match="No such object"):
        objects.read_bytes("gs://bucket/missing")
    with pytest.raises(errors.NotFound, match="does not exist"):
        objects.path("gs://other-bucket/x")
    for uri in ("bucket/x", "gs://", "s3://bucket/x", "gs://../x"):
        with pytest.raises(errors.InvalidArgument):
            split_uri(uri)
