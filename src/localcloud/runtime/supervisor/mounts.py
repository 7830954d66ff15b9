"""A private view of the file system for one container: mounts that only its processes see (Linux).

The host's folders stay where they are; `/gcs`, `/tmp`, the image's own folders and the mounts of the spec are
laid over them. Works for root and, by a user namespace, for ordinary users. Standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
"""System call numbers: the C library has no wrapper for it."""


class Forbidden(Exception):
    """The machine does not allow private mounts; the message says which step it refused."""


class Node:
    """A place in the container's view.

    Args:
        source: The host's file or folder that shows here; None for an empty folder.
        own: The source belongs to this container alone, so mount points may be made inside it.

    `children` are places below that show something else than what the source has there.
    """

    def __init__(self, source: str | None, own: bool = False) -> None:
        self.source = source
        self.own = own
        self.children: dict[str, Node] = {}


def enter(plan: list[list[object]], scratch: str) -> None:
    """Moves this process into a view of its own.

    Args:
        plan: `[path, source, own]` in order: what shows at each absolute path. A path that shows itself is
            put back only where an earlier line has hidden it.
        scratch: A folder of this container, for the mount point.

    Raises:
        Forbidden: The kernel or its policy refuses.
        OSError: A source is not there.
    """
    if sys.platform != "linux":
        raise Forbidden("mount namespaces are Linux's")
    root = Node("/")
    for path, source, own in plan:
        place(root, str(path), str(source), bool(own))
    uid, gid = os.getuid(), os.getgid()
    unprivileged = False
    try:
        unshare(CLONE_NEWNS)
    except PermissionError:
        unprivileged = True
        allowed("unshare(user, mount)", lambda: unshare(CLONE_NEWUSER | CLONE_NEWNS))
        allowed("uid_map", lambda: map_ids(0, uid, 0, gid))
    allowed("mount /", lambda: mount(None, "/", None, MS_REC | MS_PRIVATE))
    target = os.path.join(scratch, "view")
    os.mkdir(target)
    allowed("mount tmpfs", lambda: mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV))
    try:
        assemble(root, target, top=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Forbidden(f"mount {error.filename}: {error.strerror}") from error
    os.chdir(target)
    allowed("pivot_root", pivot_root)
    os.chdir("/")
    if unprivileged:
        # A second user namespace gives the user's own number back, and takes the powers of the first away.
        allowed("unshare(user)", lambda: unshare(CLONE_NEWUSER))
        allowed("uid_map", lambda: map_ids(uid, 0, gid, 0))


def place(root: Node, path: str, source: str, own: bool) -> None:
    """Has `source` show at `path` of the view."""
    parts = [part for part in path.split("/") if part]
    if source == path and shown(root, parts) == path:
        return
    node = root
    for part in parts[:-1]:
        if part not in node.children:
            below = os.path.join(node.source, part) if node.source else ""
            node.children[part] = Node(below if os.path.isdir(below) else None, node.own and bool(below))
        node = node.children[part]
    node.children[parts[-1]] = Node(source, own)


def shown(root: Node, parts: list[str]) -> str | None:
    """What the plan so far shows at a path."""
    node = root
    for index, part in enumerate(parts):
        if part not in node.children:
            return os.path.join(node.source, *parts[index:]) if node.source else None
        node = node.children[part]
    return node.source


def assemble(node: Node, target: str, top: bool = False) -> None:
    """Mounts a node and everything below it at `target`, a folder that exists."""
    if not top and node.source and (node.own or not node.children):
        mount(node.source, target, None, MS_BIND | MS_REC)
    elif node.source:
        for name in os.listdir(node.source):
            if name not in node.children:
                show(os.path.join(node.source, name), os.path.join(target, name))
    for name, child in node.children.items():
        where = os.path.join(target, name)
        if child.source and not os.path.isdir(child.source):
            show(child.source, where)
            continue
        if os.path.islink(where):
            os.unlink(where)
        os.makedirs(where, exist_ok=True)
        assemble(child, where)


def show(source: str, target: str) -> None:
    """Binds one entry of the host; a link is made anew, what cannot be bound is left out."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(source):
        with contextlib.suppress(FileExistsError), open(target, "x"):
            pass
    else:
        return
    mount(source, target, None, MS_BIND | MS_REC)


def allowed(step: str, action) -> None:  # type: ignore[no-untyped-def]
    """Runs a step that policy may refuse."""
    try:
        action()
    except OSError as error:
        raise Forbidden(f"{step}: {error.strerror}") from error


libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2)."""
    if libc.unshare(flags) != 0:
        raise failure("")


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), None) != 0:
        raise failure(source or target)


def pivot_root() -> None:
    """Makes the working directory the root and lets the old one go."""
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"no pivot_root for {os.uname().machine}")
    if libc.syscall(number, b".", b".") != 0:
        raise failure("")
    if libc.umount2(b".", MNT_DETACH) != 0:
        raise failure("")


def map_ids(uid: int, outer_uid: int, gid: int, outer_gid: int) -> None:
    """Maps one user and one group of a new user namespace."""
    with contextlib.suppress(OSError), open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"{uid} {outer_uid} 1")
    with open("/proc/self/gid_map", "w") as file:
        file.write(f"{gid} {outer_gid} 1")


def failure(path: str) -> OSError:
    """The error that the last C call left."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
