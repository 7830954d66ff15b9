"""`mlops run` and `mlops cancel`: a pipeline is submitted to Vertex AI Pipelines, watched to its end, and told of.

Exit codes: 0 it succeeded (or was submitted, with --no-wait), 1 it failed, 2 nothing was submitted, 3 it was
cancelled, 4 it went out of sight, 130 the user stopped watching; in the last two it goes on.
"""

from __future__ import annotations

import copy
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from accelerator.cli import project
from accelerator.cli import vertex as api
from accelerator.cli.output import Steps, console, print_json
from accelerator.cli.pipeline_file import Pipeline, PipelineError, load
from accelerator.cli.pipeline_parameters import parse, runtime_values
from accelerator.cli.run_end import CANCELLED, SUCCEEDED, hint, page, print_summary, print_where, summary
from accelerator.cli.run_tree import tree
from accelerator.cli.run_view import view
from accelerator.cli.vertex import ApiError, Vertex
from accelerator.errors import AcceleratorError

_SHORTEST, _LONGEST = 0.3, 5.0
"""Seconds between looks at a run: ten times what a look takes, within these bounds."""
_OUT_OF_SIGHT = 60.0
"""Seconds without an answer after which a run is given up as out of sight."""


class SubmitError(AcceleratorError):
    """Vertex AI does not take the pipeline."""

    exit_code = 2


class LostError(AcceleratorError):
    """A run that is submitted can no longer be read."""

    exit_code = 4


@dataclass(frozen=True)
class Settings:
    """What the command line says of a run beside its pipeline and parameters."""

    target: str
    project: str = ""
    location: str = ""
    config: Path = Path("mlops.yaml")
    root: str = ""
    service_account: str = ""
    caching: bool = True
    wait: bool = True
    as_json: bool = False


def run(source: str, parameters: Sequence[str], settings: Settings) -> None:
    """Submits a pipeline; waits for its end and tells of it.

    Args:
        source: A file, or the name of one of the project's pipelines.
        parameters: `name=value` each.
        settings: All else.

    Raises:
        typer.Exit: The run did not succeed.
        AcceleratorError: It was not submitted, or cannot be read.
    """
    if source in project.NAMES:
        config = project.load(settings.config, settings.target, settings.project)
        vertex = Vertex(settings.target, config.project, config.region)
        pipeline = project.pipeline(config, source, None if settings.as_json else Steps())
    else:
        vertex = Vertex(settings.target, settings.project, settings.location)
        pipeline = load(source, vertex)
    values = parse(parameters, pipeline.spec, pipeline.parameters)
    if pipeline.left_out:
        names = ", ".join(pipeline.left_out)
        print(f"Its settings for {names} are left out: Vertex AI Pipelines knows none.", file=sys.stderr)
    job = submit(vertex, pipeline, values, settings)
    name = job["name"]
    if not settings.wait:
        said = {"name": name, "state": job["state"], "console": page(vertex, name), "logs": hint(vertex, "logs", name)}
        if settings.as_json:
            print_json(said)
        else:
            console.print(f"{name.rpartition('/')[2]} is submitted.", markup=False)
            print_where(said)
        return
    try:
        job = watch(vertex, name, settings.as_json)
    except KeyboardInterrupt:
        print(f"The run goes on. To end it: {hint(vertex, 'cancel', name)}", file=sys.stderr)
        raise typer.Exit(130) from None
    said = summary(vertex, job, tree(job))
    if settings.as_json:
        print_json(said)
    else:
        print_summary(said)
    code = {SUCCEEDED: 0, CANCELLED: 3}.get(job["state"], 1)
    if code:
        raise typer.Exit(code)


def cancel(name: str, target: str, project: str, location: str) -> None:
    """Asks a run or a job to end.

    Raises:
        AcceleratorError: There is none of that name.
    """
    vertex = api.of_resource(target, name, project, location)
    last = name.rpartition("/")[2]
    for collection in ("pipelineJobs", "customJobs", "batchPredictionJobs", "hyperparameterTuningJobs"):
        found = None
        if collection == "pipelineJobs" or last.isdigit():
            found = vertex.find(f"{vertex.parent}/{collection}/{last}")
        if found is None:
            continue
        if found["state"] in api.OVER:
            console.print(f"{last} is over already: {_word(found['state'])}.", markup=False)
            return
        vertex.post(f"{found['name']}:cancel", {})
        console.print(f"{last} is being cancelled.", markup=False)
        return
    raise AcceleratorError(
        f"No pipeline run and no job is called {last}",
        place=vertex.parent,
        next_step="give the id that `mlops run` has shown, or a resource name; --project names another project",
    )


def submit(vertex: Vertex, pipeline: Pipeline, values: Mapping[str, Any], settings: Settings) -> Any:
    """Submits a pipeline; gives the PipelineJob.

    Raises:
        AcceleratorError: Vertex AI does not take it.
    """
    spec = pipeline.spec
    if not settings.caching:
        spec = _without_caching(spec)
    root = settings.root or pipeline.root or f"gs://{vertex.project}-vertex-pipelines-{vertex.location}"
    _make_bucket(vertex, root)
    job = {
        "displayName": pipeline.name[:128],
        "pipelineSpec": spec,
        "runtimeConfig": {"gcsOutputDirectory": root, **runtime_values(values, spec)},
        **({"serviceAccount": settings.service_account} if settings.service_account else {}),
        **({"network": pipeline.network} if pipeline.network else {}),
    }
    try:
        return vertex.post(f"{vertex.parent}/pipelineJobs", job, pipelineJobId=_job_id(pipeline.name))
    except ApiError as error:
        raise SubmitError(error.headline, place=error.place, next_step=error.next_step) from None


def _job_id(pipeline: str) -> str:
    """As the SDK makes it, with the milliseconds, so that two runs in one second do not meet."""
    slug = re.sub("[^-0-9a-z]+", "-", pipeline.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"pipeline-{slug}"
    now = datetime.now(UTC)
    return f"{slug[:100].rstrip('-')}-{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"


def _without_caching(spec: Mapping[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(spec))
    for component in [changed["root"], *changed.get("components", {}).values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {"enableCache": False}
    return changed


def _make_bucket(vertex: Vertex, root: str) -> None:
    """The bucket of the outputs, made where it is not there, as the SDK does.

    Raises:
        PipelineError: It is no gs:// URI, or the bucket is somebody else's.
    """
    bucket = root.removeprefix("gs://").partition("/")[0]
    if not root.startswith("gs://") or not bucket:
        raise PipelineError(
            f"The pipeline root must be a Cloud Storage URI, not {root!r}", next_step="give --root gs://BUCKET/FOLDER"
        )
    storage = "https://storage.googleapis.com/storage/v1/b"
    try:
        vertex.ask("GET", f"{storage}/{bucket}")
    except ApiError as missing:
        if missing.status != 404:
            raise PipelineError(
                missing.headline, place=f"gs://{bucket}", next_step="give --root gs://BUCKET/FOLDER of your own"
            ) from None
        try:
            body = {"name": bucket, "location": vertex.location}
            vertex.ask("POST", storage, params={"project": vertex.project}, json=body)
        except ApiError as error:
            if error.status != 409:  # made meanwhile
                raise PipelineError(error.headline, place=f"gs://{bucket}") from None


def watch(vertex: Vertex, name: str, as_json: bool) -> Any:
    """Shows a run until it is over; gives it as it is then.

    Raises:
        LostError: It can no longer be read.
    """
    shown = view(as_json)
    title = name.rpartition("/")[2]
    answered = time.monotonic()
    try:
        while True:
            began = time.monotonic()
            try:
                job = vertex.get(name)
                answered = time.monotonic()
            except ApiError as error:
                if error.status not in (0, 429, 500, 502, 503, 504) or began - answered > _OUT_OF_SIGHT:
                    next_step = f"it may still run: {hint(vertex, 'logs', name)}"
                    raise LostError(error.headline, place=title, next_step=next_step) from None
                time.sleep(_LONGEST / 5)
                continue
            shown.show(title, tree(job))
            if job["state"] in api.OVER:
                return job
            time.sleep(min(_LONGEST, max(_SHORTEST, 10 * (answered - began))))
    finally:
        shown.close()


def _word(state: str) -> str:
    return state.rpartition("STATE_")[2].lower().replace("_", " ")
