"""The entrypoint of the training container: `python -m accelerator.training`.

Runs, and ends the log with one clear message if it cannot: exit code 1, or 143 after SIGTERM.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from accelerator.errors import AcceleratorError
from accelerator.training import arguments
from accelerator.training.checkpoint import EXIT_CODE, Stopped, stopped_message
from accelerator.training.run import run

_OURS = Path(__file__).resolve().parents[1]
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]


def main(argv: Sequence[str]) -> int:
    """Train; returns the exit code."""
    if list(argv) in (["--help"], ["-h"]):
        print(arguments.USAGE, end="")
        return 0
    # OpenMP's threads wait asleep: waiting in a spin makes a fit many times slower wherever other processes want
    # the same cores. It is read when a library that uses OpenMP is loaded, which nothing has done yet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        run(argv, os.environ)
    except Stopped:
        _say(stopped_message("training goes on from its checkpoint when the job is started again"))
        return EXIT_CODE
    except AcceleratorError as error:
        _say(user_trace(error.__cause__) + error.render())
        return error.exit_code
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        _say(
            f"The training container itself failed: {type(error).__name__}: {error}\n"
            f"  at:   {where.filename}, line {where.lineno}\n"
            "  next: This is a fault of the accelerator: please report it with this message."
        )
        return 1
    return 0


def user_trace(error: BaseException | None) -> str:
    """The stack trace of an error in the user's code, from their first line on; empty if it passed none."""
    if error is None or isinstance(error, AcceleratorError):
        return ""
    trace = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in trace.stack if not _within(frame.filename, [_OURS])]
    first = next((i for i, frame in enumerate(frames) if not _within(frame.filename, _LIBRARIES)), None)
    if first is None and not isinstance(error, SyntaxError):
        return ""
    trace.stack = traceback.StackSummary.from_list(frames[first:] if first is not None else [])
    return "".join(trace.format())


def _within(filename: str, folders: Iterable[Path]) -> bool:
    return filename.startswith("<") or any(Path(filename).is_relative_to(folder) for folder in folders)


def _say(message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
