"""The local cloud's life and the local target: up, down, status, env, exec.

The only place (with `targets`) where the accelerator knows that there is a local cloud.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from accelerator.cli.output import console, print_json
from accelerator.errors import AcceleratorError


class LocalCloudError(AcceleratorError):
    """The local cloud is not up, or cannot be started."""


def up(port: int, runtime: str, as_json: bool) -> None:
    """Starts the local cloud, or says that it is up."""
    began = time.monotonic()
    running, started = start(port, runtime)
    if as_json:
        print_json({"port": running.port, "pid": running.pid, "url": running.url, "started": started})
        return
    if started:
        console.print(f"The local cloud is up at {running.url} ({time.monotonic() - began:.1f} s).")
    else:
        console.print(f"The local cloud is up already at {running.url}")
    console.print("  mlops exec -- CMD   runs any program of Google's clients on it\n  mlops down          stops it")


def start(port: int = 0, runtime: str = "process") -> Any:
    """The running local cloud, started if need be, and whether this call started it.

    Raises:
        LocalCloudError: It does not start.
    """
    from localcloud import control

    root = control.default_root()
    try:
        with console.status("Starting the local cloud (the first time it reads Google's API surface: some 20 s) …"):
            return control.start(root, port=port, runtime=runtime)
    except control.StartFailed as error:
        raise LocalCloudError(
            "The local cloud did not start", place=str(error), next_step="`mlops doctor` checks this machine"
        ) from None


def url() -> str:
    """Where the running local cloud answers."""
    running, _ = start()
    return str(running.url).rstrip("/")


def down() -> None:
    """Stops the local cloud."""
    from localcloud import control

    stopped = control.stop(control.default_root())
    console.print("The local cloud is stopped." if stopped else "The local cloud was not up.")


def status(as_json: bool) -> None:
    """Says whether the local cloud is up."""
    import json

    from localcloud import control

    root = control.default_root()
    running = control.find(root)
    if running is None:
        if as_json:
            print_json({"up": False, "state": str(root)})
        else:
            console.print(f"The local cloud is down; its state is in {root}. `mlops up` starts it.")
        return
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{running.url}status", timeout=10
    ) as answer:
        said = json.load(answer)
    if as_json:
        print_json({"up": True, "url": running.url, **said})
        return
    console.print(
        f"The local cloud is up at {running.url}, process {said['pid']}, {said['memory_bytes'] / 2**20:.0f} MB, "
        f"for {said['uptime_seconds']:.0f} s; its state is in {said['state']}."
    )
    for api in said["apis"]:
        served = f"{api['implemented']} of {api['methods']} RPCs" if api["methods"] else "HTTP"
        console.print(f"  {api['name']:22} {api['host']:38} {served}")


def variables(project: str = "") -> dict[str, str]:
    """The variables of the local target; starts the local cloud."""
    from localcloud import control, environment

    running, _ = start()
    return environment.variables(control.default_root(), running.port, project=project)


def env(project: str, as_json: bool) -> None:
    """Prints the variables for a shell or a script."""
    found = variables(project)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"export {name}={shlex.quote(value)}")


def execute(command: Sequence[str], project: str) -> None:
    """Becomes the command, pointed at the local cloud.

    Raises:
        LocalCloudError: There is no such command.
    """
    if not command:
        raise LocalCloudError("No command was given", next_step="write `mlops exec -- python your_script.py`")
    if shutil.which(command[0]) is None:
        raise LocalCloudError(f"There is no command {command[0]!r}", next_step="check its name and PATH")
    os.execvpe(command[0], list(command), {**os.environ, **variables(project)})
