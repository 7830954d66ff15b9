"""insertId: rows that insertAll was sent before, within the last minute or so, are not written again.

As on BigQuery this is best effort and does not outlive the server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterable

_SECONDS = 60.0


class Duplicates:
    """The insert ids of the last minute. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Hashable, float] = {}

    def seen(self, key: Hashable) -> bool:
        """Whether the key was added in the last minute."""
        with self._lock:
            return self._seen.get(key, 0.0) > time.monotonic() - _SECONDS

    def add(self, keys: Iterable[Hashable]) -> None:
        """Remembers keys of rows that are written, and forgets old ones."""
        now = time.monotonic()
        with self._lock:
            while self._seen:
                oldest = next(iter(self._seen))
                if self._seen[oldest] > now - _SECONDS:
                    break
                del self._seen[oldest]
            for key in keys:
                self._seen.pop(key, None)
                self._seen[key] = now
