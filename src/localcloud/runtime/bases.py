"""Images that a FROM names without anybody having built them: Python's own, and those of operating systems.

Both are the machine's: its interpreters, its shell and its programs. What is not as in the image of that name is said
in the log of each container.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.runtime.spec import BuildFailed

DEFAULT_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_DOCKER = r"(?:(?:docker\.io/|mirror\.gcr\.io/|public\.ecr\.aws/docker/)?(?:library/)?)"
_TAG = r"(?::[\w][\w.-]*)?"
_PYTHON = re.compile(
    _DOCKER + r"python"
    r"(?::(?:3(?:\.(?P<minor>\d+))?(?:\.\d+)?|latest|slim|bookworm|bullseye|trixie|alpine[\d.]*)"
    r"(?:-[\w.-]+)?)?"
    r"|registry\.access\.redhat\.com/ubi\d+/python-3(?P<ubi>\d+)" + _TAG
)
"""Docker's own, its mirrors, Red Hat's."""
_SYSTEM = re.compile(
    _DOCKER
    + r"(?P<name>alpine|busybox|debian|ubuntu|bash)"
    + _TAG
    + r"|(?:gcr\.io/google-containers|ghcr\.io/containerd|quay\.io/quay|registry\.k8s\.io)/busybox"
    + _TAG
)
_ASH = {"/usr/local/bin/sh": '#!/bin/bash\nexec /bin/bash --posix "$@"\n'}
"""Where `sh` is busybox's, it knows `[[` and the like, which the machine's may not; bash does."""
_GCLOUD = re.compile(
    r"(?:docker\.io/)?google/cloud-sdk"
    + _TAG
    + r"|gcr\.io/google\.com/cloudsdktool/(?:google-)?cloud-(?:sdk|cli)"
    + _TAG
)


@dataclass(frozen=True)
class Base:
    """An image that this machine stands in for.

    Args:
        minor: The wanted Python, 3.`minor`; None for any.
        command: CMD of the image.
        path: PATH of the image.
        remark: What is not as in the image, if anything.
        programs: Scripts of the image, by their absolute paths.
    """

    minor: int | None = None
    command: tuple[str, ...] = ("python3",)
    path: str = DEFAULT_PATH
    remark: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)


def find(uri: str) -> Base | None:
    """What stands in for an image name, or None.

    Raises:
        BuildFailed: An image of programs that this machine does not have.
    """
    if found := _PYTHON.fullmatch(uri):
        minor = found["minor"] or found["ubi"]
        return Base(int(minor) if minor else None)
    if found := _SYSTEM.fullmatch(uri):
        ash = found["name"] not in ("debian", "ubuntu", "bash")
        programs = _ASH if ash and Path("/bin/bash").exists() else {}
        command = ("/bin/sh",) if ash else ("/bin/bash",)
        return Base(
            command=command,
            programs=programs,
            remark=f"the programs of {uri} are those of this machine, not the image's",
        )
    if _GCLOUD.fullmatch(uri):
        gcloud = shutil.which("gcloud")
        if gcloud is None:
            raise BuildFailed(
                f"{uri}: this machine has no gcloud. Install the Google Cloud CLI (https://cloud.google.com/sdk) and "
                "start the local cloud with it on the PATH, or use --runtime docker or podman"
            )
        folder = str(Path(gcloud).parent)
        path = DEFAULT_PATH if folder in DEFAULT_PATH.split(":") else f"{folder}:{DEFAULT_PATH}"
        remark = f"the programs of {uri}, gcloud among them, are those of this machine, not the image's"
        return Base(command=("/bin/bash",), path=path, remark=remark)
    return None
