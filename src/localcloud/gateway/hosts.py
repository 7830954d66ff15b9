"""Which hosts are Google's, and so never leave this machine, and which API answers on one.

Everything else is tunnelled on. A host of Google's that nobody here serves is refused, never forwarded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from urllib.parse import urlsplit

from localcloud.service import Api

GOOGLE_DOMAINS = (
    "googleapis.com",
    "accounts.google.com",
    "metadata.google.internal",
    "vertexai.goog",
    "pkg.dev",
    "gcr.io",
    "run.app",
    "cloudfunctions.net",
)
METADATA_ADDRESS = "169.254.169.254"

_INDEX_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
)


def package_indexes(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Hosts that this machine installs packages from: mirrors live under Google's domains too."""
    urls = " ".join(environment.get(name, "") for name in _INDEX_VARIABLES).split()
    named = environment.get("MLOPS_TUNNEL_HOSTS", "").replace(",", " ").split()
    return frozenset(filter(None, [*(urlsplit(url).hostname for url in urls), *named]))


def is_google(host: str, tunnelled: frozenset[str] = frozenset()) -> bool:
    """Whether a host name (without port) is answered here rather than tunnelled."""
    host = host.lower().rstrip(".")
    if host in tunnelled:
        return False
    return host == METADATA_ADDRESS or any(host == name or host.endswith("." + name) for name in GOOGLE_DOMAINS)


def find(host: str, apis: Iterable[Api]) -> Api | None:
    """The API that answers on a host; a pattern that names it outright wins over one with a `*`."""
    host = host.lower().rstrip(".")
    matching = [
        (pattern.count("*"), index, api)
        for index, api in enumerate(apis)
        for pattern in api.hosts
        if _compiled(pattern).fullmatch(host)
    ]
    return min(matching, key=lambda match: match[:2])[2] if matching else None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", r"[^/]+"))
