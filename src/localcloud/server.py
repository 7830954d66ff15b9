"""The server: puts gateway, store, runtime and services together, and runs them until it is told to stop.

`python -m localcloud` starts it; `mlops up` does so in the background and waits for `server.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import importlib
import inspect
import json
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from localcloud import catalog, environment
from localcloud.console.app import app as console_app
from localcloud.errors import NotFound
from localcloud.gateway import grpc_server, hosts
from localcloud.gateway.app import Gateway
from localcloud.gateway.mixins import OPERATIONS
from localcloud.gateway.port import Port
from localcloud.gateway.rpc import Registry
from localcloud.gateway.tls import Authority
from localcloud.gateway.tunnel import Tunnel
from localcloud.logs import Logs
from localcloud.objects import Objects
from localcloud.operations import Operations
from localcloud.resources import ResourceStore
from localcloud.runtime import Engine, Runtime
from localcloud.service import Api, Call, Cloud
from localcloud.services import SERVICES

_log = logging.getLogger("localcloud")
_SOCKET_PATH = 80
"""Bytes of a socket's folder: paths of Unix sockets end at 104 to 108."""
_GRACE = 5.0
"""Seconds that open requests have to finish when the server is told to stop."""


class AlreadyRunning(Exception):
    """Another server works on the same state folder."""


class PortTaken(Exception):
    """Another program listens on the port."""


def run(root: Path, port: int, engine: Engine = "process", services: Sequence[str] = SERVICES) -> None:
    """Runs a server until SIGTERM or SIGINT.

    Args:
        root: The state folder, made if it is not there.
        port: The loopback port; 0 takes the one of the last run, or any that is free.
        engine: What runs containers.
        services: The modules of the services.

    Raises:
        AlreadyRunning: A server has the folder.
        PortTaken: The port is in use.
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(str(root)) from None
        # what a killed server left says nothing of this one
        (root / "server.json").unlink(missing_ok=True)
        _log_to(root / "server.log")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(root, port, engine, services))


async def _serve(root: Path, port: int, engine: Engine, services: Sequence[str]) -> None:
    began = time.perf_counter()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(root, port, engine, services)
    try:
        await server.start()
        state = {"pid": os.getpid(), "port": server.port.number, "started": time.time()}
        _write_atomically(root / "port", str(server.port.number))
        _write_atomically(root / "server.json", json.dumps(state))
        _log.info("Ready on 127.0.0.1:%d in %.2f s", server.port.number, time.perf_counter() - began)
        await stopping.wait()
    finally:
        (root / "server.json").unlink(missing_ok=True)
        await server.stop()


class Server:
    """A local cloud in this process."""

    def __init__(self, root: Path, port: int, engine: Engine, services: Sequence[str]) -> None:
        self._root = root
        self._sockets = _socket_folder(root)
        authority = Authority(root / "tls")
        tunnelled = hosts.package_indexes()
        self._http = _HttpServer()
        self._grpc: Any = None
        try:
            self.port = Port(
                port or _last_port(root),
                http=self._http.take,
                context=authority.context,
                grpc=(self._sockets / "grpc-tls.sock", self._sockets / "grpc.sock"),
                tunnel=Tunnel(os.environ),
                is_google=lambda host: hosts.is_google(host, tunnelled),
            )
        except OSError as error:
            shutil.rmtree(self._sockets, ignore_errors=True)
            raise PortTaken(f"127.0.0.1:{port}: {error.strerror}") from None
        self._chain = authority.grpc_chain()
        environment.prepare(root, self.port.number, authority.certificate_file)
        self.cloud = self._cloud(engine)
        self.apis = [
            Api("longrunning", hosts=(), services=(self.cloud.operations,), packages=(OPERATIONS,)),
            *(importlib.import_module(name).api(self.cloud) for name in services),
        ]
        self.registry = Registry(catalog.load(), self.apis)

    def _cloud(self, engine: Engine) -> Cloud:
        variables = functools.partial(environment.variables, self._root, self.port.number, before=dict(os.environ))
        objects = Objects(self._root)
        logs = Logs(self._root)
        store = ResourceStore(self._root / "resources.db")
        return Cloud(
            root=self._root,
            port=self.port.number,
            store=store,
            operations=Operations(store),
            objects=objects,
            logs=logs,
            runtime=Runtime(self._root / "runtime", logs, variables, self._root / "buckets", engine),
            call=self.call,
            environment=variables,
        )

    async def start(self) -> None:
        """Recovers what an earlier server left, then opens the port."""
        self._loop = asyncio.get_running_loop()
        for api in self.apis:
            await asyncio.to_thread(api.start)
        self._http.serve(Gateway(self.registry, self.apis, console_app(self.cloud, self.apis, self.registry)))
        self._grpc, _, _ = await grpc_server.start(self.registry, self._sockets, self._chain)
        self.port.listen()

    async def stop(self) -> None:
        """Closes the port, lets open requests finish, stops the services."""
        await self.port.close()
        if self._grpc is not None:
            await self._grpc.stop(grace=1.0)
        await self._http.close(_GRACE)
        for api in reversed(self.apis):
            try:
                await asyncio.to_thread(api.stop)
            except Exception:
                _log.exception("%s did not stop cleanly", api.name)
        self.registry.close()
        await asyncio.to_thread(self.cloud.operations.close)
        await asyncio.to_thread(self.cloud.runtime.close)
        self.cloud.logs.close()
        self.cloud.store.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def call(self, method: str, request: Any) -> Any:
        """A unary RPC of another service, from a thread (never on the loop), without leaving the process."""
        owner, _, name = method.rpartition(".")
        rpc = self.registry.by_path.get(f"/{owner}/{name}")
        if rpc is None:
            raise NotFound(f"No API has a method {method}.")
        implementation = self.registry.implementation(rpc)
        arguments = (request, Call(method, "internal")) if rpc.takes_call else (request,)
        if inspect.iscoroutinefunction(implementation):
            return asyncio.run_coroutine_threadsafe(implementation(*arguments), self._loop).result()
        return implementation(*arguments)


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with what arrives acknowledged at once.

    urllib3 leaves Nagle's algorithm on when it speaks through a proxy: it holds the body of a request back until the
    headers are acknowledged, which the kernel would otherwise put off for 40 ms.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(data) > 16_384:
            return  # the middle of a body: nobody waits
        connection = self.transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_QUICKACK"):
            # closed by the answer, maybe
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def on_body(self, body: bytes) -> None:
        if not self.cycle.body:
            # handed on as it is; uvicorn copies it into a bytearray, and out of that again
            self.cycle.body, body = body, b""  # type: ignore[assignment]
        super().on_body(body)


class _HttpServer:
    """uvicorn without sockets of its own: it serves connections that the port hands over."""

    def __init__(self) -> None:
        self._state = ServerState()

    def serve(self, app: Any) -> None:
        """Sets the application; connections may come from now on."""
        self._config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        self._config.load()

    async def take(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serves a connection."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            lambda: _HttpProtocol(config=self._config, server_state=self._state, app_state={}),
            connection,
            ssl=context,
            # clients that keep connections open do not answer a goodbye
            ssl_shutdown_timeout=0.5 if context is not None else None,
        )

    async def close(self, grace: float) -> None:
        """Lets requests that are being answered finish, within `grace` seconds."""
        for connection in list(self._state.connections):
            connection.shutdown()
        until = time.monotonic() + grace
        while self._state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)


def _socket_folder(root: Path) -> Path:
    """A private folder for gRPC's sockets, the same at each start, so that a killed server leaves nothing behind.

    Raises:
        PermissionError: Somebody else has made it.
    """
    folder = root / "run"
    if len(str(folder)) > _SOCKET_PATH:
        folder = Path(tempfile.gettempdir()) / f"mlops-{hashlib.sha256(bytes(root)).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    for left in folder.glob("*.sock"):
        left.unlink()
    return folder


def _last_port(root: Path) -> int:
    """The port of the run before, so that environments printed then still hold; 0 where it is taken or unknown."""
    try:
        port = int((root / "port").read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError):
        return 0
    return port


def _write_atomically(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=5_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request
