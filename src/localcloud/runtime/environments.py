"""Python environments by content: made by uv, shared by all images that install the same.

An environment in place is only ever read: containers put a thin one of their own before it (`thin`), so that
a `pip install` at start changes nothing for others.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.runtime.dockerfile import Instruction
from localcloud.runtime.installer import Log, run_uv
from localcloud.runtime.installs import Install
from localcloud.runtime.interpreters import interpreter
from localcloud.runtime.spec import BuildFailed
from localcloud.runtime.stopping import acquire
from localcloud.runtime.trees import built, digest, link_tree, remove

COMPLETE = ".complete"


@dataclass(frozen=True)
class Environment:
    """An environment in place."""

    path: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return next((self.path / "lib").glob("python3.*")) / "site-packages"


class Environments:
    """The environments below one folder; safe between threads and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def at(self, python: str) -> Environment:
        """The environment that an image names by its interpreter."""
        return Environment(Path(python).parent.parent)

    def base(self, minor: int | None, remark: Log) -> Environment:
        """An environment with nothing but pip, of Python 3.`minor` or the nearest on this machine.

        Args:
            minor: None takes any.
            remark: Told if another version stands in.
        """
        path, version = interpreter(minor)
        if minor is not None and version[1] != minor:
            remark(
                f"this machine has no Python 3.{minor}; Python {'.'.join(map(str, version))} stands in for it ({path})"
            )
        key = hashlib.sha256(f"base {path} {version}".encode()).hexdigest()[:24]

        def make(target: Path) -> None:
            self._uv(["venv", "--quiet", "--seed", "--python", str(path), str(target)], Path("/"), lambda _: None, None)

        return self._made(key, make)

    def derive(self, base: Environment, installs: Sequence[Install], files: Path, log: Log) -> Environment:
        """An environment with more installed than another has.

        Args:
            base: What to start from; it stays as it is.
            installs: In order.
            files: The image's files as they were when the installs were to run.
            log: Receives the installer's words.
        """
        if not installs:
            return base
        key = base.path.name
        for install in installs:
            key = hashlib.sha256(f"{key} {self._content(install, files)}".encode()).hexdigest()[:24]

        def make(target: Path) -> None:
            clone(base.path, target)
            for install in installs:
                self._install(target, install, files, log)
            share_bytecode([path for path in self.root.iterdir() if (path / COMPLETE).exists()], target)

        return self._made(key, make)

    def prune(self, used: set[str]) -> None:
        """Removes the environments whose interpreter no image names."""
        for path in self.root.iterdir():
            if path.suffix == ".lock":
                path.unlink()
            elif path.is_dir() and str(path / "bin" / "python") not in used:
                remove(path)

    def _made(self, key: str, make: Callable[[Path], None]) -> Environment:
        """The environment of a key, made now if it is not there, in its place: scripts hold its path."""
        target = self.root / key
        if not (target / COMPLETE).exists():
            with locked(self.root / f"{key}.lock"):
                if not (target / COMPLETE).exists():
                    remove(target)
                    try:
                        make(target)
                    except BaseException:
                        remove(target)
                        raise
                    (target / COMPLETE).touch()
        return Environment(target)

    def _install(self, target: Path, install: Install, files: Path, log: Log) -> None:
        """Runs one install in an environment that is being made."""
        arguments = list(install.arguments)
        for index in install.paths:
            arguments[index] = str(real_path(files, install.workdir, arguments[index]))
        command = ["pip", "install", "--python", str(target / "bin" / "python"), *arguments]
        folder = files / install.workdir.lstrip("/")
        self._uv(command, folder if folder.is_dir() else files, log, install.made, files)

    def _content(self, install: Install, files: Path) -> str:
        """What an install depends on: its arguments and the content of the files they name."""
        named = []
        for index in install.paths:
            path = real_path(files, install.workdir, install.arguments[index])
            if not path.exists():
                raise install.made.error(f"{install.arguments[index]}: no such file in the image at this point")
            named.append(digest(path, built))
            if path.is_file() and nested(path):
                named.append(digest(files))
        return json.dumps([install.arguments, named])

    def _uv(
        self,
        arguments: list[str],
        folder: Path,
        log: Log,
        made: Instruction | None,
        files: Path | None = None,
    ) -> None:
        """Runs uv and passes its words on.

        Raises:
            BuildFailed: With the last of them.
        """
        code, said = 1, [""]
        if "--require-hashes" in arguments:
            # what a lock names is what the cache holds: with all of it there, no registry has to be up
            code, said = run_uv([*arguments, "--offline"], folder, files)
        if code != 0:
            code, said = run_uv(arguments, folder, files, log)
        else:
            for told in said:
                log(told)
        if code != 0:
            reason = "\n".join(said[-30:])
            if made is None or made.line == 0:
                raise BuildFailed(f"the environment could not be made:\n{reason}")
            raise made.error(f"the packages could not be installed:\n{reason}")


def real_path(files: Path, workdir: str, path: str) -> Path:
    """Where a file of the image is on this machine; extras in brackets stay."""
    plain = path.removeprefix("file://")
    return files / os.path.normpath(os.path.join("/", workdir, plain)).lstrip("/")


def nested(requirements: Path) -> bool:
    """Whether a requirements file depends on further files of the image."""
    with contextlib.suppress(UnicodeDecodeError):
        return bool(
            re.search(r"^\s*(-[rce]|--(requirement|constraint|editable)|\.|/|file:)", requirements.read_text(), re.M)
        )
    return False


def clone(source: Path, target: Path) -> None:
    """Copies an environment by hard links; what holds its path is written anew."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name == "bin":
            copy_scripts(entry, target / "bin", source, target)
        elif entry.is_symlink():
            (target / entry.name).symlink_to(os.readlink(entry))
        elif entry.is_dir():
            link_tree(entry, target / entry.name)
        elif entry.name != COMPLETE:
            shutil.copy2(entry, target / entry.name)


def share_bytecode(others: Sequence[Path], target: Path) -> None:
    """Gives an environment the bytecode that others have compiled of the very same files.

    uv links files from its cache, so equal packages are equal inodes. Compiling scikit-learn and pandas anew takes
    each new environment some seconds at its first import.
    """
    known: dict[tuple[int, str], str] = {}
    for other in others:
        for folder, _, names in os.walk(other / "lib"):
            if not folder.endswith("__pycache__"):
                continue
            for name in names:
                source = os.path.join(os.path.dirname(folder), name.partition(".")[0] + ".py")
                with contextlib.suppress(OSError):
                    known[os.stat(source).st_ino, name] = os.path.join(folder, name)
    tags = {name.partition(".")[2] for _, name in known}
    for folder, _, names in os.walk(target / "lib"):
        for name in names:
            if not name.endswith(".py") or (found := os.stat(os.path.join(folder, name))).st_nlink < 2:
                continue
            for tag in tags:
                compiled = known.get((found.st_ino, f"{name[:-3]}.{tag}"))
                if compiled is not None:
                    cache = os.path.join(folder, "__pycache__")
                    os.makedirs(cache, exist_ok=True)
                    with contextlib.suppress(OSError):
                        os.link(compiled, os.path.join(cache, os.path.basename(compiled)))


def copy_scripts(source: Path, target: Path, old: Path, new: Path) -> None:
    """Copies a bin folder; scripts for the old environment's interpreter become the new one's."""
    target.mkdir(parents=True, exist_ok=True)
    for script in source.iterdir():
        made = target / script.name
        if script.is_symlink():
            made.symlink_to(os.readlink(script))
            continue
        content = script.read_bytes()
        made.write_bytes(content.replace(os.fsencode(old), os.fsencode(new)) if len(content) < 100_000 else content)
        made.chmod(script.stat().st_mode)


def thin(environment: Environment, target: Path) -> None:
    """Makes an environment that has all that another has and can be installed into, in a few milliseconds."""
    site = environment.site_packages
    own = target / site.relative_to(environment.path)
    own.mkdir(parents=True)
    shutil.copy2(environment.path / "pyvenv.cfg", target / "pyvenv.cfg")
    copy_scripts(environment.path / "bin", target / "bin", environment.path, target)
    (own / "_image.pth").write_text(f"import site; site.addsitedir({str(site)!r})\n")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock that other processes honour.

    Raises:
        Stopped: Nobody wants any longer what it was to be held for.
    """
    with path.open("w") as file:

        def take() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        acquire(take)
        yield
