"""Runs one container's process and sees to it that nothing it started outlives it, or the server.

A process of its own on the standard library alone, started with `python -I -S`: what to run comes as a line
of JSON on stdin, then commands; what happens goes out as lines of JSON on the descriptor named in argv. End
of file on stdin means that the server is gone, and ends everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any, NoReturn

import mounts  # type: ignore[import-not-found]  # beside this file, which is run as a folder
import tree  # type: ignore[import-not-found]

MEMORY_INTERVAL = 0.2
PARENT_INTERVAL = 1.0


class Supervisor:
    """One container, from the start of its main process to the end of its last.

    Args:
        config: `argv`, `env`, `cwd`, `scratch`, `plan` (mounts or null), `memory` (bytes or 0) and, for what
            is not a child of ours such as an engine's container, `oom_question` (a command that prints `true`
            if it ran out of memory) and `on_end` (a command that ends and removes it).
        status: Descriptor for what happens.
        pending: What has been read of the commands already.
    """

    def __init__(self, config: dict[str, Any], status: int, pending: bytes) -> None:
        self.config = config
        self.status = status
        self.parent = os.getppid()
        self.out_of_memory = False
        self.code: int | None = None
        self.kill_at: float | None = None
        self.pending = pending
        self.main = 0

    def run(self) -> None:
        """Starts the container and stays until the last of its processes is gone."""
        tree.adopt_orphans()
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        # The server asks for the end by a command; a stray signal must not take the supervisor away first.
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, lambda *_: None)
        try:
            self.main = self.spawn()
            self.report(pid=self.main)
            self.obey(b"")
            while self.code is None:
                self.step(wake_read)
        except mounts.Forbidden as error:
            self.report(forbidden=str(error))
        except OSError as error:
            self.report(error=error.strerror or str(error), errno=error.errno, path=error.filename or "")
        finally:
            tree.kill_children()
            self.clean()
        if self.code is not None:
            self.report(exit=self.code, out_of_memory=self.out_of_memory)

    def step(self, wake: int) -> None:
        """Waits for a command, a child's end or the clock, and deals with it."""
        wait = MEMORY_INTERVAL if self.config["memory"] else PARENT_INTERVAL
        if self.kill_at is not None:
            wait = min(wait, max(0.0, self.kill_at - time.monotonic()))
        ready, _, _ = select.select([0, wake], [], [], wait)
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready:
            self.commands()
        if os.getppid() != self.parent:
            self.kill()
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.kill()
        if self.config["memory"] and tree.memory() > self.config["memory"]:
            self.out_of_memory = True
            self.kill()
        self.reap()

    def commands(self) -> None:
        """`stop SECONDS` or `kill`; the end of the stream is a kill too."""
        data = os.read(0, 4096)
        if data:
            self.obey(data)
        else:
            self.kill()

    def obey(self, data: bytes) -> None:
        """Does what the commands that are complete now say."""
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            word, _, argument = line.decode().partition(" ")
            if word == "stop":
                self.kill_at = time.monotonic() + float(argument)
                tree.signal_group(self.main, signal.SIGTERM)
            elif word == "kill":
                self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        self.kill_at = None
        if self.config["on_end"]:
            self.run_elsewhere(self.config["on_end"])
        tree.kill_tree()

    def reap(self) -> None:
        """Collects the children that have ended; notes how the main one did."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.main:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code

    def spawn(self) -> int:
        """Forks the main process; raises what kept it from starting."""
        failure_read, failure_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(failure_read)
            self.become(failure_write)
        os.close(failure_write)
        with os.fdopen(failure_read, "rb") as stream:
            failure = stream.read()
        if failure:
            os.waitpid(pid, 0)
            told = json.loads(failure)
            if told["forbidden"]:
                raise mounts.Forbidden(told["message"])
            raise OSError(told["errno"], told["message"], told["path"])
        return pid

    def become(self, failure: int) -> NoReturn:
        """In the child: sets the stage and turns into the container's command."""
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            if self.config["plan"] is not None:
                mounts.enter(self.config["plan"], self.config["scratch"])
            # After the namespaces: changing credentials clears it.
            tree.die_with_parent()
            tree.volunteer_for_oom()
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(self.config["cwd"])
            argv, env = self.config["argv"], self.config["env"]
            found = shutil.which(argv[0], path=env.get("PATH", os.defpath))
            if found is None:
                raise FileNotFoundError(2, "No such command", argv[0])
            os.execve(found, argv, env)
        except mounts.Forbidden as error:
            told = {"forbidden": True, "message": str(error)}
        except OSError as error:
            told = {
                "forbidden": False,
                "errno": error.errno,
                "message": error.strerror,
                "path": error.filename or "",
            }
        os.write(failure, json.dumps(told).encode())
        os._exit(127)

    def clean(self) -> None:
        """Ends what is not a child of ours and removes the scratch folder."""
        if self.config["oom_question"] and self.code == 137:
            self.out_of_memory = self.run_elsewhere(self.config["oom_question"]).strip() == "true"
        if self.config["on_end"]:
            self.run_elsewhere(self.config["on_end"])
        shutil.rmtree(self.config["scratch"], ignore_errors=True)

    def run_elsewhere(self, command: list[str]) -> str:
        """Runs a command of the engine and gives its output; the container may be gone already."""
        import subprocess  # takes longer than the start of a container, and only an engine's needs it

        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(
                command,
                env=self.config["env"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=30,
                check=False,
            ).stdout
        return ""

    def report(self, **event: object) -> None:
        """One line to the server, if it is still there."""
        with contextlib.suppress(OSError):
            os.write(self.status, json.dumps(event).encode() + b"\n")


def first_line() -> tuple[bytes, bytes]:
    """The first line of stdin, and what has come of the commands after it."""
    read = b""
    while b"\n" not in read:
        data = os.read(0, 65_536)
        if not data:
            sys.exit(0)
        read += data
    line, _, rest = read.partition(b"\n")
    return line, rest


def main() -> None:
    """Reads what to run from stdin and runs it."""
    status = int(sys.argv[1])
    os.set_inheritable(status, False)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    line, rest = first_line()
    Supervisor(json.loads(line), status, rest).run()


if __name__ == "__main__":
    main()
