"""A project's own pipelines and its endpoint, by the names that mlops.yaml gives: compile, run, rollback, undeploy."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from accelerator.cli import targets
from accelerator.cli.output import Steps, console
from accelerator.cli.pipeline_file import Pipeline, parse
from accelerator.config import Config
from accelerator.pipelines import compiled

NAMES = compiled.NAMES


def load(path: Path, target: str, project: str = "") -> Config:
    """The configuration of a project, and the target in use for its Google Cloud project."""
    from accelerator import config as configuration

    config = configuration.load(path, environment={**os.environ, **({"MLOPS_PROJECT": project} if project else {})})
    targets.use(target, config.project)
    return config


def pipeline(config: Config, name: str, steps: Steps | None) -> Pipeline:
    """One of the project's pipelines, its images built.

    Args:
        config: The project.
        name: Which pipeline.
        steps: Where the build is told of; None for scripts.
    """
    from accelerator.steps import build

    if steps is None:
        images = build.build(config)
    else:
        if config.data_validation is not None:
            console.print(
                "TensorFlow Data Validation is among the images: 1.6 GB, downloaded the first time "
                "(`data_validation: off` in mlops.yaml does without)",
                style="dim",
                markup=False,
                highlight=False,
            )
        with steps.step(f"Images of {config.model.name}") as say:
            images = build.build(config)
            say(f"version {images.tag}")
    parsed = parse(compiled.compiled(config, images, name), f"the {name} pipeline of {config.path}")
    # only inside of it does the endpoint answer the canary's check
    return replace(parsed, network=(config.deployment and config.deployment.network) or "")


def compile_to(path: Path, name: str, output: Path) -> None:
    """Write a compiled pipeline, naming the images that the project is built into now."""
    from accelerator import config as configuration
    from accelerator.steps import build

    config = configuration.load(path)
    output.write_text(compiled.compiled(config, build.images_of(config), name))
    console.print(f"{output}: the {name} pipeline of {config.model.name}", markup=False)


def rollback(path: Path, target: str) -> None:
    """Serve the version before."""
    config = load(path, target)
    from accelerator.steps import deploy

    with Steps().step(f"Endpoint of {config.model.name}") as say:
        present, before = deploy.rollback(config)
        say(f"version {before} serves again, in place of version {present}")


def undeploy(path: Path, target: str) -> None:
    """Take the endpoint away."""
    config = load(path, target)
    from accelerator.steps import deploy

    with Steps().step(f"Endpoint of {config.model.name}") as say:
        name = deploy.undeploy(config)
        say(f"{name} and what was deployed on it are gone" if name else "there was none")
