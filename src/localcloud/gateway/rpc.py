"""RPCs bound to what implements them: finding the method, checking the request, running it on loop or thread.

Both transports call through here, so a method answers the same on gRPC and on REST.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import inspect
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from localcloud.catalog import Catalog, Method, message_class, snake_case
from localcloud.errors import (
    CloudError,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unimplemented,
)
from localcloud.gateway import mixins
from localcloud.service import CURRENT_CALL, Api, Call

_log = logging.getLogger("localcloud")
_END = object()


@dataclass(frozen=True)
class Rpc:
    """A method as a client names it and, where there is one, what implements it.

    Args:
        method: As in the catalog; of the version that the client speaks.
        native: The package that the implementation is written in (v1 for a v1beta1 request).
        implementation: A bound method, or None where the local cloud does not do this.
    """

    method: Method
    native: str
    implementation: Callable[..., Any] | None

    @property
    def request_class(self) -> Any:
        """The class that the implementation takes."""
        return message_class(self._native(self.method.request))

    @property
    def response_class(self) -> Any:
        """The class that the implementation returns."""
        return message_class(self._native(self.method.response))

    @cached_property
    def takes_call(self) -> bool:
        """Whether the implementation wants to see the call as well."""
        return self.implementation is not None and "call" in inspect.signature(self.implementation).parameters

    def _native(self, type_name: str) -> str:
        return type_name.replace(self.method.package, self.native, 1)

    def call(self, **arguments: Any) -> Call:
        """A Call for this method."""
        return Call(method=self.method.full_name, package=self.method.package, native=self.native, **arguments)


class Registry:
    """All methods of the catalog, each with its implementation if an installed API has one."""

    def __init__(self, catalog: Catalog, apis: Iterable[Api], threads: int = 64) -> None:
        self.catalog = catalog
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rpc")
        self.by_path: dict[str, Rpc] = {}
        apis = list(apis)
        owner = {package: (api, api.packages[0]) for api in apis for package in api.packages}
        for method in (*catalog.methods.values(), *mixins.METHODS):
            api, native = owner.get(method.package, (None, method.package))
            self.by_path[method.path] = Rpc(method, native, _find(api, method) if api else None)

    def close(self) -> None:
        """Takes no more work; what runs in threads is left to end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def implementation(self, rpc: Rpc) -> Callable[..., Any]:
        """What implements an RPC.

        Raises:
            Unimplemented: Nothing does.
        """
        if rpc.implementation is None:
            raise Unimplemented(
                f"Method {rpc.method.full_name} is not implemented by the local cloud. "
                "docs/coverage.md lists what is; on Google Cloud it may work."
            )
        return rpc.implementation

    async def unary(self, rpc: Rpc, request: Any, call: Call) -> Any:
        """Runs a method that answers once."""
        with _as_cloud_errors(rpc):
            function = self.implementation(rpc)
            if isinstance(request, Message):
                self._check(request, rpc)
            arguments = (request, call) if rpc.takes_call else (request,)
            token = CURRENT_CALL.set(call)
            try:
                if inspect.iscoroutinefunction(function):
                    return await function(*arguments)
                return await self._in_thread(function, *arguments)
            finally:
                CURRENT_CALL.reset(token)

    async def stream(self, rpc: Rpc, request: Any, call: Call) -> AsyncGenerator[Any, None]:
        """Runs a method that answers many times; `request` is an async iterator where the client streams too."""
        with _as_cloud_errors(rpc):
            function = self.implementation(rpc)
            if isinstance(request, Message):
                self._check(request, rpc)
            arguments = (request, call) if rpc.takes_call else (request,)
            if inspect.isasyncgenfunction(function):
                async for response in function(*arguments):
                    yield response
                return
            iterator: Iterator[Any] = await self._in_thread(lambda: iter(function(*arguments)))
            while (response := await self._in_thread(next, iterator, _END)) is not _END:
                yield response

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, context.run, function, *arguments)

    def _check(self, request: Message, rpc: Rpc) -> None:
        """Refuses a request that leaves out what the API documents as required.

        An update names a part of a resource, so that only the request's own fields are required of it.
        """
        deep = "update_mask" not in request.DESCRIPTOR.fields_by_name
        missing = list(_missing(request, self.catalog.required, "", deep))
        if not missing:
            return
        found = "".join(
            f"\t{number}.Field: {field}; Message: Required field is not set."
            for number, field in enumerate(missing, start=1)
        )
        details = error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=field, description="Required field is not set.")
                for field in missing
            ]
        )
        raise InvalidArgument(f"List of found errors:{found}\t", [details])


def _find(api: Api, method: Method) -> Callable[..., Any] | None:
    """What implements a method: the parts of one large service may stand in several classes of its name."""
    name = snake_case(method.name)
    for service in api.services:
        if type(service).__name__ == method.service and hasattr(service, name):
            return getattr(service, name)  # type: ignore[no-any-return]
    return None


def _missing(message: Message, required: dict[str, frozenset[str]], place: str, deep: bool) -> Iterator[str]:
    descriptor = message.DESCRIPTOR
    for name in sorted(required.get(descriptor.full_name, ())):
        field = descriptor.fields_by_name[name]
        if field.containing_oneof is None and not _is_set(message, field):
            yield place + name
    if not deep:
        return
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.full_name.startswith("google.protobuf."):
            continue
        if field.is_repeated:
            for index, item in enumerate(value):
                yield from _missing(item, required, f"{place}{field.name}[{index}].", deep)
        else:
            yield from _missing(value, required, f"{place}{field.name}.", deep)


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    """Numbers and booleans may be required and zero; text, messages and lists may not be empty."""
    if field.is_repeated:
        return len(getattr(message, field.name)) > 0
    if field.message_type is not None:
        return bool(message.HasField(field.name))
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return bool(getattr(message, field.name))
    return True


@contextmanager
def _as_cloud_errors(rpc: Rpc) -> Iterator[None]:
    """Whatever a method raises leaves as a CloudError."""
    try:
        yield
    except CloudError:
        raise
    except Exception as error:
        raise as_cloud_error(error, rpc.method.full_name) from error


def as_cloud_error(error: Exception, place: str) -> CloudError:
    """The error that a client sees for an exception nobody expected: a full disk as what it is, a bug as INTERNAL."""
    full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or (
        isinstance(error, sqlite3.OperationalError) and "full" in str(error)
    )
    if full:
        return ResourceExhausted(
            "No space is left on the disk that holds the local cloud's state. Free some space and try again."
        )
    _log.error("%s failed", place, exc_info=error)
    return Internal(
        f"The local cloud failed in {place}: {type(error).__name__}: {error}. "
        "`mlops logs --server` has the whole of it."
    )
