"""Dockerfiles as text: lines, variables, words, ignore patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.runtime import BuildFailed
from localcloud.runtime.dockerfile import Ignore, expand, glob_regex, parse, words
from localcloud.runtime.installs import read_run


def test_continuation_lines_comments_and_directives() -> None:
    made = parse("# syntax=docker/dockerfile:1\nFROM python:3.11\n\n# a word\nRUN pip install \\\n  # inner\n  six\n")
    assert [(i.name, i.text, i.line) for i in made] == [
        ("FROM", "python:3.11", 2),
        ("RUN", "pip install six", 5),
    ]


def test_flags_are_apart_from_the_text() -> None:
    made = parse("COPY --chown=me:me --link a b")[0]
    assert (made.flags, made.text) == ({"chown": "me:me", "link": ""}, "a b")


def test_a_here_document_is_refused_with_its_line() -> None:
    with pytest.raises(BuildFailed, match=r"line 2: RUN: here-documents"):
        parse("FROM x\nRUN <<EOF\necho\nEOF\n")


def test_what_is_no_instruction_is_an_error() -> None:
    with pytest.raises(BuildFailed, match="line 2"):
        parse("FROM x\n{}\n")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$A-${A}", "1-1"),
        ("${B:-two}${A:+three}${B:+four}", "twothree"),
        (r"\$A $B.", "$A ."),
        ("${B:-$A}", "1"),
    ],
)
def test_variables(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


@given(st.lists(st.text(min_size=1), max_size=5))
def test_words_undo_quoting(given_words: list[str]) -> None:
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in given_words)
    assert words(quoted) == given_words


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "b/a.py", False),
        ("**/*.py", "b/c/a.py", True),
        ("**/*.py", "a.py", True),
        ("a?[0-9].txt", "ab7.txt", True),
        ("a.b", "aXb", False),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    import re

    assert bool(re.fullmatch(glob_regex(pattern), path)) is matches


def test_the_last_ignore_pattern_decides() -> None:
    ignored = Ignore(["# comment", "data", "!data/keep.csv", "*.tmp"])
    assert [ignored(p) for p in ("data/x", "data/keep.csv", "a.tmp", "b/a.tmp", "main.py")] == [
        True,
        False,
        True,
        False,
        False,
    ]


def plan(text: str) -> list[tuple[str, ...]]:
    return [install.arguments for install in read_run(parse(f"RUN {text}")[0], {"V": "1.16"}, "/app").installs]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("pip install --no-cache-dir -r requirements.txt", ("--requirement", "requirements.txt")),
        ("python -m pip install -q --upgrade pip six==$V", ("--upgrade", "pip", "six==1.16")),
        (
            "uv pip install --system --no-deps --require-hashes -r r.txt",
            ("--no-deps", "--require-hashes", "--requirement", "r.txt"),
        ),
        ("pip3 install -e . --root-user-action=ignore", (".",)),
        ("pip install 'kfp>=2,<3' && rm -rf /root/.cache", ("kfp>=2,<3",)),
        ("set -eux; pip install --index-url=https://i/simple six", ("--index-url", "https://i/simple", "six")),
        (
            "pip install --trusted-host http://i:80/simple --trusted-host i six",
            ("--allow-insecure-host", "i:80", "--allow-insecure-host", "i", "six"),
        ),
    ],
)
def test_pip_in_uv_words(command: str, arguments: tuple[str, ...]) -> None:
    assert plan(command) == [arguments]


@pytest.mark.parametrize(
    ("requirement", "of_the_image"),
    [
        (".", True),
        ("./own[extra]", True),
        ("own-1.tar.gz", True),
        ("file:///src/own", True),
        ("own", False),
        ("https://host/own-1.tar.gz", False),
        ("own @ https://host/own-1.tar.gz", False),
        ("git+https://host/own.git@main", False),
    ],
)
def test_which_requirements_are_files_of_the_image(requirement: str, of_the_image: bool) -> None:
    (install,) = read_run(parse(f"RUN pip install '{requirement}'")[0], {}, "/app").installs
    assert install.paths == ([0] if of_the_image else [])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("apt-get update && apt-get install -y libgomp1", "apt-get installs system packages"),
        ("curl https://example.com", "`curl https://example.com` is not carried out"),
        ("pip install six | tee log", r"`\|` is not carried out"),
        ("pip install --target /x six", "--target: this option"),
        ("pip uninstall six", "pip uninstall is not carried out"),
        ("pip install", "nothing to install"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(command: str, message: str) -> None:
    with pytest.raises(BuildFailed, match=f"line 1: RUN: .*{message}"):
        plan(command)
