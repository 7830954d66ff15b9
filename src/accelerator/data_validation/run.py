"""One validation, in order: schema, statistics of every data set, anomalies, outputs.

The command line and the exit code are __main__'s; what TFDV does is in the modules imported where they are used.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerator.config import Config
from accelerator.data_validation import report as reports
from accelerator.data_validation.results import Validated, check_names, counted, ordered
from accelerator.errors import ConfigError
from accelerator.storage import folder

STATISTICS = "Split-{}/FeatureStats.pb"
"""Where a data set's statistics are below a folder of them, as TFX lays them out; for `tfdv.load_stats_binary`."""
ANOMALIES = "Split-{}/anomalies.pbtxt"
SCHEMA = "schema.pbtxt"
SUMMARY = "validation.json"


def run(
    config: Config,
    *,
    environment: Mapping[str, str] = os.environ,
    statistics_dir: str = "",
    report: str = "",
    previous_statistics: str = "",
) -> Validated:
    """Validate a project's training, evaluation and serving data.

    Args:
        config: Its `data_validation` section says how.
        environment: Where the variables of a managed dataset are looked up.
        statistics_dir: A folder (gs:// or on disk) for statistics, anomalies, the schema and a summary.
        report: Where the HTML report goes (gs:// or on disk).
        previous_statistics: The `statistics_dir` of an earlier run: drift from its training data is told too.

    Returns:
        What was found; `require` raises if it stops a pipeline. The outputs are written either way.

    Raises:
        ConfigError: The section is not there, names what is not there, or the schema is no schema.
        DataError: The rows cannot be read, or a data set has none.
        StorageError: The outputs cannot be written.
    """
    section = _section(config)
    to = folder(statistics_dir) if statistics_dir else None
    if to is not None:
        to.check()
    from accelerator.data_validation import schema as schemas
    from accelerator.data_validation import statistics, validation

    path = schemas.path(config)
    curated = schemas.read(path)
    previous = _previous(previous_statistics)
    with tempfile.TemporaryDirectory(prefix="data-") as scratch:
        datasets, found = _statistics(config, environment, Path(scratch), schemas.categories(curated or schemas.EMPTY))
        schema = curated or schemas.infer(found["train"], datasets["train"], config.data.label)
        check_names(config, {*datasets["train"].types.names, *(f.name for f in schema.feature)}, validation.KINDS)
        compared = schemas.with_comparators(schema, config)
        result = validation.validate(found, compared, config, place=str(path), previous=previous)
        validated = Validated(
            datasets=tuple(statistics.summary(found[name], rows) for name, rows in datasets.items()),
            findings=ordered(result.findings),
            distances=tuple(result.distances),
            curated=curated is not None,
            schema=schemas.text(compared),
            schema_place=section.schema_file,
            report=report,
        )
    if to is not None:
        for name, one in found.items():
            to.write(STATISTICS.format(name), one.SerializeToString())
        for name, anomalies in result.anomalies.items():
            to.write(ANOMALIES.format(name), schemas.text(anomalies).encode())
        # What a project without a schema begins with is the inferred one, without this run's thresholds.
        to.write(SCHEMA, schemas.text(schema).encode())
        to.write(SUMMARY, json.dumps(validated.summary(), indent=1).encode())
    if report:
        parent, _, file = report.rpartition("/")
        folder(parent or ".").write(file, reports.html(validated, config.model.name).encode())
    _tell(validated, statistics_dir)
    return validated


def infer(config: Config, *, environment: Mapping[str, str] = os.environ, output: str = "") -> str:
    """Write the schema that the training data suggest, to be curated by hand; gives where it is.

    Args:
        config: Its `data_validation` section names the file.
        environment: Where the variables of a managed dataset are looked up.
        output: Another place (gs:// or on disk), relative to the working folder.

    Raises:
        ConfigError: There is such a file already.
        DataError: The rows cannot be read, or there are none.
    """
    _section(config)
    from accelerator.data_validation import schema as schemas

    where = output or str(schemas.path(config))
    parent, _, file = where.rpartition("/")
    if folder(parent or ".").read(file) is not None:
        raise ConfigError(
            "There is a schema already, which would be overwritten",
            place=where,
            next_step="Write to another file with --output and take over by hand what is new.",
        )
    with tempfile.TemporaryDirectory(prefix="data-") as scratch:
        datasets, found = _statistics(config, environment, Path(scratch), (), only="train")
        schema = schemas.infer(found["train"], datasets["train"], config.data.label)
    folder(parent or ".").write(file, schemas.text(schema).encode())
    return where


def log(message: str) -> None:
    """One line of progress in the job's log."""
    print(message, flush=True)


def _section(config: Config) -> Any:
    if config.data_validation is None:
        raise ConfigError(
            "Data validation is switched off: there is no section data_validation",
            place=config.place("data_validation"),
            next_step="Add `data_validation: {}` to mlops.yaml; docs/data-validation.md has its keys.",
        )
    return config.data_validation


def _statistics(
    config: Config, environment: Mapping[str, str], scratch: Path, categories: Any, only: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data sets and their statistics, by name."""
    from accelerator.data_validation import data, statistics

    datasets, found = {}, {}
    for rows in data.rows(config, environment, scratch):
        began = time.monotonic()
        one = statistics.generate(rows, categories) if only in ("", rows.name) else None
        if one is not None:
            datasets[rows.name], found[rows.name] = rows, one
            count = one.datasets[0].num_examples
            log(f"{rows.name}: {count:,} rows, {len(rows.types)} columns from {rows.source.place}, {_since(began)}")
    return datasets, found


def _previous(uri: str) -> Any | None:
    if not uri:
        return None
    from accelerator.data_validation.library import statistics_pb2

    name = STATISTICS.format("train")
    content = folder(uri).read(name)
    if content is None:
        raise ConfigError(
            "There are no statistics of an earlier run",
            place=f"{uri.rstrip('/')}/{name}",
            next_step="Give the --statistics_dir of that run, or leave --previous_statistics out.",
        )
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(content)


def _tell(validated: Validated, statistics_dir: str) -> None:
    if not validated.curated:
        where = f"{statistics_dir.rstrip('/')}/{SCHEMA}" if statistics_dir else "nowhere: give --statistics_dir"
        log(
            f"warning: there is no {validated.schema_place}: the schema was inferred from these training rows, which "
            f"therefore cannot fail it. It is kept in {where}; curate it and put it beside mlops.yaml"
        )
    for finding in validated.warnings:
        if not finding.comparison:
            log(f"warning: {finding}")
    for line in validated.compared:
        log(f"warning: {line}")
    if validated.valid:
        log(f"The data fit their schema, with {counted(len(validated.warnings), 'warning')}")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
