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
from localcloud.service import Api, Cloud

v3 = Package("google.cloud.resourcemanager.v3")


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
        return v3.Project(
            name=f"projects/{number}",
            project_id=self._names.id(number),
            display_name=self._names.id(number),
            state=v3.Project.State.Value("ACTIVE"),
        )
