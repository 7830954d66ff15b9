"""The flights example's functions over tables in BigQuery, by preprocessing and beside it called in process.

`python -m benchmarks preprocessing`; with `--memory`, the memory for a hundred thousand, one and three million rows.
Both sides take turns in one process of the image's environment. In process is the function alone, called on batches
that are in memory already; preprocessing reads them from BigQuery, writes files and loads them into a table as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flights"
PROJECT = "my-bench"
ROUNDS = 3
GOAL = 0.5
"""Of the rows a second in process."""
ROWS = {"weather": ("rows", 300_000), "flights": ("batches", 1_000_000)}
"""By function, what it is called with and how many rows of its table there are."""
SIZES = (100_000, 1_000_000, 3_000_000)


def run(arguments: list[str]) -> int:
    """Make the tables, and measure in the image's environment."""
    from benchmarks.image import run_in  # this module is loaded in the image's environment too, where that cannot be

    return run_in(
        "preprocessing", "benchmarks.preprocessing", ["--dataset", _load("--memory" in arguments), *arguments]
    )


def _load(memory: bool) -> str:
    from google.cloud import bigquery, storage

    storage.Client(project=PROJECT).create_bucket(f"{PROJECT}-mlops")
    client = bigquery.Client(project=PROJECT)
    dataset = f"preprocessing_{uuid.uuid4().hex[:8]}"
    client.create_dataset(dataset)
    options = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    sizes = [("flights", f"{rows}", rows) for rows in SIZES] if memory else [(n, n, r) for n, (_, r) in ROWS.items()]
    for name, table, rows in sizes:
        with (EXAMPLE / "data" / f"{name}.parquet").open("rb") as file:
            client.load_table_from_file(file, f"{dataset}.raw_{name}", job_config=options).result()
        client.query_and_wait(
            f"CREATE TABLE {dataset}.t{table} AS SELECT t.* FROM {dataset}.raw_{name} AS t, "
            f"UNNEST(GENERATE_ARRAY(1, 12)) LIMIT {rows}"
        )
    return dataset


def speed(dataset: str, rounds: int) -> None:
    """Take turns, and print the rows a second of both and the ratios."""
    from accelerator.preprocessing.functions import Function

    for name, (kind, rows) in ROWS.items():
        function = Function(EXAMPLE / "preprocessing.py", name, kind == "rows")
        _measure(dataset, function, name, kind, rows, rounds)


def _measure(dataset: str, function: Any, name: str, kind: str, rows: int, rounds: int) -> None:
    table = f"{PROJECT}.{dataset}.t{name}"
    batches = _held(table)
    _preprocess(dataset, name, name, kind)
    ours, bounds, rates = [], [], []
    for _ in range(rounds):
        took = _timed(lambda: _preprocess(dataset, name, name, kind))
        read = _timed(lambda: _held(table))
        alone = _timed(lambda: [function.apply(batch) for batch in batches])
        ours.append(alone / took)
        bounds.append(alone / read)
        rates.append((rows / took, rows / read, rows / alone))
    took, read, alone = (statistics.median(side) for side in zip(*rates, strict=True))
    middle = statistics.median(ours)
    print(
        f"  {name}, over {kind}, {rows:,} rows: {took:,.0f} rows/s, in process {alone:,.0f}: {_spread(ours)}, goal "
        f"{GOAL:g}: {'met' if middle >= GOAL else 'MISSED'}; reading them with Google's client alone {read:,.0f}: "
        f"{_spread(bounds)}",
        flush=True,
    )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def memory(dataset: str) -> None:
    """Print the most memory for few and for many rows."""
    for rows in SIZES:
        command = [sys.executable, "-m", "benchmarks.preprocessing", "--dataset", dataset, "--peak", str(rows)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        print(f"  {rows:>9,} rows: {done.stdout.strip().splitlines()[-1]}", flush=True)


def peak(dataset: str, rows: str) -> None:
    """Print the most memory of this process by preprocessing a table, beyond what Beam itself takes."""
    import resource

    import accelerator.preprocessing.beam  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = _timed(lambda: _preprocess(dataset, rows, "flights", "batches"))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{grown / 1024:.0f} MB beyond the {before / 1024:.0f} MB of Beam itself, {took:.1f} s")


def _preprocess(dataset: str, table: str, function: str, kind: str) -> None:
    from accelerator import config as configuration
    from accelerator.preprocessing.run import run

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mlops.yaml").write_text(
            f"project: {PROJECT}\ndata: {{table: {dataset}.c{table}, label: x}}\nmodel: {{name: bench}}\n"
            f"preprocessing:\n  code: {EXAMPLE / 'preprocessing.py'}\n  tables:\n"
            f"    {dataset}.t{table}: {{to: {dataset}.c{table}, {kind}: {function}}}\n"
        )
        run(configuration.load(folder), run_id=f"bench-{uuid.uuid4().hex[:8]}")


def _held(table: str) -> list[Any]:
    """The table's batches as the functions get them, in memory; streams are read side by side."""
    from accelerator.preprocessing import tables
    from accelerator.preprocessing.batches import gathered

    streams, schema = tables.session(PROJECT, table)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = pool.map(lambda stream: list(gathered(tables.rows(stream, schema))), streams)
        return [batch for batches in read for batch in batches]


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory", action="store_true", help="memory in place of speed")
    parser.add_argument("--dataset", default="", help=argparse.SUPPRESS)
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.dataset:
        sys.exit(run(sys.argv[1:]))
    if given.peak:
        peak(given.dataset, given.peak)
    elif given.memory:
        memory(given.dataset)
    else:
        speed(given.dataset, given.rounds)
