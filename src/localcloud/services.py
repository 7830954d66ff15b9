"""The services of the local cloud, in the order in which they start: a further one is a further line."""

from __future__ import annotations

SERVICES = (
    "localcloud.identity.api",
    "localcloud.resourcemanager.api",
    "localcloud.pubsub.api",
    "localcloud.storage.api",
    "localcloud.vertex.api",
    "localcloud.logging.api",
    "localcloud.build.api",
)
