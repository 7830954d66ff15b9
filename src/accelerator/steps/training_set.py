"""The training set: the table's rows as they are now, each with its split, in a table of the run's own.

Tuning, training and evaluation of one run all read that table, whatever happens to the source meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from accelerator.config import Config, Split
from accelerator.config.sections import SPLIT_VALUES
from accelerator.errors import ConfigError, DataError
from accelerator.steps import data
from accelerator.training.bigquery import TableSource
from accelerator.training.columns import Columns
from accelerator.training.sources import DEFAULT_SPLIT

SPLIT_COLUMN = "ml_use"
"""The column of the training set that tells a row's split; Vertex AI's own name for it."""
DATASET = "mlops"
_KEPT = timedelta(days=30)
"""How long a training set is kept: long enough to ask what a model has learned from."""


@dataclass(frozen=True)
class TrainingSet:
    """A run's training set.

    Args:
        table: `project.dataset.table`.
        rows: Rows by split: `train`, `validation` and `test`, those that are there.
        features: The columns that are learned from.
    """

    table: str
    rows: dict[str, int]
    features: tuple[str, ...]


def settings(table: str) -> list[str]:
    """The `--set` overrides under which a container reads a training set in place of the project's table."""
    return [f"data.table={table}", f"data.split={{column: {SPLIT_COLUMN}}}"]


def make(config: Config, name: str) -> TrainingSet:
    """Run `data.sql` where there is one, and keep the rows of the splits as a table.

    Args:
        config: The project; its `data.table` is read.
        name: The table's name, such as the run's.

    Raises:
        ConfigError: The rows are in files.
        DataError: Columns that are missing or of a wrong type, a split without rows, a label with one value, a
            feature without any: nothing is left behind then.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import bigquery

    if config.data.table is None:
        raise ConfigError(
            "A training pipeline reads a BigQuery table, and data.files names files",
            place=config.place("data"),
            next_step="load them with `bq load` or mlops, and name data.table",
        )
    if config.data.sql is not None:
        data.run_sql(config, config.directory / config.data.sql)
    source = TableSource(config.data.table, project=config.project)
    schema = source.schema()
    columns = Columns.of(schema, config, source.place)
    split = config.data.split or DEFAULT_SPLIT
    if split.column is None and split.validation is None:
        raise ConfigError(
            "There are no rows to validate on",
            place=config.place("data.split"),
            next_step="give data.split a validation window or fraction, such as validation: 0.2",
        )
    if SPLIT_COLUMN in columns.names:
        raise DataError(
            f"The column '{SPLIT_COLUMN}' is a feature, and the training set's own name for a row's split",
            place=source.place,
            next_step=f"rename it, or write data.split: {{column: {SPLIT_COLUMN}}} if it tells the split",
        )
    client = bigquery.Client(project=config.project, location=data.location(config))
    client.create_dataset(DATASET, exists_ok=True)
    table = f"{config.project}.{DATASET}.{name.replace('-', '_')}"
    kind = next((field.field_type for field in source.fields if field.name == config.data.time), "")
    expression, parameters = _split(config, split, columns, kind)
    there = f"* EXCEPT (`{SPLIT_COLUMN}`)" if SPLIT_COLUMN in schema.names else "*"
    job = bigquery.QueryJobConfig(
        destination=table, write_disposition="WRITE_TRUNCATE", query_parameters=parameters, labels=_labels(config)
    )
    rows = f"SELECT {there}, {expression} AS `{SPLIT_COLUMN}` FROM `{source.name}`"
    try:
        client.query_and_wait(f"SELECT * FROM ({rows}) WHERE `{SPLIT_COLUMN}` IS NOT NULL", job_config=job)
        made = client.get_table(table)
        made.expires = datetime.now(UTC) + _KEPT
        client.update_table(made, ["expires"])
        counts = _checked(client, table, columns, config, split)
    except GoogleAPICallError as error:
        raise DataError(
            f"The training set could not be made: {error.message}",
            place=source.place,
            next_step="correct what it names",
        ) from error
    except DataError:
        client.delete_table(table, not_found_ok=True)
        raise
    return TrainingSet(table, counts, columns.features)


def _split(config: Config, split: Split, columns: Columns, kind: str) -> tuple[str, list[Any]]:
    """The SQL that gives a row's split, NULL for rows of none, and its parameters."""
    from google.cloud import bigquery

    if split.column is not None:
        listed = ", ".join(f"'{value}'" for value in SPLIT_VALUES.values())
        return f"IF(`{split.column}` IN ({listed}), `{split.column}`, NULL)", []
    cases, parameters = [], []
    if windows := split.windows():
        if kind not in ("TIMESTAMP", "DATETIME", "DATE"):
            raise DataError(
                f"The time column '{config.data.time}' is of type {kind}",
                place=config.place("data.time"),
                next_step="name a TIMESTAMP, DATETIME or DATE column under data.time",
            )
        for name, window in windows.items():
            bounds = [f"`{config.data.time}` IS NOT NULL"]
            for side, operator, moment in (("from", ">=", window.start), ("to", "<", window.end)):
                if moment is not None:
                    bounds.append(f"`{config.data.time}` {operator} @{name}_{side}")
                    bound = {"TIMESTAMP": moment, "DATETIME": moment.replace(tzinfo=None), "DATE": moment.date()}[kind]
                    parameters.append(bigquery.ScalarQueryParameter(f"{name}_{side}", kind, bound))
            cases.append(f"WHEN {' AND '.join(bounds)} THEN '{SPLIT_VALUES[name]}'")
        return f"CASE {' '.join(cases)} END", parameters
    by = [config.data.key] if config.data.key is not None else columns.names
    # uniform in [0, 1), the same for equal rows; the remainder of a negative fingerprint is negative
    hashed = f"FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({', '.join(f'`{name}`' for name in by)})))"
    draw = f"MOD(MOD({hashed}, 1000000) + 1000000, 1000000) / 1000000"
    for name, (start, end) in split.parts().items():
        cases.append(f"WHEN {draw} >= @{name}_from AND {draw} < @{name}_to THEN '{SPLIT_VALUES[name]}'")
        parameters += [
            bigquery.ScalarQueryParameter(f"{name}_from", "FLOAT64", start),
            bigquery.ScalarQueryParameter(f"{name}_to", "FLOAT64", end),
        ]
    return f"CASE {' '.join(cases)} END", parameters


def _checked(client: Any, table: str, columns: Columns, config: Config, split: Split) -> dict[str, int]:
    """Rows by split, of data that something can be learned from.

    Raises:
        DataError: Nothing can.
    """
    counts = ", ".join(f"COUNT(`{name}`) AS c{index}" for index, name in enumerate(columns.features))
    query = (
        f"SELECT `{SPLIT_COLUMN}` AS split, COUNT(*) AS n, COUNT(`{columns.label}`) AS labelled, "
        f"COUNT(DISTINCT `{columns.label}`) AS labels, ANY_VALUE(`{columns.label}`) AS label, {counts} "
        f"FROM `{table}` GROUP BY split"
    )
    found = {row["split"]: row for row in client.query_and_wait(query)}
    # a split that is told by a column has those that it has, but for the two that training cannot do without
    named = {"train": True, "validation": True} if split.column is not None else _named(split)
    for name in named:
        row = found.get(SPLIT_VALUES[name])
        if row is None or not row["labelled"]:
            window = getattr(split, name)
            raise DataError(
                f"There are no rows{' with a label' if row is not None else ''} in the {name} split"
                + (f" ({window})" if window is not None else ""),
                place=f"BigQuery table {config.data.table}",
                next_step=f"check data.split.{name} against the times in the table; windows are in UTC"
                if split.windows()
                else "give more rows: each split needs some",
            )
    train = found[SPLIT_VALUES["train"]]
    if train["labels"] < 2:
        raise DataError(
            f"The label '{columns.label}' is {train['label']!r} in every training row",
            place=f"BigQuery table {config.data.table}",
            next_step="a model needs examples of each kind: check the label column and the split",
        )
    if empty := [name for index, name in enumerate(columns.features) if not train[f"c{index}"]]:
        raise DataError(
            f"{'Features' if len(empty) > 1 else 'The feature'} {', '.join(repr(name) for name in empty)} "
            f"{'are' if len(empty) > 1 else 'is'} NULL in every training row",
            place=f"BigQuery table {config.data.table}",
            next_step=f"mend what fills the table, or write data.ignore: [{', '.join(empty)}]",
        )
    return {name: found[value]["n"] for name, value in SPLIT_VALUES.items() if value in found}


def _named(split: Split) -> Mapping[str, Any]:
    return split.windows() or split.parts()


def _labels(config: Config) -> dict[str, str]:
    return {"model": config.model.name}


def held_out(table: str, project: str, label: str) -> str:
    """The split that a model is judged and tried on: `test`, or `validation` where a training set has no other."""
    return "test" if sample(table, project, [label], "test", 1) else "validation"


def sample(table: str, project: str, columns: Sequence[str], split: str, count: int) -> list[dict[str, Any]]:
    """Some rows of one split, always the same, as instances of a prediction request.

    Args:
        table: A training set.
        project: The project that reads.
        columns: Which columns.
        split: `train`, `validation` or `test`.
        count: How many rows at most.
    """
    from google.cloud import bigquery

    names = ", ".join(f"`{name}`" for name in columns)
    query = (
        f"SELECT {names} FROM `{table}` AS t WHERE `{SPLIT_COLUMN}` = @split "
        "ORDER BY FARM_FINGERPRINT(TO_JSON_STRING(t)) LIMIT @count"
    )
    job = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("split", "STRING", SPLIT_VALUES[split]),
            bigquery.ScalarQueryParameter("count", "INT64", count),
        ]
    )
    found = bigquery.Client(project=project).query_and_wait(query, job_config=job)
    return [{name: _sendable(value) for name, value in row.items()} for row in found]


def _sendable(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
