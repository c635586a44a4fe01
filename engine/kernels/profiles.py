"""Profiles in kernels: the declared features of a customer as the rules see them, from a profile's bytes.

The layout is told in `state.profile`; the twins are its `decode` and `feature_value` of `step.inputs`. What a
kernel does not take (the layout before, a list, an amount finer than hundredths, damage) is LEFT to these.
`columns.profiles` builds the tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.kernels.arena import FINE, I64, LEFT
from engine.kernels.compiled import kernel, part
from engine.kernels.consent import contact_fits, read_size
from engine.kernels.operations import DAY_MAX, DAY_MIN
from engine.kernels.utf8 import valid_utf8

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

UNKNOWN_SCHEMA = 2  # beside FINE and LEFT: `Schemas` does not hold the profile's schema section yet

MISSING, STALE, DEFAULTED, WRITTEN = 0, 1, 2, 3  # states of a feature

# Codes of types: the places of `state.profile.TYPES`.
BOOL, INTEGER, NUMBER, TEXT, TIME, DURATION, DATE, MONEY, TEXTS = range(9)

_LAYOUT = 2
_HEAD = 11  # bytes ahead of the schema section
# Bytes of a value by the digit that says how it is kept; of digit 0 there is none.
_SIZES = np.array((0, 1, 2, 4, 8, 8, 4, 2, 4, 1, 2, 4, 1, 4, 1, 4), np.int64)
_F64, _F32, _HUNDREDTHS, _LONG_HUNDREDTHS, _WHOLE_LAST, _FLAG, _SECONDS, _SHORT = 5, 6, 7, 8, 11, 12, 13, 14
_NS = 1_000_000_000
_SCALED, _SCALE = 7, 10_000_000  # of a column, see state.packing
_MONEY_SCALE = 10_000_000  # billionths in a hundredth
_EXACT = 1 << 53  # times beyond are left: a double cannot tell their age exactly
_U = np.uint64


class Features(NamedTuple):
    """The F declared features, in the order of the rule set.

    Values are cells as in `Pool.cells`, but a text is its span in the batch's `data`, at whose very beginning
    the texts of defaults lie. Bounds are inclusive, and so are exact for integers, times and money.
    """

    types: U8  # (F,): a code of the above; 255: none that a profile keeps
    bounded: U8  # (F,): 1 where there are bounds
    low: I64  # (F, 2)
    high: I64  # (F, 2)
    max_age_s: I64  # (F,): -1: any age
    absent: U8  # (F,): the state without a value: MISSING, or DEFAULTED
    default: I64  # (F, 2): zeros for a list: what reads it knows it


class Schemas(NamedTuple):
    """The schema sections known so far, and where their cells go. Replaced as a whole when one is added."""

    slots: I64  # (a power of two,): open addressing by hash, -1: free
    hashes: U64  # (S,)
    spans: I64  # (S, 4): begin and end of the section in `sections`; first cell, number of cells
    sections: U8
    types: U8  # by cell: its type's code
    features: I64  # by cell: the declared feature that it is a value of, or -1: none of that name, type and currency


class Profiles(NamedTuple):
    """The profiles of a batch of N events."""

    version: U64  # (N,): little endian, 0: there is no profile
    state: U8  # (N, F)
    cells: I64  # (N, F, 2): the value where WRITTEN, the default where DEFAULTED
    contact: I64  # (N, 2): span of the contact section in `data`, empty where there is none


def profiles(events: int, features: int) -> Profiles:
    """Room for the profiles of so many events, under so many declared features."""
    return Profiles(
        version=np.zeros(events, np.uint64),
        state=np.zeros((events, features), np.uint8),
        cells=np.zeros((events, features, 2), np.int64),
        contact=np.zeros((events, 2), np.int64),
    )


# Places are made unsigned before they index: numba takes a signed one for a place from the end where it is
# negative, and that test keeps bytes from being loaded 8 or 16 at a time.


@part
def _unsigned(data, at, size):  # type: ignore[no-untyped-def]
    """The little-endian number of `size` bytes, at most 8."""
    value, place = _U(0), _U(at)
    for k in range(_U(size)):
        value |= _U(data[place + k]) << (_U(8) * k)
    return value


@part
def _word(data, at):  # type: ignore[no-untyped-def]
    """The same of 8 bytes, which becomes one load."""
    p = _U(at)
    low = _U(data[p]) | _U(data[p + _U(1)]) << _U(8) | _U(data[p + _U(2)]) << _U(16) | _U(data[p + _U(3)]) << _U(24)
    p += _U(4)
    high = _U(data[p]) | _U(data[p + _U(1)]) << _U(8) | _U(data[p + _U(2)]) << _U(16) | _U(data[p + _U(3)]) << _U(24)
    return low | high << _U(32)


@part
def _signed(data, at, size):  # type: ignore[no-untyped-def]
    """The same, signed, of 1, 2, 4 or 8 bytes."""
    p = _U(at)
    if size == 1:
        return np.int64(np.int8(data[p]))
    if size == 2:
        return np.int64(np.int16(_U(data[p]) | _U(data[p + _U(1)]) << _U(8)))
    if size == 4:
        low = _U(data[p]) | _U(data[p + _U(1)]) << _U(8) | _U(data[p + _U(2)]) << _U(16)
        return np.int64(np.int32(low | _U(data[p + _U(3)]) << _U(24)))
    return np.int64(_word(data, at))


@kernel
def section_hash(data, begin, end):  # type: ignore[no-untyped-def]
    """A 64-bit hash of data[begin:end], eight bytes at a time; for `Schemas` alone, never stored."""
    mixed = _U(end - begin) * _U(0x9E3779B97F4A7C15)
    at = begin
    while at + 8 <= end:
        mixed = (mixed ^ _word(data, at)) * _U(0xD6E8FEB86659FD93)
        mixed ^= mixed >> _U(32)
        at += 8
    mixed = (mixed ^ _unsigned(data, at, end - at)) * _U(0xD6E8FEB86659FD93)
    return mixed ^ mixed >> _U(29)


@part
def _find_schema(schemas, data, begin, end):  # type: ignore[no-untyped-def]
    """The number of a schema section, or -1."""
    wanted = section_hash(data, begin, end)
    mask = _U(len(schemas.slots) - 1)
    slot = wanted & mask
    while True:
        s = schemas.slots[np.int64(slot)]
        if s < 0:
            return np.int64(-1)
        first = schemas.spans[s, 0]
        if schemas.hashes[s] == wanted and schemas.spans[s, 1] - first == end - begin:
            differ = np.uint8(0)  # no early exit: 16 bytes at a time
            here, there = _U(begin), _U(first)
            for k in range(_U(end - begin)):
                differ |= np.uint8(data[here + k] ^ schemas.sections[there + k])
            if differ == 0:
                return s
        slot = (slot + _U(1)) & mask


@part
def _ages(data, at, end, count):  # type: ignore[no-untyped-def]
    """The column of `count` moments at `at`: minimum, width and place of the distances, scale, and its end.

    -1 as the end where it is none, or needs more than 64 bits.
    """
    scale, none = np.int64(1), np.int64(-1)
    if at < end and data[at] == _SCALED:
        scale, at = np.int64(_SCALE), at + 1
    if at >= end:
        return none, none, none, none, none
    size, width = np.int64(data[at] >> 4), np.int64(data[at] & 15)
    start = at + 1 + size
    stop = start + width * count
    if size > 8 or width == 7 or width > 8 or stop > end:
        return none, none, none, none, none
    low = np.int64(0)
    if size:
        value = _unsigned(data, at + 1, size)
        sign = _U(1) << _U(8 * size - 1)
        low = np.int64((value ^ sign) - sign)
    return low, width, start, scale, stop


@part
def _moment(data, low, width, start, scale, cell):  # type: ignore[no-untyped-def]
    """A moment of the column, -_EXACT where it is too far for a double."""
    distance = _unsigned(data, start + width * cell, width)
    reach = _EXACT // scale
    if distance >= _U(reach) or low >= reach or low <= -reach:
        return np.int64(-_EXACT)
    value = low + np.int64(distance)
    return value * scale if -reach < value < reach else np.int64(-_EXACT)


@part
def _number(data, at, digit, size):  # type: ignore[no-untyped-def]
    """A number as a double, of digits 5 to b."""
    if digit == _F64:
        return np.uint64(_word(data, at)).view(np.float64)
    if digit == _F32:
        return np.float64(np.uint32(_unsigned(data, at, 4)).view(np.float32))
    if digit <= _LONG_HUNDREDTHS:
        return np.float64(_signed(data, at, size)) / 100.0
    return np.float64(_signed(data, at, size))


@part
def _value(data, at, digit, kind):  # type: ignore[no-untyped-def]
    """The cells of a value that is no text, and whether they could be read."""
    none = np.int64(0)
    size = _SIZES[digit]
    if kind == NUMBER:
        if digit < _F64 or digit > _WHOLE_LAST:
            return none, none, False
        number = _number(data, at, digit, size)
        return np.float64(number).view(np.int64), none, digit == _F64 or number == number
    if kind == BOOL:
        return np.int64(data[at] != 0), none, digit == _FLAG
    if digit == _SECONDS and kind in (TIME, DURATION):
        seconds = np.int64(_unsigned(data, at, 4))
        return (seconds, none, True) if kind == TIME else (seconds * _NS, none, True)
    if digit >= _F64:
        return none, none, False
    whole = _signed(data, at, size)
    if kind == TIME:
        return whole // _NS, whole % _NS, True
    if kind == MONEY:  # in hundredths
        return whole // 100, whole % 100 * _MONEY_SCALE, True
    return whole, none, kind != DATE or DAY_MIN <= whole <= DAY_MAX


@part
def _in_range(low, high, f, kind, first, second):  # type: ignore[no-untyped-def]
    """Whether a value lies within the bounds of its feature."""
    least, most = low[f, 0], high[f, 0]
    if kind == NUMBER:
        return np.int64(least).view(np.float64) <= np.int64(first).view(np.float64) <= np.int64(most).view(np.float64)
    if first < least or (first == least and second < low[f, 1]):
        return False
    return first < most or (first == most and second <= high[f, 1])


@part
def _sizes(data, kept, count):  # type: ignore[no-untyped-def]
    """Bytes of all values."""
    total = np.int64(0)
    for c in range(count):
        digit = np.int64(data[kept + (c >> 1)])
        total += _SIZES[digit & 15 if c & 1 else digit >> 4]
    return total


@part
def _cells(data, at, end, i, first, count, now_ms, schemas, features, out):  # type: ignore[no-untyped-def]
    """Reads all cells of a profile from the column of their moments on; where the contact section begins, or -1."""
    low, width, start, scale, kept = _ages(data, at, end, count)
    if kept < 0 or kept + (count + 1) // 2 > end:
        return np.int64(-1)
    total = _sizes(data, kept, count)
    at = kept + (count + 1) // 2
    heap = at + total
    if heap > end:
        return np.int64(-1)
    for c in range(count):
        digit = np.int64(data[kept + (c >> 1)])
        digit = digit & 15 if c & 1 else digit >> 4
        kind, f = schemas.types[first + c], schemas.features[first + c]
        if digit == 0:
            continue
        begin = heap
        if digit >= _SHORT:
            heap += np.int64(_unsigned(data, at, _SIZES[digit]))
            if heap > end or not valid_utf8(data, begin, heap):
                return np.int64(-1)
            if kind not in (TEXT, TEXTS, MONEY):  # a far time in digits, or damage
                return np.int64(-1)
        elif kind == TEXTS:
            return np.int64(-1)
        if f >= 0:
            if kind == TEXT:
                one, two, fine = begin, heap, digit >= _SHORT
            else:
                one, two, fine = _value(data, at, digit, kind)
            if not fine or kind == TEXTS:
                return np.int64(-1)
            age_s = 0.0
            if features.max_age_s[f] >= 0:
                as_of = _moment(data, low, width, start, scale, c)
                if as_of == -_EXACT or now_ms - as_of >= _EXACT or now_ms - as_of <= -_EXACT:
                    return np.int64(-1)
                if as_of != 0:  # 0: not known when
                    age_s = np.float64(now_ms - as_of) / 1000.0
            if age_s > 0.0 and age_s > np.float64(features.max_age_s[f]):
                if features.absent[f] == MISSING:
                    out.state[i, f] = STALE
            elif not features.bounded[f] or _in_range(features.low, features.high, f, kind, one, two):
                out.state[i, f] = WRITTEN
                out.cells[i, f, 0], out.cells[i, f, 1] = one, two
        at += _SIZES[digit]
    return heap


@kernel
def read_profile(data, begin, end, i, now_ms, schemas, features, out):  # type: ignore[no-untyped-def]
    """Fills row i of `out` from the profile data[begin:end]: FINE, LEFT or UNKNOWN_SCHEMA.

    data     (bytes,) uint8 of the batch, with the texts of defaults at its beginning
    now_ms   the store's time, for the age of values
    schemas, features, out    `Schemas`, `Features`, `Profiles`

    No bytes are an empty profile. Of a profile that is not FINE the row means nothing. What a cell holds that
    no feature is read from is not looked at, but that texts are UTF-8.
    """
    out.version[i] = _U(0)
    out.contact[i, 0] = out.contact[i, 1] = end
    for f in range(len(features.types)):
        out.state[i, f] = features.absent[f]
        out.cells[i, f, 0], out.cells[i, f, 1] = features.default[f, 0], features.default[f, 1]
    if begin == end:
        return FINE
    if end - begin < _HEAD or data[begin + 8] != _LAYOUT:
        return LEFT
    out.version[i] = _word(data, begin)
    at = np.int64(begin + _HEAD)
    stop = at + np.int64(_unsigned(data, begin + 9, 2))
    if stop > end or out.version[i] == _U(0):
        return LEFT
    s = _find_schema(schemas, data, at, stop)
    if s < 0:
        return UNKNOWN_SCHEMA
    at = _cells(data, stop, end, i, schemas.spans[s, 2], schemas.spans[s, 3], now_ms, schemas, features, out)
    if at < 0:
        return LEFT
    size, at = read_size(data, at, end)
    if at < 0 or at + size != end or (size and not contact_fits(data, at, end)):
        return LEFT
    out.contact[i, 0] = at
    return FINE
