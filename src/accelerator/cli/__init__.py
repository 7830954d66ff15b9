"""The command `mlops`: what it can do, and nothing of how; each command's module is imported when it is called.

Errors reach the user here: headline, place, next step and exit code 1; `--debug` shows the stack trace instead.
"""

from __future__ import annotations

import gc
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accelerator.errors import AcceleratorError

app = typer.Typer(
    name="mlops",
    help="MLOps on Vertex AI, on this machine or on Google Cloud, with your own code plugged in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Target(StrEnum):
    """Where commands go."""

    local = "local"
    gcp = "gcp"


class Runtime(StrEnum):
    """What runs containers under the local cloud."""

    process = "process"
    docker = "docker"
    podman = "podman"


class Framework(StrEnum):
    """What a new project's model.py is written with: the folders of examples/templates."""

    scikit_learn = "scikit-learn"
    xgboost = "xgboost"
    pytorch = "pytorch"


TargetOption = Annotated[Target, typer.Option("--target", help="The local cloud (started if need be) or Google Cloud.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ProjectOption = Annotated[str, typer.Option(help="The project; by default GOOGLE_CLOUD_PROJECT.")]
LocationOption = Annotated[str, typer.Option(help="The region; by default us-central1.")]
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The project's mlops.yaml.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """MLOps on Vertex AI, on this machine or on Google Cloud, with your own code plugged in."""
    if debug:
        os.environ["MLOPS_DEBUG"] = "1"


@app.command()
def up(
    port: Annotated[int, typer.Option(help="The loopback port; by default that of last time, or a free one.")] = 0,
    runtime: Annotated[Runtime, typer.Option(help="What runs containers.")] = Runtime.process,
    json: JsonOption = False,
) -> None:
    """Start the local cloud."""
    from accelerator.cli import local

    local.up(port, runtime.value, json)


@app.command()
def down() -> None:
    """Stop the local cloud and everything it started."""
    from accelerator.cli import local

    local.down()


@app.command()
def status(json: JsonOption = False) -> None:
    """Show whether the local cloud is up, and what it serves."""
    from accelerator.cli import local

    local.status(json)


@app.command()
def env(
    project: Annotated[str, typer.Option(help="The project that clients take by default.")] = "",
    json: JsonOption = False,
) -> None:
    """Print the variables of the local target: eval "$(mlops env)"."""
    from accelerator.cli import local

    local.env(project, json)


@app.command(
    name="exec",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def execute(
    context: typer.Context,
    project: Annotated[str, typer.Option(help="The project that clients take by default.")] = "",
) -> None:
    """Run any program of Google's clients on the local cloud: mlops exec -- python train.py."""
    from accelerator.cli import local

    local.execute(context.args, project)


@app.command()
def demo(
    target: TargetOption = Target.local,
    project: Annotated[str, typer.Option(help="The project, in place of that in mlops.yaml.")] = "",
    worse: Annotated[bool, typer.Option("--worse", help="Train a worse model, which the gate refuses.")] = False,
) -> None:
    """From raw tables in BigQuery through the training pipeline to predictions, on the flights of 2013."""
    from accelerator.cli.demo import demo as run

    run(target.value, project, worse)


@app.command()
def build(
    config: ConfigOption = Path("mlops.yaml"),
    target: TargetOption = Target.local,
    json: JsonOption = False,
) -> None:
    """Build the project's training and prediction images with Cloud Build."""
    from accelerator.cli.build import build as run

    run(config, target.value, json)


@app.command()
def run(
    pipeline: Annotated[
        str,
        typer.Argument(
            help="`training` or `batch-prediction` of the project; or compiled YAML or JSON, here or on gs://; or "
            "file.py[:name]."
        ),
    ],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="A parameter: name=value. May be repeated.")
    ] = None,
    target: TargetOption = Target.local,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch it to its end, or only submit it.")] = True,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Take what was done before from the cache.")] = True,
    config: ConfigOption = Path("mlops.yaml"),
    root: Annotated[str, typer.Option(help="Where outputs go: gs://BUCKET/FOLDER.")] = "",
    service_account: Annotated[str, typer.Option(help="Whom its tasks run as.")] = "",
    project: ProjectOption = "",
    location: LocationOption = "",
    json: JsonOption = False,
) -> None:
    """Run a pipeline on Vertex AI Pipelines and watch it.

    Exit code: 0 it succeeded, 1 it failed, 2 it was not submitted, 3 it was cancelled, 4 it went out of sight, 130 you
    stopped watching (it goes on).
    """
    from accelerator.cli.run import Settings
    from accelerator.cli.run import run as start

    settings = Settings(
        target=target.value,
        project=project,
        location=location,
        config=config,
        root=root,
        service_account=service_account,
        caching=cache,
        wait=wait,
        as_json=json,
    )
    start(pipeline, param or [], settings)


@app.command(name="compile")
def compile_pipeline(
    pipeline: Annotated[str, typer.Argument(help="training or batch-prediction.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("pipeline.yaml"),
    config: ConfigOption = Path("mlops.yaml"),
) -> None:
    """Compile a pipeline of the project: one file for both targets."""
    from accelerator.cli.project import compile_to

    compile_to(config, pipeline, output)


@app.command()
def rollback(config: ConfigOption = Path("mlops.yaml"), target: TargetOption = Target.local) -> None:
    """Serve the model version that served before, in place of the present one."""
    from accelerator.cli.project import rollback as back

    back(config, target.value)


@app.command()
def undeploy(config: ConfigOption = Path("mlops.yaml"), target: TargetOption = Target.local) -> None:
    """Take the project's model off its endpoint, and the endpoint away."""
    from accelerator.cli.project import undeploy as away

    away(config, target.value)


@app.command()
def cancel(
    name: Annotated[str, typer.Argument(help="A pipeline run's or job's id or resource name.")],
    target: TargetOption = Target.local,
    project: ProjectOption = "",
    location: LocationOption = "",
) -> None:
    """End a pipeline run or a job."""
    from accelerator.cli.run import cancel as end

    end(name, target.value, project, location)


@app.command()
def logs(
    job: Annotated[
        str,
        typer.Argument(
            help="The id, resource name or display name of a job, a pipeline run or an endpoint.", show_default=False
        ),
    ] = "",
    task: Annotated[str, typer.Argument(help="One task of a pipeline run.", show_default=False)] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as long as the job runs.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The last N lines.", min=1)] = 1000,
    server: Annotated[bool, typer.Option("--server", help="The local cloud's own log instead.")] = False,
    target: TargetOption = Target.local,
    project: ProjectOption = "",
    location: LocationOption = "",
    json: JsonOption = False,
) -> None:
    """Show what a job, a pipeline run or an endpoint has written, from Cloud Logging."""
    from accelerator.cli.logs import logs as show
    from accelerator.cli.logs import server_log

    if server:
        server_log(limit)
    else:
        show(job, task, follow=follow, limit=limit, where=(target.value, project, location), as_json=json)


@app.command()
def doctor(target: TargetOption = Target.local, json: JsonOption = False) -> None:
    """Check this machine (or the Google Cloud project) for what the accelerator needs."""
    from accelerator.cli.doctor import doctor as run

    run(target.value, json)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The folder to make.")],
    table: Annotated[str, typer.Option(help="The BigQuery table with the examples: dataset.table.")] = "",
    label: Annotated[str, typer.Option(help="Its column to predict.")] = "",
    project: Annotated[str, typer.Option(help="The Google Cloud project; any name will do locally.")] = "my-project",
    framework: Annotated[Framework, typer.Option(help="What model.py is written with.")] = Framework.scikit_learn,
) -> None:
    """Make a new project: mlops.yaml, model.py and requirements.txt, ready for your own table."""
    from accelerator.cli.init import init as run

    run(directory, table, label, project, framework.value)


def main() -> Any:
    """The entry point: runs a command and turns whatever it raises into words and an exit code."""
    # Google's clients are a million objects, few of them in a cycle: looking for those is a sixth of their import
    gc.set_threshold(100_000)
    try:
        app(prog_name="mlops")
    except AcceleratorError as error:
        return _say(error.render(), error.exit_code)
    except KeyboardInterrupt:
        return _say("Interrupted.", 130)
    except BrokenPipeError:
        # the reader of a pipe has what it wanted; the interpreter must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("MLOPS_DEBUG"):
            raise
        from accelerator.cli.output import explain

        return _say(explain(error), 1)


def _say(text: str, code: int) -> int:
    if os.environ.get("MLOPS_DEBUG") and code == 1:
        import traceback

        traceback.print_exc()
    print(text, file=sys.stderr)
    return code
