"""Carries a Dockerfile out without a container engine: files into a tree, installs into an environment.

The instructions that make sense without one are known; any other is refused by name and line. Names of
images and what is kept on disk are `images`' business.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.runtime import bases
from localcloud.runtime.bases import DEFAULT_PATH
from localcloud.runtime.dockerfile import Ignore, Instruction, expand, glob_regex, pairs, parse, words
from localcloud.runtime.environments import Environment, Environments
from localcloud.runtime.installer import Log
from localcloud.runtime.installs import Install, join, read_run
from localcloud.runtime.spec import BuildFailed, Image
from localcloud.runtime.trees import digest, link_or_copy, link_tree

REFUSED = {
    "SHELL": "commands of the shell form run under /bin/sh",
    "HEALTHCHECK": "Vertex AI and Cloud Run probe by their own settings",
    "VOLUME": "write below /tmp or the working directory; both are the container's own",
    "ONBUILD": "write the instruction where it is to be carried out",
    "STOPSIGNAL": "containers are stopped by SIGTERM",
    "MAINTAINER": "write LABEL maintainer=…",
}


@dataclass
class State:
    """The image as it is after some instructions."""

    environment: Environment
    env: dict[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH})
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ("python3",)
    ports: tuple[int, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    remarks: tuple[str, ...] = ()


class Build:
    """One build.

    Args:
        context: The folder COPY reads from.
        dockerfile: The Dockerfile, if it is a file.
        files: An empty folder for the image's files.
        environments: Where environments come from.
        resolve: Finds the image of a FROM.
        build_args: Values for ARG.
        log: Receives each line of output.
    """

    def __init__(
        self,
        context: Path,
        dockerfile: Path | None,
        files: Path,
        environments: Environments,
        resolve: Callable[[str], Image],
        build_args: Mapping[str, str],
        log: Log,
    ) -> None:
        self.context = Path(os.path.realpath(context))
        self.files = files
        self.environments = environments
        self.resolve = resolve
        self.build_args = dict(build_args)
        self.log = log
        self.ignored = Ignore.of(self.context, dockerfile)
        self.arguments: dict[str, str] = {}
        self.state: State | None = None
        self.installs: list[Install] = []

    def run(self, text: str) -> State:
        """Carries out the instructions of a Dockerfile.

        Raises:
            BuildFailed: With the line and what to do.
        """
        instructions = parse(text)
        if not any(made.name == "FROM" for made in instructions):
            raise BuildFailed("the Dockerfile has no FROM: begin it with FROM python:3.11-slim")
        for number, made in enumerate(instructions, 1):
            self.log(f"Step {number}/{len(instructions)} : {made.name} {made.text}")
            if made.name in REFUSED:
                raise made.error(f"this instruction is not carried out; {REFUSED[made.name]}")
            if self.state is None and made.name not in ("FROM", "ARG"):
                raise made.error("FROM must come before it")
            method = getattr(self, f"do_{made.name.lower()}", None)
            if method is None:
                raise made.error("there is no such instruction")
            method(made)
        state = self.current
        self.flush()
        unknown = set(self.build_args) - set(self.arguments)
        if unknown:
            self.log(f"WARNING: build arguments that no ARG names: {', '.join(sorted(unknown))}")
        return state

    @property
    def current(self) -> State:
        """The state, which FROM has made."""
        assert self.state is not None
        return self.state

    @property
    def variables(self) -> dict[str, str]:
        """What `$NAME` stands for: ARGs, and ENV before them."""
        return {**self.arguments, **(self.state.env if self.state else {})}

    def flush(self) -> None:
        """Carries out the installs that wait. They wait so that one environment is made for all of them."""
        if self.installs:
            self.log(f"Environment: {len(self.installs)} install(s)")
            state = self.current
            state.environment = self.environments.derive(state.environment, self.installs, self.files, self.log)
            self.installs = []

    def do_from(self, made: Instruction) -> None:
        """FROM python:3.x, an operating system, an image of the registry, or a public image we know."""
        if self.state is not None:
            raise made.error("builds of several stages are not carried out; use --runtime docker or podman")
        split = words(expand(made.text, self.arguments))
        if not split or (len(split) > 1 and (len(split) != 3 or split[1].upper() != "AS")):
            raise made.error("write FROM IMAGE")
        if (base := bases.find(split[0])) is not None:
            remarks = [base.remark] if base.remark else []
            environment = self.environments.base(base.minor, remarks.append)
            for remark in remarks:
                self.log(f"WARNING: {remark}")
            for path, text in base.programs.items():
                program = self.inside(path)
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_text(text)
                program.chmod(0o755)
            self.state = State(environment, {"PATH": base.path}, cmd=base.command, remarks=tuple(remarks))
            return
        if split[0] == "scratch":
            raise made.error("scratch has no Python; use python:3.11-slim")
        image = self.resolve(split[0])
        if image.tree:
            link_tree(Path(image.tree), self.files)
        self.state = State(
            self.environments.at(image.python),
            dict(image.env),
            image.workdir,
            image.entrypoint,
            image.cmd,
            image.ports,
            dict(image.labels),
            image.user,
            image.remarks,
        )

    def do_arg(self, made: Instruction) -> None:
        """A build argument; before FROM too."""
        for word in words(made.text):
            name, equals, default = word.partition("=")
            if name in self.build_args:
                self.arguments[name] = self.build_args[name]
            elif equals:
                self.arguments[name] = expand(default, self.variables)
            else:
                self.arguments.setdefault(name, "")

    def do_env(self, made: Instruction) -> None:
        """Variables of the container."""
        self.current.env.update(pairs(made, expand(made.text, self.variables)))

    def do_label(self, made: Instruction) -> None:
        """Labels of the image."""
        self.current.labels.update(pairs(made, expand(made.text, self.variables)))

    def do_workdir(self, made: Instruction) -> None:
        """The working directory, made if it is not there."""
        self.current.workdir = join(self.current.workdir, expand(made.text, self.variables))
        self.inside(self.current.workdir).mkdir(parents=True, exist_ok=True)

    def do_user(self, made: Instruction) -> None:
        """The user, noted."""
        self.current.user = expand(made.text, self.variables)
        self.log(f"  noted: processes run as the user who started the server, not as {self.current.user}")

    def do_expose(self, made: Instruction) -> None:
        """Ports, noted."""
        for word in words(expand(made.text, self.variables)):
            port, _, protocol = word.partition("/")
            if not port.isdigit() or protocol not in ("", "tcp"):
                raise made.error(f"{word!r} is no TCP port")
            self.current.ports = (*self.current.ports, int(port))

    def do_entrypoint(self, made: Instruction) -> None:
        """The command; CMD of the image below it does not belong to it."""
        exec_form = made.exec_form()
        self.current.entrypoint = ("/bin/sh", "-c", made.text) if exec_form is None else tuple(exec_form)
        self.current.cmd = ()

    def do_cmd(self, made: Instruction) -> None:
        """The arguments, or the command where there is no ENTRYPOINT."""
        exec_form = made.exec_form()
        self.current.cmd = ("/bin/sh", "-c", made.text) if exec_form is None else tuple(exec_form)

    def do_run(self, made: Instruction) -> None:
        """Installs and small changes to the image's files."""
        plan = read_run(made, self.variables, self.current.workdir)
        for note in plan.notes:
            self.log(f"  {note}")
        for folder in plan.folders:
            self.inside(folder).mkdir(parents=True, exist_ok=True)
        for path in plan.removed:
            for found in self.glob(path):
                shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
        for mode, path in plan.modes:
            for found in self.glob(path):
                self.own(found).chmod(mode)
        self.installs += plan.installs
        if any(install.paths for install in plan.installs):
            # Files that an install reads may be others after the next COPY.
            self.flush()

    def do_copy(self, made: Instruction) -> None:
        """Files of the context into the image."""
        if "from" in made.flags:
            raise made.error(f"--from={made.flags['from']} is not carried out; use --runtime docker or podman")
        if "chown" in made.flags:
            self.log("  passed over: --chown (files belong to the user who started the server)")
        *sources, target = self.operands(made)
        found = [path for source in sources for path in self.sources(made, source)]
        folder = target.endswith("/") or target in (".", "..") or len(found) > 1
        place = join(self.current.workdir, target)
        for path in found:
            if path.is_dir() and not path.is_symlink():
                self.copy_folder(path, place, made)
            else:
                into = folder or self.inside(place).is_dir()
                self.copy_file(path, join(place, path.name) if into else place, made)

    def do_add(self, made: Instruction) -> None:
        """COPY, and local archives unpacked."""
        *sources, target = self.operands(made)
        for source in sources:
            if "://" in source or source.startswith("git@"):
                raise made.error(f"{source}: nothing is downloaded in a build; COPY a file of the context")
            for path in self.sources(made, source):
                if path.is_file() and tarfile.is_tarfile(path):
                    place = self.inside(join(self.current.workdir, target))
                    place.mkdir(parents=True, exist_ok=True)
                    with tarfile.open(path) as archive:
                        archive.extractall(place, filter="data")
                else:
                    text = json.dumps([path.relative_to(self.context).as_posix(), target])
                    self.do_copy(dataclasses.replace(made, text=text))

    def operands(self, made: Instruction) -> list[str]:
        """Sources and the target."""
        split = made.exec_form() or words(expand(made.text, self.variables))
        if len(split) < 2:
            raise made.error("write SOURCE… TARGET")
        return split

    def sources(self, made: Instruction, pattern: str) -> list[Path]:
        """The files and folders of the context that a source names."""
        plain = os.path.normpath(pattern.lstrip("/") or ".")
        if plain == ".." or plain.startswith("../"):
            raise made.error(f"{pattern} lies outside the build context {self.context.name}/")
        if plain == ".":
            return [self.context]
        exact = self.context / plain
        if not any(char in plain for char in "*?["):
            if not os.path.lexists(exact) or self.ignored(plain):
                why = "it is excluded by .dockerignore" if os.path.lexists(exact) else "no such file"
                raise made.error(f"{pattern} is not in the build context {self.context.name}/: {why}")
            if not Path(os.path.realpath(exact.parent)).is_relative_to(self.context):
                raise made.error(f"{pattern} leads outside the build context {self.context.name}/")
            return [exact]
        regex = re.compile(glob_regex(plain))
        depth = plain.count("/")
        found = [
            path
            for path in sorted(self.context.glob("/".join(["*"] * (depth + 1))))
            if regex.fullmatch(path.relative_to(self.context).as_posix())
            and not self.ignored(path.relative_to(self.context).as_posix())
        ]
        if not found:
            raise made.error(f"{pattern} matches nothing in the build context {self.context.name}/")
        return found

    def copy_folder(self, source: Path, place: str, made: Instruction) -> None:
        """The contents of a folder, without what .dockerignore leaves out."""
        self.inside(place).mkdir(parents=True, exist_ok=True)
        for entry in sorted(source.iterdir()):
            inner = join(place, entry.name)
            relative = entry.relative_to(self.context).as_posix()
            if entry.is_dir() and not entry.is_symlink():
                if self.ignored(relative) and not any(not drop for _, drop in self.ignored.rules):
                    continue
                self.copy_folder(entry, inner, made)
                if self.ignored(relative) and not any(self.inside(inner).iterdir()):
                    self.inside(inner).rmdir()
            elif not self.ignored(relative):
                self.copy_file(entry, inner, made)

    def copy_file(self, source: Path, place: str, made: Instruction) -> None:
        """One file, or a link as a link."""
        target = self.inside(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            target.unlink()
        shutil.copy2(source, target, follow_symlinks=False)
        if "chmod" in made.flags and not target.is_symlink():
            target.chmod(int(made.flags["chmod"], 8))

    def inside(self, path: str) -> Path:
        """Where an image path is on this machine; links of the image cannot lead out of it."""
        real = self.files / path.lstrip("/")
        parent = real
        while not parent.exists():
            parent = parent.parent
        if not Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(self.files)):
            raise BuildFailed(f"{path} leads outside the image")
        return real

    def glob(self, path: str) -> list[Path]:
        """The files of the image that a shell pattern names; none is no error."""
        relative = path.lstrip("/")
        return [self.inside(str(p.relative_to(self.files))) for p in self.files.glob(relative)] if relative else []

    def own(self, path: Path) -> Path:
        """Makes a file this image's own, where it shares it with the image below."""
        if path.is_file() and path.stat().st_nlink > 1:
            content = path.with_name(path.name + ".own")
            shutil.copy2(path, content)
            content.replace(path)
        return path


def image_of(state: State, uri: str, tree: Path, now: float) -> Image:
    """The image of a finished build; its digest is over everything but its name and age."""
    image = Image(
        uri=uri,
        digest="",
        python=str(state.environment.python),
        tree=str(tree),
        env=state.env,
        workdir=state.workdir,
        entrypoint=state.entrypoint,
        cmd=state.cmd,
        ports=state.ports,
        labels=state.labels,
        user=state.user,
        remarks=state.remarks,
        created=now,
    )
    return dataclasses.replace(image, digest=digest_of(image))


def digest_of(image: Image) -> str:
    """`sha256:…` of what an image is."""
    fields = dataclasses.asdict(image)
    for name in ("uri", "digest", "created", "remarks"):
        del fields[name]
    fields["tree"] = Path(image.tree).name
    fields["python"] = Path(image.python).parent.parent.name
    return "sha256:" + hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


__all__ = ["Build", "State", "digest", "digest_of", "image_of", "link_or_copy"]
