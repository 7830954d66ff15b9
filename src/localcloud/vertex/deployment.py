"""A deployed model's replicas together: started, scaled, asked, drained.

Which deployment an endpoint's request goes to is localcloud.vertex.routing's choice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator

from localcloud.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from localcloud.operations import OperationHandle
from localcloud.vertex.common import Vertex, id_of, logs_link, project_of
from localcloud.vertex.replica import Replica
from localcloud.vertex.serving_container import Serving
from localcloud.vertex.upstream import Answer, Disconnected

DRAIN = 10.0
"""Seconds that requests have to finish when a model is undeployed."""
STOP_GRACE = 10.0


class Deployment:
    """The replicas of one deployed model.

    Args:
        vertex: The shared facilities.
        serving: What is served.
    """

    def __init__(self, vertex: Vertex, serving: Serving) -> None:
        self.serving = serving
        self._vertex = vertex
        self._condition = threading.Condition()
        self._replicas: list[Replica] = []
        self._made = 0

    def scale(self, count: int) -> None:
        """Have `count` replicas: start what lacks, drain and stop what is too many."""
        with self._condition:
            while len(self._replicas) < count:
                replica = Replica(self._vertex, self.serving, f"{self.serving.deployed.id}-{self._made}", self._notify)
                self._made += 1
                self._replicas = [*self._replicas, replica]
                replica.start()
            surplus, self._replicas = self._replicas[count:], self._replicas[:count]
        _stop(surplus, DRAIN)

    def wait_until_ready(self, handle: OperationHandle) -> None:
        """Wait until every replica is healthy.

        Raises:
            FailedPrecondition: One did not come up: with what its log last said.
            Cancelled: The operation was cancelled.
        """
        while True:
            with self._condition:
                if all(replica.ready for replica in self._replicas):
                    return
                problem = next((replica.problem for replica in self._replicas if replica.problem), "")
                if not problem:
                    self._condition.wait(0.5)
            handle.check()
            if problem:
                raise FailedPrecondition(self._failure(problem))

    def stop(self, drain: float = DRAIN) -> None:
        """Let what is being answered finish for `drain` seconds, then end all replicas."""
        with self._condition:
            replicas, self._replicas = self._replicas, []
        _stop(replicas, drain)

    # On the event loop

    async def request(self, method: str, path: str, content_type: str, body: bytes, timeout: float) -> Answer:
        """Have the least busy replica answer.

        Raises:
            Unavailable: No replica is ready, or the one that was asked went away.
            DeadlineExceeded: It took longer than `timeout` seconds.
        """
        refused: list[Replica] = []
        while True:
            replica = self._least_busy(refused)
            replica.outstanding += 1
            try:
                assert replica.upstream is not None
                return await replica.upstream.request(method, path, content_type, body, timeout)
            except TimeoutError:
                raise self._too_slow(timeout) from None
            except Disconnected as error:
                raise self._went_away(replica, error) from None
            except OSError:
                refused.append(replica)  # it has not had the request: another may answer it
            finally:
                replica.outstanding -= 1

    async def stream(
        self, method: str, path: str, content_type: str, body: bytes, timeout: float
    ) -> tuple[int, dict[str, str], AsyncIterator[bytes]]:
        """The same, with the answer's body piece by piece."""
        replica = self._least_busy([])
        replica.outstanding += 1
        try:
            assert replica.upstream is not None
            status, headers, pieces = await replica.upstream.stream(method, path, content_type, body, timeout)
        except TimeoutError:
            replica.outstanding -= 1
            raise self._too_slow(timeout) from None
        except (Disconnected, OSError) as error:
            replica.outstanding -= 1
            raise self._went_away(replica, error) from None
        except BaseException:
            replica.outstanding -= 1
            raise

        async def counted() -> AsyncIterator[bytes]:
            try:
                async for piece in pieces:
                    yield piece
            except Disconnected as error:
                raise self._went_away(replica, error) from None
            finally:
                replica.outstanding -= 1

        return status, headers, counted()

    def _least_busy(self, refused: list[Replica]) -> Replica:
        ready = [replica for replica in self._replicas if replica.ready and replica not in refused]
        if not ready:
            deployed = self.serving.deployed.id
            problem = next((replica.problem for replica in self._replicas if replica.problem), "")
            if problem or refused:
                raise Unavailable(
                    f"No replica of DeployedModel {deployed} is up; it is being restarted. {problem}".rstrip()
                )
            raise Unavailable(f"DeployedModel {deployed} is starting: try again in a moment.")
        return min(ready, key=lambda replica: replica.outstanding)

    def _too_slow(self, timeout: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"DeployedModel {self.serving.deployed.id} did not answer within {timeout:.0f} s.")

    def _went_away(self, replica: Replica, error: Exception) -> Unavailable:
        return Unavailable(
            f"The model server of DeployedModel {self.serving.deployed.id} (replica {replica.name}) went away "
            f"while it was asked ({error}). It is being restarted: try again."
        )

    # Inside

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _failure(self, problem: str) -> str:
        endpoint = self.serving.endpoint
        conditions = (
            'resource.type="aiplatform.googleapis.com/Endpoint"',
            f'resource.labels.endpoint_id="{id_of(endpoint)}"',
        )
        link = logs_link(project_of(endpoint), f"aiplatform.googleapis.com/Endpoint/{id_of(endpoint)}", conditions)
        lead = "" if problem.startswith("Model server") else "Model server exited unexpectedly. "
        return (
            f"{lead}{problem}\nModel server logs can be found at {link} "
            f"(in the local cloud: `mlops logs {id_of(endpoint)}`)."
        )


def _stop(replicas: list[Replica], drain: float) -> None:
    if not replicas:
        return
    deadline = time.monotonic() + drain
    while any(replica.outstanding for replica in replicas) and time.monotonic() < deadline:
        time.sleep(0.05)
    threads = [threading.Thread(target=replica.stop, args=(STOP_GRACE,), daemon=True) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STOP_GRACE + 15)
