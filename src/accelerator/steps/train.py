"""Training: a custom job of the team's training image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from accelerator.config import Config
from accelerator.errors import AcceleratorError


class TrainingError(AcceleratorError):
    """The training job did not succeed."""


@dataclass(frozen=True)
class Trained:
    """A finished training job.

    Args:
        job: Its resource name.
        artifact_uri: The folder of the model, `gs://…/model/`.
        metrics: As the training code reported them.
    """

    job: str
    artifact_uri: str
    metrics: dict[str, float]


def train(config: Config, image: str, arguments: Sequence[str] = ()) -> Trained:
    """Run the training job and wait for its end.

    Args:
        config: The project.
        image: The team's training image; the project's folder is its working directory.
        arguments: Further arguments of the container, such as `--learning_rate=0.1`.

    Raises:
        TrainingError: It failed; the message holds the job's own.
    """
    import json

    from google.cloud import aiplatform
    from google.cloud.storage import Client

    output = f"gs://{config.bucket_name}/training/{config.model.name}-{time.strftime('%Y%m%d%H%M%S')}"
    aiplatform.init(project=config.project, location=config.region, staging_bucket=f"gs://{config.bucket_name}")
    pool = {
        "machine_spec": {"machine_type": config.training.machine},
        "replica_count": 1,
        "container_spec": {
            "image_uri": image,
            "args": list(arguments),
            "env": [
                {"name": "MLOPS_PROJECT", "value": config.project},
                {"name": "MLOPS_REGION", "value": config.region},
                {"name": "GOOGLE_CLOUD_PROJECT", "value": config.project},
            ],
        },
    }
    job = aiplatform.CustomJob(
        display_name=f"{config.model.name}-training",
        worker_pool_specs=[pool],
        base_output_dir=output,
        labels={"model": config.model.name},
    )
    try:
        job.run()
    except RuntimeError as error:
        name = job.resource_name
        raise TrainingError(
            f"The training job failed\n{_indented(str(error))}",
            place=name,
            next_step=f"`mlops logs {name.rpartition('/')[2]}` shows all it wrote",
        ) from error
    artifact_uri = f"{output}/model"
    bucket = Client(project=config.project).bucket(config.bucket_name)
    metrics = bucket.blob(f"{artifact_uri.partition(config.bucket_name + '/')[2]}/metrics.json")
    return Trained(job.resource_name, artifact_uri, json.loads(metrics.download_as_bytes()))


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())
