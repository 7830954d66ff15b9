"""A finished file moved to where another may lie already, in one step.

Which place that is, is files.py's to say.
"""

from __future__ import annotations

import ctypes
import os

_HERE = -100
"""AT_FDCWD: paths are looked up as always."""
_EXCHANGE = 2
"""RENAME_EXCHANGE (https://man7.org/linux/man-pages/man2/rename.2.html); Linux alone has it."""
_renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)


def move(source: str, target: str) -> None:
    """Move a file, replacing one that is there; readers find the one or the other.

    Where they can, the two change places and the old one is deleted: a rename over a file has ext4 find room on the
    disk for all of the new content first (auto_da_alloc), 70 ms for 50 MB. A kill in between leaves the old content
    at `source`.

    Raises:
        OSError: As os.replace does.
    """
    if _renameat2 is None or not _exchange(source, target):
        os.replace(source, target)
        return
    try:
        os.unlink(source)
    except IsADirectoryError:
        # somebody made a folder of that name a moment ago
        _exchange(source, target)
        raise


def _exchange(one: str, other: str) -> bool:
    """Have two files change places; whether they did."""
    assert _renameat2 is not None
    done: int = _renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0
