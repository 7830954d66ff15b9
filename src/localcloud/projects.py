"""Project ids and project numbers: both name the same project, as on Google Cloud.

Vertex AI puts the number into the names it returns and takes either. Which resources a project has is the
services' business.
"""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from localcloud.resources import ResourceStore

_PREFIX = "projectNumbers/"


def number_of(project: str) -> str:
    """The 12-digit number of a project id, always the same for the same id; a number is its own.

    Args:
        project: `my-project` or `123456789012`.
    """
    if project.isdigit():
        return project
    digest = int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big")
    return str(10**11 + digest % (9 * 10**11))


class Projects:
    """Turns names with a project id into names with its number and back.

    Args:
        store: Keeps which id a number stands for, so that it can still be shown after a restart.
    """

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._ids: dict[str, str] = {}

    def number(self, project: str) -> str:
        """The number of a project id, which is remembered; a number or `-` is given back."""
        number = project if project == "-" else number_of(project)
        if number != project and number not in self._ids:
            self._remember(number, project)
        return number

    def id(self, project: str) -> str:
        """The id of a project number, where a request has ever named it by id; else the number itself."""
        if not project.isdigit():
            return project
        if project not in self._ids:
            known = self._store.find(_PREFIX + project, StringValue)
            if known is None:
                return project
            self._ids[project] = known.value
        return self._ids[project]

    def all(self) -> list[tuple[str, str]]:
        """(number, id) of every project that a request has ever named by its id, in order of the ids."""
        known = self._store.all("", StringValue, collection=_PREFIX.rstrip("/"))
        return sorted(((number_of(one.value), one.value) for one in known), key=lambda pair: pair[1])

    def canonical(self, name: str) -> str:
        """A resource name with the project number in it, whichever way it was named.

        `projects/my-project/locations/r/models/5` becomes `projects/123456789012/locations/r/models/5`; a
        name of anything else comes back as it is.
        """
        first, slash, rest = name.partition("/")
        if first != "projects" or not slash:
            return name
        project, slash, rest = rest.partition("/")
        return f"projects/{self.number(project)}{slash}{rest}"

    def with_id(self, name: str) -> str:
        """The opposite of canonical(): the project id in place of its number, where it is known."""
        first, slash, rest = name.partition("/")
        if first != "projects" or not slash:
            return name
        project, slash, rest = rest.partition("/")
        return f"projects/{self.id(project)}{slash}{rest}"

    def _remember(self, number: str, project: str) -> None:
        message: Any = StringValue(value=project)
        with self._store.transaction():
            if self._store.find(_PREFIX + number, StringValue) is None:
                self._store.create(_PREFIX + number, message)
        self._ids[number] = project
