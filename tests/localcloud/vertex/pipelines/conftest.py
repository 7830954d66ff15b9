"""Runs pipelines as users do, and looks at what became of them."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import google.cloud.aiplatform.pipeline_jobs
import pytest
import yaml
from google.cloud import aiplatform
from kfp import compiler

_numbers = itertools.count()


def compiled(function: Any) -> dict[str, Any]:
    """The specification of a pipeline function."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(function, str(path))
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found


class Run:
    """Compiles pipeline functions, submits them and waits for their end."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.bucket = bucket
        self.folder = folder
        self.last: aiplatform.PipelineJob
        """The job that was submitted last, for those that fail."""

    def submit(self, function: Any, parameters: dict[str, Any] | None = None, **settings: Any) -> Any:
        """A run that goes on."""
        path = self.folder / f"pipeline-{next(_numbers)}.yaml"
        path.write_text(yaml.safe_dump(compiled(function)))
        self.last = aiplatform.PipelineJob(
            display_name="test",
            template_path=str(path),
            job_id=f"test-{next(_numbers)}",
            pipeline_root=f"gs://{self.bucket}/root",
            parameter_values=parameters,
            **settings,
        )
        self.last.submit()
        return self.last

    def __call__(self, function: Any, parameters: dict[str, Any] | None = None, **settings: Any) -> Any:
        """A run that is over.

        Raises:
            RuntimeError: It failed.
        """
        job = self.submit(function, parameters, **settings)
        job.wait()
        return job


@pytest.fixture
def run(sdk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pipelines in the test's own project; the SDK looks ten times a second."""
    monkeypatch.setattr(google.cloud.aiplatform.pipeline_jobs, "_JOB_WAIT_TIME", 0.1)
    return Run(sdk, tmp_path)


def task(job: aiplatform.PipelineJob, name: str) -> Any:
    """The details of the one task of this name."""
    (found,) = [detail for detail in job.task_details if detail.task_name == name]
    return found


def outputs(job: aiplatform.PipelineJob, name: str) -> dict[str, Any]:
    """The output parameters of a task."""
    metadata = task(job, name).execution.metadata
    return {key.removeprefix("output:"): value for key, value in metadata.items() if key.startswith("output:")}


def states(job: aiplatform.PipelineJob) -> dict[str, str]:
    """The state of every task by its unique name."""
    return {detail.task_unique_name: detail.state.name for detail in job.task_details}
