"""A project's pipelines as compiled specifications."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from accelerator.config import Config
from accelerator.errors import ConfigError, suggestion
from accelerator.steps.images import Images

TRAINING, BATCH_PREDICTION = "training", "batch-prediction"
NAMES = (TRAINING, BATCH_PREDICTION)
"""The pipelines that every project has; batch prediction where its section is in mlops.yaml."""


def compiled(config: Config, images: Images, name: str) -> str:
    """The specification of one of a project's pipelines, as YAML: the same for every target.

    Raises:
        ConfigError: There is no such pipeline, or its section is missing.
    """
    if name not in NAMES:
        raise ConfigError(f"No pipeline is called '{name}'", next_step=suggestion(name, NAMES))
    if name == BATCH_PREDICTION and config.batch_prediction is None:
        raise ConfigError(
            "The project predicts no table",
            place=config.place("batch_prediction"),
            next_step="add batch_prediction: {to: dataset.table}",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KFP's, of its own future
        from kfp import compiler

        from accelerator.pipelines.components import components
        from accelerator.pipelines.training import batch_prediction_pipeline, training_pipeline

        make = training_pipeline if name == TRAINING else batch_prediction_pipeline
        with tempfile.TemporaryDirectory(prefix="mlops-compile-") as folder:
            output = Path(folder) / "pipeline.yaml"
            compiler.Compiler().compile(make(config, components(images)), str(output))
            return output.read_text()
