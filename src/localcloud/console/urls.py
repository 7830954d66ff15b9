"""The addresses of the pages: those of Google's console, so that a link there is a link here with another host."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from localcloud.console.values import last_of, location_of
from localcloud.errors import NotFound

EVERYWHERE = "-"
"""All projects, or all locations (https://google.aip.dev/159)."""
_COLLECTIONS = {"artifacts": "Artifact", "executions": "Execution", "contexts": "Context"}


def runs_url(project: str = "", location: str = EVERYWHERE, state: str = "", token: str = "") -> str:
    """The list of pipeline runs."""
    location = "" if location == EVERYWHERE else location
    return _url("/vertex-ai/pipelines/runs", project or EVERYWHERE, location=location, state=state, token=token)


def run_url(project: str, location: str, id: str, task: str = "") -> str:
    """The page of a run, with a task of it."""
    found = _url(f"/vertex-ai/locations/{quote(location)}/pipelines/runs/{quote(id)}", project, task=task)
    return f"{found}#tasks" if task else found


def list_url(kind: str, project: str = "", token: str = "") -> str:
    """The list of one kind of resources."""
    return _url(f"/vertex-ai/{quote(kind)}", project or EVERYWHERE, token=token)


def job_url(project: str, name: str) -> str:
    """The page of a custom job."""
    return _url(f"/vertex-ai/locations/{quote(location_of(name))}/training/{quote(last_of(name))}", project)


def node_url(project: str, name: str) -> str:
    """The page of an artifact, an execution or a context."""
    parts = name.split("/")
    if len(parts) != 8:
        return ""
    location, store, collection, id = parts[3], parts[5], parts[6], parts[7]
    where = f"/vertex-ai/locations/{quote(location)}/metadata-stores/{quote(store)}"
    return _url(f"{where}/{collection}/{quote(id)}", project)


def content_url(project: str, name: str) -> str:
    """The content of a HTML artifact, by itself."""
    path, _, query = node_url(project, name).partition("?")
    return f"{path}/content?{query}"


def node_name(project: str, location: str, store: str, collection: str, id: str) -> tuple[str, str]:
    """The kind of a node (`Artifact`) and its resource name, from the parts of its address.

    Raises:
        NotFound: There are no nodes of such a collection.
    """
    kind = _COLLECTIONS.get(collection)
    if kind is None:
        raise NotFound(f"There is no page of {collection}.")
    return kind, f"projects/{project}/locations/{location}/metadataStores/{store}/{collection}/{id}"


def _url(path: str, project: str, **query: str) -> str:
    return f"{path}?{urlencode({'project': project, **{key: value for key, value in query.items() if value}})}"
