"""Client hellos as real TLS stacks write them."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.gateway import hello


def _greeting(server_name: str, protocols: list[str]) -> bytes:
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("protocols", "http1"), [(["h2"], False), (["http/1.1"], True), (["h2", "http/1.1"], True), ([], True)]
)
def test_reads_name_and_protocols(protocols: list[str], http1: bool) -> None:
    record = _greeting("us-central1-aiplatform.googleapis.com", protocols)
    assert hello.record_length(record) == len(record)
    found = hello.parse(record)
    assert found.server_name == "us-central1-aiplatform.googleapis.com"
    assert found.protocols == tuple(protocols)
    assert found.speaks_http1 is http1


def test_a_cut_hello_is_a_value_error() -> None:
    record = _greeting("storage.googleapis.com", ["h2"])
    for length in range(6, len(record) - 1, 7):
        with pytest.raises(ValueError, match="ends too early|begin"):
            hello.parse(record[:length])


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        hello.parse(data)
