"""`python scripts/environment.py IMAGE`: an image's Python environment outside of it, for tests and benchmarks.

Made by uv from the image's lock into .environments, once for each lock; prints its interpreter. With `--if-there`,
nothing is made: exit code 1 where it is not there.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ".whole"
"""The mark of an environment that was made to its end."""


def main() -> int:
    """Makes the environment where it is wanted; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="a folder of images/")
    parser.add_argument("--if-there", action="store_true")
    given = parser.parse_args()
    lock = ROOT / "images" / given.image / "requirements.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    made = ROOT / ".environments" / f"{given.image}-{digest}"
    if not (made / WHOLE).exists():
        if given.if_there:
            return 1
        make(made, lock)
    print(made / "bin" / "python")
    return 0


def make(made: Path, lock: Path) -> None:
    """Makes an environment, one process at a time."""
    made.parent.mkdir(exist_ok=True)
    with (made.parent / f"{made.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if (made / WHOLE).exists():
            return
        uv = [sys.executable, "-m", "uv"]
        quiet = ["--quiet", "--no-python-downloads"]
        subprocess.run([*uv, "venv", *quiet, "--allow-existing", "--python", "3.11", made], check=True)
        install = [*uv, "pip", "install", *quiet, "--python", made / "bin" / "python", "--no-deps", "--require-hashes"]
        subprocess.run([*install, "-r", lock], check=True)
        (made / WHOLE).touch()


if __name__ == "__main__":
    sys.exit(main())
