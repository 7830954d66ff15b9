"""CONNECT for hosts that are not Google's: on to the network by the proxy that this machine had before, or directly.

The local target sets `https_proxy` to the local cloud for whole programs; what they download must still arrive.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit


class Tunnel:
    """Opens connections to the outside.

    Args:
        environment: The variables of the machine as they were before ours (https_proxy, no_proxy).
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY") or ""
        direct = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._direct = tuple(name.strip().lstrip(".").lower() for name in direct.split(",") if name.strip())

    def goes_direct(self, host: str) -> bool:
        """Whether `no_proxy` names the host or a domain above it."""
        host = host.lower()
        return any(name == "*" or host == name or host.endswith("." + name) for name in self._direct)

    async def open(self, connection: socket.socket, host: str, port: int) -> None:
        """Joins a client, who waits for the answer to CONNECT, to the host."""
        loop = asyncio.get_running_loop()
        try:
            reader, writer = await self._reach(host, port)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            text = f"The local cloud could not reach {host}:{port} for this program: {error}\n"
            head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n"
            await loop.sock_sendall(connection, (head + text).encode())
            connection.close()
            return
        await loop.sock_sendall(connection, b"HTTP/1.1 200 Connection established\r\n\r\n")
        near_reader, near_writer = await asyncio.open_connection(sock=connection)
        try:
            await asyncio.gather(_pump(near_reader, writer), _pump(reader, near_writer))
        finally:
            writer.close()
            near_writer.close()

    async def _reach(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._proxy or self.goes_direct(host):
            return await asyncio.wait_for(asyncio.open_connection(host, port), 30)
        proxy = urlsplit(self._proxy if "//" in self._proxy else f"http://{self._proxy}")
        if proxy.hostname is None:
            raise ValueError("https_proxy names no host")
        opening = asyncio.open_connection(proxy.hostname, proxy.port or 3128, ssl=proxy.scheme == "https" or None)
        reader, writer = await asyncio.wait_for(opening, 30)
        head = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        if proxy.username:
            secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            head += f"Proxy-Authorization: Basic {base64.b64encode(secret).decode()}\r\n"
        writer.write(f"{head}\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            writer.close()
            raise OSError(f"the proxy answered {status}")
        return reader, writer


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()
