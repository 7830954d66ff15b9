"""Dataflow as the runner: its options, and a look whether it is there before anything is read or staged.

https://cloud.google.com/dataflow/docs/reference/pipeline-options
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from accelerator.config import Config
from accelerator.errors import AcceleratorError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

API = "dataflow.googleapis.com"


class DataflowError(AcceleratorError):
    """Dataflow is not there or does not take the job."""


def check(config: Config) -> None:
    """Find out now, not after minutes of retries, that Dataflow takes jobs of this project.

    Raises:
        DataflowError: It does not.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.dataflow_v1beta3 import JobsV1Beta3Client, ListJobsRequest

    request = ListJobsRequest(project_id=config.project, location=config.region, page_size=1)
    try:
        JobsV1Beta3Client().list_jobs(request, timeout=60)
    except GoogleAPICallError as error:
        raise refused(error) from error


def options(config: Config, run_id: str, image: str) -> PipelineOptions:
    """The options of a job.

    Args:
        config: The project, its region and bucket, and the section `preprocessing`.
        run_id: The run's name, which becomes the job's.
        image: Of the workers: the team's, started by Beam's boot program (images/preprocessing/dataflow.Dockerfile).
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    section = config.preprocessing
    assert section is not None
    bucket = f"gs://{config.bucket_name}/dataflow"
    least, most = section.workers
    return PipelineOptions(
        [],
        project=config.project,
        region=config.region,
        job_name=re.sub(r"[^a-z0-9-]+", "-", run_id.lower())[:63].rstrip("-"),
        temp_location=f"{bucket}/temp",
        staging_location=f"{bucket}/staging",
        sdk_container_image=image,
        sdk_location="container",
        machine_type=section.machine,
        num_workers=max(1, least),
        max_num_workers=most,
        labels=[f"model={config.model.name}"],
        service_account_email=section.service_account,
        experiments=["use_runner_v2"],
        save_main_session=False,
    )


def refused(error: Any) -> DataflowError:
    """What an error of Google's client says, and what to do.

    Args:
        error: A google.api_core.exceptions.GoogleAPICallError.
    """
    from google.api_core.exceptions import MethodNotImplemented

    if isinstance(error, MethodNotImplemented):
        return DataflowError(
            f"There is no Dataflow here: {API} answers UNIMPLEMENTED ({error.message})",
            place="preprocessing.runner",
            next_step="Set it to DirectRunner, which runs the same pipeline in this process; DataflowRunner is for "
            "Google Cloud.",
        )
    return DataflowError(
        f"Dataflow does not take the job: {error.message}",
        place=API,
        next_step="Correct what it names: the API must be enabled, and the job's service account needs "
        "roles/dataflow.admin and iam.serviceAccountUser.",
    )
