"""Messages of the Storage Read API as the functions get them: read by a thread ahead of them, put together to a size.

BigQuery's messages are small: functions over batches and Parquet files are several times faster on larger ones.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

ROWS = 32_768
BYTES = 32 << 20
"""Messages are put together until they have so many rows or bytes."""
READ_AHEAD = 1
"""Messages that wait: what bounds memory."""


def gathered(found: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches put together to what a function over batches is fast with."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in found:
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= ROWS or size >= BYTES:
            yield _one(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield _one(waiting)


def read_ahead(found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same, taken by a thread of its own: a stream is read while the function works."""
    taken: queue.Queue[pa.RecordBatch | Exception | None] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: pa.RecordBatch | Exception | None) -> None:
        while not stopped.is_set():
            try:
                taken.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for batch in found:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except Exception as error:  # raised again where the batches are taken
            put(error)

    threading.Thread(target=read, name="bigquery-stream", daemon=True).start()
    try:
        while (item := taken.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()


def _one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
