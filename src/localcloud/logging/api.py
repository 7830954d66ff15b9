"""The API of Cloud Logging as the server mounts it. What it does is `service`'s business."""

from __future__ import annotations

from localcloud.logging.service import LoggingServiceV2
from localcloud.service import Api, Cloud


def api(cloud: Cloud) -> Api:
    """logging.googleapis.com."""
    return Api(
        name="logging",
        hosts=("logging.googleapis.com",),
        services=(LoggingServiceV2(cloud.logs, cloud.store),),
        packages=("google.logging.v2",),
    )
