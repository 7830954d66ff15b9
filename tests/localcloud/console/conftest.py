"""Runs of pipelines to look at, and pages as a browser gets them, taken apart."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from google.cloud import aiplatform_v1 as v1
from google.cloud import storage
from google.protobuf import struct_pb2
from kfp import compiler
from tests.conftest import REGION, LocalCloud
from tests.localcloud.console import components

_VOID = {"meta", "link", "br", "hr", "img", "input"}
_OVER = (
    v1.PipelineState.PIPELINE_STATE_SUCCEEDED,
    v1.PipelineState.PIPELINE_STATE_FAILED,
    v1.PipelineState.PIPELINE_STATE_CANCELLED,
)


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    parts: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """The elements below it of a tag and with these attributes; `class_` must be among its classes."""
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                if part._is(tag, wanted):
                    found.append(part)
                found += part.all(tag, **wanted)
        return found

    def one(self, tag: str = "", **wanted: str) -> Element:
        """The only such element."""
        (found,) = self.all(tag, **wanted)
        return found

    @property
    def text(self) -> str:
        """All text in it."""
        parts = [part if isinstance(part, str) else part.text for part in self.parts]
        return " ".join(" ".join(parts).split())

    def _is(self, tag: str, wanted: dict[str, str]) -> bool:
        classes = self.attributes.get("class", "").split()
        for name, value in wanted.items():
            if name == "class_":
                if value not in classes:
                    return False
            elif self.attributes.get(name.replace("_", "-")) != value:
                return False
        return tag in ("", self.tag)


class _Builder(HTMLParser):
    """Builds the tree; tags must be closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        self._open[-1].parts.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open[-1].parts.append(Element(tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].parts.append(data)


def parsed(text: str) -> Element:
    """A page as a tree."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    assert len(builder._open) == 1
    return builder.root


@dataclass
class Console:
    """The console of the session's local cloud, and a project with runs.

    Args:
        url: Where it is.
        project: The project.
    """

    url: str
    project: str

    def get(self, path: str, **query: str) -> requests.Response:
        """An answer of the console's; `project` is the project of the tests unless another is given."""
        return requests.get(self.url + path, params={"project": self.project, **query}, timeout=30)

    def page(self, path: str, status: int = 200, **query: str) -> Element:
        """A page."""
        answer = self.get(path, **query)
        assert answer.status_code == status, answer.text
        return parsed(answer.text)

    def follow(self, href: str) -> Element:
        """The page that a link leads to."""
        answer = requests.get(self.url + href, timeout=30)
        assert answer.ok, answer.text
        return parsed(answer.text)

    def run_path(self, job: Any) -> str:
        """The path of a run's page."""
        return f"/vertex-ai/locations/{REGION}/pipelines/runs/{job.name.rpartition('/')[2]}"

    def task(self, job: Any, name: str) -> Element:
        """The page of a run with the first task of a name chosen."""
        chosen = next(detail for detail in job.job_detail.task_details if detail.task_name == name)
        return self.page(self.run_path(job), task=str(chosen.task_id))

    def submit(self, function: Any, parameters: dict[str, Any] | None = None, **fields: Any) -> Any:
        """A run of a pipeline function, which goes on."""
        spec = struct_pb2.Struct()
        spec.update(_compiled(function))
        values = {name: struct_pb2.Value() for name in parameters or {}}
        for name, value in (parameters or {}).items():
            kind = "string_value" if isinstance(value, str) else "number_value"
            setattr(values[name], kind, value)
        job = v1.PipelineJob(
            pipeline_spec=spec,
            runtime_config={"gcs_output_directory": f"gs://{self.project}/root", "parameter_values": values},
            **fields,
        )
        return self.client().create_pipeline_job(parent=f"projects/{self.project}/locations/{REGION}", pipeline_job=job)

    def wait(self, job: Any) -> Any:
        """A run once it is over."""
        import time

        while True:
            found = self.client().get_pipeline_job(name=job.name)
            if found.state in _OVER:
                return found
            time.sleep(0.1)

    def client(self) -> v1.PipelineServiceClient:
        """Google's client."""
        return v1.PipelineServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})


def _compiled(function: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(function, str(path))
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found


@pytest.fixture(scope="session")
def console(cloud: LocalCloud) -> Console:
    """The console, and a project of its own for all its tests."""
    project = f"console-{uuid.uuid4().hex[:12]}"
    storage.Client(project=project).create_bucket(project, location=REGION)
    # Vertex AI knows a project once a request has named it
    client = v1.EndpointServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    client.list_endpoints(parent=f"projects/{project}/locations/{REGION}")
    return Console(cloud.url, project)


@pytest.fixture(scope="session")
def everything(console: Console) -> Any:
    """A run with a task that fails and hostile text all over, once it is over."""
    hostile = components.HOSTILE
    job = console.submit(components.everything, {"text": hostile}, display_name=hostile, labels={"team": "flights"})
    return console.wait(job)
