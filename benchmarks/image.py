"""A benchmark's second half in an image's Python environment, with the variables that its Dockerfile sets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from localcloud.runtime import dockerfile

ROOT = Path(__file__).resolve().parent.parent


def run_in(image: str, module: str, arguments: Sequence[str]) -> int:
    """Run a module in the environment of a folder of images/; gives its exit code."""
    command = [sys.executable, str(ROOT / "scripts" / "environment.py"), image]
    python = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    variables = {"PYTHONPATH": str(ROOT / "src")}
    for made in dockerfile.parse((ROOT / "images" / image / "Dockerfile").read_text()):
        if made.name == "ENV":
            variables = {**dockerfile.pairs(made, made.text), **variables}
    done = subprocess.run([python, "-m", module, *arguments], check=False, cwd=ROOT, env={**os.environ, **variables})
    return done.returncode
