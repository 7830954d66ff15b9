"""Containers as processes of this machine: what each is given of the file system and of variables.

Following a container is `containers`' business; the mounts are made by `supervisor/`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from localcloud.logs import Logs
from localcloud.runtime.containers import (
    PrivateMountsForbidden,
    Running,
    SupervisedContainer,
    arguments,
    end_marked,
    log_stream,
    note_to,
)
from localcloud.runtime.environments import thin
from localcloud.runtime.images import Images
from localcloud.runtime.spec import ContainerSpec, Image, StartFailed
from localcloud.runtime.trees import copy_tree

LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
MERGED = {
    "/", "/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/home", "/root", "/mnt", "/media",
    "/opt", "/run", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib",
    "/usr/local/share", "/usr/local/etc", "/usr/sbin", "/usr/share", "/usr/src", "/var", "/var/lib",
    "/var/log", "/var/tmp",
}  # fmt: skip
"""Folders that an image shares with the machine below it; any other of its folders hides the machine's."""


class Processes:
    """Starts containers as processes; see `Runtime`."""

    def __init__(
        self,
        root: Path,
        images: Images,
        logs: Logs,
        environment: Callable[[], dict[str, str]],
        buckets: Path,
    ) -> None:
        self.root = root.resolve()
        self.images = images
        self.logs = logs
        self.environment = environment
        self.buckets = buckets.resolve()
        self.scratch = self.root / "containers"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.private_mounts = sys.platform == "linux"
        self.running = Running()
        sweep(self.scratch)

    def start(self, spec: ContainerSpec) -> SupervisedContainer:
        """See `Runtime.start`."""
        stream = log_stream(self.logs, spec)
        say = note_to(stream, spec)
        image = self.images.resolve(spec.image, say) if isinstance(spec.image, str) else spec.image
        for remark in image.remarks:
            say(remark)
        while True:
            scratch = self.scratch / uuid.uuid4().hex
            config, notes = self.prepare(spec, image, scratch)
            for text in notes:
                say(text)
            container = SupervisedContainer(spec, config, stream, self.logs, self.running.discard)
            self.running.add(container)
            try:
                container.begin()
            except PrivateMountsForbidden as error:
                if not self.private_mounts:
                    raise StartFailed(str(error)) from None
                self.private_mounts = False
                continue
            return container

    def close(self, grace: float) -> None:
        """See `Runtime.close`."""
        self.running.stop(grace)

    def prepare(self, spec: ContainerSpec, image: Image, scratch: Path) -> tuple[dict[str, Any], list[str]]:
        """Makes a container's scratch folder and says what the supervisor is to run."""
        for name in ("home", "tmp"):
            (scratch / name).mkdir(parents=True)
        tree, venv = scratch / "root", scratch / "venv"
        copy_tree(Path(image.tree), tree) if image.tree else tree.mkdir()
        environment = self.images.environments.at(image.python)
        thin(environment, venv)
        own = self.environment()
        workdir = spec.workdir or image.workdir
        argv = arguments(spec, image)
        env = {name: os.environ[name] for name in LOCALE if name in os.environ}
        env.update(image.env)
        # Output that waits in a buffer is of no use in a log that is read live.
        env.setdefault("PYTHONUNBUFFERED", "1")
        env["HOME"] = str(scratch / "home")
        env.update(own)
        env.update(spec.env)
        env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
        env["LOCALCLOUD_CONTAINER"] = str(scratch)
        mounts = {path: folder.resolve() for path, folder in spec.mounts.items()}
        notes: list[str] = []
        plan: list[list[object]] | None = None
        if self.private_mounts:
            env.setdefault("TMPDIR", "/tmp")
            if not covered(workdir, mounts) and not os.path.isdir(workdir):
                (tree / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
            plan = [["/tmp", str(scratch / "tmp"), True]]
            plan += [[path, str(tree) + path, True] for path in grafts(tree)]
            plan += [["/gcs", str(self.buckets), False]]
            plan += [[path, str(folder), False] for path, folder in mounts.items()]
            interpreter = Path(os.path.realpath(environment.python))
            needed = [self.root, self.buckets, interpreter.parent.parent, *paths_in(own.values())]
            plan += [[str(path), str(path), False] for path in needed]
        else:
            env.setdefault("TMPDIR", str(scratch / "tmp"))
            view = View(tree, {"/gcs": self.buckets, **mounts})
            real = view.translate(workdir)
            if real == workdir and not os.path.isdir(workdir):
                (tree / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
                real = view.translate(workdir)
            argv = [view.translate(word) for word in argv]
            env = {name: value if name in own else view.translate(value) for name, value in env.items()}
            if view.used_buckets:
                notes.append(
                    "this machine allows no private mounts: arguments and variables that name /gcs/… point "
                    f"to {self.buckets}/…; a /gcs/ path inside the code is not found"
                )
            workdir = real
        argv[0] = command_path(argv[0], venv / "bin")
        config = {
            "argv": argv,
            "env": env,
            "cwd": workdir,
            "scratch": str(scratch),
            "plan": plan,
            "memory": spec.memory_bytes or 0,
            "oom_question": None,
            "on_end": None,
        }
        return config, notes


class View:
    """Where mounts are forbidden: image paths in arguments and variables become those of this machine."""

    def __init__(self, tree: Path, mounts: Mapping[str, Path]) -> None:
        self.tree = tree
        self.mounts = dict(sorted(mounts.items(), key=lambda item: -len(item[0])))
        self.used_buckets = False

    def translate(self, text: str) -> str:
        """A word with every part that is an image path replaced; parts are divided by `=`, `:` and `,`."""
        return re.sub(r"(?<![^=:,\s'\"])/(?!/)[^=:,\s'\"]*", lambda found: self.path(found[0]), text)

    def path(self, path: str) -> str:
        """One absolute path."""
        for mount, folder in self.mounts.items():
            if covered(path, {mount: folder}):
                if mount == "/gcs" and os.path.realpath("/gcs") == str(folder):
                    return path
                self.used_buckets |= mount == "/gcs"
                return str(folder) + path[len(mount) :]
        inside = self.tree / path.lstrip("/")
        return str(inside) if path.strip("/") and path not in MERGED and os.path.lexists(inside) else path


def command_path(command: str, scripts: Path) -> str:
    """The environment's own program, where an image would have it elsewhere (`/usr/local/bin/python`)."""
    folder, _, name = command.rpartition("/")
    own = scripts / name
    if folder in ("/usr/local/bin", "/usr/bin", "/opt/conda/bin", "/opt/venv/bin") and own.exists():
        return str(own)
    return command


def grafts(tree: Path, place: str = "/") -> list[str]:
    """The highest image paths that are not shared with the machine."""
    found = []
    for entry in sorted((tree / place.lstrip("/")).iterdir()):
        path = f"{place.rstrip('/')}/{entry.name}"
        if path in MERGED and entry.is_dir() and not entry.is_symlink():
            found += grafts(tree, path)
        else:
            found.append(path)
    return found


def covered(path: str, mounts: Mapping[str, Path]) -> bool:
    """Whether a path is a mount or below one."""
    return any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in mounts)


def paths_in(values: Iterable[str]) -> list[Path]:
    """The files and folders that variables name."""
    found = (Path(part) for value in values for part in value.split(os.pathsep) if part.startswith("/"))
    return [path for path in found if path.exists()]


def sweep(scratch: Path) -> None:
    """Ends and removes what containers of an earlier server left, should a supervisor have been killed."""
    end_marked(str(scratch))
    for path in scratch.iterdir():
        shutil.rmtree(path, ignore_errors=True)
