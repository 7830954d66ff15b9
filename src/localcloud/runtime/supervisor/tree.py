"""The processes below this one: who they are, what memory they hold, and how to end them all.

Linux adopts orphans, so that not even a daemon that forked twice escapes; elsewhere their groups are kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

seen: dict[int, int] = {}
"""Where orphans cannot be adopted: each descendant that was ever seen, and its process group."""


def adopt_orphans() -> None:
    """Makes processes whose parent dies children of this one (Linux)."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies (Linux)."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def volunteer_for_oom() -> None:
    """When the whole machine runs out of memory, a container goes before the server does (Linux)."""
    if LINUX:
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")


def signal_group(leader: int, number: int) -> None:
    """Sends a signal to a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill_tree() -> None:
    """SIGKILL to all descendants that there are at this moment."""
    for pid in descendants():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_children(patience: float = 10.0) -> None:
    """SIGKILL to all descendants, again until none is left: killing a parent brings its orphans here."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        kill_tree()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            if not descendants():
                return
        time.sleep(0.005)


def memory() -> int:
    """Bytes that the descendants hold together; shared pages count once where the kernel can tell."""
    table = processes()
    pids = below(os.getpid(), table)
    resident = sum(table[pid][2] for pid in pids)
    if not LINUX:
        return resident
    proportional = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                proportional += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            proportional += table[pid][2]
    return min(resident, proportional)


def descendants() -> set[int]:
    """All processes below this one, and elsewhere than on Linux those of groups seen earlier."""
    table = processes()
    found = below(os.getpid(), table)
    if not LINUX:
        own = os.getpgid(0)
        for pid in found:
            seen[pid] = table[pid][1]
        groups = {group for group in seen.values() if group != own}
        found |= {pid for pid, (_, group, _) in table.items() if group in groups}
    return found


def below(root: int, table: dict[int, tuple[int, int, int]]) -> set[int]:
    """The transitive children of `root` in a process table."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    stack = [root]
    while stack:
        for pid in children.get(stack.pop(), ()):
            found.add(pid)
            stack.append(pid)
    return found


def processes() -> dict[int, tuple[int, int, int]]:
    """Every live process: parent, process group, resident bytes. Zombies are left out."""
    return linux_processes() if LINUX else portable_processes()


def linux_processes() -> dict[int, tuple[int, int, int]]:
    """From /proc/PID/stat (proc_pid_stat(5): 3 state, 4 ppid, 5 pgrp, 24 rss in pages)."""
    page = os.sysconf("SC_PAGE_SIZE")
    table: dict[int, tuple[int, int, int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command stands in parentheses and may hold anything, a parenthesis too.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            table[int(name)] = (int(fields[1]), int(fields[2]), int(fields[21]) * page)
    return table


def portable_processes() -> dict[int, tuple[int, int, int]]:
    """From ps, which POSIX promises."""
    import subprocess  # takes longer than the start of a container on Linux, which does without

    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,rss=,stat="], capture_output=True, text=True, check=False
    ).stdout
    table: dict[int, tuple[int, int, int]] = {}
    for line in listing.splitlines():
        pid, parent, group, resident, state = line.split(None, 4)
        if not state.startswith("Z") and int(parent) != 0:
            table[int(pid)] = (int(parent), int(group), int(resident) * 1024)
    return table
