"""The services of the local cloud, in the order in which they start: a further one is a further line."""

from __future__ import annotations

SERVICES = (
    "localcloud.identity.api",
    "localcloud.resourcemanager.api",
    "localcloud.logging.api",
    "localcloud.storage.api",
    "localcloud.pubsub.api",
    "localcloud.bigquery.api",
    "localcloud.build.api",
    "localcloud.vertex.api",
)
