"""BigQuery: the flights of 2013 in, a GROUP BY, and all rows out as Arrow, beside DuckDB doing the same in process.

`python -m benchmarks bigquery`, or `run(environment)` on a local cloud that is up. Both sides take turns in one
client process; ratios are within a round, and the median of the rounds is printed with their spread.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "data" / "flights.parquet"
ROUNDS = 5
GOAL = 3.0
"""How many times DuckDB's own time each step may take."""
GROUP_BY = """
    SELECT carrier, origin, month, COUNT(*) AS flights, AVG(arr_delay) AS delay, MAX(distance) AS furthest
    FROM {table} GROUP BY carrier, origin, month ORDER BY carrier, origin, month
"""
GROUPS = 399
STEPS = {
    "load": "load_table_from_dataframe",
    "group by": "GROUP BY, rows fetched",
    "to_arrow": "list_rows().to_arrow(), first read",
    "again": "list_rows().to_arrow(), read again",
    "query": "SELECT *, to_arrow()",
    "stream": "read_rows().to_arrow(), first read",
}


def run(environment: Mapping[str, str]) -> None:
    """Measures in a process of its own and prints.

    Args:
        environment: The variables that point a client at the local cloud.
    """
    command = [sys.executable, __file__, "--client"]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    print(f"{result['rows']:,} flights, {result['columns']} columns, median of {ROUNDS} rounds; goal <= {GOAL:g} x")
    print(f"  {'':36}{'local cloud':>12}{'DuckDB':>10}{'ratio':>8}   spread of the ratio")
    for step, ours in STEPS.items():
        pairs = result["steps"][step]
        ratios = sorted(one / other for one, other in pairs)
        middle = statistics.median(ratios)
        cloud, duck = (statistics.median(side) for side in zip(*pairs, strict=True))
        verdict = "met" if middle <= GOAL else "MISSED"
        print(f"  {ours:36}{cloud:10.3f} s{duck:8.3f} s{middle:7.2f}x   {ratios[0]:.2f} to {ratios[-1]:.2f}  {verdict}")
    print("  to_arrow() ends with 0.2 s of idle waiting inside Google's client; read_rows() does not.")


def seconds(work: Callable[[], Any]) -> float:
    """How long the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def client() -> None:
    """Runs the rounds and writes the seconds of both sides as JSON."""
    import duckdb
    import pyarrow.parquet as pq
    from google.cloud import bigquery, bigquery_storage

    frame = pq.read_table(FLIGHTS).to_pandas()
    name = f"bench_{uuid.uuid4().hex[:8]}"
    cloud = bigquery.Client(project="bench")
    reader = bigquery_storage.BigQueryReadClient()
    cloud.create_dataset(name)
    steps: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        duck = duckdb.connect(os.path.join(folder, "flights.duckdb"))
        duck.register("frame", frame)
        for number in range(-1, ROUNDS):
            table = f"{name}.flights_{number + 1}"

            def load(table: str = table) -> None:
                cloud.load_table_from_dataframe(frame, table).result()

            def read(table: str = table) -> None:
                assert cloud.list_rows(table).to_arrow(bqstorage_client=reader).num_rows == len(frame)

            def group(table: str = table) -> None:
                assert len(list(cloud.query_and_wait(GROUP_BY.format(table=table)))) == GROUPS

            def select(table: str = table) -> None:
                rows = cloud.query_and_wait(f"SELECT * FROM {table}")
                assert rows.to_arrow(bqstorage_client=reader).num_rows == len(frame)

            def stream(table: str = table) -> None:
                wanted = bigquery_storage.types.ReadSession(
                    table=bigquery.TableReference.from_string(f"bench.{table}").to_bqstorage(),
                    data_format="ARROW",
                    read_options={"selected_fields": list(frame.columns)},  # other than those before: a first read
                )
                session = reader.create_read_session(parent="projects/bench", read_session=wanted, max_stream_count=1)
                assert reader.read_rows(session.streams[0].name).to_arrow(session).num_rows == len(frame)

            def duck_load() -> None:
                duck.execute("CREATE OR REPLACE TABLE flights AS SELECT * FROM frame")

            def duck_read() -> None:
                assert duck.sql("SELECT * FROM flights").to_arrow_table().num_rows == len(frame)

            def duck_group() -> None:
                assert len(duck.sql(GROUP_BY.format(table="flights")).fetchall()) == GROUPS

            duck_loaded = seconds(duck_load)
            sides = {
                "load": (seconds(load), duck_loaded),
                "group by": (
                    seconds(group),
                    seconds(duck_group),
                ),
                "to_arrow": (seconds(read), seconds(duck_read)),
                "again": (seconds(read), seconds(duck_read)),
                "query": (seconds(select), seconds(duck_read)),
                "stream": (seconds(stream), seconds(duck_read)),
            }
            if number >= 0:  # the first round warms both sides up
                for step, pair in sides.items():
                    steps[step].append(pair)
        duck.close()
    cloud.delete_dataset(name, delete_contents=True)
    print(json.dumps({"rows": len(frame), "columns": len(frame.columns), "steps": steps}))


if __name__ == "__main__":
    if "--client" in sys.argv:
        client()
    else:
        run(os.environ)
