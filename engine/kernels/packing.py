"""Columns of integers and doubles as `engine.state.packing` lays them out, to the byte, both ways.

A column lies in a table: an array of two dimensions and int64, one row per value. Values are integers, hashes
(unsigned, with the same bits), or doubles by their bits. What does not fit 64 bits is not read.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compiled import kernel, part

SIGNED, UNSIGNED = False, True  # how a column's int64 are meant

# What is packed of a cell: its value, the step to the next row, hundredths of a double; from 0 on: how far it is
# ahead of that column (0 where it is 0).
PLAIN, STEPS, HUNDREDTHS = -1, -2, -3

_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_TOP = _U(1 << 63)
_INT_MAX = _U((1 << 63) - 1)
_SCALED = 7  # as byte 0; no width
_SCALE, _SCALE_U = 10_000_000, _U(10_000_000)
_SCALED_FROM, _SCALED_FROM_U = 1 << 32, _U(1 << 32)
_WIDEST = 6  # bytes of a distance; above it there are 8
_EXACT = 1 << 53  # integers up to here are doubles
_EXACT_F = float(_EXACT)


@kernel
def word(data, at):  # type: ignore[no-untyped-def]
    """The eight bytes from `at` on, little endian, as uint64; they must be there."""
    bits, of = _U(0), _U(at)  # unsigned: see kernels.put
    for b in range(_U(8)):  # becomes one load
        bits |= _U(data[of + b]) << (_U(8) * b)
    return bits


@kernel
def put(out, at, bits):  # type: ignore[no-untyped-def]
    """Writes a uint64 as eight bytes, little endian."""
    to = _U(at)
    for b in range(_U(8)):  # becomes one store
        out[to + b] = np.uint8((bits >> (_U(8) * b)) & _U(255))


@kernel
def number(data, at, end, width):  # type: ignore[no-untyped-def]
    """An unsigned integer of `width` bytes, 0 to 8, all before `end`, as uint64."""
    if width == 0:
        return _U(0)
    if at + 8 <= end:
        return word(data, at) & (_ALL >> _U(64 - 8 * width))
    bits = _U(0)
    for b in range(width):
        bits |= _U(data[at + b]) << _U(8 * b)
    return bits


@kernel
def room(count):  # type: ignore[no-untyped-def]
    """Bytes that must be free to pack so many values: as many are written to at most."""
    return 12 + 8 * count


# ---- writing ------------------------------------------------------------------------------------


@part
def _hundredths(bits):  # type: ignore[no-untyped-def]
    """A double times 100, rounded half to even; whether that many hundredths give back the very same double."""
    value = np.int64(bits).view(np.float64)
    times = value * 100.0
    if not (times > -_EXACT_F and times < _EXACT_F):
        return np.int64(0), False
    near = np.rint(times)
    return np.int64(near), near / 100.0 == value and (near != 0.0 or bits == 0)


@part
def _cell(table, row, column, what):  # type: ignore[no-untyped-def]
    value = table[row, column]
    if what == PLAIN or (what >= 0 and value == 0):
        return value
    if what == HUNDREDTHS:
        return _hundredths(value)[0]
    if what == STEPS:
        return np.int64(_U(table[row + 1, column]) - _U(value))
    return np.int64(_U(value) - _U(table[row, what]))


@part
def _bytes_of(bits):  # type: ignore[no-untyped-def]
    """The fewest bytes that hold an unsigned integer."""
    size = 0
    while bits:
        bits >>= _U(8)
        size += 1
    return size


@part
def _all_scaled(table, first, count, column, unsigned, what):  # type: ignore[no-untyped-def]
    for row in range(first, first + count):
        value = _cell(table, row, column, what)
        rest = _U(value) % _SCALE_U != _U(0) if unsigned else value % _SCALE != 0
        if rest:
            return False
    return True


@kernel
def pack_as(table, first, count, column, unsigned, what, out, at):  # type: ignore[no-untyped-def]
    """`pack`, of what is made of the cells: see PLAIN."""
    if count == 0:
        out[at] = 0
        return at + 1
    flip = _TOP if unsigned else _U(0)  # hashes are in order once their top bit is turned over
    lowest = highest = np.int64(_U(_cell(table, first, column, what)) ^ flip)
    for row in range(first + 1, first + count):
        value = np.int64(_U(_cell(table, row, column, what)) ^ flip)
        lowest = min(lowest, value)
        highest = max(highest, value)
    base, top = _U(lowest) ^ flip, _U(highest) ^ flip
    if unsigned:
        scaled = top >= _SCALED_FROM_U
    else:
        scaled = highest >= _SCALED_FROM or lowest <= -_SCALED_FROM
    scaled = scaled and _all_scaled(table, first, count, column, unsigned, what)
    span, low = top - base, base
    if scaled:
        out[at] = _SCALED
        at += 1
        span //= _SCALE_U
        low = base // _SCALE_U if unsigned else _U(lowest // _SCALE)
    negative = not unsigned and lowest < 0
    size = 0
    if low:
        size = 1
        magnitude = _U(0) - low if negative else low
        while size < 9 and magnitude >> _U(8 * size - 1):  # (its bits + 8) >> 3
            size += 1
    width = _bytes_of(span)
    if width > _WIDEST:
        width = 8
    out[at] = size << 4 | width
    at += 1
    if size:
        put(out, at, low)
        if size == 9:
            out[at + 8] = 255 if negative else 0
        at += size
    if width == 0:
        return at
    for row in range(first, first + count):
        distance = _U(_cell(table, row, column, what)) - base
        put(out, at, distance // _SCALE_U if scaled else distance)  # the next one covers what is too much
        at += width
    return at


@kernel
def pack(table, first, count, column, unsigned, out, at):  # type: ignore[no-untyped-def]
    """Writes one column, `pack_ints` of it; returns where it ends.

    table     (rows, columns), int64; the values are rows first .. first + count - 1 of a column
    unsigned  SIGNED, or UNSIGNED for hashes
    out, at   bytes, with `room(count)` of them free from `at` on
    """
    return pack_as(table, first, count, column, unsigned, PLAIN, out, at)


@kernel
def pack_floats(table, first, count, column, out, at):  # type: ignore[no-untyped-def]
    """Writes one column of doubles by their bits; otherwise as `pack`."""
    for row in range(first, first + count):
        if not _hundredths(table[row, column])[1]:
            out[at] = 0
            for k in range(first, first + count):
                put(out, at + 1 + 8 * (k - first), _U(table[k, column]))
            return at + 1 + 8 * count
    out[at] = 1
    return pack_as(table, first, count, column, SIGNED, HUNDREDTHS, out, at + 1)


# ---- reading ------------------------------------------------------------------------------------


@kernel
def unpack(data, at, end, table, first, count, column, unsigned):  # type: ignore[no-untyped-def]
    """Reads one column; returns where it ends, or -1: it is corrupt, or a value does not fit 64 bits.

    data, at, end  bytes, and the part of them that may be read
    table          (rows, columns), int64; rows first .. first + count - 1 of a column are filled, or some of
                   them where the answer is -1; count is 0 to 65535
    unsigned       SIGNED: values are int64; UNSIGNED: they are uint64
    """
    scaled = at < end and data[at] == _SCALED
    if scaled:
        at += 1
    if at >= end:
        return -1
    head = np.int64(data[at])
    size, width = head >> 4, head & 15
    begin = at + 1 + size
    stop = begin + width * count
    if width > 8 or width == _SCALED or stop > end:  # 12 bytes: beyond 64 bits
        return -1
    low = number(data, at + 1, end, min(size, 8))
    negative = size > 0 and data[begin - 1] >= 128
    if negative and size < 8:
        low |= _ALL << _U(8 * size)
    for k in range(at + 9, begin):  # these may only repeat the sign
        if data[k] != (255 if negative else 0):
            return -1
    if size > 8 and not unsigned and negative != (low >= _TOP):
        return -1
    limit = _ALL if unsigned else _INT_MAX
    if scaled:
        limit //= _SCALE_U
    if unsigned:
        if negative or low > limit:
            return -1
    elif np.int64(low) > np.int64(limit) or (scaled and np.int64(low) < -np.int64(limit)):
        return -1
    most = limit - low  # how far a value may be from the minimum, as uint64
    factor = _SCALE_U if scaled else _U(1)
    if width == 0:
        for row in range(first, first + count):
            table[row, column] = np.int64(low * factor)
        return stop
    for k in range(count):
        distance = number(data, begin + width * k, end, width)
        if distance > most:
            return -1
        table[first + k, column] = np.int64((low + distance) * factor)
    return stop


@kernel
def unpack_floats(data, at, end, table, first, count, column):  # type: ignore[no-untyped-def]
    """Reads one column of doubles, by their bits; otherwise as `unpack`."""
    if at >= end:
        return -1
    at += 1
    if data[at - 1] == 0:
        if at + 8 * count > end:
            return -1
        for k in range(count):
            table[first + k, column] = np.int64(word(data, at + 8 * k))
        return at + 8 * count
    at = unpack(data, at, end, table, first, count, column, SIGNED)
    if at < 0:
        return -1
    for row in range(first, first + count):
        value = table[row, column]
        if value > _EXACT or value < -_EXACT:  # rounded twice
            return -1
        table[row, column] = np.float64(np.float64(value) / 100.0).view(np.int64)
    return at
