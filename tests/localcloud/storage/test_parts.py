"""The small grammars: partial responses, globs, multipart bodies, entity tags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.storage.errors import StorageError
from localcloud.storage.listing import glob_pattern
from localcloud.storage.partial import parse, project, wants
from localcloud.storage.related import Related
from localcloud.storage.resources import etag, merge


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ("kind", {"kind": "k"}),
        ("items(name,size)", {"items": [{"name": "a", "size": "1"}]}),
        ("items/name,kind", {"kind": "k", "items": [{"name": "a"}]}),
        ("items/metadata/x", {"items": [{"metadata": {"x": "1"}}]}),
        ("items(metadata(y),name)", {"items": [{"metadata": {"y": "2"}, "name": "a"}]}),
        ("*", {"kind": "k", "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}]}),
        ("items/*/x", {"items": [{"name": "a", "size": "1", "metadata": {"x": "1"}}]}),
        ("missing", {}),
    ],
)
def test_partial_responses(fields: str, left: object) -> None:
    whole = {"kind": "k", "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}]}
    assert project(whole, parse(fields)) == left


@pytest.mark.parametrize("fields", ["", "a(", "a)", "a,,b", "a/", "(a)", "a b", "a;b"])
def test_field_selections_that_cannot_be(fields: str) -> None:
    with pytest.raises(StorageError, match="field selection"):
        parse(fields)


def test_what_a_selection_shows() -> None:
    mask = parse("items(name),nextPageToken")
    assert wants(mask, "items", "name")
    assert not wants(mask, "items", "md5Hash")
    assert wants(parse("items"), "items", "md5Hash")
    assert wants(parse("*"), "items", "md5Hash")


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txtx"]),
        ("**.txt", ["a.txt", "a/b.txt"], ["a.csv"]),
        ("a/**", ["a/b", "a/b/c", "a/"], ["b/a"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[!a]x", ["bx"], ["ax"]),
        ("{a,b*}.x", ["a.x", "bcd.x"], ["c.x"]),
        ("a.b+(c)", ["a.b+(c)"], ["axb+(c)"]),
        ("part-{0..2}", ["part-0..2"], ["part-1"]),
    ],
)
def test_globs(glob: str, matching: list[str], other: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert all(pattern.fullmatch(name) for name in matching)
    assert not any(pattern.fullmatch(name) for name in other)


@given(st.binary(max_size=3000), st.integers(1, 700), st.sampled_from(["\r\n", "\n"]))
def test_multipart_bodies_in_any_pieces(data: bytes, size: int, newline: str) -> None:
    boundary = "==0123456789=="
    if boundary.encode() in data:
        return
    head = newline.join(
        [
            f"--{boundary}",
            "content-type: application/json",
            "",
            '{"name": "x"}',
            f"--{boundary}",
            "Content-Type: a/b",
        ]
    )
    body = (head + newline * 2).encode() + data + f"{newline}--{boundary}--{newline}".encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    async def read() -> tuple[bytes, str | None, bytes]:
        related = Related(f"multipart/related; boundary={boundary}", pieces())
        metadata, content_type = await related.open()
        return metadata, content_type, b"".join([piece async for piece in related.data()])

    assert asyncio.run(read()) == (b'{"name": "x"}', "a/b", data)


@pytest.mark.parametrize("body", [b"", b"--b\r\n", b"--b\r\n\r\n{}\r\n--b--", b"--b\r\n\r\n{}\r\n--b\r\n\r\nno end"])
def test_multipart_bodies_that_cannot_be(body: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async def read() -> None:
        related = Related("multipart/related; boundary=b", pieces())
        await related.open()
        async for _ in related.data():
            pass

    with pytest.raises(StorageError, match="multipart body cannot be read"):
        asyncio.run(read())


def test_entity_tags_are_those_of_google() -> None:
    assert etag(0, 1) == "EAE="
    assert etag(1, 1) == "CAEQAQ=="
    assert etag(300, 2) == "CKwCEAI="


def test_merge_patches() -> None:
    old = {"a": {"b": "1", "c": "2"}, "d": [1]}
    assert merge(old, {"a": {"b": None, "e": "3"}, "d": [2], "f": None}) == {
        "a": {"c": "2", "e": "3"},
        "d": [2],
    }
