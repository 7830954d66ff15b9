"""The API of Cloud Build as the server mounts it. What it does is `service`'s business."""

from __future__ import annotations

from localcloud.build.service import CloudBuild
from localcloud.service import Api, Cloud


def api(cloud: Cloud) -> Api:
    """cloudbuild.googleapis.com."""
    service = CloudBuild(cloud)
    return Api(
        name="cloudbuild",
        hosts=("cloudbuild.googleapis.com", "*-cloudbuild.googleapis.com"),
        services=(service,),
        packages=("google.devtools.cloudbuild.v1",),
        start=service.recover,
        stop=service.stop,
    )
