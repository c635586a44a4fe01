"""Profiles rewritten with what a bank sent: from the bytes that the store holds to cells that it is to hold.

The twin is `engine.step.operations.PutProfile` with `engine.state.profile.encode`. Values that stay are copied as they
lie, whatever rule set they were written under: a section of names says where each cell goes (`Layouts`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.arena import FINE, LEFT
from engine.kernels.canonical import BOOL, INTEGER, MONEY, NUMBER, TEXT, TIME
from engine.kernels.compiled import kernel, part
from engine.kernels.consent import contact_fits, read_size
from engine.kernels.packing import _hundredths, unpack
from engine.kernels.profiles import _HEAD, _LAYOUT, _SIZES, UNKNOWN_SCHEMA, _find_schema, _unsigned
from engine.kernels.utf8 import valid_utf8

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

_I, _U = np.int64, np.uint64
_BILLION, _HUNDREDTH = 1_000_000_000, 10_000_000
SHORT, LONG, _FLAG, _SECONDS = 14, 15, 12, 13  # digits, see kernels.profiles
_RECORD_HEAD, _RECORD_LAYOUT, _OPT_OUTS = 25, 1, 3  # as in state.record
BEGIN, END, TO_BEGIN, TO_END, OLD_AT, OLD_N, NEW_AT, NEW_N = range(8)  # columns of `Layouts.spans`
DIGIT, VALUE, TEXT_AT, TEXT_END, AS_OF = range(
    5
)  # columns of scratch rows, one a cell; VALUE of a new one: what is written
SCRATCH = 5


class Layouts(NamedTuple):
    """The schema sections known so far, row 0 standing for no profile, and where their cells go."""

    slots: I64  # as in profiles.Schemas
    hashes: U64
    spans: I64  # (S, 8)
    sections: U8  # sections, and those that they become
    old: I64  # by cell: the feature it is a value of, -1: none, -2 - f: feature f, which is of another type now
    new: I64  # (.., 2): by cell to be written: its feature or -1, and the old cell that it may come from, or -1


@kernel
def find_layouts(rows, held, spans, layouts, puts, layout):  # type: ignore[no-untyped-def]
    """The row in `layouts` of each profile; how many have a section that is not known yet (UNKNOWN_SCHEMA).

    spans (N, 4): profile and record of each row in `held`
    """
    unknown = 0
    for n in range(len(rows)):
        i = rows[n]
        begin, end = spans[i, 0], spans[i, 1]
        layout[i] = 0
        if puts.status[i] == LEFT or begin == end:
            continue
        puts.status[i] = LEFT
        if end - begin < _HEAD or held[begin + 8] != _LAYOUT:
            continue
        at = _I(begin + _HEAD)
        stop = at + _I(_unsigned(held, begin + 9, 2))
        if stop > end or _unsigned(held, begin, 8) == _U(0):
            continue
        s = _find_schema(layouts, held, at, stop)
        if s < 0:
            puts.status[i] = UNKNOWN_SCHEMA
            unknown += 1
        else:
            puts.status[i] = FINE
            layout[i] = s
    return unknown


# ---- what the store holds -------------------------------------------------------------------------


@part
def record_state(held, begin, end):  # type: ignore[no-untyped-def]
    """A record's `last_ms` (-1: it cannot be read), and whether the customer said stop to anything."""
    if begin == end:
        return _I(0), False
    if end - begin < _RECORD_HEAD or held[begin + 8] != _RECORD_LAYOUT:
        return _I(-1), False
    last_ms, at, opted = _I(_unsigned(held, begin + 9, 8)), begin + _RECORD_HEAD, False
    while at < end:
        if at + 5 > end:
            return _I(-1), False
        opted = opted or held[at] == _OPT_OUTS
        at += 5 + _I(_unsigned(held, at + 1, 4))
    return last_ms if at == end else _I(-1), opted


@part
def open_cells(held, begin, end, s, layouts, old):  # type: ignore[no-untyped-def]
    """Finds all cells of a profile; where its contact section begins (with its length), -1: it cannot be read."""
    if begin == end:
        return end
    count = layouts.spans[s, OLD_N]
    at = begin + _HEAD + layouts.spans[s, END] - layouts.spans[s, BEGIN]
    kept = _I(unpack(held, at, end, old, 0, count, AS_OF, False))
    if kept < 0 or kept + (count + 1) // 2 > end:
        return _I(-1)
    at = kept + (count + 1) // 2
    heap = at
    for c in range(count):
        digit = _I(held[kept + (c >> 1)])
        digit = digit & 15 if c & 1 else digit >> 4
        old[c, DIGIT], old[c, VALUE] = digit, heap
        heap += _SIZES[digit]
    if heap > end:
        return _I(-1)
    for c in range(count):
        old[c, TEXT_AT] = heap
        if old[c, DIGIT] >= SHORT:
            size = _I(_unsigned(held, old[c, VALUE], _SIZES[old[c, DIGIT]]))
            if size > end - heap or not valid_utf8(held, heap, heap + size):
                return _I(-1)
            heap += size
        old[c, TEXT_END] = heap
    size, at = read_size(held, heap, end)
    if at < 0 or at + size != end or (size and not contact_fits(held, at, end)):
        return _I(-1)
    return heap


# ---- what it is to hold ---------------------------------------------------------------------------


@part
def merge_cells(i, s, now_ms, layouts, declared, puts, old, new):  # type: ignore[no-untyped-def]
    """Fills `new` with a row for each cell that is to be written; False where the ordinary way must."""
    other = _I(-1)  # the time of cells without a value is that of the first which has one
    first = layouts.spans[s, OLD_AT]
    for c in range(layouts.spans[s, OLD_N]):
        f = layouts.old[first + c]
        there = old[c, DIGIT] != 0
        sent = f != -1 and puts.given[i, f if f >= 0 else -2 - f] != 0
        if (f == -1 and not there) or (f < -1 and there):
            return False
        if f >= 0 and old[c, DIGIT] >= SHORT and declared.types[f] in (NUMBER, BOOL, INTEGER):
            return False  # damage: these are never kept as texts
        if other < 0 and there:
            other = now_ms if sent else old[c, AS_OF]
            if other < 0:
                return False
    given = False
    first = layouts.spans[s, NEW_AT]
    for t in range(layouts.spans[s, NEW_N]):
        f, c = layouts.new[first + t, 0], layouts.new[first + t, 1]
        if f >= 0 and puts.given[i, f]:
            given = True
            digit, value = _keep(_I(declared.types[f]), puts.cells[i, f, 0], puts.cells[i, f, 1])
            if digit < 0:
                return False
            new[t, DIGIT], new[t, VALUE], new[t, AS_OF] = digit, value, now_ms
        elif c >= 0 and old[c, DIGIT] != 0:
            new[t, DIGIT], new[t, AS_OF] = old[c, DIGIT], old[c, AS_OF]
        else:
            new[t, DIGIT] = 0
    if other < 0:
        other = now_ms if given else _I(0)
    for t in range(layouts.spans[s, NEW_N]):
        if new[t, DIGIT] == 0:
            new[t, AS_OF] = other
    return True


@part
def _whole(value, one, two, four):  # type: ignore[no-untyped-def]
    """The digit for an integer of 1, 2 or 4 bytes, -1 where it needs more."""
    if -128 <= value < 128:
        return _I(one)
    if -32_768 <= value < 32_768:
        return _I(two)
    return _I(four) if -2_147_483_648 <= value < 2_147_483_648 else _I(-1)


@part
def _keep(kind, first, second):  # type: ignore[no-untyped-def]
    """How a value is kept: its digit, and what is written under it. -1: the ordinary way knows."""
    none = _I(-1)
    if kind == NUMBER:
        value = _I(first).view(np.float64)
        if value == np.floor(value) and first != _I(-9_223_372_036_854_775_808):  # -0.0
            if -2_147_483_648.0 <= value < 2_147_483_648.0:
                return _whole(_I(value), 9, 10, 11), _I(value)
        else:
            hundredths, exact = _hundredths(first)
            digit = _whole(hundredths, 7, 7, 8)
            if exact and digit >= 0:
                return digit, hundredths
        if np.float64(np.float32(value)) == value:
            return _I(6), _I(np.float32(value).view(np.uint32))
        return _I(5), first
    if kind == TEXT:
        size = second - first
        return (_I(SHORT) if size < 256 else _I(LONG)), size
    if kind == BOOL:
        return _I(_FLAG), first
    if kind == TIME:
        if not -9_000_000_000 < first < 9_000_000_000:  # 64 bits of nanoseconds
            return none, none
        whole = first * _BILLION + second
        if second == 0 and 0 <= first < 1 << 32 and _whole(whole, 1, 2, 3) < 0:
            return _I(_SECONDS), first
    elif kind == MONEY:
        if second % _HUNDREDTH or not -(1 << 56) < first < 1 << 56:
            return none, none
        whole = first * 100 + second // _HUNDREDTH
    else:
        whole = first
    digit = _whole(whole, 1, 2, 3)
    return (digit if digit >= 0 else _I(4)), whole
