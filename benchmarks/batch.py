"""Batch prediction: 336,776 rows from BigQuery to BigQuery, beside the same model called in process on the same rows.

`python -m benchmarks batch`; with `--memory`, three million rows beside a hundred thousand. All sides take turns; the
job's time is from its containers' being healthy to its end. The third side is rows as JSON alone: json_rows.
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from accelerator.signature import Signature
from benchmarks import json_rows

MODEL = Path(__file__).parent / "prediction" / "model.py"
flights = runpy.run_path(str(MODEL))["flights"]
"""Made-up departures; what that model is trained on."""
REGION = "us-central1"
PROJECT = "bench"
ROWS = 336_776
ROUNDS = 3
GOAL = 0.5
"""Rows a second, as a share of those of the model in process."""
BATCH = 2048
SIZES = (100_000, 3_000_000)
PROCESSES = {
    "worker": "localcloud.vertex.batch.worker",
    "container": "accelerator.prediction.worker",
    "server": "localcloud",
}
"""What takes memory for a job, by a word of its command line."""


def run(rounds: int = ROUNDS) -> None:
    """Take turns, and print the rows a second of both and the ratio."""
    dataset, container = _prepare()
    frame = flights(ROWS)
    _load(dataset, frame)
    model = _model_of(container)
    jobs, bounds = [], []
    with json_rows.processes(model, Signature.of(frame, "late", classes=model.classes_), frame, BATCH) as ends:
        for number in range(rounds):
            began = time.perf_counter()
            model.predict_proba(frame)
            alone = time.perf_counter() - began
            as_json = json_rows.seconds(ends)
            job = _predict(dataset, container, ROWS)
            took = (job.end_time - job.start_time).total_seconds()
            jobs.append(alone / took)
            bounds.append(alone / as_json)
            print(
                f"  round {number + 1}: job {ROWS / took:,.0f} rows/s, rows as JSON alone {ROWS / as_json:,.0f}, "
                f"model in process {ROWS / alone:,.0f}",
                flush=True,
            )
    middle = statistics.median(jobs)
    print(
        f"  batch prediction, {ROWS:,} rows: {_spread(jobs)} of the model's rows/s, goal {GOAL:g}: "
        f"{'met' if middle >= GOAL else 'MISSED'}; rows as JSON, with nothing else, reach {_spread(bounds)}"
    )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def memory() -> None:
    """Print the most memory that the job's processes take for few and for many rows.

    The server's is mostly DuckDB's cache of the tables, up to DuckDB's own limit, and the kernel's of the file read.
    """
    dataset, container = _prepare()
    _load(dataset, flights(SIZES[-1]))
    found: list[dict[str, int]] = []
    for rows in SIZES:
        with _peaks() as peaks:
            job = _predict(dataset, container, rows)
        took = (job.end_time - job.start_time).total_seconds()
        found.append(peaks)
        shown = ", ".join(f"{name} {peak / 2**20:.0f} MB" for name, peak in peaks.items())
        print(f"  {rows:>9,} rows: {shown} at the most, {rows / took:,.0f} rows/s", flush=True)
    growth = ", ".join(f"{name} {found[-1][name] / found[0][name]:.2f}" for name in PROCESSES)
    print(f"  memory for {SIZES[-1]:,} rows as a multiple of that for {SIZES[0]:,}: {growth}")


def _prepare() -> tuple[str, dict[str, Any]]:
    """A dataset, and the container spec of the generic prediction container with a model that is trained for it."""
    from google.cloud import bigquery, storage

    dataset = f"batch_{uuid.uuid4().hex[:8]}"
    bigquery.Client(project=PROJECT).create_dataset(dataset)
    bucket = storage.Client(project=PROJECT).create_bucket(f"bench-{uuid.uuid4().hex[:8]}")
    with tempfile.TemporaryDirectory(prefix="bench-batch-") as folder:
        subprocess.run([sys.executable, str(MODEL), folder], check=True)
        for name in ("model.joblib", "model.json"):
            bucket.blob(f"model/{name}").upload_from_filename(str(Path(folder) / name))
    spec = {"image_uri": "python:3.11-slim", "command": [sys.executable, "-m", "accelerator.prediction"]}
    return dataset, {"artifact_uri": f"gs://{bucket.name}/model", "container_spec": spec}


def _model_of(container: dict[str, Any]) -> Any:
    import io

    import joblib
    from google.cloud import storage

    bucket = container["artifact_uri"].removeprefix("gs://").partition("/")[0]
    return joblib.load(
        io.BytesIO(storage.Client(project=PROJECT).bucket(bucket).blob("model/model.joblib").download_as_bytes())
    )


def _load(dataset: str, frame: Any) -> None:
    from google.cloud import bigquery

    client = bigquery.Client(project=PROJECT)
    client.load_table_from_dataframe(frame, f"{dataset}.flights_{len(frame)}").result()


def _predict(dataset: str, container: dict[str, Any], rows: int) -> Any:
    """A job on the first rows of the table, when it is over."""
    from google.cloud import aiplatform_v1, bigquery

    source = f"{dataset}.flights_{rows}"
    bq = bigquery.Client(project=PROJECT)
    known = {table.table_id for table in bq.list_tables(dataset)}
    if f"flights_{rows}" not in known:
        whole = next(name for name in sorted(known) if name.startswith("flights_"))
        bq.query_and_wait(f"CREATE TABLE {source} AS SELECT * FROM {dataset}.{whole} LIMIT {rows}")
    client = aiplatform_v1.JobServiceClient(client_options={"api_endpoint": f"{REGION}-aiplatform.googleapis.com"})
    job = client.create_batch_prediction_job(
        parent=f"projects/{PROJECT}/locations/{REGION}",
        batch_prediction_job={
            "display_name": f"{rows} rows",
            "unmanaged_container_model": container,
            "input_config": {
                "instances_format": "bigquery",
                "bigquery_source": {"input_uri": f"bq://{PROJECT}.{source}"},
            },
            "output_config": {
                "predictions_format": "bigquery",
                "bigquery_destination": {"output_uri": f"bq://{PROJECT}.{dataset}"},
            },
            "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}},
            "manual_batch_tuning_parameters": {"batch_size": BATCH},
        },
    )
    while job.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        time.sleep(0.2)
        job = client.get_batch_prediction_job(name=job.name)
    if job.state.name != "JOB_STATE_SUCCEEDED" or job.completion_stats.successful_count != rows:
        raise RuntimeError(f"{job.state.name}: {job.error.message} {job.completion_stats}")
    return job


@contextmanager
def _peaks() -> Iterator[dict[str, int]]:
    """The most bytes of memory that each of the job's processes has meanwhile."""
    peaks, over = dict.fromkeys(PROCESSES, 0), threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for process in psutil.process_iter(["cmdline", "memory_info"]):
                command, memory = process.info["cmdline"], process.info["memory_info"]
                for name, word in PROCESSES.items():
                    if memory is not None and word in (command or ()):
                        peaks[name] = max(peaks[name], memory.rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory", action="store_true", help="memory in place of speed")
    given = parser.parse_args()
    if given.memory:
        memory()
    else:
        run(given.rounds)
