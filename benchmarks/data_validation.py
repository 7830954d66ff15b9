"""Statistics of 336,776 flights in BigQuery by data validation, beside TFDV called by hand on the same table.

`python -m benchmarks data_validation`; with `--memory`, the memory for three million rows beside a hundred thousand.
Both sides take turns in one process of the image's environment. By hand is what TFDV's documentation shows: all rows
as a DataFrame, then `generate_statistics_from_dataframe`; once with reading the table and once without.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "bench"
FLIGHTS = ROOT / "examples" / "flights" / "data" / "flights.parquet"
ROUNDS = 5
GOAL = 1.5
"""Times as long as TFDV by hand."""
SIZES = (100_000, 3_000_000)


def run(arguments: list[str]) -> int:
    """Load the flights, and measure in the image's environment."""
    from benchmarks.image import run_in

    return run_in("data-validation", "benchmarks.data_validation", ["--table", _load(), *arguments])


def _load() -> str:
    from google.cloud import bigquery

    client = bigquery.Client(project=PROJECT)
    dataset = f"validation_{uuid.uuid4().hex[:8]}"
    client.create_dataset(dataset)
    options = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    with FLIGHTS.open("rb") as file:
        client.load_table_from_file(file, f"{dataset}.raw", job_config=options).result()
    # a column of true and false, and no time: TFDV's DataFrame API takes none
    client.query_and_wait(
        f"CREATE TABLE {dataset}.flights AS SELECT * EXCEPT (time_hour), arr_delay > 15 AS late FROM {dataset}.raw"
    )
    return f"{dataset}.flights"


def speed(table: str, rounds: int) -> None:
    """Take turns, and print the seconds of both and the ratios."""
    from accelerator.data_validation.library import tfdv

    pairs: dict[str, list[tuple[float, float]]] = {"with reading the table": [], "statistics alone": []}
    frame = _frame(table)
    source = _Held(table)
    _ours(source)
    tfdv.generate_statistics_from_dataframe(frame)
    for _ in range(rounds):
        hand = _timed(lambda: tfdv.generate_statistics_from_dataframe(_frame(table)))
        pairs["with reading the table"].append((_timed(lambda: _ours(_source(table))), hand))
        hand = _timed(lambda: tfdv.generate_statistics_from_dataframe(frame))
        pairs["statistics alone"].append((_timed(lambda: _ours(source)), hand))
    for name, found in pairs.items():
        ratios = sorted(ours / hand for ours, hand in found)
        ours, hand = (statistics.median(side) for side in zip(*found, strict=True))
        middle = statistics.median(ratios)
        print(
            f"  {name}: {ours:.2f} s, by hand {hand:.2f} s: {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"goal {GOAL:g}: {'met' if middle <= GOAL else 'MISSED'}",
            flush=True,
        )


def memory(table: str) -> None:
    """Print what memory grows by for few and for many rows."""
    from google.cloud import bigquery

    client = bigquery.Client(project=PROJECT)
    query = f"CREATE TABLE {table}_many AS SELECT t.* FROM {table} AS t, UNNEST(GENERATE_ARRAY(1, 9)) LIMIT {SIZES[-1]}"
    client.query_and_wait(query)
    client.query_and_wait(f"CREATE TABLE {table}_few AS SELECT * FROM {table} LIMIT {SIZES[0]}")
    for name, rows in zip(("few", "many"), SIZES, strict=True):
        command = [sys.executable, "-m", "benchmarks.data_validation", "--table", f"{table}_{name}", "--peak"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        print(f"  {rows:>9,} rows: {done.stdout.strip()}", flush=True)


def peak(table: str) -> None:
    """Print the most memory of this process by computing statistics, beyond what TFDV itself takes."""
    import resource

    import accelerator.data_validation.statistics  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = _timed(lambda: _ours(_source(table)))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{grown / 1024:.0f} MB beyond the {before / 1024:.0f} MB of TFDV itself, {took:.1f} s")


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _source(table: str) -> Any:
    from accelerator.training.bigquery import TableSource

    return TableSource(table, project=PROJECT)


class _Held:
    """The table's batches as the source gives them, in memory."""

    def __init__(self, table: str) -> None:
        source = _source(table)
        self.place = source.place
        self._schema = source.schema()
        self._batches = list(source.batches(self._schema.names))

    def schema(self) -> Any:
        return self._schema

    def batches(self, columns: Any) -> Any:
        return iter(self._batches)


def _ours(source: Any) -> Any:
    from accelerator.data_validation.data import Rows
    from accelerator.data_validation.statistics import generate

    return generate(Rows("train", source, source.schema()))


def _frame(table: str) -> Any:
    from google.cloud import bigquery

    client = bigquery.Client(project=PROJECT)
    return client.list_rows(client.get_table(table)).to_arrow().to_pandas()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory", action="store_true", help="memory in place of speed")
    parser.add_argument("--table", default="", help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.table:
        sys.exit(run(sys.argv[1:]))
    if given.peak:
        peak(given.table)
    elif given.memory:
        memory(given.table)
    else:
        speed(given.table, given.rounds)
