"""One preprocessing run: what mlops.yaml says becomes a Beam pipeline, here or on Dataflow; its counters come back.

The pipeline itself is accelerator.preprocessing.beam's.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from accelerator.config import Config
from accelerator.config.sections import Preprocessing
from accelerator.errors import AcceleratorError, ConfigError, DataError
from accelerator.preprocessing import dataflow, tables
from accelerator.preprocessing.functions import Function
from accelerator.storage import Files

if TYPE_CHECKING:
    from accelerator.preprocessing.beam import Settings

FIRST_ROWS = 1000
"""Rows that a function is tried on before anything runs; they tell its columns."""


class PreprocessingError(AcceleratorError):
    """A table could not be made; it is as it was."""


@dataclass(frozen=True)
class Counts:
    """What became of one table's rows; `reasons` has how many were rejected for what."""

    target: str
    read: int
    written: int
    rejected: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Preprocessed:
    """What became of the rows, by source table."""

    counts: dict[str, Counts]


def run(config: Config, run_id: str = "", image: str = "") -> Preprocessed:
    """Preprocess a project's tables.

    Args:
        config: Its `preprocessing` section says which, by what, and where it runs.
        run_id: The name of the run; one of the time where it is empty.
        image: The team's preprocessing image, which Dataflow's workers run.

    Raises:
        ConfigError: There is no such section.
        CodeError: The team's code does not import, or fails on the first rows.
        DataError: A table cannot be read.
        DataflowError: Dataflow is to run it, and is not there or does not take jobs of this project.
        PreprocessingError: Rows later on could not be preprocessed, or too many were rejected.
    """
    section = config.preprocessing
    if section is None:
        raise ConfigError(
            "There is no preprocessing section",
            place=config.place("preprocessing"),
            next_step="add preprocessing: {code: preprocessing.py, tables: {…}}",
        )
    if section.runner == "DataflowRunner":
        if not image:
            raise ConfigError(
                "Dataflow's workers need an image, and none is given",
                place=config.place("preprocessing.runner"),
                next_step="give --image: what `mlops build` built for preprocessing",
            )
        dataflow.check(config)
    from accelerator.preprocessing.beam import Settings

    run_id = run_id or f"preprocessing-{time.strftime('%Y%m%d%H%M%S')}"
    settings = Settings(
        project=config.project,
        code=str((config.directory / section.code).resolve()),
        staging=f"gs://{config.bucket_name}/preprocessing/{run_id}",
        run=run_id,
        max_rejected=section.max_rejected,
    )
    work = [_work(config, section, source) for source in section.tables]
    try:
        return _through(config, section, work, settings, image)
    finally:
        # what is loaded is in BigQuery; what is not is of no use, and may be data that must not lie about
        tables.remove(settings.staging)


def _through(config: Config, section: Preprocessing, work: list[Any], settings: Settings, image: str) -> Preprocessed:
    import apache_beam as beam

    from accelerator.preprocessing.beam import build

    try:
        with beam.Pipeline(runner=_runner(section), options=_options(config, section, settings.run, image)) as pipeline:
            build(pipeline, work, settings)
    except AcceleratorError:
        raise
    except Exception as error:
        raise PreprocessingError(
            f"{section.runner} failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            place=config.place("preprocessing.runner"),
            next_step="`runner: DirectRunner` runs it without Dataflow"
            if section.runner == "DataflowRunner"
            else "`mlops logs` shows what it wrote",
        ) from error
    return _outcome(settings.staging, len(work))


def _work(config: Config, section: Preprocessing, source: str) -> Any:
    """One table's work, its function tried on the first rows."""
    from accelerator.preprocessing.beam import Work

    given = section.tables[source]
    name, by_rows = (given.rows, True) if given.rows is not None else (given.batches or "", False)
    function = Function((config.directory / section.code).resolve(), name, by_rows)
    table = tables.full(source, config.project)
    streams, schema = tables.session(config.project, table)
    first = list(_first(streams, schema))
    kept = pa.concat_tables([function.apply(batch).kept for batch in first], promote_options="permissive")
    for column in kept.schema:
        if pa.types.is_null(column.type):
            raise DataError(
                f"The column '{column.name}' that {name} makes has no value in the first {FIRST_ROWS} rows",
                place=str(config.directory / section.code),
                next_step="give it a type: pa.array(values, pa.float64()) in a function over batches",
            )
    return Work(
        source=table,
        target=tables.full(given.to, config.project),
        rejected=tables.full(section.rejected, config.project),
        function=name,
        by_rows=by_rows,
        schema=schema,
        made=kept.schema.remove_metadata().serialize().to_pybytes(),
        streams=tuple(streams),
    )


def _first(streams: list[str], schema: bytes) -> Any:
    """Some of the first rows; none of an empty table, but its columns."""
    left = FIRST_ROWS
    for stream in islice(streams, 4):
        for batch in tables.rows(stream, schema):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return
    if left == FIRST_ROWS:
        yield pa.RecordBatch.from_pylist([], pa.ipc.read_schema(pa.py_buffer(schema)))


def _runner(section: Preprocessing) -> Any:
    if section.runner == "DataflowRunner":
        return "DataflowRunner"
    # DirectRunner by its name would look for a program to download first
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def _options(config: Config, section: Preprocessing, run_id: str, image: str) -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions

    if section.runner == "DirectRunner":
        return PipelineOptions(
            [], direct_running_mode="multi_threading", direct_num_workers=os.cpu_count() or 1, save_main_session=False
        )
    return dataflow.options(config, run_id, image)


def _outcome(staging: str, count: int) -> Preprocessed:
    with tempfile.TemporaryDirectory(prefix="summaries-") as scratch:
        files = Files([f"{staging}/summaries/*.json"], base=Path(scratch), scratch=Path(scratch))
        found = [json.loads(path.read_bytes()) for path in files.all()]
    for one in found:
        if one["error"]:
            headline, *rest = one["error"].splitlines()
            told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in rest if ":" in line}
            raise PreprocessingError(headline, place=told.get("at", one["source"]), next_step=told.get("next", ""))
    if len(found) != count:
        raise PreprocessingError(f"{count - len(found)} of {count} tables were not finished", place=staging)
    return Preprocessed(
        {
            one["source"]: Counts(one["target"], one["read"], one["written"], one["rejected"], one["reasons"])
            for one in found
        }
    )
