"""`mlops demo`: the flights of 2013, from a table in BigQuery to predictions from an endpoint.

It is the steps of `accelerator.steps` in their order, with what came of each; nothing in it is particular to a target.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

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


def demo(target: str, project: str) -> None:
    """Runs the whole way and says what happened, where, how long it took and what to try next."""
    from accelerator import config as configuration

    began = time.monotonic()
    steps = Steps()
    example = shipped.folder("examples/flights")
    environment = {**os.environ, **({"MLOPS_PROJECT": project} if project else {})}
    config = configuration.load(example, environment=environment)
    console.print(f"[bold]{config.model.name}[/]: will this flight arrive more than 15 minutes late?\n")
    # the SDK tells of each call; the steps say what came of them
    logging.disable(logging.INFO)
    with steps.step("Local cloud" if target == "local" else "Google Cloud") as say:
        targets.use(target, config.project)
        say(_where(target, config.project))
    from accelerator.steps import build, data, deploy, register, train

    with steps.step("Flights of 2013 into BigQuery") as say:
        rows = data.load(config, {f"flights.{name}": example / "data" / f"{name}.parquet" for name in _TABLES})
        say(", ".join(f"{table} {count:,}" for table, count in rows.items()))
    with steps.step("Features by SQL") as say:
        count = data.run_sql(config, example / "features.sql")
        say(f"{config.data.table}: {count:,} flights, each with what is known an hour before departure")
    with steps.step("Training and prediction images by Cloud Build") as say:
        images = build.build(config)
        say(f"{images.training}\n  {images.prediction}")
    with steps.step("Training in a custom job") as say:
        trained = train.train(config, images.training)
        say(trained.job)
        say("on July, unseen: " + ", ".join(f"{name} {value:.3f}" for name, value in trained.metrics.items()))
    with steps.step("Model Registry") as say:
        model = register.register(config, trained, images.prediction)
        say(f"{model.resource_name}, version {model.version_id}")
    with steps.step("Endpoint") as say:
        endpoint = deploy.deploy(config, model)
        say(f"{endpoint.resource_name}, all traffic on version {model.version_id}")
    with steps.step("Predictions") as say:
        flights, predictions = _predict(config, endpoint)
        say("eight flights of August, which the model has not seen")
    console.print(_board(flights, predictions))
    console.print(_timings(steps, time.monotonic() - began))
    console.print(_next(target, trained.job))


def _where(target: str, project: str) -> str:
    if target != "local":
        return f"project {project}"
    from accelerator.cli import local

    running, _ = local.start()
    return f"{running.url}  (its pages; every Google API is behind the same port)"


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


def _timings(steps: Steps, total: float) -> Table:
    table = Table(title="\nWhere the time went", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for title, seconds in steps.taken:
        table.add_row(title, f"{seconds:.1f} s")
    table.add_row("[bold]in all", f"[bold]{total:.1f} s")
    return table


def _next(target: str, job: str) -> str:
    lines = [
        "\nTry next",
        f"  mlops logs {job.rpartition('/')[2]}   what the training job wrote",
        "  mlops exec -- python            any of Google's clients, on the local cloud",
        "  mlops init my-model             the same for your own table",
    ]
    if target == "local":
        lines.append("  make down                       stops the local cloud and everything it started")
    return "\n".join(lines)
