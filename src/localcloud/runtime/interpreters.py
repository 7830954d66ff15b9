"""Which Python interpreters this machine has, and which of them stands in for `python:3.x`.

Nothing is ever downloaded: the nearest version is taken and the build log says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

MINORS = range(9, 16)


@cache
def interpreter(minor: int | None) -> tuple[Path, tuple[int, int, int]]:
    """The interpreter nearest to Python 3.`minor`, newer before older; None takes the server's own.

    Returns:
        Its path and its version.
    """
    own = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    version = (sys.version_info.major, sys.version_info.minor, sys.version_info.micro)
    if minor is None or minor == version[1]:
        return own, version
    for candidate in sorted(MINORS, key=lambda known: (abs(known - minor), -known)):
        if candidate == version[1]:
            return own, version
        for path in places(candidate):
            found = ask(path)
            if found is not None and found[1] == candidate:
                return path, found
    return own, version


def places(minor: int) -> Iterator[Path]:
    """Where interpreters of one version usually are: the path, pyenv, uv."""
    name = f"python3.{minor}"
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    if found := shutil.which(name):
        yield Path(found)
    for folder, pattern in ((pyenv, f"3.{minor}.*"), (managed, f"cpython-3.{minor}.*")):
        for version in sorted(folder.glob(pattern), key=numbers, reverse=True):
            if (version / "bin" / name).exists():
                yield version / "bin" / name
    for folder in (Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin")):
        if (folder / name).exists():
            yield folder / name


def numbers(path: Path) -> list[int]:
    """The numbers in a folder's name, for sorting versions."""
    return [int(number) for number in re.findall(r"\d+", path.name)]


def ask(path: Path) -> tuple[int, int, int] | None:
    """An interpreter's version, or None if it does not run (a shim without a version behind it)."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", "import sys; print(*sys.version_info[:3])"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor, micro = answer.split()
    return int(major), int(minor), int(micro)
