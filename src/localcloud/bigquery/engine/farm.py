"""FarmHash's Fingerprint64 over Arrow columns: what FARM_FINGERPRINT computes.

The algorithm is farmhashna::Hash64 of https://github.com/google/farmhash; values are hashed in numpy, one group
of equal length at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_K0 = np.uint64(0xC3A5C85C97CB3127)
_K1 = np.uint64(0xB492B66FBE98F273)
_K2 = np.uint64(0x9AE16A3B2F90404F)

_Words = npt.NDArray[np.uint64]
_Bytes = npt.NDArray[np.uint8]


def fingerprint64(values: pa.Array) -> pa.Array:
    """Fingerprint64 of each value as INT64; NULL of NULL.

    Args:
        values: Strings or binaries.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    binary = values.cast(pa.large_binary())
    count = len(binary)
    _, offset_buffer, data_buffer = binary.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[binary.offset : binary.offset + count + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else np.zeros(0, dtype=np.uint8)
    starts, lengths = offsets[:-1], np.diff(offsets)
    answer = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            columns = np.arange(int(length))
            answer[rows] = _hash(data[starts[rows][:, None] + columns], int(length))
    valid = np.asarray(binary.is_valid())
    return pa.array(answer.view(np.int64), mask=~valid)


def _hash(rows: _Bytes, length: int) -> _Words:
    """The hashes of rows of one length, `rows` having shape (rows, length)."""
    if length <= 16:
        return _up_to_16(rows, length)
    if length <= 32:
        return _up_to_32(rows, length)
    if length <= 64:
        return _up_to_64(rows, length)
    return _longer(rows, length)


def _fetch64(rows: _Bytes, position: int) -> _Words:
    chunk = np.ascontiguousarray(rows[:, position : position + 8])
    return chunk.view("<u8").reshape(len(rows)).astype(np.uint64)


def _fetch32(rows: _Bytes, position: int) -> _Words:
    chunk = np.ascontiguousarray(rows[:, position : position + 4])
    return chunk.view("<u4").reshape(len(rows)).astype(np.uint64)


def _rotate(value: Any, shift: int) -> Any:
    if shift == 0:
        return value
    return (value >> np.uint64(shift)) | (value << np.uint64(64 - shift))


def _shift_mix(value: Any) -> Any:
    return value ^ (value >> np.uint64(47))


def _mix(u: Any, v: Any, multiplier: Any) -> Any:
    a = (u ^ v) * multiplier
    a ^= a >> np.uint64(47)
    b = (v ^ a) * multiplier
    b ^= b >> np.uint64(47)
    return b * multiplier


def _up_to_16(rows: _Bytes, length: int) -> _Words:
    count = len(rows)
    if length >= 8:
        multiplier = _K2 + np.uint64(length * 2)
        a = _fetch64(rows, 0) + _K2
        b = _fetch64(rows, length - 8)
        c = _rotate(b, 37) * multiplier + a
        d = (_rotate(a, 25) + b) * multiplier
        return _words(_mix(c, d, multiplier))
    if length >= 4:
        multiplier = _K2 + np.uint64(length * 2)
        a = _fetch32(rows, 0)
        return _words(_mix(np.uint64(length) + (a << np.uint64(3)), _fetch32(rows, length - 4), multiplier))
    if length > 0:
        a, b, c = (rows[:, i].astype(np.uint64) for i in (0, length >> 1, length - 1))
        y = (a + (b << np.uint64(8))) & np.uint64(0xFFFFFFFF)
        z = np.uint64(length) + (c << np.uint64(2))
        return _words(_shift_mix(y * _K2 ^ z * _K0) * _K2)
    return np.full(count, _K2, dtype=np.uint64)


def _up_to_32(rows: _Bytes, length: int) -> _Words:
    multiplier = _K2 + np.uint64(length * 2)
    a = _fetch64(rows, 0) * _K1
    b = _fetch64(rows, 8)
    c = _fetch64(rows, length - 8) * multiplier
    d = _fetch64(rows, length - 16) * _K2
    first = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _words(_mix(first, a + _rotate(b + _K2, 18) + c, multiplier))


def _up_to_64(rows: _Bytes, length: int) -> _Words:
    multiplier = _K2 + np.uint64(length * 2)
    a = _fetch64(rows, 0) * _K2
    b = _fetch64(rows, 8)
    c = _fetch64(rows, length - 8) * multiplier
    d = _fetch64(rows, length - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _mix(y, a + _rotate(b + _K2, 18) + c, multiplier)
    e = _fetch64(rows, 16) * multiplier
    f = _fetch64(rows, 24)
    g = (y + _fetch64(rows, length - 32)) * multiplier
    h = (z + _fetch64(rows, length - 24)) * multiplier
    return _words(_mix(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, multiplier))


def _weak(rows: _Bytes, position: int, a: Any, b: Any) -> tuple[Any, Any]:
    w, x, y, z = (_fetch64(rows, position + 8 * i) for i in range(4))
    a = a + w
    b = _rotate(b + a + z, 21)
    c = a
    a = a + x + y
    b = b + _rotate(a, 44)
    return a + z, b + c


def _longer(rows: _Bytes, length: int) -> _Words:
    seed = np.uint64(81)
    x: Any = np.full(len(rows), seed, dtype=np.uint64)
    y: Any = np.full(len(rows), seed * _K1 + np.uint64(113), dtype=np.uint64)
    z: Any = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    zero = np.zeros(len(rows), dtype=np.uint64)
    v: tuple[Any, Any] = (zero, zero)
    w: tuple[Any, Any] = (zero, zero)
    x = x * _K2 + _fetch64(rows, 0)
    end = ((length - 1) // 64) * 64
    last = end + ((length - 1) & 63) - 63
    for at in range(0, end, 64):
        x = _rotate(x + y + v[0] + _fetch64(rows, at + 8), 37) * _K1
        y = _rotate(y + v[1] + _fetch64(rows, at + 48), 42) * _K1
        x = x ^ w[1]
        y = y + v[0] + _fetch64(rows, at + 40)
        z = _rotate(z + w[0], 33) * _K1
        v = _weak(rows, at, v[1] * _K1, x + w[0])
        w = _weak(rows, at + 32, z + w[1], y + _fetch64(rows, at + 16))
        z, x = x, z
    multiplier = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w = (w[0] + np.uint64((length - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _rotate(x + y + v[0] + _fetch64(rows, last + 8), 37) * multiplier
    y = _rotate(y + v[1] + _fetch64(rows, last + 48), 42) * multiplier
    x = x ^ (w[1] * np.uint64(9))
    y = y + v[0] * np.uint64(9) + _fetch64(rows, last + 40)
    z = _rotate(z + w[0], 33) * multiplier
    v = _weak(rows, last, v[1] * multiplier, x + w[0])
    w = _weak(rows, last + 32, z + w[1], y + _fetch64(rows, last + 16))
    z, x = x, z
    first = _mix(v[0], w[0], multiplier) + _shift_mix(y) * _K0 + z
    return _words(_mix(first, _mix(v[1], w[1], multiplier) + x, multiplier))


def _words(value: Any) -> _Words:
    return np.asarray(value, dtype=np.uint64)
