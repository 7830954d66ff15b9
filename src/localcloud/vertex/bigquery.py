"""BigQuery as Vertex AI uses it: jobs and tables through Google's REST API, like any other client of this local cloud.

https://cloud.google.com/bigquery/docs/reference/rest/v2
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from localcloud.errors import Code, of
from localcloud.service import Cloud

_ROOT = "https://bigquery.googleapis.com/bigquery/v2"
_TIMEOUT = 600.0
_LOOK_SECONDS = 0.1


class BigQuery:
    """A client that acts in one project.

    Args:
        cloud: What all services share.
        project: Whom jobs are billed to.
    """

    def __init__(self, cloud: Cloud, project: str) -> None:
        variables = cloud.environment()
        context = ssl.create_default_context(cafile=variables["SSL_CERT_FILE"])
        token = Path(variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"]).read_text().strip()
        self._project = project
        self._client = httpx.Client(
            proxy=variables["https_proxy"],
            verify=context,
            trust_env=False,
            timeout=_TIMEOUT,
            headers={"authorization": f"Bearer {token}"},
        )

    def close(self) -> None:
        """Give its connections back."""
        self._client.close()

    def table(self, table: str) -> Any:
        """The table's resource.

        Args:
            table: `project.dataset.table`.
        """
        project, dataset, name = split(table)
        return self._ask("GET", f"projects/{project}/datasets/{dataset}/tables/{name}")

    def create_dataset(self, project: str, dataset: str) -> None:
        """Make a dataset that must not be there yet."""
        reference = {"projectId": project, "datasetId": dataset}
        self._ask("POST", f"projects/{project}/datasets", {"datasetReference": reference})

    def delete_dataset(self, project: str, dataset: str) -> None:
        """Delete a dataset with its tables."""
        self._ask("DELETE", f"projects/{project}/datasets/{dataset}?deleteContents=true")

    def delete_table(self, table: str) -> None:
        """Delete a table."""
        project, dataset, name = split(table)
        self._ask("DELETE", f"projects/{project}/datasets/{dataset}/tables/{name}")

    def query(self, sql: str, target: str) -> int:
        """Put the result of a query into a table, in place of what was there; gives how many rows."""
        configuration = {
            "query": sql,
            "useLegacySql": False,
            "destinationTable": _reference(target),
            "writeDisposition": "WRITE_TRUNCATE",
        }
        self._job({"query": configuration})
        return int(self.table(target)["numRows"])

    def load_csv(self, uris: Sequence[str], columns: Sequence[str], target: str) -> None:
        """Load CSV files with a header, every value as the text that it is."""
        configuration = {
            "sourceUris": list(uris),
            "destinationTable": _reference(target),
            "sourceFormat": "CSV",
            "skipLeadingRows": 1,
            "allowQuotedNewlines": True,
            "schema": {"fields": [{"name": name, "type": "STRING"} for name in columns]},
        }
        self._job({"load": configuration})

    def extract_csv(self, table: str, uri: str) -> None:
        """Write a table as CSV files with a header; the URI has a wildcard."""
        configuration = {
            "sourceTable": _reference(table),
            "destinationUris": [uri],
            "destinationFormat": "CSV",
        }
        self._job({"extract": configuration})

    def _job(self, configuration: Mapping[str, Any]) -> None:
        """Run a job to its end.

        Raises:
            CloudError: It failed.
        """
        job = self._ask("POST", f"projects/{self._project}/jobs", {"configuration": configuration})
        while job["status"]["state"] != "DONE":
            time.sleep(_LOOK_SECONDS)
            reference = job["jobReference"]
            job = self._ask(
                "GET",
                f"projects/{reference['projectId']}/jobs/{reference['jobId']}?location={reference.get('location', '')}",
            )
        if error := job["status"].get("errorResult"):
            code = Code.NOT_FOUND if error.get("reason") == "notFound" else Code.INVALID_ARGUMENT
            raise of(code, error["message"])

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._client.request(method, f"{_ROOT}/{path}", json=body)
        if answer.is_success:
            return answer.json() if answer.content else {}
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError):
            message = answer.text
        raise of(Code.of_http(answer.status_code), message)


def split(table: str) -> tuple[str, str, str]:
    """Project, dataset and table of `project.dataset.table`; a project may have dots in it."""
    project, dataset, name = table.rsplit(".", 2)
    return project, dataset, name


def _reference(table: str) -> dict[str, str]:
    project, dataset, name = split(table)
    return {"projectId": project, "datasetId": dataset, "tableId": name}
