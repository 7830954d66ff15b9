"""What all jobs of the training image have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerator.config import Config


def environment(config: Config) -> dict[str, str]:
    """The variables by which a container knows its project, whatever its mlops.yaml says."""
    return {
        "MLOPS_PROJECT": config.project,
        "MLOPS_REGION": config.region,
        "GOOGLE_CLOUD_PROJECT": config.project,
    }


def overrides(settings: Sequence[str]) -> list[str]:
    """Settings such as `data.table=…` as a container's arguments."""
    return [argument for setting in settings for argument in ("--set", setting)]


def worker_pool(config: Config, image: str, arguments: Sequence[str]) -> dict[str, Any]:
    """One replica of the training image, as aiplatform.CustomJob takes it."""
    return {
        "machine_spec": {"machine_type": config.training.machine},
        "replica_count": 1,
        "container_spec": {
            "image_uri": image,
            "args": list(arguments),
            "env": [{"name": name, "value": value} for name, value in environment(config).items()],
        },
    }
