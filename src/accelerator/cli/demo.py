"""`mlops demo`: the flights of 2013, from raw tables in BigQuery through the training pipeline to predictions.

Nothing in it is particular to a target, and all that it does a team does by `mlops run training`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from accelerator import shipped
from accelerator.cli import targets
from accelerator.cli.output import Steps, console

_TABLES = ("flights", "weather", "planes", "airports", "airlines")
_EXAMPLES = """
SELECT * FROM `{table}`
WHERE scheduled_departure >= '2013-08-01' AND scheduled_departure < '2013-09-01'
ORDER BY FARM_FINGERPRINT(CONCAT(tailnum, CAST(scheduled_departure AS STRING))), flight
LIMIT 8
"""
_WORSE = (
    "tuning=off",
    "training.hyperparameters={learning_rate: 0.01, max_leaf_nodes: 2, min_samples_leaf: 1000}",
)
"""Settings under which a model learns next to nothing."""


def demo(target: str, project: str, worse: bool) -> None:
    """Runs the whole way and says what happened, where, how long it took and what to try next.

    Args:
        target: `local` or `gcp`.
        project: In place of that in mlops.yaml; empty for that.
        worse: Train a deliberately worse model, for the gate to refuse.
    """
    from accelerator import config as configuration

    began = time.monotonic()
    steps = Steps()
    example = shipped.folder("examples/flights")
    environment = {**os.environ, **({"MLOPS_PROJECT": project} if project else {})}
    config = configuration.load(example, environment=environment, overrides=_WORSE if worse else ())
    console.print(f"[bold]{config.model.name}[/]: will this flight arrive more than 15 minutes late?\n")
    # the SDK tells of each call; the steps say what came of them
    logging.disable(logging.INFO)
    with steps.step("Local cloud" if target == "local" else "Google Cloud") as say:
        targets.use(target, config.project)
        say(_where(target, config.project))
    _load(steps, config, example)
    row = _train(steps, config, target)
    refused = row["state"] == "SUCCEEDED" and not row["valid"]
    if row["state"] != "SUCCEEDED" or refused is not worse:
        _tell_end(row)
    if row["state"] != "SUCCEEDED":
        raise typer.Exit(1)
    if not worse:
        from accelerator.steps import endpoints

        with steps.step("Predictions") as say:
            flights, predictions = _predict(config, endpoints.find(config))
            say("eight flights of August, which no model has seen in training")
        console.print(_board(flights, predictions))
    console.print(_timings(steps, row, time.monotonic() - began))
    console.print(_next(target, row, worse))


def _where(target: str, project: str) -> str:
    if target != "local":
        return f"project {project}"
    from accelerator.cli import local

    running, _ = local.start()
    return f"{running.url}  (its pages; every Google API is behind the same port)"


def _load(steps: Steps, config: Any, example: Path) -> None:
    from accelerator.steps import data

    with steps.step("Flights of 2013 into BigQuery") as say:
        rows = data.load(config, {f"flights.{name}": example / "data" / f"{name}.parquet" for name in _TABLES})
        say(", ".join(f"{table} {count:,}" for table, count in rows.items()))


def _train(steps: Steps, config: Any, target: str) -> dict[str, Any]:
    """Run the training pipeline, shown as it goes; gives the run's row."""
    from accelerator.cli import project
    from accelerator.cli.run import Settings, submit, watch
    from accelerator.cli.vertex import Vertex
    from accelerator.steps import record

    vertex = Vertex(target, config.project, config.region)
    pipeline = project.pipeline(config, "training", steps)
    console.print("Training pipeline", style="bold")
    began = time.monotonic()
    job = watch(vertex, submit(vertex, pipeline, {}, Settings(target))["name"], as_json=False)
    steps.taken.append(("Training pipeline", time.monotonic() - began))
    run = job["name"].rpartition("/")[2]
    row = record.find(config, run)
    if row is None:
        raise typer.Exit(1)
    console.print(f"  {run}: {row['state'].lower()}, {row['seconds']:.0f} s", markup=False)
    if row["metrics"]:
        console.print(_gate(json.loads(_verdict(job)), row))
    return row


def _verdict(job: Mapping[str, Any]) -> bytes:
    """What the gate of a run wrote."""
    from accelerator.storage import folder

    for task in job["jobDetail"]["taskDetails"]:
        if task["taskName"] == "validate-model":
            (artifact,) = task["outputs"]["verdict"]["artifacts"]
            parent, _, name = artifact["uri"].rpartition("/")
            return folder(parent).read(name) or b"{}"
    return b"{}"


def _gate(verdict: Mapping[str, Any], row: Mapping[str, Any]) -> Table:
    """The challenger beside the champion and the baselines."""
    table = Table(
        title=f"\nThe gate, on {verdict['rows']:,} flights of August: {'open' if verdict['valid'] else 'closed'}",
        title_justify="left",
        box=None,
        pad_edge=False,
        caption="\n".join(verdict["reasons"]),
        caption_justify="left",
    )
    names = ("auc", "log_loss", "brier", "calibration_error")
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    contenders = {"challenger": verdict["metrics"], "champion": verdict["champion"], **verdict["baselines"]}
    for who, metrics in contenders.items():
        if metrics:
            table.add_row(who, *(f"{metrics[name]:.3f}" if name in metrics else "" for name in names))
    return table


def _tell_end(row: Mapping[str, Any]) -> None:
    if row["state"] != "SUCCEEDED":
        console.print(f"\n[red]✗[/] {row['failed_task']} failed")
        console.print(f"  {row['error']}", markup=False)
    elif not row["valid"]:
        console.print("\nThe champion stays: what serves is the model of an earlier run.")


def _predict(config: Any, endpoint: Any) -> tuple[list[dict[str, Any]], Sequence[Any]]:
    from google.cloud import bigquery

    client = bigquery.Client(project=config.project)
    flights = [dict(row) for row in client.query_and_wait(_EXAMPLES.format(table=config.data.table))]
    left_out = {config.data.label, config.data.time, *config.data.ignore}
    instances = [{name: value for name, value in flight.items() if name not in left_out} for flight in flights]
    return flights, endpoint.predict(instances=instances).predictions


def _board(flights: Sequence[dict[str, Any]], predictions: Sequence[Any]) -> Table:
    table = Table(title="Departures", title_justify="left", box=None, pad_edge=False)
    for column in ("scheduled (UTC)", "flight", "from", "to", "late with probability", "was late"):
        table.add_column(column)
    for flight, prediction in zip(flights, predictions, strict=True):
        late = dict(zip(prediction["classes"], prediction["scores"], strict=True))[True]
        table.add_row(
            f"{flight['scheduled_departure']:%d %b %H:%M}",
            f"{flight['carrier']} {flight['flight']}",
            flight["origin"],
            flight["dest"],
            f"{late:.0%}",
            "yes" if flight["late"] else "no",
        )
    return table


def _timings(steps: Steps, row: Mapping[str, Any], total: float) -> Table:
    table = Table(title="\nWhere the time went", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for title, seconds in steps.taken:
        table.add_row(title, f"{seconds:.1f} s")
        if title == "Training pipeline":
            for task, taken in row["durations"].items():
                table.add_row(f"  [dim]{task}", f"[dim]{taken:.1f} s")
    table.add_row("[bold]in all", f"[bold]{total:.1f} s")
    return table


def _next(target: str, row: Mapping[str, Any], worse: bool) -> str:
    lines = [
        "\nTry next",
        f"  mlops logs {row['run']}-train-custom-job   what the training job wrote",
        "  mlops exec --project my-project -- bq query --use_legacy_sql=false 'SELECT * FROM mlops.runs'",
        "  mlops init my-model             the same for your own table",
    ]
    if not worse:
        lines.insert(1, "  mlops demo --worse              a worse model, which the gate refuses")
    if target == "local":
        lines.append("  make down                       stops the local cloud and everything it started")
    return "\n".join(lines)
