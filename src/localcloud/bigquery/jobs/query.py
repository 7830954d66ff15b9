"""Query jobs: a statement or script given to the engine, and where its rows and statistics go.

SQL itself is the engine's; pages of the results are the REST layer's.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.bigquery.engine import Result
from localcloud.bigquery.failures import Invalid, InvalidQuery, Refused
from localcloud.bigquery.reading import Reading
from localcloud.bigquery.refs import DatasetRef, TableRef

from .runner import Job, job_resource
from .store import JobRef, Resource

if TYPE_CHECKING:
    from localcloud.bigquery.engine.engine import Engine
    from localcloud.bigquery.engine.session import Session

_SHAPE = (
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "schemaUpdateOptions",
    "destinationTableProperties",
)
_DIALECT = re.compile(r"\s*#(legacy|standard)SQL\b", re.IGNORECASE)


@dataclass
class Sessions:
    """Sessions that queries share by a connection property; they end with the process."""

    _open: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, session: Session) -> str:
        """Keeps a new session and gives its id."""
        name = secrets.token_urlsafe(24)
        with self._lock:
            self._open[name] = session
        return name

    def get(self, name: str) -> Session:
        """The session of that id.

        Raises:
            InvalidQuery: There is none; sessions do not outlive the server.
        """
        with self._lock:
            session = self._open.get(name)
        if session is None:
            raise InvalidQuery(f"Session {name} is not valid: it was terminated, or the local cloud restarted")
        return session

    def close(self) -> None:
        """Ends all sessions."""
        with self._lock:
            sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.close()


@dataclass
class QueryWork:
    """Runs query jobs.

    Args:
        engine: Gives what runs SQL, made when it is first asked for.
        reading: Where results are kept and read.
        sessions: The sessions that are open.
        add_children: Keeps the child jobs of a script.
    """

    engine: Callable[[], Engine]
    reading: Reading
    sessions: Sessions
    add_children: Callable[[Job, list[Resource]], None]

    def __call__(self, job: Job) -> None:
        """Runs the job and fills in `statistics` and, for rows, `destinationTable`."""
        configuration = job.configuration
        sql = _checked_sql(configuration)
        project = job.ref.project
        session = self._session(job)
        destination = _destination(configuration, project)
        common: dict[str, Any] = {
            "project": project,
            "default_dataset": _default_dataset(configuration, project),
            "parameters": configuration.get("queryParameters") or (),
            "session": session,
            "cancellation": job.cancellation,
        }
        self.reading.store_named_results(sql, project)
        limit = int(configuration.get("maximumBytesBilled") or 0)
        if job.dry_run or limit:
            checked = self.engine().execute(sql, dry_run=True, **common)
            if limit and checked.total_bytes_processed > limit:
                raise InvalidQuery(
                    f"Query exceeded limit for bytes billed: {limit}. "
                    f"{checked.total_bytes_processed} or higher required.",
                    reason="bytesBilledLimitExceeded",
                )
            if job.dry_run:
                self._fill(job.statistics, checked)
                return
        result = self.engine().execute(
            sql,
            destination=destination,
            create_disposition=configuration.get("createDisposition") or "CREATE_IF_NEEDED",
            write_disposition=configuration.get("writeDisposition") or "WRITE_EMPTY",
            options={key: configuration[key] for key in _SHAPE if configuration.get(key)},
            **common,
        )
        try:
            if result.statement_type == "SCRIPT":
                self._script(job, result)
            else:
                self._keep(job, configuration, result, destination)
            self._fill(job.statistics, result)
        finally:
            result.close()

    def _session(self, job: Job) -> Session | None:
        configuration = job.configuration
        properties = {p.get("key"): p.get("value") for p in configuration.get("connectionProperties") or ()}
        name = properties.get("session_id")
        if configuration.get("createSession") and not job.dry_run:
            name = self.sessions.add(self.engine().session())
        if not name:
            return None
        job.statistics["sessionInfo"] = {"sessionId": name}
        return self.sessions.get(name)

    def _keep(self, job: Job, configuration: dict[str, Any], result: Result, destination: TableRef | None) -> None:
        """Puts the rows where they can be read, and says where."""
        if result.fields and result.num_dml_affected_rows is None and not result.ddl_operation_performed:
            if destination is None:
                ref, _ = self.reading.keep_result(
                    job.ref.project, result.reader(), result.fields, job.cancellation.check
                )
                configuration["destinationTable"] = ref.resource
                configuration["writeDisposition"] = "WRITE_TRUNCATE"
                configuration.setdefault("createDisposition", "CREATE_IF_NEEDED")
        elif result.ddl_target_table is not None:
            configuration["destinationTable"] = result.ddl_target_table.resource

    def _fill(self, statistics: dict[str, Any], result: Result) -> None:
        query: dict[str, Any] = {
            "statementType": result.statement_type,
            "cacheHit": False,
            "totalBytesProcessed": str(result.total_bytes_processed),
            "totalBytesBilled": "0",
        }
        if result.fields:
            query["schema"] = {"fields": result.fields}
        if result.referenced_tables:
            query["referencedTables"] = [ref.resource for ref in result.referenced_tables]
        if result.num_dml_affected_rows is not None:
            query["numDmlAffectedRows"] = str(result.num_dml_affected_rows)
            query["dmlStats"] = result.dml_stats or {}
        if result.ddl_operation_performed:
            query["ddlOperationPerformed"] = result.ddl_operation_performed
        if result.ddl_target_table is not None:
            query["ddlTargetTable"] = result.ddl_target_table.resource
        if result.ddl_target_dataset is not None:
            query["ddlTargetDataset"] = result.ddl_target_dataset.resource
        if result.ddl_target_routine is not None:
            routine = result.ddl_target_routine
            query["ddlTargetRoutine"] = {
                "projectId": routine.project,
                "datasetId": routine.dataset,
                "routineId": routine.table,
            }
        if result.undeclared_parameters:
            query["undeclaredQueryParameters"] = result.undeclared_parameters
        statistics["query"] = query
        statistics["totalBytesProcessed"] = query["totalBytesProcessed"]

    def _script(self, job: Job, script: Result) -> None:
        """Makes a job of each statement; the rows of the last SELECT are those of the script."""
        children = []
        for position, result in enumerate(script.children):
            child = self._child(job, result, position)
            children.append(child)
            destination = child["configuration"]["query"].get("destinationTable")
            if destination and result.fields:
                job.configuration["destinationTable"] = destination
                script.fields = result.fields
        self.add_children(job, children)
        job.statistics["numChildJobs"] = str(len(children))

    def _child(self, job: Job, result: Result, position: int) -> Resource:
        ref = JobRef(job.ref.project, job.ref.location, f"script_job_{secrets.token_hex(16)}_{position}")
        query: dict[str, Any] = {"query": result.sql, "useLegacySql": False, "priority": "INTERACTIVE"}
        child = Job(job_resource(ref, {"jobType": "QUERY", "query": query}))
        child.cancellation = job.cancellation
        try:
            self._keep(child, query, result, None)
            self._fill(child.statistics, result)
        finally:
            result.close()
        now = str(time.time_ns() // 1_000_000)
        child.statistics.update({"startTime": job.statistics["startTime"], "endTime": now})
        child.statistics["scriptStatistics"] = {"evaluationKind": "STATEMENT"}
        child.resource["status"] = {"state": "DONE"}
        return child.resource


def _checked_sql(configuration: dict[str, Any]) -> str:
    """The SQL, once it is sure that it is GoogleSQL and asks for nothing that is not done."""
    sql = configuration.get("query")
    if not sql or not str(sql).strip():
        raise Invalid("Required parameter is missing: query", location="query")
    prefix = _DIALECT.match(sql)
    legacy = configuration.get("useLegacySql") if prefix is None else prefix[1].lower() == "legacy"
    if legacy:
        raise Refused(
            "Legacy SQL is not carried over to the local BigQuery: write GoogleSQL and set useLegacySql to false "
            "(bq query --nouse_legacy_sql)"
        )
    if configuration.get("tableDefinitions"):
        raise Refused("External tables (tableDefinitions) are not carried over to the local BigQuery: load the files")
    configuration["useLegacySql"] = False
    configuration.setdefault("priority", "INTERACTIVE")
    return str(sql)


def _default_dataset(configuration: dict[str, Any], project: str) -> DatasetRef | None:
    resource = configuration.get("defaultDataset")
    return DatasetRef.of(resource, project) if resource else None


def _destination(configuration: dict[str, Any], project: str) -> TableRef | None:
    resource = configuration.get("destinationTable")
    return TableRef.of(resource, project) if resource else None
