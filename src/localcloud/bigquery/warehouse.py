"""BigQuery put together: tables, engine, jobs and results over one folder, as the REST and Storage APIs use them.

Each part is made elsewhere; here they are introduced to one another, started and stopped.
"""

from __future__ import annotations

from pathlib import Path

from localcloud.objects import Objects

from .engine import Engine
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
        self.engine = Engine(self.tables, jobs=store.all)
        self.policies = Policies(root / "policies.json")
        self.duplicates = Duplicates()
        self._sessions = Sessions()
        self.jobs = Jobs(
            store,
            {
                "query": QueryWork(self.engine, self.reading, self._sessions, self._add_children),
                "load": LoadWork(self.tables, objects),
                "extract": ExtractWork(self.reading, objects, root / "extracts"),
                "copy": CopyWork(self.tables, self.reading),
            },
        )

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
