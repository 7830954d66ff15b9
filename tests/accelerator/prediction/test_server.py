"""The container as it runs: routes, refusals, several workers, overload, draining."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.accelerator.prediction.container import PATIENCE, Container, instances, save, table, wait_for

Start = Callable[..., Container]

SLOW = """
import time
class Predictor:
    def predict(self, instances):
        time.sleep(float(instances["wind"].iloc[0]))
        return super().predict(instances)
"""

WHO = """
import os
class Predictor:
    def postprocess(self, prediction_results):
        return {"predictions": [os.getpid()] * len(prediction_results)}
"""


@pytest.fixture(scope="module")
def container(start: Start, artifact: Path) -> Container:
    """One container with one worker, for what leaves it as it was."""
    found = start(artifact, MLOPS_MAX_BODY_BYTES="100000")
    found.wait_ready()
    return found


def slow(seconds: float) -> dict[str, object]:
    """A body that the SLOW predictor takes this long for."""
    return {"instances": [{**instances(table(1))[0], "wind": seconds}]}


def test_objects_arrays_and_labels(container: Container, model: HistGradientBoostingClassifier) -> None:
    frame = table(20)
    objects = container.predict(instances=instances(frame))
    assert objects.status_code == 200
    assert objects.headers["content-type"] == "application/json"
    assert [one["scores"] for one in objects.json()["predictions"]] == [
        pytest.approx(row) for row in model.predict_proba(frame).tolist()
    ]
    arrays = container.predict(instances=[list(row.values()) for row in instances(frame)])
    assert arrays.json() == objects.json()
    labels = container.predict(instances=instances(frame), parameters={"output": "label"})
    assert labels.json() == {"predictions": model.predict(frame).tolist()}


def test_a_fault_is_a_400_in_googles_form(container: Container) -> None:
    rows = instances(table(3))
    rows[1]["distance"] = "far"
    del rows[2]["hour"]
    answer = container.predict(instances=rows)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": 400,
        "status": "INVALID_ARGUMENT",
        "message": 'instances[1].distance: expected a number or null, got the string "far". 1 further in details.',
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [
                    {
                        "field": "instances[1].distance",
                        "description": 'expected a number or null, got the string "far"',
                    },
                    {
                        "field": "instances[2].hour",
                        "description": "expected a whole number, got nothing: the feature is missing",
                    },
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict", b'{"instances": []}', 400),
        ("GET", "/predict", b"", 405),
        ("GET", "/elsewhere", b"", 404),
        ("POST", "/predict", b" " * 100_001, 413),
        ("GET", "/health", b"", 200),
    ],
)
def test_statuses(container: Container, method: str, path: str, body: bytes, status: int) -> None:
    assert httpx.request(method, container.url + path, content=body).status_code == status


def test_a_body_without_length_is_bounded_too(container: Container) -> None:
    chunks = (b" " * 1000 for _ in range(101))
    assert httpx.post(f"{container.url}/predict", content=chunks).status_code == 413


def test_routes_are_those_of_the_environment(start: Start, artifact: Path) -> None:
    base = "/v1/endpoints/1/deployedModels/2"
    found = start(artifact, AIP_HEALTH_ROUTE=base, AIP_PREDICT_ROUTE=f"{base}:predict")
    wait_for(lambda: httpx.get(found.url + base).status_code == 200)
    answer = httpx.post(f"{found.url}{base}:predict", json={"instances": instances(table(1))})
    assert len(answer.json()["predictions"]) == 1


def test_health_is_503_while_the_model_loads_and_logs_are_json(
    start: Start, tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    gate = tmp_path / "go"
    code = f"""
import os, time
class Predictor:
    def load(self, artifacts_uri):
        while not os.path.exists({str(gate)!r}): time.sleep(0.02)
        super().load(artifacts_uri)
"""
    (tmp_path / "artifact").mkdir()
    found = start(save(tmp_path / "artifact", model, code))
    answer = httpx.get(f"{found.url}/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert found.predict(instances=[]).status_code == 503
    gate.touch()
    found.wait_ready()
    found.process.terminate()
    assert found.process.wait(PATIENCE) == 0
    assert {entry["severity"] for entry in found.log()} == {"INFO"}


def test_several_workers_share_load_and_metrics_and_leave_nothing(start: Start, artifact: Path) -> None:
    found = start(artifact, WEB_CONCURRENCY="2")
    found.wait_loaded(2)
    body = {"instances": instances(table(2))}

    async def ask() -> list[int]:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answers = await asyncio.gather(*(client.post(f"{found.url}/predict", json=body) for _ in range(40)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200] * 40
    found.predict(instances=[])
    for _ in range(4):  # whichever worker answers
        text = httpx.get(f"{found.url}/metrics").text
        assert 'prediction_requests_total{code="200"} 40\n' in text
        assert 'prediction_requests_total{code="400"} 1\n' in text
        assert "prediction_request_duration_seconds_count 41\n" in text
        assert "prediction_batch_instances_sum 80.000000\n" in text
        assert "prediction_queue_depth 0\n" in text
    workers = psutil.Process(found.process.pid).children()
    found.process.terminate()
    assert found.process.wait(PATIENCE) == 0
    assert not any(worker.is_running() for worker in workers)


def test_clients_that_stay_connected_are_shared_by_the_workers(
    start: Start, tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    found = start(save(tmp_path, model, WHO), WEB_CONCURRENCY="2")
    found.wait_loaded(2)
    body = {"instances": instances(table(1))}

    async def ask_until_shared() -> None:
        limits = httpx.Limits(max_connections=1)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE, limits=limits)) for _ in range(8)
            ]
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                answers = await asyncio.gather(*(one.post(f"{found.url}/predict", json=body) for one in clients))
                served = Counter(answer.json()["predictions"][0] for answer in answers)
                if sorted(served.values()) == [4, 4] and not any("connection" in one.headers for one in answers):
                    return
        raise AssertionError("one worker kept more clients than the other")

    asyncio.run(ask_until_shared())


def test_a_worker_that_is_killed_comes_back(start: Start, artifact: Path) -> None:
    found = start(artifact)
    found.wait_ready()
    psutil.Process(found.process.pid).children()[0].kill()
    wait_for(lambda: any("was ended by SIGKILL" in entry["message"] for entry in found.log()))
    found.wait_loaded(2)
    found.wait_ready()
    assert found.predict(instances=instances(table(1))).status_code == 200


def test_workers_end_with_a_supervisor_that_is_killed(start: Start, artifact: Path) -> None:
    found = start(artifact, WEB_CONCURRENCY="2")
    found.wait_loaded(2)
    workers = psutil.Process(found.process.pid).children()
    os.kill(found.process.pid, signal.SIGKILL)
    found.process.wait(PATIENCE)
    assert psutil.wait_procs(workers, PATIENCE)[1] == []


def test_overload_is_503_with_retry_after_and_health_still_answers(
    start: Start, tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    found = start(save(tmp_path, model, SLOW), MLOPS_MAX_WAITING="3")
    found.wait_ready()

    async def ask() -> tuple[list[httpx.Response], int, float]:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            sent = [asyncio.create_task(client.post(f"{found.url}/predict", json=slow(1.0))) for _ in range(8)]
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
            health = await client.get(f"{found.url}/health")
            unfinished = sum(not task.done() for task in sent)
            return await asyncio.gather(*sent), health.status_code, unfinished

    answers, health, unfinished = asyncio.run(ask())
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 5
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["message"].startswith("The container is overloaded: 3 requests are waiting.")
    assert health == 200
    assert unfinished > 0  # the model was at work while health was asked


def test_sigterm_fails_health_first_and_finishes_what_is_in_flight(
    start: Start, tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    found = start(save(tmp_path, model, SLOW), MLOPS_DRAIN_SECONDS="1")
    found.wait_ready()

    async def ask() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            first = asyncio.create_task(client.post(f"{found.url}/predict", json=slow(3.0)))
            while "prediction_queue_depth 1" not in (await client.get(f"{found.url}/metrics")).text:
                await asyncio.sleep(0.02)
            found.process.terminate()
            while (health := await client.get(f"{found.url}/health")).status_code == 200:
                await asyncio.sleep(0.02)
            late = await client.post(f"{found.url}/predict", json=slow(0.0))
            return await first, health, late

    in_flight, health, late = asyncio.run(ask())
    assert (in_flight.status_code, health.status_code, late.status_code) == (200, 503, 200)
    assert in_flight.headers["connection"] == "close"
    assert found.process.wait(PATIENCE) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{found.url}/health")


def test_a_signal_during_the_start_ends_it(start: Start, artifact: Path) -> None:
    found = start(artifact)
    assert found.url
    found.process.terminate()
    assert found.process.wait(PATIENCE) == 0
