"""The project's bucket: made at first use, named by mlops.yaml."""

from __future__ import annotations

from typing import Any


def ensure_bucket(client: Any, name: str, region: str) -> Any:
    """The bucket of this name, made in the region if it is not there.

    Args:
        client: A google.cloud.storage.Client.
        name: The bucket's name.
        region: Where it is made.
    """
    from google.api_core.exceptions import Conflict

    bucket = client.lookup_bucket(name)
    if bucket is not None:
        return bucket
    try:
        return client.create_bucket(name, location=region)
    except Conflict:
        # somebody else made it since
        return client.get_bucket(name)
