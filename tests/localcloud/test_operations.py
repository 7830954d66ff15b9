"""Long-running operations: how they end, how clients poll them, and what a restart makes of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration

from localcloud.errors import FailedPrecondition, InvalidArgument, NotFound
from localcloud.operations import OperationHandle, Operations
from localcloud.projects import number_of
from localcloud.resources import ResourceStore

Model: Any = aiplatform_v1.Model.pb()
Metadata: Any = aiplatform_v1.UploadModelOperationMetadata.pb()
PARENT = f"projects/{number_of('p')}/locations/r/models/5"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResourceStore]:
    opened = ResourceStore(tmp_path / "resources.db")
    yield opened
    opened.close()


@pytest.fixture
def operations(store: ResourceStore) -> Operations:
    return Operations(store)


def get(operations: Operations, name: str) -> Any:
    return operations.get_operation(operations_pb2.GetOperationRequest(name=name))


def test_done_at_once(operations: Operations) -> None:
    operation = operations.done(PARENT, Model(display_name="m"), Metadata())
    assert operation.done
    assert operation.name.startswith(f"{PARENT}/operations/")
    assert len(operation.name.rsplit("/", 1)[1]) == 19
    response = Model()
    assert operation.response.Unpack(response)
    assert response.display_name == "m"
    assert operation.metadata.Is(Metadata.DESCRIPTOR)
    assert get(operations, operation.name.replace(number_of("p"), "p")) == operation


def test_work_reports_and_ends(operations: Operations) -> None:
    go, reported = threading.Event(), threading.Event()

    def work(handle: OperationHandle) -> Any:
        metadata = Metadata()
        metadata.generic_metadata.partial_failures.add(message="half way")
        handle.update(metadata)
        reported.set()
        go.wait(10)
        return Model(display_name="made")

    operation = operations.start(PARENT, work, Metadata())
    assert not operation.done
    assert reported.wait(10)
    metadata = Metadata()
    get(operations, operation.name).metadata.Unpack(metadata)
    assert metadata.generic_metadata.partial_failures[0].message == "half way"
    with pytest.raises(FailedPrecondition, match="still running"):
        operations.delete_operation(operations_pb2.DeleteOperationRequest(name=operation.name))
    request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(nanos=1000))
    assert not asyncio.run(operations.wait_operation(request)).done
    go.set()
    request = operations_pb2.WaitOperationRequest(name=operation.name)
    finished = asyncio.run(operations.wait_operation(request))
    assert finished.done
    assert finished == operations.wait(operation.name)
    assert finished.response.Is(Model.DESCRIPTOR)
    operations.delete_operation(operations_pb2.DeleteOperationRequest(name=operation.name))
    with pytest.raises(NotFound):
        get(operations, operation.name)


def test_errors_become_the_operations(operations: Operations, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(handle: OperationHandle) -> Any:
        raise InvalidArgument("no such thing", [Model(display_name="detail")])

    failed = operations.wait(operations.start(PARENT, refuse).name)
    assert (failed.error.code, failed.error.message) == (3, "no such thing")
    assert failed.error.details[0].Is(Model.DESCRIPTOR)

    def break_down(handle: OperationHandle) -> Any:
        raise RuntimeError("secret detail")

    failed = operations.wait(operations.start(PARENT, break_down).name)
    assert failed.error.code == 13
    assert "secret" not in failed.error.message
    assert "secret detail" in caplog.text


def test_cancel(operations: Operations) -> None:
    def work(handle: OperationHandle) -> Any:
        handle.cancelled.wait(10)
        handle.check()

    operation = operations.start(PARENT, work)
    operations.cancel_operation(operations_pb2.CancelOperationRequest(name=operation.name))
    finished = operations.wait(operation.name)
    assert finished.error.code == 1
    assert "CANCELLED" in finished.error.message
    operations.cancel_operation(operations_pb2.CancelOperationRequest(name=operation.name))


def test_list(operations: Operations) -> None:
    names = [operations.done(PARENT).name for _ in range(3)]
    operations.done("projects/1/locations/other/models/5")

    def listed(name: str, **how: Any) -> Any:
        return operations.list_operations(operations_pb2.ListOperationsRequest(name=name, **how))

    assert [operation.name for operation in listed(PARENT).operations] == names
    assert len(listed("projects/p/locations/r").operations) == 3
    page = listed(f"{PARENT}/operations", page_size=2, filter="done=true")
    assert len(page.operations) == 2
    assert page.next_page_token
    assert not listed(PARENT, filter="done=false").operations


def test_a_restart_ends_what_was_unfinished(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "resources.db")
    finished = Operations(store).done(PARENT)
    store.create(
        f"{PARENT}/operations/1", operations_pb2.Operation(name=f"{PARENT}/operations/1")
    )  # as a killed server leaves it
    store.close()
    store = ResourceStore(tmp_path / "resources.db")
    operations = Operations(store)
    aborted = get(operations, f"{PARENT}/operations/1")
    assert aborted.done
    assert aborted.error.code == 10
    assert "restarted" in aborted.error.message
    assert get(operations, finished.name) == finished
    store.close()


def test_close_asks_what_runs_to_end(operations: Operations) -> None:
    ended = threading.Event()

    def work(handle: OperationHandle) -> Any:
        handle.cancelled.wait(30)
        ended.set()
        handle.check()

    operation = operations.start(PARENT, work)
    operations.close()
    assert ended.is_set()
    assert get(operations, operation.name).error.code == 1
