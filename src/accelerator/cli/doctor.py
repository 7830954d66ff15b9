"""`mlops doctor`: looks at what the accelerator needs, and says what to do about what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from accelerator.cli.output import console, print_json
from accelerator.errors import AcceleratorError

_MINIMUM_FREE = 3 * 2**30
"""Bytes: environments of images take some hundred MB each."""


class NotWell(AcceleratorError):
    """Something that is needed is missing."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Args:
        name: What.
        state: `ok`; `absent` for what would be nice to have; `wrong` for what is needed.
        said: What was found.
        advice: What to do, where there is something to do.
    """

    name: str
    state: Literal["ok", "absent", "wrong"]
    said: str
    advice: str = ""


def doctor(target: str, as_json: bool) -> None:
    """Looks at everything and prints it.

    Raises:
        NotWell: Something needed is missing.
    """
    checks = _LOCAL if target == "local" else _GCP
    findings = [finding for check in checks for finding in check()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        marks = {"ok": "[green]✓[/]", "absent": "[yellow]-[/]", "wrong": "[red]✗[/]"}
        for finding in findings:
            console.print(f"{marks[finding.state]} [bold]{finding.name}[/]  {finding.said}")
            if finding.advice:
                console.print(f"    {finding.advice}")
    wrong = [finding.name for finding in findings if finding.state == "wrong"]
    if wrong:
        raise NotWell(f"Needed and missing: {', '.join(wrong)}", next_step="follow the advice above")


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    fits = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if fits else "wrong", version, "" if fits else "Python 3.11 or later is needed.")


def _disk() -> Iterator[Finding]:
    from localcloud import control

    root = control.default_root()
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    enough = free >= _MINIMUM_FREE and os.access(place, os.W_OK)
    advice = "" if enough else "Free some space, or set MLOPS_HOME to a folder with more."
    yield Finding("State folder", "ok" if enough else "wrong", f"{root}, {free / 2**30:.0f} GiB free", advice)


def _packages() -> Iterator[Finding]:
    import uv

    found = subprocess.run([uv.find_uv_bin(), "--version"], capture_output=True, text=True, check=False)
    fits = found.returncode == 0
    yield Finding("uv", "ok" if fits else "wrong", found.stdout.strip() or found.stderr.strip())


def _loopback() -> Iterator[Finding]:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            yield Finding("Loopback port", "ok", "free ports can be had on 127.0.0.1")
    except OSError as error:
        yield Finding("Loopback port", "wrong", str(error), "The local cloud listens on 127.0.0.1.")


def _namespaces() -> Iterator[Finding]:
    unshare = shutil.which("unshare")
    allowed = bool(unshare) and subprocess.run([unshare or "", "-Urm", "true"], capture_output=True).returncode == 0
    yield Finding(
        "User namespaces",
        "ok" if allowed else "absent",
        "containers see /gcs/BUCKET" if allowed else "not allowed here",
        "" if allowed else "Jobs that name /gcs/BUCKET will not find it; gs:// works.",
    )


def _tools() -> Iterator[Finding]:
    for name, use in {
        "gcloud": "gcloud ai, storage and pubsub work on the local cloud too",
        "bq": "bq works on the local cloud too",
        "docker": "--runtime docker is possible",
        "terraform": "infra/ can be planned and applied",
    }.items():
        path = shutil.which(name)
        yield Finding(name, "ok" if path else "absent", path or "not installed", "" if path else f"With it {use}.")


def _server() -> Iterator[Finding]:
    from localcloud import control

    running = control.find(control.default_root())
    if running is None:
        yield Finding("Local cloud", "absent", "down", "`mlops up` starts it.")
        return
    from accelerator.cli import targets

    targets.use("local")
    yield from _projects()


def _credentials() -> Iterator[Finding]:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        _, project = google.auth.default()
    except DefaultCredentialsError as error:
        yield Finding(
            "Credentials", "wrong", str(error).splitlines()[0], "Run `gcloud auth application-default login`."
        )
        return
    yield Finding("Credentials", "ok", f"default project {project or 'none'}")
    yield from _projects()


def _projects() -> Iterator[Finding]:
    """One call on each transport, through everything that lies between."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import resourcemanager_v3

    name = f"projects/{os.environ.get('GOOGLE_CLOUD_PROJECT', '')}"
    for transport in ("grpc", "rest"):
        try:
            client = resourcemanager_v3.ProjectsClient(transport=transport)
            found = client.get_project(name=name, timeout=10, retry=None)
            yield Finding(f"Google's APIs over {transport}", "ok", f"project {found.project_id} ({found.name})")
        except (GoogleAPICallError, ValueError) as error:
            yield Finding(f"Google's APIs over {transport}", "wrong", str(error).splitlines()[0])


_LOCAL: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _disk,
    _packages,
    _loopback,
    _namespaces,
    _tools,
    _server,
)
_GCP: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _credentials)
