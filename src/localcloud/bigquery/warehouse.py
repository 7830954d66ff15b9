"""BigQuery put together: tables, engine, jobs and results over one folder, as the REST and Storage APIs use them.

Each part is made elsewhere; here they are introduced to one another, started and stopped.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.objects import Objects

from .jobs.copy import CopyWork
from .jobs.extract import ExtractWork
from .jobs.load import LoadWork
from .jobs.query import QueryWork, Sessions
from .jobs.runner import Job, Jobs
from .jobs.store import JobStore, Resource
from .policies import Policies
from .reading import Reading
from .rows.duplicates import Duplicates
from .snapshots import Snapshots
from .tables import Tables

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .refs import TableRef
    from .types import FieldSchema

_DAY = 24 * 3600.0
_SESSION = 6 * 3600.0


class Warehouse:
    """Everything behind the APIs. Thread safe; one process owns the folder.

    Args:
        root: Its folder, created when missing.
        objects: Cloud Storage, for load and extract jobs.
    """

    def __init__(self, root: Path, objects: Objects) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.tables = Tables(root)
        self.reading = Reading(
            self.tables,
            results=Snapshots(root / "results", _DAY),
            snapshots=Snapshots(root / "snapshots", _SESSION),
        )
        store = JobStore(root / "jobs.sqlite")
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self.tables.describe_view = self._describe_view
        self.tables.translate_filter = self._translate_filter
        self.policies = Policies(root / "policies.json")
        self.duplicates = Duplicates()
        self._sessions = Sessions()
        self.jobs = Jobs(
            store,
            {
                "query": QueryWork(lambda: self.engine, self.reading, self._sessions, self._add_children),
                "load": LoadWork(self.tables, objects),
                "extract": ExtractWork(self.reading, objects, root / "extracts"),
                "copy": CopyWork(self.tables, self.reading),
            },
        )

    @property
    def engine(self) -> Engine:
        """What runs SQL; the first to ask for it waits for its parser to be imported."""
        with self._engine_lock:
            if self._engine is None:
                from .engine.engine import Engine

                self._engine = Engine(self.tables, jobs=self.jobs.store.all)
            return self._engine

    def _describe_view(self, query: str, project: str) -> list[FieldSchema]:
        return self.engine.describe_view(query, project)

    def _translate_filter(self, ref: TableRef, resource: Resource, text: str) -> str:
        return self.engine.translate_filter(ref, resource, text)

    def _add_children(self, parent: Job, children: list[Resource]) -> None:
        self.jobs.add_children(parent, children)

    def projects(self) -> list[str]:
        """The projects that have datasets or jobs."""
        datasets = {ref.project for ref, _ in self.tables.database.all("dataset")}
        return sorted(datasets.union(self.jobs.store.projects()))

    def recover(self) -> None:
        """Accounts for what an earlier process was killed in."""
        self.jobs.recover()

    def close(self) -> None:
        """Stops the jobs and lets go of the files."""
        self.jobs.close()
        self._sessions.close()
        self.jobs.store.close()
        self.tables.close()
