"""The canonical form of an event's content, as identity.fingerprint hashes it, from its columns.

Knowing the declared type, there is one way from a value's cells back to what codec._raw makes of the message.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compiled import kernel, part
from engine.kernels.put import put

_U = np.uint64
_I = np.int64

BOOL, INTEGER, NUMBER, TEXT, TIME, MONEY, OTHER = range(7)  # types of attributes; OTHER is left to Python
_BILLION = 1_000_000_000
_EXACT = 1 << 53  # a double holds every integer up to this
_ROOM = 96  # more than a value's canonical form takes, but for a text


@kernel
def canonical(data, i, schema, out, scratch):  # type: ignore[no-untyped-def]
    """Writes the canonical form of row i to `scratch` and returns its length, or -1 where it has no room.

    data, schema, out: as in `requests.read_requests`, the row being read. scratch: uint8.
    """
    kind, at = out.kind[i], _I(0)
    begin, end = schema.kind_heads[kind, 0], schema.kind_heads[kind, 1]
    if end - begin + _ROOM > len(scratch):
        return _I(-1)
    at = put(scratch, at, schema.heads, begin, end)
    if out.occurred[i, 0] == 0:
        at = _put_integer(scratch, at, -1)
    else:
        at = _put_billionths(scratch, at, out.occurred[i, 1], out.occurred[i, 2])
    at = _put_integer(scratch, at, 1)  # max_messages
    for a in range(out.given.shape[1]):
        if out.given[i, a] == 0:
            continue
        begin, end = schema.attribute_heads[kind, a, 0], schema.attribute_heads[kind, a, 1]
        declared, first, second = schema.types[kind, a], out.cells[i, a, 0], out.cells[i, a, 1]
        if at + end - begin + _ROOM + (second - first if declared == TEXT else 0) > len(scratch):
            return _I(-1)
        at = put(scratch, at, schema.heads, begin, end)
        if declared == BOOL:
            scratch[at] = 0x30 + first
            at += 1
        elif declared == INTEGER:
            at = _put_integer(scratch, at, first)
        elif declared == NUMBER:
            at = _put_number(scratch, at, first)
        elif declared == TEXT:
            at = _put_digits(scratch, at, _U(second - first), 1)
            scratch[at] = 0x3A  # a colon
            at = put(scratch, at + 1, data, first, second)
        elif declared == TIME or second == 0 or first >= 0:
            at = _put_integer(scratch, _put_integer(scratch, at, first), second)
        else:  # money below zero, of units and nanos that both are
            at = _put_integer(scratch, _put_integer(scratch, at, first + 1), second - _BILLION)
    return at


@part
def _put_digits(out, at, value, width):  # type: ignore[no-untyped-def]
    """A value of uint64 in at least so many decimal digits."""
    rest = value // _U(10)
    size = _I(1)
    while rest > _U(0):
        rest //= _U(10)
        size += 1
    size = max(size, width)
    for k in range(size - 1, -1, -1):
        rest = value // _U(10)
        out[at + k] = 0x30 + _I(value - rest * _U(10))
        value = rest
    return at + size


@part
def _put_integer(out, at, value):  # type: ignore[no-untyped-def]
    out[at] = 0x69  # i
    at += 1
    if value < 0:
        out[at] = 0x2D  # minus
        at += 1
    return _put_digits(out, at, _U(0) - _U(value) if value < 0 else _U(value), 1)


@part
def _put_billionths(out, at, units, billionths):  # type: ignore[no-untyped-def]
    """units * 10^9 + billionths as an integer, which takes more than 64 bits. Billionths are not negative."""
    if units < 0 and billionths > 0:
        units, billionths = units + 1, billionths - _BILLION
    out[at] = 0x69  # i
    at += 1
    if units < 0 or billionths < 0:
        out[at] = 0x2D  # minus
        units, billionths, at = -units, -billionths, at + 1
    if units == 0:
        return _put_digits(out, at, _U(billionths), 1)
    return _put_digits(out, _put_digits(out, at, _U(units), 1), _U(billionths), 9)


@part
def _put_number(out, at, bits):  # type: ignore[no-untyped-def]
    """A double: as an integer where it is a whole number that a double holds exactly."""
    number = np.int64(bits).view(np.float64)
    if abs(number) <= _EXACT and np.floor(number) == number:
        return _put_integer(out, at, _I(number))
    out[at] = 0x64  # d
    for k in range(8):
        out[at + 1 + k] = bits >> 8 * k & 0xFF
    return at + 9
