"""`make bench`: every benchmark, each in a process of its own; `python -m benchmarks storage pubsub` runs some.

Those of services run on a local cloud of their own, started for them; each prints both sides and the ratio.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from localcloud import control, environment

ON_A_LOCAL_CLOUD = ("storage", "bigquery", "pubsub", "pipelines", "batch", "data_validation", "preprocessing")
ALONE = ("server", "prediction", "demo")
ALL = (
    *("server", "storage", "bigquery", "pubsub", "pipelines"),
    *("prediction", "batch", "data_validation", "preprocessing", "demo"),
)


def main(names: list[str]) -> int:
    """Runs the benchmarks named, or all; gives the number that failed to run."""
    unknown = set(names) - set(ALL)
    if unknown:
        print(f"No benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(ALL)}.", file=sys.stderr)
        return 2
    failed = 0
    for name in names or ALL:
        print(f"\n{name}\n{'=' * len(name)}", flush=True)
        failed += _run(name) != 0
    return failed


def _run(name: str) -> int:
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    if name in ALONE:
        return subprocess.run(command, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        root = Path(folder) / "cloud"
        running, _ = control.start(root)
        try:
            variables = environment.variables(root, running.port)
            return subprocess.run(command, check=False, env={**os.environ, **variables}).returncode
        finally:
            control.stop(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
