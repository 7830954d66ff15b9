"""What a TLS client says before anything is encrypted: the name it wants and the protocols it speaks.

Looking at the first record, without taking it off the socket, decides who terminates TLS: gRPC or the HTTP server.
"""

from __future__ import annotations

from dataclasses import dataclass

HANDSHAKE = 0x16
_RECORD_HEADER = 5
_SERVER_NAME, _ALPN = 0, 16


@dataclass(frozen=True)
class ClientHello:
    """The two extensions that matter here.

    Args:
        server_name: SNI, empty where the client names nobody.
        protocols: ALPN in the client's order, empty where it offers none.
    """

    server_name: str
    protocols: tuple[str, ...]

    @property
    def speaks_http1(self) -> bool:
        """gRPC clients offer h2 alone; curl, Go and browsers offer http/1.1 as well; httplib2 offers nothing."""
        return not self.protocols or "http/1.1" in self.protocols


def record_length(data: bytes) -> int:
    """How many bytes the first TLS record takes, its header included; 0 while the header is not there yet."""
    if len(data) < _RECORD_HEADER:
        return 0
    return _RECORD_HEADER + int.from_bytes(data[3:5], "big")


def parse(data: bytes) -> ClientHello:
    """Reads a ClientHello (RFC 8446, 4.1.2) from the first record of a connection.

    Raises:
        ValueError: The bytes are no ClientHello, or stop in the middle of one.
    """
    try:
        return _parse(_Reader(data[_RECORD_HEADER:]))
    except IndexError:
        raise ValueError("a TLS client hello that ends too early") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise IndexError(self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def vector(self, size: int) -> _Reader:
        """A part that is led by its own length."""
        return _Reader(self.take(self.number(size)))

    def __bool__(self) -> bool:
        return self.at < len(self.data)


def _parse(reader: _Reader) -> ClientHello:
    if reader.number(1) != 1:
        raise ValueError("a TLS handshake that does not begin with a client hello")
    hello = reader.vector(3)
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    server_name, protocols = "", []
    extensions = hello.vector(2) if hello else _Reader(b"")
    while extensions:
        kind, extension = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names = extension.vector(2)
            names.take(1)
            server_name = names.vector(2).data.decode("ascii", "replace").lower()
        elif kind == _ALPN:
            offered = extension.vector(2)
            while offered:
                protocols.append(offered.vector(1).data.decode("ascii", "replace"))
    return ClientHello(server_name, tuple(protocols))
