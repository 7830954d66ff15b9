"""The start-up command of KFP's Python components: its `pip install` becomes an image, made once and kept.

On Google Cloud every task installs kfp and its packages anew before it runs. Here the same packages make an image
derived from the task's own, by the packages' names, and the command goes on where the installs end.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localcloud.runtime import Image, ImageNotFound, Runtime, held

# The form that the KFP compiler writes (kfp/dsl/component_factory.py), with or without the look for pip before it.
_STARTUP = re.compile(
    r"""\s*(?:if\ !\ \[\ -x\ "\$\(command\ -v\ pip\)"\ \];\ then\n.*?\nfi\s*)?"""
    r"""(?P<installs>(?:PIP_\w+=1\ +)?python3?\ -m\ pip\ install\ .*?)\s*&&\s*"\$0"\ "\$@"\s*""",
    re.DOTALL | re.VERBOSE,
)
# What `use_venv=True` adds: an environment over the image's, which the derived image is itself.
_VENV = """
export PIP_DISABLE_PIP_VERSION_CHECK=1
tmp=$(mktemp -d)
python3 -m venv "$tmp/venv" --system-site-packages
. "$tmp/venv/bin/activate"
"""
_PIP = ("-m", "pip", "install")


@dataclass(frozen=True)
class Startup:
    """What a start-up command does before the component runs.

    Args:
        installs: Its `python3 -m pip install …` commands, in order.
        rest: The command and arguments that come after them.
    """

    installs: tuple[tuple[str, ...], ...]
    rest: tuple[str, ...]


def read_startup(command: Sequence[str]) -> Startup | None:
    """The installs in a container's command, where it is one of KFP's; any other command is None, and runs as it is.

    Args:
        command: Command and arguments together.
    """
    if len(command) < 4 or command[0] not in ("sh", "/bin/sh", "bash", "/bin/bash") or command[1] not in ("-c", "-ec"):
        return None
    found = _STARTUP.fullmatch(command[2].replace(_VENV, ""))
    if found is None or any(sign in found.group("installs") for sign in ("$", "`", "\n")):
        return None
    lexer = shlex.shlex(found.group("installs"), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    for token in tokens:
        if token == "&&":
            commands.append([])
        elif token and set(token) <= set("|&<>();"):
            return None
        elif commands[-1] or not re.fullmatch(r"PIP_\w+=\w*", token):
            commands[-1].append(token)
    if any(tuple(words[1:4]) != _PIP or len(words) < 5 for words in commands):
        return None
    return Startup(tuple(map(tuple, commands)), tuple(command[3:]))


class StartupImages:
    """Images that have what start-up commands install.

    Args:
        runtime: Where they are built and kept; a container engine is left to run the commands itself.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(
        self, image: str, command: Sequence[str], log: Callable[[str], None]
    ) -> tuple[str | Image, Sequence[str]]:
        """The image and the command to run in place of a task's own.

        Args:
            image: The task's image.
            command: Its command and arguments together.
            log: Told what is installed, and pip's words.

        Raises:
            ImageNotFound: There is no such image.
            BuildFailed: The packages could not be installed; the message has the installer's last words.
            Stopped: Nobody wants the image any longer.
        """
        startup = read_startup(command) if self._runtime.engine == "process" else None
        if startup is None:
            return image, command
        images = self._runtime.images
        base = images.resolve(image, log)
        key = hashlib.sha256(json.dumps([base.digest, startup.installs]).encode()).hexdigest()[:24]
        uri = f"kfp-component:{key}"
        with held(self._locks[key]):
            try:
                return images.resolve(uri), startup.rest
            except ImageNotFound:
                packages = [word for install in startup.installs for word in install[4:] if word[0] != "-"]
                log(f"Installing {', '.join(packages)} (once: other tasks with the same packages share them)")
                lines = [f"FROM {image}", *(f"RUN {json.dumps(list(install))}" for install in startup.installs)]
                text = "\n".join(lines) + "\n"
                return images.build(self._runtime.root, text, uri, log=log), startup.rest
