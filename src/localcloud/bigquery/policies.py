"""IAM policies of tables, kept in one small file.

They are kept and given back; access itself is not checked in the local cloud.
"""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from .failures import EtagMismatch


class Policies:
    """Policies by resource. Thread safe.

    Args:
        path: The file, created with the first policy.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._policies: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}

    def get(self, resource: str) -> dict[str, Any]:
        """The policy; one without bindings where none was set."""
        policy = self._policies.get(resource, {"version": 1})
        return {**policy, "etag": _etag(policy)}

    def set(self, resource: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces the policy.

        Raises:
            EtagMismatch: The policy names an etag that is no longer right.
        """
        with self._lock:
            if policy.get("etag") not in (None, "", self.get(resource)["etag"]):
                raise EtagMismatch("There were concurrent policy changes. Read the policy and try again.")
            kept = {key: value for key, value in policy.items() if key != "etag"}
            self._policies[resource] = {"version": 1, **kept}
            part = self._path.with_suffix(".part")
            part.write_bytes(orjson.dumps(self._policies))
            part.replace(self._path)
        return self.get(resource)


def _etag(policy: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)).digest()
    return b64encode(digest[:8]).decode()
