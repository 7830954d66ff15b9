"""Names of Pub/Sub resources and the sentences in which Google's service speaks about them.

What the resources hold is checked in `settings`.
"""

from __future__ import annotations

import re

from localcloud.errors import AlreadyExists, InvalidArgument, NotFound

DELETED_TOPIC = "_deleted-topic_"
"""The topic of a subscription or snapshot whose topic is gone."""

_ID = re.compile(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_PROJECT = re.compile(r"projects/[^/]+")


def check_name(name: str, collection: str, field: str = "name") -> None:
    """Refuse what is no resource name of a collection.

    Args:
        name: `projects/my-project/topics/my-topic`.
        collection: `topics`, `subscriptions` or `snapshots`.
        field: What the request calls the name.

    Raises:
        InvalidArgument: The id has fewer than 3 or more than 255 characters, does not start with a letter, starts with
            `goog` or holds other characters than letters, digits and `-_.~+%`.
    """
    parts = name.split("/")
    usable = len(parts) == 4 and parts[0] == "projects" and parts[1] != "" and parts[2] == collection
    if not usable or not _ID.fullmatch(parts[3]) or parts[3].lower().startswith("goog"):
        raise InvalidArgument(
            f"Invalid resource name given ({field}={name}). Refer to "
            "https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."
        )


def check_project(name: str) -> None:
    """Refuse what is not `projects/my-project`."""
    if not _PROJECT.fullmatch(name):
        raise InvalidArgument(f"Invalid resource name given (project={name}): write projects/PROJECT.")


def not_found(name: str) -> NotFound:
    """The error for a resource that is not there."""
    return NotFound(f"Resource not found (resource={name.rpartition('/')[2]}).")


def already_exists(name: str) -> AlreadyExists:
    """The error for a name that is taken."""
    return AlreadyExists(f"Resource already exists in the project (resource={name.rpartition('/')[2]}).")
