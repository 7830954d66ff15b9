"""Resource Manager's projects, v3 and the v1 that gcloud and older clients still ask.

Projects are not created here: any id is a project, so that a team's configuration needs no change to run locally.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud import projects
from localcloud.catalog import Package
from localcloud.errors import InvalidArgument
from localcloud.filters import Vocabulary, compile_filter
from localcloud.pages import clamp_page_size, decode_token, encode_token
from localcloud.service import Api, Cloud

v3 = Package("google.cloud.resourcemanager.v3")

_VOCABULARY = Vocabulary(
    fields={"id": lambda project: project.project_id, "projectId": lambda project: project.project_id}
)
"""What queries of SearchProjects call the project id."""


def api(cloud: Cloud) -> Api:
    """The API, on both versions of its host."""
    names = projects.Projects(cloud.store)

    async def get_project_v1(request: Request) -> Response:
        number = names.number(request.path_params["project"])
        project = names.id(number)
        return JSONResponse(
            {"projectNumber": number, "projectId": project, "lifecycleState": "ACTIVE", "name": project}
        )

    return Api(
        name="cloudresourcemanager",
        hosts=("cloudresourcemanager.googleapis.com", "cloudresourcemanager.mtls.googleapis.com"),
        services=(Projects(names),),
        packages=("google.cloud.resourcemanager.v3",),
        http=Starlette(routes=[Route("/v1/projects/{project}", get_project_v1)]),
    )


class Projects:
    """google.cloud.resourcemanager.v3.Projects."""

    def __init__(self, names: projects.Projects) -> None:
        self._names = names

    def get_project(self, request: Any) -> Any:
        """The project, by id or number."""
        kind, _, project = request.name.partition("/")
        if kind != "projects" or not project or "/" in project:
            raise InvalidArgument(f"Invalid project name {request.name!r}: write `projects/PROJECT_ID`.")
        number = self._names.number(project)
        return _project(number, self._names.id(number))

    def search_projects(self, request: Any) -> Any:
        """The projects that requests have named, in order of their ids; queries are as those of Google's lists."""
        matches = compile_filter(request.query, v3.Project.DESCRIPTOR, _VOCABULARY)
        size = clamp_page_size(request.page_size, 100, 500)
        arguments = [request.query]
        after = decode_token(request.page_token, arguments, 2)[0] if request.page_token else ""
        found = [_project(number, id) for number, id in self._names.all() if id > after]
        found = [project for project in found if matches(project)]
        token = encode_token(arguments, [found[size - 1].project_id, 0]) if len(found) > size else ""
        return v3.SearchProjectsResponse(projects=found[:size], next_page_token=token)


def _project(number: str, id: str) -> Any:
    return v3.Project(
        name=f"projects/{number}",
        project_id=id,
        display_name=id,
        state=v3.Project.State.Value("ACTIVE"),
    )
