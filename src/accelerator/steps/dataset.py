"""The training set as a Vertex AI dataset."""

from __future__ import annotations

from typing import Any

from accelerator.config import Config


def create(config: Config, table: str, name: str) -> Any:
    """Make a tabular dataset of a BigQuery table.

    Args:
        config: The project.
        table: `project.dataset.table`.
        name: The dataset's display name.

    Returns:
        The google.cloud.aiplatform.TabularDataset.
    """
    from google.cloud import aiplatform

    aiplatform.init(project=config.project, location=config.region)
    return aiplatform.TabularDataset.create(
        display_name=name, bq_source=f"bq://{table}", labels={"model": config.model.name}
    )
