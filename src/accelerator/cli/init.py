"""`mlops init`: a new project for a table of one's own: configuration, code, requirements."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from string import Template

import typer

from accelerator import config, shipped
from accelerator.cli.output import console
from accelerator.errors import ConfigError


def init(directory: Path, table: str, label: str, project: str, framework: str) -> None:
    """Makes the folder from examples/templates; what it is not told it asks for.

    Raises:
        ConfigError: The folder has a project already, or a name cannot be used.
    """
    taken = [name for name in ("mlops.yaml", "model.py", "requirements.txt") if (directory / name).exists()]
    if taken:
        raise ConfigError(
            f"There is a project here already: {', '.join(taken)}",
            place=str(directory),
            next_step="choose another folder; nothing was changed",
        )
    table = table or typer.prompt("The BigQuery table with the examples (dataset.table)")
    label = label or typer.prompt("Its column to predict")
    model = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-") or "model"
    model = model if model[0].isalpha() else f"model-{model}"
    predictions = f"{table.rpartition('.')[0]}.{model.replace('-', '_')}_predictions"
    templates = shipped.folder("examples/templates")
    template = Template((templates / "mlops.yaml").read_text())
    text = template.substitute(project=project, table=table, label=label, model=model, predictions=predictions)
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "mlops.yaml"
    path.write_text(text)
    try:
        config.load(path)
    except ConfigError:
        # nothing half made stays behind
        path.unlink()
        if made:
            directory.rmdir()
        raise
    for name in ("model.py", "requirements.txt"):
        shutil.copyfile(templates / framework / name, directory / name)
    console.print(f"A project for {table} is in {directory}: mlops.yaml, model.py ({framework}), requirements.txt.")
    console.print(f"  mlops run training --config {path}   trains, validates, deploys and predicts")
    query = f"SELECT * FROM {predictions} LIMIT 5"
    console.print(f"  mlops exec --project {project} -- bq query --use_legacy_sql=false '{query}'   shows predictions")
