"""Bytes written one behind another: what requests to the store, log entries and answers are made of.

Every function writes to `out` from `at` on and returns the place behind what it wrote; that there is room is
the caller's to see to.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compiled import kernel

_U = np.uint64


# Places are made unsigned before they index: numba takes a signed one for a place from the end where it is negative,
# and with that test bytes go one by one. A span of 30 takes 4 ns so, and took 42; of 700 it is 13 and was 900.


@kernel
def put(out, at, source, begin, end):  # type: ignore[no-untyped-def]
    """A span of another buffer."""
    if end > begin:
        to, of = _U(at), _U(begin)
        for k in range(_U(end - begin)):
            out[to + k] = source[of + k]
    return at + end - begin


@kernel
def move(out, at, begin, end):  # type: ignore[no-untyped-def]
    """A span of `out` itself that lies further on: [begin, end) up to `at`."""
    to, of, size, k = _U(at), _U(begin), _U(end - begin), _U(0)
    if begin - at >= 8:
        while k + _U(8) <= size:
            bits = _U(0)
            for b in range(_U(8)):  # becomes one load, and one store
                bits |= _U(out[of + k + b]) << (_U(8) * b)
            for b in range(_U(8)):
                out[to + k + b] = np.uint8((bits >> (_U(8) * b)) & _U(0xFF))
            k += _U(8)
    while k < size:
        out[to + k] = out[of + k]
        k += _U(1)
    return at + end - begin


@kernel
def put_word(out, at, value):  # type: ignore[no-untyped-def]
    """Eight bytes, little endian; `value` is a uint64."""
    to = _U(at)
    for k in range(_U(8)):
        out[to + k] = np.uint8((value >> (_U(8) * k)) & _U(0xFF))
    return at + 8


@kernel
def put_word_big(out, at, value):  # type: ignore[no-untyped-def]
    """Eight bytes, big endian; `value` is a uint64."""
    to = _U(at)
    for k in range(_U(8)):
        out[to + k] = np.uint8((value >> (_U(56) - _U(8) * k)) & _U(0xFF))
    return at + 8


@kernel
def put_hex(out, at, value, digits):  # type: ignore[no-untyped-def]
    """The lowest `digits` of a uint64 in hex, the highest first."""
    to, count = _U(at), _U(digits)
    for k in range(count):
        nibble = (value >> (_U(4) * (count - _U(1) - k))) & _U(15)
        out[to + k] = np.uint8(nibble + (_U(48) if nibble < _U(10) else _U(87)))
    return at + digits


@kernel
def _decimal_size(value):  # type: ignore[no-untyped-def]
    """Digits of an int64 that is not negative."""
    size, rest = 1, value // 10
    while rest:
        size += 1
        rest //= 10
    return size


@kernel
def put_decimal(out, at, value):  # type: ignore[no-untyped-def]
    """An int64 that is not negative, in decimal."""
    size = _decimal_size(value)
    for k in range(size):
        out[at + size - 1 - k] = 48 + value % 10
        value //= 10
    return at + size


@kernel
def put_varint(out, at, value):  # type: ignore[no-untyped-def]
    """A uint64 as protobuf has it."""
    while value >= _U(128):
        out[at] = np.uint8(value & _U(127)) | np.uint8(128)
        value >>= _U(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@kernel
def varint_size(value):  # type: ignore[no-untyped-def]
    """Bytes of a uint64 as a varint."""
    size = 1
    while value >= _U(128):
        value >>= _U(7)
        size += 1
    return size


# ---- RESP: the store's protocol -------------------------------------------------------------------


@kernel
def put_head(out, at, mark, size):  # type: ignore[no-untyped-def]
    """`$5` or `*5` and the end of the line."""
    out[at] = mark
    at = put_decimal(out, at + 1, size)
    out[at], out[at + 1] = 13, 10
    return at + 2


@kernel
def put_bulk_decimal(out, at, value):  # type: ignore[no-untyped-def]
    """A number of a command, not negative."""
    at = put_decimal(out, put_head(out, at, 36, _decimal_size(value)), value)
    out[at], out[at + 1] = 13, 10
    return at + 2


# ---- MessagePack: log entries -----------------------------------------------------------------------


@kernel
def _pack_head(out, at, size, short, long):  # type: ignore[no-untyped-def]
    if size < 16:
        out[at] = short | size
        return at + 1
    out[at], out[at + 1], out[at + 2] = long, size >> 8, size & 255
    return at + 3


@kernel
def pack_map(out, at, size):  # type: ignore[no-untyped-def]
    """The head of a map of less than 65536 pairs."""
    return _pack_head(out, at, size, 0x80, 0xDE)


@kernel
def pack_array(out, at, size):  # type: ignore[no-untyped-def]
    """The head of an array of less than 65536 items."""
    return _pack_head(out, at, size, 0x90, 0xDC)


@kernel
def pack_text(out, at, source, begin, end):  # type: ignore[no-untyped-def]
    """A text of less than 2^32 bytes of UTF-8."""
    size = end - begin
    if size < 32:
        out[at] = 0xA0 | size
        at += 1
    elif size < 256:
        out[at], out[at + 1] = 0xD9, size
        at += 2
    elif size < 65536:
        out[at], out[at + 1], out[at + 2] = 0xDA, size >> 8, size & 255
        at += 3
    else:
        out[at] = 0xDB
        for k in range(4):
            out[at + 1 + k] = (size >> (24 - 8 * k)) & 255
        at += 5
    return put(out, at, source, begin, end)


@kernel
def pack_integer(out, at, value):  # type: ignore[no-untyped-def]
    """An int64."""
    if 0 <= value < 128:
        out[at] = value
        return at + 1
    if -2147483648 <= value < 2147483648:
        out[at] = 0xD2
        for k in range(4):
            out[at + 1 + k] = (value >> (24 - 8 * k)) & 255
        return at + 5
    out[at] = 0xD3
    return put_word_big(out, at + 1, np.uint64(value))


@kernel
def pack_double(out, at, bits):  # type: ignore[no-untyped-def]
    """A double by its bits, an int64."""
    out[at] = 0xCB
    return put_word_big(out, at + 1, np.uint64(bits))
