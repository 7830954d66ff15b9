"""What the Vertex AI services share: message classes, names, operation metadata, checks of common fields.

Nothing here knows one kind of resource; those are in the modules named after them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from google.protobuf.timestamp_pb2 import Timestamp

from localcloud.catalog import Package
from localcloud.errors import InvalidArgument
from localcloud.projects import Projects
from localcloud.service import Cloud

v1 = Package("google.cloud.aiplatform.v1")

_LABEL = re.compile(r"[a-z0-9_\-\u00df-\uffff]{0,63}")
_MACHINE = re.compile(r"[a-z][a-z0-9]*-[a-z]+-(\d+)[gt]?(-[a-z0-9]+)*")
_GIB_PER_CPU = {
    "n1-standard": 3.75,
    "n1-highmem": 6.5,
    "n1-highcpu": 0.9,
    "n2-standard": 4,
    "n2-highmem": 8,
    "n2-highcpu": 1,
    "n2d-standard": 4,
    "n2d-highmem": 8,
    "n2d-highcpu": 1,
    "e2-standard": 4,
    "e2-highmem": 8,
    "e2-highcpu": 1,
    "c2-standard": 4,
    "c3-standard": 4,
    "c3-highmem": 8,
    "c3-highcpu": 2,
    "g2-standard": 4,
}


class Vertex:
    """The facilities of the Vertex AI services of one local cloud.

    Args:
        cloud: What all services share.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.store = cloud.store
        self.operations = cloud.operations
        self.projects = Projects(cloud.store)

    def name(self, name: str) -> str:
        """A resource name as it is stored: with the project number."""
        return self.projects.canonical(name)

    def parent(self, parent: str) -> str:
        """The same of `projects/P/locations/L`, which it must be.

        Raises:
            InvalidArgument: It is something else.
        """
        if not re.fullmatch(r"projects/[^/]+/locations/[^/]+", parent):
            raise invalid("parent", f"Must be projects/PROJECT/locations/LOCATION, not `{parent}`.")
        return self.name(parent)


def invalid(field: str, message: str) -> InvalidArgument:
    """INVALID_ARGUMENT in the form that Vertex AI gives it."""
    return InvalidArgument(f"List of found errors:\t1.Field: {field}; Message: {message}\t")


def location_of(name: str) -> str:
    """`us-central1` of `projects/1/locations/us-central1/…`."""
    return name.split("/")[3]


def project_of(name: str) -> str:
    """The project in a resource name."""
    return name.split("/")[1]


def parent_of(name: str) -> str:
    """`projects/1/locations/r` of a resource below it."""
    return "/".join(name.split("/")[:4])


def id_of(name: str) -> str:
    """The last segment of a resource name."""
    return name.rsplit("/", 1)[1]


def now() -> Timestamp:
    """The time, in microseconds as Vertex AI gives it."""
    stamp = Timestamp()
    stamp.FromMicroseconds(time.time_ns() // 1000)
    return stamp


def generic_metadata(kind: Any, **fields: Any) -> Any:
    """The metadata of an operation that starts now, such as `v1.DeployModelOperationMetadata`."""
    metadata = kind(**fields)
    metadata.generic_metadata.create_time.CopyFrom(now())
    metadata.generic_metadata.update_time.CopyFrom(metadata.generic_metadata.create_time)
    return metadata


def copy_fields(target: Any, source: Any, names: Iterable[str]) -> None:
    """Carry the named fields over where they are set: what a client may give, and nothing that is output only."""
    wanted = frozenset(names)
    for field, value in source.ListFields():
        if field.name not in wanted:
            continue
        if field.is_repeated or field.message_type is not None:
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)


def check_display_name(display_name: str, field: str) -> None:
    """Refuse a display name that is missing or longer than 128 characters."""
    if not display_name:
        raise invalid(field, "Required field is not set.")
    if len(display_name) > 128:
        raise invalid(field, f"Must be at most 128 characters long, it has {len(display_name)}.")


def check_labels(labels: Any, field: str) -> None:
    """Refuse labels that Vertex AI would not take."""
    if len(labels) > 64:
        raise invalid(field, f"At most 64 labels are allowed, there are {len(labels)}.")
    for key, value in labels.items():
        if key.startswith("aiplatform.googleapis.com/"):
            continue
        if not key or not _LABEL.fullmatch(key) or not _LABEL.fullmatch(value):
            raise invalid(
                field,
                f"Label `{key}={value}` is not valid: keys and values have at most 63 characters, which are "
                "lower-case letters, digits, `_` and `-`.",
            )


def machine_memory(machine_type: str, field: str) -> int | None:
    """The memory of a machine type in bytes; None where we do not know that family.

    Raises:
        InvalidArgument: It does not look like a machine type.
    """
    if not machine_type:
        return None
    found = _MACHINE.fullmatch(machine_type)
    if found is None:
        raise InvalidArgument(
            f"Machine type {machine_type} is not supported. ({field}: write it as in `n1-standard-4`.)"
        )
    each = _GIB_PER_CPU.get("-".join(machine_type.split("-")[:2]))
    return None if each is None else int(each * int(found.group(1)) * 2**30)


def logs_link(project: str, resource: str, conditions: Iterable[str]) -> str:
    """The Cloud Logging page that Vertex AI's error messages point to.

    Args:
        project: Project number.
        resource: `ml_job/job_id/123`.
        conditions: Lines of the filter.
    """
    return (
        f"https://console.cloud.google.com/logs/viewer?project={project}&resource={quote(resource, safe='')}"
        f"&advancedFilter={quote(chr(10).join(conditions), safe='.')}"
    )


def project_environment(project: str) -> dict[str, str]:
    """The variables by which clients in a container find its project: the local cloud's own name the default one."""
    return {"GOOGLE_CLOUD_PROJECT": project, "CLOUDSDK_CORE_PROJECT": project}


def expand(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` replaced as Kubernetes does: unknown names stay, `$$(` is a plain `$(`."""

    def replace(found: re.Match[str]) -> str:
        if found.group().startswith("$$"):
            return found.group()[1:]
        return variables.get(found.group(1), found.group())

    return re.sub(r"\$?\$\(([A-Za-z_][\w.\-]*)\)", replace, text)


def failure_lines(lines: list[str], most: int = 20) -> str:
    """What of a container's last lines explains its end: from the last traceback on, else the last ones."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith("Traceback (most recent call last)"):
            return "\n".join(lines[index:][-most:])
    return "\n".join(line for line in lines[-most // 2 :] if line.strip())
