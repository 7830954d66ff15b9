"""SearchProjects by Google's client."""

from __future__ import annotations

from google.cloud import resourcemanager_v3


def test_projects_that_requests_have_named_are_found(project: str) -> None:
    client = resourcemanager_v3.ProjectsClient()
    named = client.get_project(name=f"projects/{project}")
    (found,) = client.search_projects(query=f"id:{project}")
    assert (found.name, found.project_id) == (named.name, project)
    assert found.state is resourcemanager_v3.Project.State.ACTIVE


def test_pages_of_projects_go_on(project: str) -> None:
    client = resourcemanager_v3.ProjectsClient()
    ids = sorted(f"{project}-{number}" for number in range(3))
    for name in ids:
        client.get_project(name=f"projects/{name}")
    request = {"query": f"id:{project}-*", "page_size": 2}
    pages = list(client.search_projects(request=request).pages)
    assert [len(page.projects) for page in pages] == [2, 1]
    assert [found.project_id for page in pages for found in page.projects] == ids
