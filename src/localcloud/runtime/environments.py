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
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from localcloud.runtime.dockerfile import Instruction
from localcloud.runtime.installs import Install
from localcloud.runtime.interpreters import interpreter
from localcloud.runtime.spec import BuildFailed
from localcloud.runtime.trees import digest, link_tree, remove

Log = Callable[[str], None]
COMPLETE = ".complete"
INSTALL_TIMEOUT = 3600


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

    def base(self, minor: int | None, log: Log) -> Environment:
        """An environment with nothing but pip, of Python 3.`minor` or the nearest on this machine."""
        path, version = interpreter(minor)
        if minor is not None and version[1] != minor:
            log(
                f"WARNING: this machine has no Python 3.{minor}; "
                f"Python {'.'.join(map(str, version))} stands in for it ({path})"
            )
        key = hashlib.sha256(f"base {path} {version}".encode()).hexdigest()[:24]

        def make(target: Path) -> None:
            self._uv(["venv", "--quiet", "--seed", "--python", str(path), str(target)], Path("/"), log, None)

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
            named.append(digest(path))
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
            code, said = self._run_uv([*arguments, "--offline"], folder, files)
        if code != 0:
            code, said = self._run_uv(arguments, folder, files, log)
        else:
            for told in said:
                log(told)
        if code != 0:
            reason = "\n".join(said[-30:])
            if made is None or made.line == 0:
                raise BuildFailed(f"the environment could not be made:\n{reason}")
            raise made.error(f"the packages could not be installed:\n{reason}")

    def _run_uv(
        self, arguments: list[str], folder: Path, files: Path | None, log: Log = lambda _: None
    ) -> tuple[int, list[str]]:
        """One run of uv: its exit code and its words, which `log` is told as they come."""
        process = subprocess.Popen(
            [uv.find_uv_bin(), *arguments, "--no-python-downloads", "--no-progress", "--color=never"],
            cwd=folder,
            env=installer_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                told = line.rstrip()
                if told.startswith("Using Python"):
                    continue  # names a folder of this machine, which is no help
                if files is not None:
                    told = told.replace(str(files), "")
                said.append(told)
                log(told)
            code = process.wait(INSTALL_TIMEOUT)
        return code, said


def installer_environment() -> dict[str, str]:
    """The user's variables, for registries, proxies and trust; pip's index settings serve uv too."""
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    for pip, own in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if env.get(pip):
            env.setdefault(own, env[pip])
    env.setdefault("UV_HTTP_RETRIES", "6")
    return env


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
    """Holds a lock that other processes honour."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
