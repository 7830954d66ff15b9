"""What the pages show, read as any client reads it: through Google's APIs, and objects by their gs:// URIs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from localcloud.catalog import Package
from localcloud.console.values import last_of, project_of
from localcloud.errors import CloudError, InvalidArgument, NotFound
from localcloud.service import Cloud

v1 = Package("google.cloud.aiplatform.v1")
logging_v2 = Package("google.logging.v2")
resourcemanager_v3 = Package("google.cloud.resourcemanager.v3")

RUNS_A_PAGE = 25
LIST_A_PAGE = 100
LOG_LINES = 200
_MOST_JOBS = 600
"""Jobs whose logs are read together: a filter of Cloud Logging has at most 20,000 characters."""
_WORDS = {"CANCELLING": "being cancelled", "PENDING": "waiting", "QUEUED": "waiting"}
_RUN_CONTEXTS = 50
"""How many runs are looked into for the one that an execution belongs to, beginning with the nearest in time."""


@dataclass(frozen=True)
class Line:
    """A log entry."""

    time: str
    severity: str
    text: str


class Reader:
    """Reads resources.

    Args:
        cloud: What services share; of it only `call` and `objects` are used.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._call = cloud.call
        self._objects = cloud.objects

    def projects(self) -> list[str]:
        """The ids of the projects."""
        found, token = [], ""
        while True:
            request = resourcemanager_v3.SearchProjectsRequest(page_size=500, page_token=token)
            answer = self._call("google.cloud.resourcemanager.v3.Projects.SearchProjects", request)
            found += [project.project_id for project in answer.projects]
            token = answer.next_page_token
            if not token:
                return sorted(found)

    def check_project(self, project: str) -> None:
        """Refuse an id that nobody has used: to read from such a project would already make it one.

        Raises:
            NotFound: There is no such project.
        """
        if project == "-" or project.isdecimal():
            return
        request = resourcemanager_v3.SearchProjectsRequest(query=f'id="{_quoted(project)}"', page_size=1)
        if not self._call("google.cloud.resourcemanager.v3.Projects.SearchProjects", request).projects:
            raise NotFound(f"There is no project {project} here: no request has named it yet.")

    def runs(
        self, project: str, location: str, state: str = "", token: str = "", size: int = RUNS_A_PAGE
    ) -> tuple[list[Any], str]:
        """A page of pipeline runs, newest first, and the token of the next.

        Args:
            project: Id or number; `-` for all.
            location: Region; `-` for all.
            state: A name of PipelineState; empty for all.
            token: That of the page.
            size: How many.
        """
        answer = self._vertex(
            "PipelineService.ListPipelineJobs",
            parent=f"projects/{project}/locations/{location}",
            filter=f'state="{_quoted(state)}"' if state else "",
            page_size=size,
            page_token=token,
            order_by="create_time desc",
        )
        return list(answer.pipeline_jobs), answer.next_page_token

    def run(self, project: str, location: str, id: str) -> Any:
        """A PipelineJob with its tasks."""
        name = f"projects/{project}/locations/{location}/pipelineJobs/{id}"
        return self._vertex("PipelineService.GetPipelineJob", name=name)

    def job(self, project: str, location: str, id: str) -> Any:
        """A CustomJob."""
        return self._vertex("JobService.GetCustomJob", name=f"projects/{project}/locations/{location}/customJobs/{id}")

    def listed(self, method: str, field: str, project: str, token: str) -> tuple[list[Any], str]:
        """A page of resources of all regions, and the token of the next.

        Args:
            method: The RPC that lists them.
            field: Where its answer has them.
            project: Id or number; `-` for all.
            token: That of the page.
        """
        parent = f"projects/{project}/locations/-"
        answer = self._vertex(method, parent=parent, page_size=LIST_A_PAGE, page_token=token)
        return list(getattr(answer, field)), answer.next_page_token

    def word(self, states: str, state: int) -> str:
        """A state of an enum such as PipelineState in words: `succeeded`."""
        name = str(getattr(v1, states).Name(state)).rpartition("STATE_")[2]
        return _WORDS.get(name, name.lower().replace("_", " "))

    def log(self, project: str, jobs: Sequence[str]) -> list[Line]:
        """The last lines that custom jobs, given by resource name, have written."""
        if not jobs:
            return []
        named = " OR ".join(f'"{_quoted(last_of(job))}"' for job in jobs[-_MOST_JOBS:])
        request = logging_v2.ListLogEntriesRequest(
            resource_names=[f"projects/{project}"],
            filter=f'resource.type="ml_job" AND resource.labels.job_id=({named})',
            order_by="timestamp desc",
            page_size=LOG_LINES,
        )
        entries = self._call("google.logging.v2.LoggingServiceV2.ListLogEntries", request).entries
        return [_line(entry) for entry in reversed(entries)]

    def node(self, kind: str, name: str) -> Any:
        """A node of a metadata store: `kind` is Artifact, Execution or Context."""
        return self._vertex(f"MetadataService.Get{kind}", name=name)

    def around_artifact(self, name: str) -> Any:
        """The executions that made or read an artifact, as a LineageSubgraph."""
        return self._vertex("MetadataService.QueryArtifactLineageSubgraph", artifact=name, max_hops=1)

    def around_execution(self, name: str) -> Any:
        """The artifacts that an execution read and wrote, as a LineageSubgraph."""
        return self._vertex("MetadataService.QueryExecutionInputsAndOutputs", execution=name)

    def in_context(self, name: str) -> Any:
        """What a context holds, as a LineageSubgraph."""
        return self._vertex("MetadataService.QueryContextLineageSubgraph", context=name)

    def run_of(self, execution: Any) -> str:
        """The id of the pipeline run that an execution belongs to; empty where it belongs to none."""
        store = execution.name.partition("/executions/")[0]
        answer = self._vertex(
            "MetadataService.ListContexts",
            parent=store,
            filter=f'schema_title="system.PipelineRun" AND create_time<="{execution.create_time.ToJsonString()}"',
            order_by="create_time desc",
            page_size=_RUN_CONTEXTS,
        )
        for context in answer.contexts:
            if any(held.name == execution.name for held in self.in_context(context.name).executions):
                return last_of(context.name)
        return ""

    def content(self, uri: str, most: int) -> tuple[bytes, int]:
        """The beginning of an object, and how many bytes it has.

        Raises:
            NotFound: There is no such object.
            InvalidArgument: It is no URI of an object.
        """
        if not uri.startswith("gs://") or uri.endswith("/") or not self._objects.exists(uri):
            raise NotFound(f"No such object: {uri}")
        path = self._objects.path(uri)
        if not path.is_file():
            raise NotFound(f"No such object: {uri}")
        with path.open("rb") as file:
            return file.read(most), path.stat().st_size

    def files(self, uri: str, most: int) -> list[str]:
        """The URIs of objects below a folder; empty where there are none."""
        try:
            return self._objects.list(uri.rstrip("/") + "/")[:most]
        except CloudError:
            return []

    def project_id(self, project: str) -> str:
        """The id of a project, given by id or number; the number where no request has named the id yet."""
        request = resourcemanager_v3.GetProjectRequest(name=f"projects/{project}")
        found: str = self._call("google.cloud.resourcemanager.v3.Projects.GetProject", request).project_id
        return found

    def _vertex(self, method: str, **fields: Any) -> Any:
        name = f"{method.rpartition('.')[2]}Request"
        try:
            request = getattr(v1, name)(**fields)
        except (ValueError, UnicodeError) as error:
            raise InvalidArgument(str(error)) from None
        return self._call(f"google.cloud.aiplatform.v1.{method}", request)

    def project_of(self, name: str) -> str:
        """The project id in a resource name."""
        return self.project_id(project_of(name))


def _line(entry: Any) -> Line:
    text = entry.text_payload
    if entry.HasField("json_payload"):
        payload = json_format.MessageToDict(entry.json_payload)
        text = str(payload.get("message") or json_format.MessageToJson(entry.json_payload, indent=None))
    time = entry.timestamp.ToJsonString()
    return Line(time[11:19], _SEVERITIES.get(entry.severity, "DEFAULT"), text)


_SEVERITIES = {
    0: "DEFAULT",
    100: "DEBUG",
    200: "INFO",
    300: "NOTICE",
    400: "WARNING",
    500: "ERROR",
    600: "CRITICAL",
    700: "ALERT",
    800: "EMERGENCY",
}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
