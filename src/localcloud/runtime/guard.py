"""Runs a command and ends it, with all that it started, when standard input closes: whoever wanted it is gone.

A process of its own on the standard library alone, started with `python -I -S`, so that it outlives a server that was
killed for as long as it takes to clean up. Exits as the command does, 128+n where signal n ended it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command of the arguments."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)

    def end() -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(command.pid, signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        end()

    threading.Thread(target=watch, daemon=True).start()
    code = command.wait()
    end()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
