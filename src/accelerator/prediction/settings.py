"""What the container is told by its environment: Vertex AI's AIP_* variables and a few of our own.

Read once, by every process of the container; what the values are used for is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from accelerator.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """The settings of one container.

    Args:
        host: AIP_HTTP_HOST. Vertex AI demands all interfaces.
        port: AIP_HTTP_PORT.
        health_route: AIP_HEALTH_ROUTE, answered with 200 once the model is loaded.
        predict_route: AIP_PREDICT_ROUTE.
        storage_uri: AIP_STORAGE_URI, `gs://bucket/folder` or a local folder.
        code: MLOPS_CODE, a file with the Predictor that is used instead of the artifact's own.
        workers: WEB_CONCURRENCY, processes that serve; one per processor unless said otherwise.
        max_body: MLOPS_MAX_BODY_BYTES; 10 MB is what the largest of Vertex AI's endpoints let through.
        max_waiting: MLOPS_MAX_WAITING, requests that a worker takes on before it answers 503.
        max_batch: MLOPS_MAX_BATCH, instances of several requests that are predicted in one call; 1 is never.
        drain_seconds: MLOPS_DRAIN_SECONDS, between the failing of health and the end of listening at SIGTERM.
    """

    host: str
    port: int
    health_route: str
    predict_route: str
    storage_uri: str
    code: str
    workers: int
    max_body: int
    max_waiting: int
    max_batch: int
    drain_seconds: float

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            ConfigError: A variable that is not what it has to be.
        """
        settings = cls(
            host=environ.get("AIP_HTTP_HOST", "0.0.0.0"),
            port=int(_number(environ, "AIP_HTTP_PORT", 8080, least=0)),
            health_route=environ.get("AIP_HEALTH_ROUTE", "/health"),
            predict_route=environ.get("AIP_PREDICT_ROUTE", "/predict"),
            storage_uri=environ.get("AIP_STORAGE_URI", ""),
            code=environ.get("MLOPS_CODE", ""),
            workers=int(_number(environ, "WEB_CONCURRENCY", processors(), least=1)),
            max_body=int(_number(environ, "MLOPS_MAX_BODY_BYTES", 10_000_000, least=1)),
            max_waiting=int(_number(environ, "MLOPS_MAX_WAITING", 256, least=1)),
            max_batch=int(_number(environ, "MLOPS_MAX_BATCH", 8192, least=1)),
            drain_seconds=_number(environ, "MLOPS_DRAIN_SECONDS", 1.0, least=0),
        )
        for name in ("AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"):
            if not environ.get(name, "/").startswith("/"):
                raise ConfigError(
                    f"{name} must begin with a slash, not be {environ[name]!r}",
                    place=name,
                    next_step="set the route on the model's containerSpec, such as /predict",
                )
        return settings


def processors() -> int:
    """Processors that this process may use: its affinity and its control group's quota, at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as limit:
            quota, period = limit.read().split()
        if quota != "max":
            count = min(count, round(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no control group, or one of the first kind: the affinity stands
    return max(1, count)


def _number(environ: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    text = environ.get(name, "")
    try:
        value = float(text) if text else default
        if value >= least:
            return value
    except ValueError:
        pass
    raise ConfigError(
        f"{name} must be a number of at least {least:g}, not {text!r}",
        place=name,
        next_step=f"correct it, or leave it out for {default:g}",
    )
