"""Scripts that run on Vertex AI already (argparse, AIP_* variables, cloudml-hypertune): run as they are.

How such a script reads and saves is its own affair; nothing is done before it or after it.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn


def is_script(path: Path) -> bool:
    """Whether a file is run rather than plugged in.

    It is where it has a `__main__` part and no `train(train, validation, …)`; a function `train` with other
    parameters is the script's own. A file that cannot be parsed is plugged in: importing it says what is wrong.
    """
    try:
        statements = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return False
    runs = any(isinstance(one, ast.If) and "__name__" in ast.dump(one.test) for one in statements)
    return runs and not any(
        isinstance(one, ast.FunctionDef)
        and one.name == "train"
        and [parameter.arg for parameter in one.args.args[:2]] == ["train", "validation"]
        for one in statements
    )


def run(project: Path, code: str, arguments: Sequence[str], hyperparameters: Mapping[str, Any]) -> NoReturn:
    """Become the script, in this very process: its signals, its output and its exit code are the job's.

    Args:
        project: The project's folder, in which it runs.
        code: The script in it; one that lies in a package is run as a module, `python -m trainer.task`.
        arguments: What the container was called with, passed on.
        hyperparameters: Those of mlops.yaml, as flags ahead of the arguments, which win over them.
    """
    path = Path(code)
    target = [code]
    if (project / path.parent / "__init__.py").exists():
        target = ["-m", ".".join(path.with_suffix("").parts)]
    flags = [part for name, value in hyperparameters.items() for part in (f"--{name}", str(value))]
    os.chdir(project)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-u", *target, *flags, *arguments])
