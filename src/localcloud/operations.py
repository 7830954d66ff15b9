"""Long-running operations (https://google.aip.dev/151): work in threads that clients poll, kept in the store.

The object is also the google.longrunning.Operations service, which every API mounts; what an operation does
is its service's business.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from localcloud.errors import (
    Cancelled,
    CloudError,
    Code,
    FailedPrecondition,
    Internal,
    InvalidArgument,
)
from localcloud.projects import Projects
from localcloud.resources import ResourceStore
from localcloud.service import CURRENT_CALL, Call, patience

_log = logging.getLogger(__name__)
_RESTARTED = (
    "The local cloud was restarted while this operation ran, so it did not finish. Look at the resource it "
    "was working on and send the request again."
)
_PATIENCE = 10.0
"""Seconds that the answer to a client waits which looks seldom for the end of what it has started."""


class OperationHandle:
    """What the work of an operation is given."""

    def __init__(self, name: str, report: Callable[[Message], None], call: Call | None) -> None:
        self.name = name
        """`projects/1/locations/r/models/5/operations/6`."""
        self.call = call
        """The request that started the operation: it tells the API version that its client speaks."""
        self.cancelled = threading.Event()
        """Set when a client has cancelled, or the server is going down: the work should end soon."""
        self.done: Future[None] = Future()
        self._report = report

    def update(self, metadata: Message) -> None:
        """Put new metadata where clients that poll see it."""
        self._report(metadata)

    def check(self) -> None:
        """Raise Cancelled when the operation has been cancelled: call it between steps."""
        if self.cancelled.is_set():
            raise Cancelled("CANCELLED")


class Operations:
    """Operations that survive the server: those a former process left unfinished end as ABORTED.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._projects = Projects(store)
        self._running: dict[str, OperationHandle] = {}
        self._threads: dict[str, threading.Thread] = {}
        for unfinished in store.all("", operations_pb2.Operation, descendants=True):
            if not unfinished.done:
                self._finish(unfinished.name, error=CloudErrorStatus(Code.ABORTED, _RESTARTED))

    # What services use

    def done(
        self,
        parent: str,
        response: Message | None = None,
        metadata: Message | None = None,
    ) -> Any:
        """An operation that is finished at once.

        Args:
            parent: The resource it is about; the operation is named below it.
            response: The result; google.protobuf.Empty where there is none.
            metadata: What the API documents as the operation's metadata.

        Returns:
            The google.longrunning.Operation.
        """
        operation = self._new(parent, metadata)
        operation.done = True
        _pack(operation.response, Empty() if response is None else response, CURRENT_CALL.get(None))
        return self._store.create(operation.name, operation)

    def start(
        self,
        parent: str,
        work: Callable[[OperationHandle], Message | None],
        metadata: Message | None = None,
    ) -> Any:
        """Run work in a thread of its own.

        Args:
            parent: The resource it is about; the operation is named below it.
            work: Returns the response. A CloudError becomes the operation's error.
            metadata: The metadata at the start; `handle.update` renews it.

        Returns:
            The google.longrunning.Operation, not done yet but for clients that would rather wait for it.
        """
        operation = self._store.create((new := self._new(parent, metadata)).name, new)
        call = CURRENT_CALL.get(None)
        handle = OperationHandle(operation.name, lambda message: self._report(operation.name, message, call), call)
        thread = threading.Thread(
            target=self._run,
            args=(handle, work),
            name=f"operation-{operation.name[-19:]}",
            daemon=True,
        )
        self._running[operation.name] = handle
        self._threads[operation.name] = thread
        thread.start()
        if seconds := patience(_PATIENCE):
            return self.wait(operation.name, seconds)
        return operation

    def wait(self, name: str, timeout: float | None = None) -> Any:
        """Block until the operation is done or the timeout (seconds) is over; gives it as it is then."""
        thread = self._threads.get(name)
        if thread is not None:
            thread.join(timeout)
        return self._store.get(name, operations_pb2.Operation)

    def close(self, timeout: float = 5.0) -> None:
        """Ask what still runs to end, and give it `timeout` seconds in all."""
        for handle in list(self._running.values()):
            handle.cancelled.set()
        share = timeout / max(1, len(self._threads))
        for thread in list(self._threads.values()):
            thread.join(share)

    # The google.longrunning.Operations service

    def get_operation(self, request: Any) -> Any:
        """The operation as it is now."""
        return self._get(request.name)

    def list_operations(self, request: Any) -> Any:
        """The operations below a resource, newest last; `filter` may name `done` and what is in metadata."""
        parent = self._projects.canonical(request.name.removesuffix("/operations"))
        page = self._store.list(
            parent,
            operations_pb2.Operation,
            filter=request.filter,
            page_size=request.page_size,
            page_token=request.page_token,
            descendants=True,
        )
        return operations_pb2.ListOperationsResponse(operations=page.items, next_page_token=page.next_page_token)

    def delete_operation(self, request: Any) -> Empty:
        """Forget a finished operation."""
        operation = self._get(request.name)
        if not operation.done:
            raise FailedPrecondition(f"Operation `{request.name}` is still running: cancel it before deleting it.")
        self._store.delete(operation.name, operations_pb2.Operation)
        return Empty()

    def cancel_operation(self, request: Any) -> Empty:
        """Ask an operation to stop: it ends with code 1 unless its work is over first."""
        handle = self._running.get(self._get(request.name).name)
        if handle is not None:
            handle.cancelled.set()
        return Empty()

    async def wait_operation(self, request: Any) -> Any:
        """The operation once it is done, or as it is after `timeout`."""
        operation = await asyncio.to_thread(self._get, request.name)
        handle = self._running.get(operation.name)
        if handle is None or operation.done:
            return await asyncio.to_thread(self._get, operation.name)
        limit = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else None
        waiting = asyncio.wrap_future(handle.done)
        await asyncio.wait([waiting], timeout=limit)
        return await asyncio.to_thread(self._get, operation.name)

    # How it works

    def _get(self, name: str) -> Any:
        found = self._store.find(name, operations_pb2.Operation)
        return found or self._store.get(self._projects.canonical(name), operations_pb2.Operation)

    def _new(self, parent: str, metadata: Message | None) -> Any:
        if not parent:
            raise InvalidArgument("An operation needs the name of the resource it is about.")
        operation = operations_pb2.Operation(name=f"{parent}/operations/{self._store.new_id()}")
        if metadata is not None:
            _pack(operation.metadata, metadata, CURRENT_CALL.get(None))
        return operation

    def _run(self, handle: OperationHandle, work: Callable[[OperationHandle], Message | None]) -> None:
        try:
            response = work(handle)
        except CloudError as error:
            self._finish(
                handle.name,
                error=CloudErrorStatus(error.code, error.message, error.details),
            )
        except Exception:
            _log.exception("operation %s failed", handle.name)
            internal = Internal(
                f"Operation `{handle.name}` failed inside the local cloud; the server's log says where."
            )
            self._finish(handle.name, error=CloudErrorStatus(internal.code, internal.message))
        else:
            self._finish(handle.name, response=Empty() if response is None else response, call=handle.call)
        finally:
            self._running.pop(handle.name, None)
            self._threads.pop(handle.name, None)
            handle.done.set_result(None)

    def _report(self, name: str, metadata: Message, call: Call | None) -> None:
        self._store.modify(
            name,
            operations_pb2.Operation,
            lambda stored: _pack(stored.metadata, metadata, call),
        )

    def _finish(
        self,
        name: str,
        *,
        response: Message | None = None,
        error: CloudErrorStatus | None = None,
        call: Call | None = None,
    ) -> None:
        def change(stored: Any) -> None:
            stored.done = True
            if error is not None:
                error.write(stored.error)
            elif response is not None:
                _pack(stored.response, response, call)

        self._store.modify(name, operations_pb2.Operation, change)


def _pack(target: Any, message: Message, call: Call | None) -> None:
    """Pack a message as the client knows it: one of v1beta1 cannot unpack what is labelled as v1's."""
    target.Pack(message)
    if call is not None:
        target.type_url = call.type_url(message.DESCRIPTOR.full_name)


class CloudErrorStatus:
    """An error as a google.rpc.Status."""

    def __init__(self, code: Code, message: str, details: tuple[Message, ...] = ()) -> None:
        self.code = code
        self.message = message
        self.details = details

    def write(self, status: Any) -> None:
        """Fill a google.rpc.Status."""
        status.code = self.code.number
        status.message = self.message
        for detail in self.details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
