"""RUN lines read as what they do: packages to install, folders to make, things that have no meaning here.

Nothing is run. `build` keeps the installs for the environment and does the rest on the image's files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from localcloud.runtime.dockerfile import Instruction

DROPPED = {
    "--no-cache-dir", "--quiet", "-q", "-qq", "--verbose", "-v", "--disable-pip-version-check",
    "--no-warn-script-location", "--break-system-packages", "--prefer-binary", "--user", "--no-input",
    "--use-pep517", "--system", "--no-cache", "--no-python-version-warning", "--no-warn-conflicts",
    "--root-user-action=ignore",
}  # fmt: skip
"""Options of pip that change nothing in an environment of its own."""
DROPPED_WITH_VALUE = {
    "--root-user-action", "--progress-bar", "--default-timeout", "--timeout", "--retries", "--cache-dir",
    "--upgrade-strategy", "--python",
}  # fmt: skip
KEPT = {
    "--require-hashes": "--require-hashes",
    "--no-deps": "--no-deps",
    "--upgrade": "--upgrade",
    "-U": "--upgrade",
    "--pre": "--prerelease=allow",
    "--no-index": "--no-index",
    "--no-build-isolation": "--no-build-isolation",
    "--force-reinstall": "--reinstall",
    "--ignore-installed": "--reinstall",
    "-I": "--reinstall",
    "--compile": "--compile-bytecode",
    "--compile-bytecode": "--compile-bytecode",
}
"""Options of pip, or uv, and what uv calls them."""
KEPT_WITH_VALUE = {
    "-r": "--requirement",
    "--requirement": "--requirement",
    "-c": "--constraint",
    "--constraint": "--constraint",
    "-e": "",
    "--editable": "",
    "-i": "--index-url",
    "--index-url": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
    "--only-binary": "--only-binary",
    "--no-binary": "--no-binary",
    "--trusted-host": "--allow-insecure-host",
}
_WITH_VALUE = frozenset(KEPT_WITH_VALUE.values()) - {""}
"""uv's options whose value is no requirement."""
MEANINGLESS = {
    "useradd": "users: processes run as the user who started the server",
    "adduser": "users: processes run as the user who started the server",
    "groupadd": "groups: processes run as the user who started the server",
    "addgroup": "groups: processes run as the user who started the server",
    "chown": "owners: files belong to the user who started the server",
    "set": "shell options",
    "true": "nothing to do",
    ":": "nothing to do",
    "ldconfig": "the machine's own libraries are used",
}
"""Commands that a process of this machine neither needs nor can have, and why they are passed over."""
PATH_OPTIONS = ("--requirement", "--constraint", "--find-links")


@dataclass(frozen=True)
class Install:
    """One `uv pip install`.

    Args:
        made: The instruction it comes from, for messages.
        arguments: uv's arguments; local paths are still those of the image.
        workdir: The image folder it runs in.
    """

    made: Instruction
    arguments: tuple[str, ...]
    workdir: str

    @property
    def paths(self) -> list[int]:
        """Which arguments are files or folders of the image."""
        found = []
        for index, argument in enumerate(self.arguments):
            before = self.arguments[index - 1] if index else ""
            if before in PATH_OPTIONS:
                if "://" not in argument:
                    found.append(index)
            elif not argument.startswith("-") and before not in _WITH_VALUE and is_path(argument):
                found.append(index)
        return found


@dataclass
class Plan:
    """What a RUN line does.

    Args:
        installs: For the environment, in order.
        folders: To be made in the image (`mkdir -p`).
        removed: To be removed from the image (`rm`).
        modes: Files and their new mode (`chmod`).
        notes: What was passed over and why, for the build log.
    """

    installs: list[Install] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    modes: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_path(requirement: str) -> bool:
    """Whether pip takes a requirement for a file or folder."""
    if re.search(r"(?<!file)://", requirement):
        return False  # https://…, git+https://…, or a name with one of them
    plain = requirement.partition("[")[0]
    return (
        plain.startswith((".", "/", "file:"))
        or "/" in plain.partition("@")[0]
        or plain.endswith((".whl", ".tar.gz", ".zip"))
    )


def read_run(made: Instruction, variables: dict[str, str], workdir: str) -> Plan:
    """What a RUN instruction does.

    Raises:
        BuildFailed: A command that cannot be carried out, by name and with what to do.
    """
    from localcloud.runtime.dockerfile import expand

    plan = Plan()
    if made.flags:
        plan.notes.append(f"options of RUN have no meaning here: {' '.join('--' + flag for flag in made.flags)}")
    exec_form = made.exec_form()
    commands = [exec_form] if exec_form is not None else split_commands(made, expand(made.text, variables))
    for command in commands:
        while command and re.fullmatch(r"\w+=.*", command[0]):
            command = command[1:]
        if command and command[0] == "sudo":
            command = command[1:]
        if command:
            workdir = read_command(made, command, workdir, plan)
    return plan


def split_commands(made: Instruction, text: str) -> list[list[str]]:
    """The commands of a shell line joined by `&&` or `;`."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise made.error(f"{error}: {text}") from None
    for token in tokens:
        if token in ("&&", ";"):
            commands.append([])
        elif token == "||" and commands[-1]:
            raise made.error("`||` is not carried out by the process runtime; use --runtime docker or podman")
        elif token and set(token) <= set("|&<>()"):
            raise made.error(f"`{token}` is not carried out by the process runtime; use --runtime docker or podman")
        else:
            commands[-1].append(token)
    return commands


def read_command(made: Instruction, command: list[str], workdir: str, plan: Plan) -> str:
    """Adds one command to the plan; gives the working directory that the next runs in."""
    name = command[0].rpartition("/")[2]
    arguments = pip_arguments(command)
    options = [word for word in command[1:] if word.startswith("-")]
    operands = [word for word in command[1:] if not word.startswith("-")]
    if arguments is not None:
        read_pip(made, arguments, workdir, plan)
    elif name == "cd" and len(command) == 2:
        return join(workdir, command[1])
    elif name == "mkdir" and set(options) <= {"-p", "--parents", "-v"}:
        plan.folders += [join(workdir, operand) for operand in operands]
    elif name == "rm":
        plan.removed += [join(workdir, operand) for operand in operands]
    elif name == "chmod" and not options and operands and re.fullmatch(r"\+x|[0-7]{3,4}", operands[0]):
        mode = 0o755 if operands[0] == "+x" else int(operands[0], 8)
        plan.modes += [(mode, join(workdir, operand)) for operand in operands[1:]]
    elif name == "chmod":
        plan.notes.append(f"passed over: {shlex.join(command)} (modes)")
    elif name == "echo":
        plan.notes.append(" ".join(operands))
    elif name in MEANINGLESS:
        plan.notes.append(f"passed over: {shlex.join(command)} ({MEANINGLESS[name]})")
    elif name in ("apt-get", "apt", "apk", "yum", "dnf", "microdnf"):
        raise made.error(
            f"{name} installs system packages, which the process runtime does not have; leave it out if a "
            "wheel brings what you need, or use --runtime docker or podman"
        )
    else:
        raise made.error(
            f"`{shlex.join(command)[:80]}` is not carried out by the process runtime, which knows pip "
            "install, mkdir, rm, chmod, cd and echo; use --runtime docker or podman"
        )
    return workdir


def pip_arguments(command: list[str]) -> list[str] | None:
    """What follows `pip`, `python -m pip` or `uv pip`; None for another command."""
    name = command[0].rpartition("/")[2]
    if re.fullmatch(r"pip(3(\.\d+)?)?", name):
        return command[1:]
    if name == "uv" and command[1:2] == ["pip"]:
        return command[2:]
    if re.fullmatch(r"python(3(\.\d+)?)?", name):
        rest = command[1:]
        while rest and rest[0] in ("-u", "-I", "-B", "-E", "-s"):
            rest = rest[1:]
        if rest[:2] == ["-m", "pip"]:
            return rest[2:]
    return None


def read_pip(made: Instruction, arguments: list[str], workdir: str, plan: Plan) -> None:
    """Adds a pip command to the plan."""
    while arguments and arguments[0] in DROPPED:
        arguments = arguments[1:]
    verb, *rest = arguments or [""]
    if verb in ("cache", "check", "list", "freeze", "--version", "-V", "config", "debug"):
        plan.notes.append(f"passed over: pip {' '.join(arguments)} (it installs nothing)")
        return
    if verb != "install":
        raise made.error(f"pip {verb} is not carried out; the process runtime knows pip install")
    plan.installs.append(Install(made, tuple(uv_arguments(made, rest, plan)), workdir))


def uv_arguments(made: Instruction, arguments: list[str], plan: Plan) -> list[str]:
    """pip's arguments as uv writes them."""
    result: list[str] = []
    rest = list(arguments)
    requirements = 0
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if re.fullmatch(r"-[rcefi].+", word):  # -rrequirements.txt
            option, equals, value = word[:2], "=", word[2:]
        if word in DROPPED or (equals and option in DROPPED_WITH_VALUE):
            continue
        if option in DROPPED_WITH_VALUE:
            rest[:1] = []
        elif option in KEPT:
            result.append(KEPT[option])
        elif option in KEPT_WITH_VALUE:
            if not equals:
                if not rest:
                    raise made.error(f"pip install {option}: a value is missing")
                value = rest.pop(0)
            if option == "--trusted-host":
                # KFP gives the whole URL of an index, which pip takes and uv does not.
                value = urlsplit(value if "://" in value else f"//{value}").netloc
            if option in ("-e", "--editable"):
                plan.notes.append(f"{value}: installed as a copy, not editable, so that images can share it")
            result += [KEPT_WITH_VALUE[option], value] if KEPT_WITH_VALUE[option] else [value]
            requirements += option in ("-r", "--requirement", "-e", "--editable")
        elif word.startswith("-"):
            raise made.error(f"pip install {option}: this option is not carried out by the process runtime")
        else:
            result.append(word)
            requirements += 1
    if not requirements:
        raise made.error("pip install: nothing to install is named")
    if "--extra-index-url" in result:
        # pip looks at all indexes for the best version, uv by default at the first that knows the name.
        result.append("--index-strategy=unsafe-best-match")
    return result


def join(workdir: str, path: str) -> str:
    """An absolute image path."""
    joined: list[str] = []
    for part in f"{workdir}/{path}".split("/") if not path.startswith("/") else path.split("/"):
        if part == "..":
            joined[-1:] = []
        elif part not in ("", "."):
            joined.append(part)
    return "/" + "/".join(joined)


def package_install(paths: Sequence[str]) -> Install:
    """The install of package files that are there already, in their order."""
    return Install(Instruction("RUN", "pip install", 0, {}), tuple(paths), "/")
