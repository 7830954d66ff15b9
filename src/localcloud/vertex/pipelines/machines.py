"""The machine that a task's resource limits ask for: the smallest one that has them, as Vertex AI Pipelines chooses.

https://cloud.google.com/vertex-ai/docs/pipelines/machine-types
"""

from __future__ import annotations

import re
from typing import Any

from localcloud.errors import Code
from localcloud.vertex.pipelines.graph import TaskFailure
from localcloud.vertex.pipelines.placeholders import Resolver

DEFAULT = "e2-standard-4"
_MACHINES = (
    # (type, processors, memory in 10^9 bytes), the smallest first
    ("e2-standard-2", 2, 8.5),
    ("e2-highmem-2", 2, 17.1),
    ("e2-standard-4", 4, 17.1),
    ("e2-highmem-4", 4, 34.3),
    ("e2-standard-8", 8, 34.3),
    ("e2-highmem-8", 8, 68.7),
    ("e2-standard-16", 16, 68.7),
    ("e2-highmem-16", 16, 137.4),
    ("e2-standard-32", 32, 137.4),
    ("n1-highmem-32", 32, 223.3),
    ("n1-highmem-64", 64, 446.6),
    ("n1-highmem-96", 96, 669.9),
)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*(m|[EPTGMK]i?)?")
_UNITS = {"": 1.0, "m": 1e-3} | {
    prefix + suffix: (1024.0 if suffix else 1000.0) ** power
    for power, prefix in enumerate("KMGTPE", 1)
    for suffix in ("", "i")
}


def machine_type(resources: Any, resolver: Resolver, task: str) -> str:
    """The machine type for a ResourceSpec.

    Raises:
        TaskFailure: A quantity that is none, or more than any machine has.
    """
    processors = max(
        _quantity(resolver.text(resources.resource_cpu_limit), "cpu", task) or resources.cpu_limit,
        _quantity(resolver.text(resources.resource_cpu_request), "cpu", task) or resources.cpu_request,
    )
    memory = max(
        _quantity(resolver.text(resources.resource_memory_limit), "memory", task) or resources.memory_limit * 1e9,
        _quantity(resolver.text(resources.resource_memory_request), "memory", task) or resources.memory_request * 1e9,
    )
    if not processors and not memory:
        return DEFAULT
    for name, has_processors, has_memory in _MACHINES:
        if processors <= has_processors and memory <= has_memory * 1e9:
            return name
    raise TaskFailure(
        Code.INVALID_ARGUMENT,
        f"Task `{task}`: no machine type has {processors:g} processors and {memory / 1e9:g} GB of memory.",
    )


def accelerator(resources: Any, resolver: Resolver) -> tuple[str, int]:
    """(type, count) of the accelerator that is asked for, the type as Vertex AI names it; `("", 0)` for none."""
    wanted = resources.accelerator
    kind = resolver.text(wanted.resource_type) or wanted.type
    count = int(resolver.text(wanted.resource_count) or wanted.count or 0)
    return (kind.upper().replace("-", "_"), count or 1) if kind else ("", 0)


def _quantity(text: str, what: str, task: str) -> float:
    if not text:
        return 0.0
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise TaskFailure(
            Code.INVALID_ARGUMENT,
            f"Task `{task}`: the {what} limit `{text}` is no quantity: write it as in `4`, `500m`, `16G` or `16Gi`.",
        )
    return float(found.group(1)) * _UNITS[found.group(2) or ""]
