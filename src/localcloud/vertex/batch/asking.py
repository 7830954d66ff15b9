"""Asks serving containers for predictions: several requests at once, tried again where that can help, halved where not.

A request that fails is cut in halves until the rows at fault are alone, so that the others get their predictions.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson

from localcloud.errors import Code
from localcloud.vertex.batch.blocks import UNASKED, Failure
from localcloud.vertex.upstream import Answer, Upstream

TIMEOUT = 600.0
"""Seconds that a container may take for one request."""
BUSY_TRIES = 8
"""How often a request is sent that the container is too busy for (429, 503)."""
CRASHES = 2
"""How often a request that is sent alone may take the container down with it."""
HOPELESS = 1000
"""Failed rows after which, if they are more than half of all, no further ones are tried."""
WINDOW_ROWS = 32_768
"""Rows that may be under way at each container."""
WINDOW = (2, 64)
"""Requests that may be under way at each container: at first, and at the most."""


class Asker:
    """The serving containers of a job, as a function from instances to results. To be used on one event loop.

    Args:
        route: The path to post to.
        parameters: Sent with each request; None for none.
        batch_size: Instances in one request.
    """

    def __init__(self, route: str, parameters: Any, batch_size: int) -> None:
        self.succeeded = 0
        self.failed = 0
        self.hopeless: Failure | None = None
        """Set when most rows fail: the first failure."""
        self.stopped = False
        """Whether no further requests are to be sent."""
        self._route = route
        self._tail = b"" if parameters is None else b',"parameters":' + orjson.dumps(parameters)
        self._batch_size = batch_size
        self._most = max(4, min(WINDOW[1], WINDOW_ROWS // batch_size))
        self._limit = float(WINDOW[0])
        self._active = 0
        self._alone = asyncio.Lock()
        self._changed = asyncio.Event()
        self._replicas: list[_Replica] = []

    def replicas(self, ports: list[int]) -> None:
        """Have these containers answer from now on: those that are healthy."""
        known = {replica.port: replica for replica in self._replicas}
        self._replicas = [known.get(port) or _Replica(port) for port in ports]
        self._changed.set()

    def stop(self) -> None:
        """Send no further requests."""
        self.stopped = True
        self._changed.set()

    async def predict(self, instances: list[Any]) -> list[Any]:
        """A prediction or a Failure for each instance; UNASKED for those that were not sent."""
        size = self._batch_size
        parts = [instances[start : start + size] for start in range(0, len(instances), size)]
        found = await asyncio.gather(*map(self._part, parts))
        return [result for part in found for result in part]

    async def _part(self, instances: list[Any]) -> list[Any]:
        body = b'{"instances":' + orjson.dumps(instances) + self._tail + b"}"
        answer = await self._answer(body)
        if answer is None:
            return [UNASKED] * len(instances)
        if isinstance(answer, Failure):
            return self._fail(answer, len(instances))
        if answer.status != 200:
            failure = Failure(Code.of_http(answer.status).number, answer.body[:2000].decode(errors="replace"))
            if len(instances) == 1:
                return self._fail(failure, 1)
            if self.hopeless is not None:
                return [UNASKED] * len(instances)
            half = len(instances) // 2
            return await self._part(instances[:half]) + await self._part(instances[half:])
        results = predictions(answer.body, len(instances))
        if isinstance(results, Failure):
            return self._fail(results, len(instances))
        bad = sum(type(result) is Failure for result in results)
        self.succeeded += len(results) - bad
        if bad:
            self._count(next(result for result in results if type(result) is Failure), bad)
        return results

    def _fail(self, failure: Failure, count: int) -> list[Any]:
        self._count(failure, count)
        return [failure] * count

    def _count(self, failure: Failure, count: int) -> None:
        self.failed += count
        if self.failed >= HOPELESS and self.failed > self.succeeded and self.hopeless is None:
            self.hopeless = failure
            self.stop()

    async def _answer(self, body: bytes) -> Answer | Failure | None:
        """The container's answer; None where no more is to be asked."""
        crashes = busy = 0
        alone = False
        while True:
            try:
                sent = await self._send(body, alone=alone)
            except TimeoutError:
                message = f"The model server did not answer within {TIMEOUT:.0f} s."
                return Failure(Code.DEADLINE_EXCEEDED.number, message)
            except OSError as error:
                crashes += alone
                if crashes >= CRASHES:
                    message = f"The model server went away while it was asked, {CRASHES} times: {error}."
                    return Failure(Code.UNAVAILABLE.number, message)
                # it may be another request's fault: this one is tried again when no other is under way
                alone = True
                self._limit = float(WINDOW[0])
                continue
            if sent is None or sent.status not in (429, 503) or busy == BUSY_TRIES:
                if sent is not None:
                    self._limit = min(self._most, self._limit + 1)
                return sent
            busy += 1
            self._limit = max(1.0, self._limit / 2)
            await asyncio.sleep(min(10.0, 0.1 * 2.0**busy))

    async def _send(self, body: bytes, *, alone: bool) -> Answer | None:
        if not alone:
            if not await self._turn(
                lambda: self._active < self._limit * len(self._replicas) and not self._alone.locked()
            ):
                return None
            return await self._ask(body)
        async with self._alone:
            if not await self._turn(lambda: self._active == 0 and bool(self._replicas)):
                return None
            return await self._ask(body)

    async def _turn(self, free: Any) -> bool:
        """Wait until a request may be sent; False where none may any longer."""
        while not self.stopped:
            if free():
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    async def _ask(self, body: bytes) -> Answer:
        replica = min(self._replicas, key=lambda one: one.active)
        self._active += 1
        replica.active += 1
        try:
            return await replica.upstream.request("POST", self._route, "application/json", body, TIMEOUT)
        except TimeoutError:
            raise
        except OSError:
            # it is not asked again before the server says that it is healthy
            self._replicas = [one for one in self._replicas if one is not replica]
            raise
        finally:
            self._active -= 1
            replica.active -= 1
            self._changed.set()


class _Replica:
    """One container."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.upstream = Upstream("127.0.0.1", port)
        self.active = 0


def predictions(body: bytes, count: int) -> list[Any] | Failure:
    """The predictions in an answer; those that are no JSON, such as NaN, are Failures of their own."""
    try:
        content, strict = orjson.loads(body), True
    except orjson.JSONDecodeError:
        try:
            content, strict = json.loads(body), False
        except ValueError:
            return Failure(Code.INTERNAL.number, f"The model server's answer is not JSON: {_start(body)}")
    found = content.get("predictions") if isinstance(content, dict) else None
    if not isinstance(found, list):
        message = f'The model server\'s answer is not of the form {{"predictions": [...]}}: {_start(body)}'
        return Failure(Code.INTERNAL.number, message)
    if len(found) != count:
        return Failure(Code.INTERNAL.number, f"The model server gave {len(found)} predictions for {count} instances.")
    return found if strict else [_finite(one) for one in found]


def _finite(prediction: Any) -> Any:
    try:
        json.dumps(prediction, allow_nan=False)
    except ValueError:
        return Failure(Code.INTERNAL.number, f"The model predicted what is not a finite number: {prediction}"[:500])
    return prediction


def _start(body: bytes) -> str:
    return body[:200].decode(errors="replace")
