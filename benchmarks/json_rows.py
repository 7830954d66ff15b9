"""What of batch prediction is rows as JSON and the model: its own functions, with no HTTP, container or BigQuery.

Two processes, each with half of the rows, do what a job cannot leave out: Arrow to rows to JSON, as Vertex AI sends it,
JSON to a data frame, the model, scores to JSON, and JSON to the texts that are written to the table.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

PROCESSES = 2


@contextmanager
def processes(model: Any, signature: Any, frame: Any, batch: int) -> Iterator[list[Connection]]:
    """The processes, ready; `seconds` has them work.

    Args:
        model: What predicts.
        signature: The accelerator.signature.Signature of its features.
        frame: All rows.
        batch: Rows of one call.
    """
    spawn = multiprocessing.get_context("spawn")
    each = -(-len(frame) // PROCESSES)
    ends, started = [], []
    for start in range(0, len(frame), each):
        ours, theirs = spawn.Pipe()
        rows = frame.iloc[start : start + each]
        process = spawn.Process(target=_work, args=(theirs, model, signature, rows, batch), daemon=True)
        process.start()
        ends.append(ours)
        started.append(process)
    try:
        for end in ends:
            end.recv()
        yield ends
    finally:
        for process in started:
            process.terminate()
            process.join()


def seconds(ends: list[Connection]) -> float:
    """How long they take for all rows."""
    began = time.perf_counter()
    for end in ends:
        end.send(None)
    for end in ends:
        end.recv()
    return time.perf_counter() - began


def _work(end: Connection, model: Any, signature: Any, frame: Any, batch: int) -> None:
    import pyarrow as pa
    from threadpoolctl import threadpool_limits

    from accelerator.prediction.columns import Columns
    from localcloud.__main__ import GARBAGE_THRESHOLD

    columns, table = Columns(signature), pa.RecordBatch.from_pandas(frame, preserve_index=False)
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.freeze()
    with threadpool_limits(1):  # as in a container: else each process has a thread for every processor
        end.send(None)
        while True:
            end.recv()
            for start in range(0, table.num_rows, batch):
                _predict(model, columns, signature.classes, table.slice(start, batch))
            end.send(None)


def _predict(model: Any, columns: Any, classes: Any, batch: Any) -> list[bytes]:
    import orjson

    from localcloud.vertex.batch.values import rows

    body = orjson.dumps({"instances": rows(batch, tuple(batch.schema.names), objects=True)})
    scores = model.predict_proba(columns.frame(orjson.loads(body)["instances"])).tolist()
    answer = orjson.dumps({"predictions": [{"classes": classes, "scores": each} for each in scores]})
    return [orjson.dumps(one) for one in orjson.loads(answer)["predictions"]]
