"""Google's REST APIs as the command line asks them: one session with the user's credentials, the same on both targets.

Plain REST, because importing the Vertex AI client would take longer than all the rest of a command.
"""

from __future__ import annotations

import os
import re
from typing import Any

from accelerator.cli import targets
from accelerator.errors import AcceleratorError

DEFAULT_LOCATION = "us-central1"
OVER = frozenset(
    f"{kind}_STATE_{state}"
    for kind in ("JOB", "PIPELINE")
    for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
)
"""The states of jobs and pipeline runs that are final."""
_TIMEOUT = 60


class ApiError(AcceleratorError):
    """Google's API has refused a request, or could not be reached.

    Args:
        headline: What it said.
        place: Which resource or method.
        status: The HTTP status; 0 where there was no answer.
    """

    def __init__(self, headline: str, *, place: str, status: int = 0, next_step: str = "") -> None:
        super().__init__(headline, place=place, next_step=next_step)
        self.status = status


class Vertex:
    """Vertex AI in one project and location, and the APIs beside it.

    Args:
        target: `local`, whose cloud is started if need be, or `gcp`.
        project: The project; by default that of the environment or the credentials.
        location: The region; by default us-central1.
    """

    def __init__(self, target: str, project: str = "", location: str = "") -> None:
        targets.use(target, project)
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession

        try:
            credentials, default = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError:
            raise AcceleratorError(
                "There are no credentials of Google Cloud on this machine",
                next_step="run `gcloud auth application-default login`",
            ) from None
        self._session = AuthorizedSession(credentials)
        self.target = target
        self.project: str = project or os.environ.get("GOOGLE_CLOUD_PROJECT") or default or ""
        if not self.project:
            raise AcceleratorError("Which project?", next_step="give --project, or set GOOGLE_CLOUD_PROJECT")
        self.location = location or DEFAULT_LOCATION

    @property
    def parent(self) -> str:
        """`projects/P/locations/L`."""
        return f"projects/{self.project}/locations/{self.location}"

    def get(self, name: str, **query: str) -> Any:
        """A resource of Vertex AI.

        Raises:
            ApiError: It is not there, or cannot be read.
        """
        return self.ask("GET", self._url(name), params=query)

    def find(self, name: str, **query: str) -> Any | None:
        """The same; None where it is not there."""
        try:
            return self.get(name, **query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def post(self, name: str, body: Any, **query: str) -> Any:
        """A method of Vertex AI, such as `projects/P/locations/L/pipelineJobs/ID:cancel`."""
        return self.ask("POST", self._url(name), params=query, json=body)

    def ask(self, method: str, url: str, **arguments: Any) -> Any:
        """Any method of any of Google's APIs; gives its JSON.

        Raises:
            ApiError: It was refused, or there was no answer.
        """
        answer = self.raw(method, url, **arguments)
        return answer.json() if answer.content else {}

    def raw(self, method: str, url: str, **arguments: Any) -> Any:
        """The same; gives the answer as it came."""
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        place = re.sub(r"^https://", "", url)
        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT, **arguments)
        except (RequestException, GoogleAuthError) as error:
            raise ApiError(f"There was no answer: {type(error).__name__}", place=place) from None
        if answer.ok:
            return answer
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text.strip() or answer.reason
        raise ApiError(message, place=place, status=answer.status_code)

    def newest(self, collection: str, display_name: str) -> Any | None:
        """The newest resource of a collection that has this display name."""
        listed = self.get(f"{self.parent}/{collection}", filter=f'display_name="{_quoted(display_name)}"')
        return next(iter(listed.get(collection, [])), None)

    def _url(self, name: str) -> str:
        return f"https://{self.location}-aiplatform.googleapis.com/v1/{name}"


def part(name: str, collection: str) -> str:
    """What follows a collection in a resource name: `part("projects/p/locations/l", "projects")` is `p`."""
    found = re.search(rf"(?:^|/){collection}/([^/]+)", name)
    return found.group(1) if found else ""


def of_resource(target: str, name: str, project: str = "", location: str = "") -> Vertex:
    """Vertex AI where a resource is: what its name says, else what the user has said."""
    return Vertex(target, project or part(name, "projects"), part(name, "locations") or location)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
