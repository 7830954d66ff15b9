"""The versions of a model: where each is stored, how names, numbers and aliases find one.

The Model Registry's methods are in localcloud.vertex.models.
"""

from __future__ import annotations

import re
from typing import Any

from localcloud.errors import NotFound
from localcloud.vertex.common import Vertex, id_of, invalid, v1

_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9-]")
DEFAULT = "default"


class Versions:
    """Finds and stores model versions: each is one Model under `…/models/ID@VERSION`.

    Args:
        vertex: The shared facilities.
    """

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex

    def split(self, name: str) -> tuple[str, str]:
        """(`projects/NUMBER/…/models/ID`, what stands after `@` or `default`)."""
        model, _, version = self._vertex.name(name).partition("@")
        return model, version or DEFAULT

    def of(self, model: str) -> list[Any]:
        """All versions of a model, the oldest first.

        Args:
            model: `projects/NUMBER/locations/L/models/ID`.
        """
        parent, _ = model.rsplit("/models/", 1)
        found = self._vertex.store.all(parent, v1.Model, collection="models")
        return [version for version in found if version.name == model]

    def find(self, name: str) -> Any:
        """A version by `models/ID`, `models/ID@2` or `models/ID@alias`.

        Raises:
            NotFound: There is no such model or version.
        """
        model, wanted = self.split(name)
        if wanted.isdigit():
            found = self._vertex.store.find(self.key(model, wanted), v1.Model)
        else:
            found = next((version for version in self.of(model) if wanted in version.version_aliases), None)
        if found is None:
            raise NotFound(f"The Model `{self._vertex.name(name)}` does not exist.")
        return found

    @staticmethod
    def key(model: str, version: str) -> str:
        """The name that a version is stored under."""
        return f"{model}@{version}"

    def assign(self, model: str, version: str, aliases: list[str]) -> None:
        """Give a version aliases; another version that has one loses it. To be called in a transaction."""
        for other in self.of(model):
            if other.version_id == version:
                kept = [*other.version_aliases, *(alias for alias in aliases if alias not in other.version_aliases)]
            else:
                kept = [alias for alias in other.version_aliases if alias not in aliases]
            if kept != list(other.version_aliases):
                self._vertex.store.modify(self.key(model, other.version_id), v1.Model, _set_aliases(kept))

    def unassign(self, model: str, version: str, aliases: list[str]) -> None:
        """Take aliases from a version. To be called in a transaction."""
        kept = [
            alias
            for alias in self._vertex.store.get(self.key(model, version), v1.Model).version_aliases
            if alias not in aliases
        ]
        self._vertex.store.modify(self.key(model, version), v1.Model, _set_aliases(kept))


def _set_aliases(aliases: list[str]) -> Any:
    def change(model: Any) -> None:
        model.version_aliases[:] = aliases

    return change


def check_aliases(aliases: list[str], field: str) -> None:
    """Refuse an alias that could not be told from a version number or is not well formed."""
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise invalid(
                field,
                f"`{alias}` is not a version alias: it begins with a lower-case letter, has 2 to 128 letters, "
                "digits and hyphens, and ends with a lower-case letter, digit or hyphen.",
            )


def model_id_of(name: str) -> str:
    """`5` of `projects/1/locations/r/models/5@2`."""
    return id_of(name).partition("@")[0]
