"""`mlops build`: the project's images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from accelerator.cli import targets
from accelerator.cli.output import Steps, print_json


def build(config: Path, target: str, as_json: bool) -> None:
    """Builds the images of a project and says what they are called."""
    from accelerator import config as configuration

    loaded = configuration.load(config)
    targets.use(target, loaded.project)
    from accelerator.steps import build as step

    if as_json:
        print_json(asdict(step.build(loaded)))
        return
    with Steps().step(f"Images of {loaded.model.name}") as say:
        images = step.build(loaded)
        say(images.training)
        say(images.prediction)
