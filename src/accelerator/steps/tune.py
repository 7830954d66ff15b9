"""Hyperparameter tuning on a training set: trials of the team's training image."""

from __future__ import annotations

from collections.abc import Sequence

from accelerator.config import Config
from accelerator.contract import load_plugin
from accelerator.steps.jobs import overrides, worker_pool
from accelerator.tuning.search import Found, search


def tune(config: Config, image: str, name: str, settings: Sequence[str] = ()) -> Found:
    """Search over the project's `search_space`.

    Args:
        config: The project; its code is beside its mlops.yaml.
        image: The team's training image.
        name: The job's display name.
        settings: `--set` overrides of the trials, such as the training set's.
    """
    plugin = load_plugin(config.directory / config.model.code)
    return search(config, plugin.search_space, worker_pool(config, image, overrides(settings)), name)
