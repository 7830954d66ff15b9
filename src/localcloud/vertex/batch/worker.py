"""The worker process of one job: reads rows, asks the containers, writes predictions; memory bounded by a few blocks.

It is told its plan and the containers' ports by lines of JSON on stdin, and tells progress and the end by lines on
stdout. When stdin ends the server is gone, and so is the worker.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from localcloud.__main__ import GARBAGE_THRESHOLD, NoPandas
from localcloud.errors import Code
from localcloud.vertex.batch.asking import Asker
from localcloud.vertex.batch.blocks import Block, Failure, Sink, Source, SourceProblem
from localcloud.vertex.batch.plan import Plan

PROGRESS_SECONDS = 0.5
READ_AHEAD = 1
"""Blocks that wait to be sent."""
MOST_PARTIAL_FAILURES = 20


class Worker:
    """One job.

    Args:
        plan: What is to be done.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._unread = 0
        self._rows = 0
        self._failures: dict[Failure, int] = {}
        self.asker: Asker

    async def run(self) -> None:
        """Do it all."""
        loop = asyncio.get_running_loop()
        plan = self._plan
        self.asker = Asker(plan.predict_route, plan.parameters, plan.batch_size)
        threading.Thread(target=self._listen, args=(loop,), name="stdin", daemon=True).start()
        with ThreadPoolExecutor(1, "writer") as writer:
            source, sink = await loop.run_in_executor(writer, _open, plan)
            tell(total=source.total)
            reporter = loop.create_task(self._report())
            try:
                await self._pass(source, sink, writer)
            finally:
                reporter.cancel()
                await loop.run_in_executor(writer, sink.close)
        self._tell_end()

    async def _pass(self, source: Source, sink: Sink, writer: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        reader = _Reader(source)
        under_way: deque[tuple[Block, asyncio.Task[list[Any]]]] = deque()

        async def write_oldest() -> None:
            block, task = under_way.popleft()
            results = await task
            self._note(block, results)
            await loop.run_in_executor(writer, sink.write, block, results)

        try:
            while not self.asker.stopped:
                block = await reader.next()
                if block is None:
                    break
                under_way.append((block, loop.create_task(self.asker.predict(block.instances))))
                if len(under_way) > self._plan.replicas + 1:
                    await write_oldest()
            while under_way:
                await write_oldest()
        finally:
            reader.stop()

    def _note(self, block: Block, results: list[Any]) -> None:
        self._rows += len(results) + len(block.unread)
        self._unread += len(block.unread)
        for failure in [*(one for one in results if type(one) is Failure), *(one for _, one in block.unread)]:
            if failure in self._failures or len(self._failures) < MOST_PARTIAL_FAILURES:
                self._failures[failure] = self._failures.get(failure, 0) + 1

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            tell(successful=self.asker.succeeded, failed=self.asker.failed + self._unread)

    def _tell_end(self) -> None:
        asker = self.asker
        failures = [
            {
                "code": failure.code,
                "message": f"{failure.message} ({count} instances)" if count > 1 else failure.message,
            }
            for failure, count in self._failures.items()
        ]
        tell(
            end=True,
            successful=asker.succeeded,
            failed=asker.failed + self._unread,
            failures=failures,
            hopeless=asker.hopeless is not None,
        )

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "ports" in order:
                loop.call_soon_threadsafe(self.asker.replicas, order["ports"])
            if "cancel" in order:
                loop.call_soon_threadsafe(self.asker.stop)
        os._exit(1)  # the server is gone


class _Reader:
    """A source read ahead in a thread."""

    def __init__(self, source: Source) -> None:
        self._loop = asyncio.get_running_loop()
        self._blocks: queue.Queue[Block | BaseException | None] = queue.Queue(READ_AHEAD)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, args=(source.blocks(),), name="reader", daemon=True).start()

    async def next(self) -> Block | None:
        """The next block; None at the end."""
        found = await self._loop.run_in_executor(None, self._blocks.get)
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """Read no further."""
        self._stopped.set()

    def _run(self, blocks: Iterator[Block]) -> None:
        try:
            for block in blocks:
                self._put(block)
                if self._stopped.is_set():
                    return
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: Block | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._blocks.put(item, timeout=0.5)
                return
            except queue.Full:
                continue


def _open(plan: Plan) -> tuple[Source, Sink]:
    """The source and the sink of a job.

    Raises:
        SourceProblem: One of them is not as the job says.
    """
    from localcloud.objects import Objects
    from localcloud.vertex.batch.file_sink import FileSink
    from localcloud.vertex.batch.files import CsvFiles, JsonLines
    from localcloud.vertex.batch.table_sink import TableSink
    from localcloud.vertex.batch.tables import TableSource

    objects = Objects(Path(plan.root))
    client: Any = None
    if "bigquery" in (plan.instances_format, plan.predictions_format):
        from google.cloud import bigquery

        client = bigquery.Client(project=plan.project)
    source: Source
    if plan.instances_format == "bigquery":
        source = TableSource(plan, client)
    elif plan.instances_format == "jsonl":
        source = JsonLines(plan, objects)
    else:
        source = CsvFiles(plan, objects)
    if plan.predictions_format != "bigquery":
        return source, FileSink(plan, objects)
    if isinstance(source, TableSource):
        schema = source.schema
    else:
        schema = [bigquery.SchemaField("key" if plan.key_field else "instance", "STRING")]
    sink = TableSink(plan, client, schema)
    tell(table=sink.table)
    return source, sink


def tell(**event: Any) -> None:
    """Write a line to the server."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the worker."""
    sys.meta_path.insert(0, NoPandas)
    gc.set_threshold(GARBAGE_THRESHOLD)
    plan = Plan.from_json(sys.stdin.readline())
    Path(plan.scratch).mkdir(parents=True, exist_ok=True)
    run = asyncio.run
    if sys.platform != "win32":
        import uvloop

        run = uvloop.run
    try:
        run(Worker(plan).run())
    except SourceProblem as problem:
        tell(problem={"code": problem.code, "message": problem.message})
    except Exception as error:
        import traceback

        traceback.print_exc()
        message = f"Internal error occurred for the current attempt: {type(error).__name__}: {error}"
        tell(problem={"code": Code.INTERNAL.number, "message": message})
    sys.stdout.flush()
    os._exit(0)  # threads of Google's clients are not waited for


if __name__ == "__main__":
    main()
