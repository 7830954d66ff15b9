"""RPCs over gRPC: one generic handler for every method of the catalog, implemented or not.

The server listens on sockets in a private folder; the port hands connections on to it byte by byte.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from google.rpc import status_pb2

from localcloud.errors import CloudError, Code
from localcloud.gateway.rpc import Registry, Rpc
from localcloud.service import Call

_OPTIONS = (
    ("grpc.max_receive_message_length", 128 * 2**20),
    ("grpc.max_send_message_length", 128 * 2**20),
    ("grpc.so_reuseport", 0),
)
_STATUS = {code: status for status in grpc.StatusCode for code in Code if code.number == status.value[0]}


async def start(registry: Registry, folder: Path, chain: tuple[bytes, bytes]) -> tuple[grpc.aio.Server, Path, Path]:
    """Starts the server.

    Args:
        registry: The methods.
        folder: A private folder with a short path (socket paths hold some 100 bytes).
        chain: PEM key and certificate.

    Returns:
        The server and the paths of its two sockets: behind TLS and in clear.
    """
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Handlers(registry),))
    secure, clear = folder / "grpc-tls.sock", folder / "grpc.sock"
    server.add_secure_port(f"unix:{secure}", grpc.ssl_server_credentials([chain]))
    server.add_insecure_port(f"unix:{clear}")
    await server.start()
    return server, secure, clear


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, grpc.RpcMethodHandler] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        path = details.method
        if path not in self._made:
            rpc = self._registry.by_path.get(path)
            if rpc is None:
                return None
            self._made[path] = _handler(self._registry, rpc)
        return self._made[path]


def _handler(registry: Registry, rpc: Rpc) -> grpc.RpcMethodHandler:
    async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
        call = _call(rpc, context)
        try:
            answer = await registry.unary(rpc, request, call)
        except CloudError as error:
            await _abort(context, error)
        await _send_headers(context, call)
        return answer

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        call = _call(rpc, context)
        try:
            async for answer in registry.stream(rpc, request, call):
                yield answer
        except CloudError as error:
            await _abort(context, error)

    codec = {"request_deserializer": rpc.request_class.FromString, "response_serializer": _serialize}
    makers: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    maker = makers[rpc.method.client_streaming, rpc.method.server_streaming]
    return maker(stream if rpc.method.server_streaming else unary, **codec)


def _serialize(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


def _call(rpc: Rpc, context: grpc.aio.ServicerContext) -> Call:
    remaining = context.time_remaining()
    metadata = context.invocation_metadata() or ()
    call = rpc.call(
        transport="grpc",
        headers={key: value for key, value in metadata if isinstance(value, str)},
        deadline=None if remaining is None else time.monotonic() + remaining,
    )
    context.add_done_callback(lambda _: call.cancelled.set())
    return call


async def _send_headers(context: grpc.aio.ServicerContext, call: Call) -> None:
    if call.response_headers:
        await context.send_initial_metadata([(key.lower(), value) for key, value in call.response_headers.items()])


async def _abort(context: grpc.aio.ServicerContext, error: CloudError) -> None:
    trailing: tuple[tuple[str, bytes], ...] = ()
    if error.details:
        status = status_pb2.Status(code=error.code.number, message=error.message)
        for detail in error.details:
            status.details.add().Pack(detail)
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_STATUS[error.code], error.message, trailing)
