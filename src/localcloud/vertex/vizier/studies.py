"""VizierService: studies, and the search that each of them stands for.

What is tried in a study is localcloud.vertex.vizier.trials' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.empty_pb2 import Empty

from localcloud.errors import AlreadyExists, NotFound
from localcloud.vertex.common import Vertex, check_display_name, invalid, v1
from localcloud.vertex.vizier.metrics import Metrics, read_metrics
from localcloud.vertex.vizier.space import Space, read_space
from localcloud.vertex.vizier.stopping import check_stopping


@dataclass(frozen=True)
class Search:
    """A StudySpec that has been looked through."""

    spec: Any
    space: Space
    metrics: Metrics


def read_search(spec: Any, field: str) -> Search:
    """What a StudySpec asks for.

    Raises:
        InvalidArgument: Naming the field that is wrong.
        Unimplemented: A stopping rule that the local cloud does not have.
    """
    metrics = read_metrics(spec, field)
    space = read_space(spec, field)
    check_stopping(spec, field)
    return Search(spec, space, metrics)


class VizierService:
    """https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#vizierservice, the studies."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex

    def create_study(self, request: Any) -> Any:
        """Make a study; its display name is its own in a location."""
        parent = self._vertex.parent(request.parent)
        given = request.study
        check_display_name(given.display_name, "study.display_name")
        read_search(given.study_spec, "study.study_spec")
        with self._vertex.store.transaction():
            if self._named(parent, given.display_name):
                raise AlreadyExists(f"A study with display name `{given.display_name}` already exists in `{parent}`.")
            study = v1.Study(display_name=given.display_name, study_spec=given.study_spec, state=v1.Study.ACTIVE)
            return self._vertex.store.create(f"{parent}/studies/{self._vertex.store.new_id()}", study)

    def get_study(self, request: Any) -> Any:
        """The study."""
        return self._vertex.store.get(self._vertex.name(request.name), v1.Study)

    def lookup_study(self, request: Any) -> Any:
        """The study of a display name."""
        parent = self._vertex.parent(request.parent)
        found = self._named(parent, request.display_name)
        if not found:
            raise NotFound(f"There is no study with display name `{request.display_name}` in `{parent}`.")
        return found[0]

    def list_studies(self, request: Any) -> Any:
        """The studies of a location."""
        page = self._vertex.store.list(
            self._vertex.parent(request.parent), v1.Study, page_size=request.page_size, page_token=request.page_token
        )
        return v1.ListStudiesResponse(studies=page, next_page_token=page.next_page_token)

    def delete_study(self, request: Any) -> Empty:
        """Delete a study and its trials."""
        name = self._vertex.name(request.name)
        with self._vertex.store.transaction():
            self._vertex.store.delete(name, v1.Study)
            for trial in self._vertex.store.all(name, v1.Trial):
                self._vertex.store.delete(trial.name, v1.Trial)
        return Empty()

    def _named(self, parent: str, display_name: str) -> list[Any]:
        return [study for study in self._vertex.store.all(parent, v1.Study) if study.display_name == display_name]


def find_study(vertex: Vertex, name: str, field: str = "parent") -> Any:
    """The study of this name, which must be a study's.

    Raises:
        InvalidArgument: The name is none of a study.
        NotFound: There is none.
    """
    if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/studies/[^/]+", name):
        raise invalid(field, f"Must be projects/PROJECT/locations/LOCATION/studies/STUDY, not `{name}`.")
    return vertex.store.get(vertex.name(name), v1.Study)
