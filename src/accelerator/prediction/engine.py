"""The model's thread: answers all that is waiting in as few model calls as can be, and wakes the loop.

While the model computes, requests gather; so batches grow with the load and a lone request never waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from accelerator.prediction.failures import Failure
from accelerator.prediction.logs import log, stack
from accelerator.prediction.service import Answer, Request, Service

LINGER_SHARE = 0.25
"""How much of a model call it is worth to wait for requests to share it."""
LONGEST_LINGER = 0.002
"""Seconds; nobody should notice it."""


class _Waiting(NamedTuple):
    body: bytes
    future: asyncio.Future[Answer]


class Engine:
    """Runs a service in a thread of its own.

    Args:
        service: What answers.
        max_batch: Instances after which no further request joins a call.
        on_batch: Told the number of instances of every call, in the loop.
    """

    def __init__(self, service: Service, max_batch: int, on_batch: Callable[[int], None]) -> None:
        self._service = service
        self._max_batch = max_batch if service.batches else 1
        self._on_batch = on_batch
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="model", daemon=True).start()

    async def answer(self, body: bytes) -> Answer:
        """The answer to one request's body; to be called in the loop."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put(_Waiting(body, future))
        return await future

    def _run(self) -> None:
        expected, linger = 1, 0.0
        while True:
            waiting, parsed, instances = self._gather(expected, linger)
            started = time.perf_counter()
            answers = self._answers(parsed)
            linger = min(LONGEST_LINGER, LINGER_SHARE * (time.perf_counter() - started))
            futures = [one.future for one in waiting]
            self._loop.call_soon_threadsafe(self._deliver, futures, answers, instances)
            # Whoever gets an answer now is likely to ask again at once: they and those who came meanwhile are
            # all the clients there are. A lone client expects one request, its own, and so never lingers.
            expected = len(waiting) + self._queue.qsize()

    def _gather(self, expected: int, linger: float) -> tuple[list[_Waiting], list[Request | Failure], int]:
        """What is waiting, up to a batch: the requests as they came, parsed, and their instances in all.

        Args:
            expected: Requests that are worth waiting for.
            linger: Seconds to wait for them after the first.
        """
        waiting = [self._queue.get()]
        parsed = [self._parse(waiting[0].body)]
        instances = _size(parsed[0])
        end = time.perf_counter() + linger
        while instances < self._max_batch:
            patience = end - time.perf_counter() if len(waiting) < expected else 0.0
            try:
                waiting.append(self._queue.get(timeout=patience) if patience > 0 else self._queue.get_nowait())
            except Empty:
                break
            parsed.append(self._parse(waiting[-1].body))
            instances += _size(parsed[-1])
        return waiting, parsed, instances

    def _answers(self, parsed: list[Request | Failure]) -> list[Answer]:
        try:
            answered = iter(self._service.answer([one for one in parsed if isinstance(one, Request)]))
            return [one if isinstance(one, Failure) else next(answered) for one in parsed]
        except BaseException as error:  # this thread must outlive even sys.exit() in a team's code
            log("ERROR", f"The model raised {type(error).__name__}: {error}", **stack(error))
            failure = Failure(500, f"The model raised {type(error).__name__}: {error}")
            return [failure] * len(parsed)

    def _parse(self, body: bytes) -> Request | Failure:
        try:
            return self._service.parse(body)
        except Failure as failure:
            return failure

    def _deliver(self, futures: list[asyncio.Future[Answer]], answers: list[Answer], instances: int) -> None:
        if instances:
            self._on_batch(instances)
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _size(parsed: Request | Failure) -> int:
    return len(parsed.instances) if isinstance(parsed, Request) else 0
