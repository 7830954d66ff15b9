"""The log entries of the local cloud: durable, in bounded memory, found by Cloud Logging's filter.

Holds and finds entries; the API in front of it is `localcloud.logging`.
"""

from __future__ import annotations

from pathlib import Path


class Logs:
    """All log entries, kept in one SQLite file below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
