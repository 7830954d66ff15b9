"""`python -m localcloud --root FOLDER [--port N] [--runtime process|docker|podman]`: one server in the foreground."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

GARBAGE_THRESHOLD = 100_000
"""Objects made until Python looks for cycles among them. At its own 700 that is a seventh of the server's start, and
most of what reading a row costs in batch prediction: rows are made of many objects, none of them in a cycle."""


class NoPandas:
    """pyarrow imports pandas by itself where it is installed: a second and 60 MB that no process here has use for."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("the local cloud does without pandas", name=name)


def main() -> int:
    """Runs a server; 0 when it was told to stop, 3 when it could not start."""
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="Google Cloud on one machine.")
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds its state")
    parser.add_argument("--port", type=int, default=0, help="the loopback port (default: the last one, or a free one)")
    parser.add_argument("--runtime", choices=["process", "docker", "podman"], default="process")
    options = parser.parse_args()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.meta_path.insert(0, NoPandas)
    from localcloud.server import AlreadyRunning, PortTaken, run

    try:
        run(options.root, options.port, options.runtime)
    except AlreadyRunning as error:
        print(f"A local cloud already works on {error}.", file=sys.stderr)
        return 3
    except PortTaken as error:
        print(f"The port cannot be had: {error}. Choose another with --port.", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
