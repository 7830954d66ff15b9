"""Targets: `gcp` is the environment as it is, `local` sends every Google host to the local cloud."""

from __future__ import annotations

import os


def use(target: str, project: str = "") -> None:
    """Points this process, and every client made in it from now on, at a target.

    Call it before a Google client is imported: gRPC reads its roots and proxy once.
    """
    if project:
        os.environ["GOOGLE_CLOUD_PROJECT"] = project
        os.environ["CLOUDSDK_CORE_PROJECT"] = project
    if target == "local":
        from accelerator.cli import local

        os.environ.update(local.variables(project))


def console(target: str) -> str:
    """Where the console of a target is."""
    if target == "local":
        from accelerator.cli import local

        return local.url()
    return "https://console.cloud.google.com"
