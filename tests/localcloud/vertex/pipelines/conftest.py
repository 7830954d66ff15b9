"""Runs pipelines as users do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.cloud.aiplatform.pipeline_jobs
import pytest
from google.cloud import aiplatform
from kfp import compiler

_numbers = itertools.count()


@pytest.fixture
def submit(sdk: str, tmp_path: Path) -> Callable[..., aiplatform.PipelineJob]:
    """Compiles a pipeline function and submits it; gives the job."""

    def submit_pipeline(function: Any, parameters: dict[str, Any] | None = None, **settings: Any) -> Any:
        path = tmp_path / f"pipeline-{next(_numbers)}.yaml"
        compiler.Compiler().compile(function, str(path))
        job = aiplatform.PipelineJob(
            display_name="test",
            template_path=str(path),
            job_id=f"test-{next(_numbers)}",
            pipeline_root=f"gs://{sdk}/root",
            parameter_values=parameters,
            **settings,
        )
        job.submit()
        return job

    return submit_pipeline


@pytest.fixture
def run(
    submit: Callable[..., aiplatform.PipelineJob], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., aiplatform.PipelineJob]:
    """The same, and waits for the end."""
    monkeypatch.setattr(google.cloud.aiplatform.pipeline_jobs, "_JOB_WAIT_TIME", 0.1)

    def run_pipeline(function: Any, parameters: dict[str, Any] | None = None, **settings: Any) -> Any:
        job = submit(function, parameters, **settings)
        job.wait()
        return job

    return run_pipeline
