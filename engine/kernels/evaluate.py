"""Three-valued evaluation of a lowered rule set over a batch, 64 events to a machine word.

Every sub-expression is one instruction, written once. A batch is sorted by event type and cut into words.
A word runs the instructions for any type on all its lanes; then each type in it runs its own on the lanes
of its events, and finds there what it shares with the others. Instructions come in order of (level,
operation), so that runs of the same operation need one dispatch and everything stays in the first-level
caches.

    cells (rows, 64)    int64 a value and event: integer, duration, date, code of a text or list, number of a
                        zone, double (by its bits). A time takes two rows, seconds since 1970 (floor) and
                        nanoseconds; so does money, units (floor) and billionths
    ok    (rows,)       a bit an event: the value is there and no error
    has   (rows,)       a bit an event, inputs only: a value was given
    planes (planes, 2)  a bit an event: a condition is true; is true or an error

Only bits of lanes that are run mean anything. Masks come before divisions and conversions, no comparison
is ever turned round, nothing here is fastmath: NaN and overflow are what CEL says.
Numba's cache does not see changes of the modules imported here: touch this file too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.blocks import BIT, EQ, EQ_C, GE_C, GT_C, LE, LE_C, LT, LT_C, NE, NE_C
from engine.kernels.operations import (
    ADD_DAYS,
    AND,
    AND_2,
    CELL,
    COND,
    CONST,
    CONST_PLANE,
    DAY_MAX,
    DAY_MIN,
    DBL_ADD,
    DBL_DIV,
    DBL_EQ,
    DBL_MUL,
    DBL_NEG,
    DBL_RATIO,
    DBL_SUB,
    DIFFER,
    EQUAL,
    FAIL,
    FAIL_PLANE,
    FAILS,
    FAILS_PLANE,
    FLAG,
    HAS,
    INT_ADD,
    INT_EQ,
    INT_IN,
    INT_MOD,
    INT_MUL,
    INT_NEG,
    INT_SUB,
    LESS,
    NO_ERROR,
    NOT,
    OR,
    OR_2,
    RANK,
    SELECT,
    SELECT_WIDE,
    SWITCH_PLANE,
    SWITCH_WIDE,
    TO_NUMBER,
    WIDE_EQ,
    WIDE_LE,
    WIDE_NE,
)
from engine.kernels.wide import calendars, wide

_INT_MIN = np.int64(-(2**63))
_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_CODE = "int64, int64, uint32[:, ::1]"  # begin and end of the run, instructions
_CELLS, _FLOATS, _BITS = "int64[:, ::1]", "float64[:, ::1]", "uint64[::1]"
_INTS, _DOUBLES, _SLOTS, _PLANES = "int64[::1]", "float64[::1]", "uint32[::1]", "uint64[:, ::1]"
_LANES = "int64, int64"  # the first, and the one after the last


@njit(f"void(int64, {_CODE}, {_CELLS}, {_BITS}, {_LANES})", cache=True, error_model="numpy")
def _integers(op, begin, end, ins, cells, ok, lo, hi):  # type: ignore[no-untyped-def]
    """Integers, durations and days; overflow and division by zero clear `ok`.

    What may wrap is unsigned: LLVM takes signed overflow for impossible and drops the check after it.
    """
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        for k in range(lo, hi):
            x, y = cells[a, k], cells[b, k]
            wrong, z = False, np.int64(0)
            if op == INT_ADD:
                z = np.int64(_U(x) + _U(y))
                wrong = ((x ^ z) & (y ^ z)) < 0
            elif op == ADD_DAYS:
                z = np.int64(_U(x) + _U(y))
                wrong = ((x ^ z) & (y ^ z)) < 0
                if z < DAY_MIN or z > DAY_MAX:
                    wrong = True
            elif op == INT_SUB:
                z = np.int64(_U(x) - _U(y))
                wrong = ((x ^ y) & (x ^ z)) < 0
            elif op == INT_NEG:
                z = np.int64(-_U(x))
                wrong = x == _INT_MIN
            elif op == INT_MUL:
                z = np.int64(_U(x) * _U(y))
                if (x == -1 and y == _INT_MIN) or (y == -1 and x == _INT_MIN):
                    wrong = True
                elif x != 0:
                    wrong = z // x != y or z % x != 0
            else:
                wrong = y == 0 or (y == -1 and x == _INT_MIN)
                if wrong:
                    y = np.int64(1)
                z = x // y  # floors; CEL truncates
                rest = x % y
                if rest != 0 and (x < 0) != (y < 0):
                    z += 1
                    rest -= y
                if op == INT_MOD:
                    z = rest
            cells[o, k] = z
            bad |= _U(wrong) << _U(k)
        ok[o] = ok[a] & ok[b] & ~bad


@njit(f"void(int64, {_CODE}, {_CELLS}, {_FLOATS}, {_BITS}, {_LANES})", cache=True, error_model="numpy")
def _doubles(op, begin, end, ins, cells, floats, ok, lo, hi):  # type: ignore[no-untyped-def]
    """IEEE 754; `floats` is `cells` seen as doubles."""
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        if op == DBL_ADD:
            for k in range(lo, hi):
                floats[o, k] = floats[a, k] + floats[b, k]
        elif op == DBL_SUB:
            for k in range(lo, hi):
                floats[o, k] = floats[a, k] - floats[b, k]
        elif op == DBL_MUL:
            for k in range(lo, hi):
                floats[o, k] = floats[a, k] * floats[b, k]
        elif op == DBL_DIV:
            for k in range(lo, hi):
                floats[o, k] = floats[a, k] / floats[b, k]
        elif op == DBL_NEG:
            for k in range(lo, hi):
                floats[o, k] = -floats[a, k]
        elif op == DBL_RATIO:
            for k in range(lo, hi):
                floats[o, k] = floats[a, k] / floats[b, k]
                bad |= _U(floats[b, k] == 0.0) << _U(k)
        elif op == TO_NUMBER:
            for k in range(lo, hi):
                floats[o, k] = np.float64(cells[a, k])
        else:
            for k in range(lo, hi):
                x = floats[a, k]
                # CEL leaves the exact lower bound out as well
                fits = x > -9223372036854775808.0 and x < 9223372036854775808.0
                cells[o, k] = np.int64(x if fits else 0.0)
                bad |= _U(not fits) << _U(k)
        ok[o] = ok[a] & ok[b] & ~bad


@njit(f"void(int64, {_CODE}, {_INTS}, {_SLOTS}, {_INTS}, {_CELLS}, {_BITS}, {_PLANES}, {_LANES})", cache=True)
def _columns(op, begin, end, ins, imm, lits, rank, cells, ok, planes, lo, hi):  # type: ignore[no-untyped-def]
    """Constants, choice by conditions, order of texts."""
    for node in range(begin, end):
        o, a, b, c = ins[node, 0], ins[node, 1], ins[node, 2], ins[node, 3]
        if op == CONST:
            for k in range(lo, hi):
                cells[o, k] = imm[node]
            ok[o] = _ALL
        elif op == RANK:
            for k in range(lo, hi):
                cells[o, k] = rank[cells[a, k]] if (ok[a] >> _U(k)) & _U(1) else 0
            ok[o] = ok[a]
        elif op == FAIL:
            for k in range(lo, hi):
                cells[o, k] = 0
            ok[o] = _U(0)
        elif op == CELL:
            for k in range(lo, hi):
                cells[o, k] = np.int64((planes[a, 0] >> _U(k)) & _U(1))
            ok[o] = planes[a, 0] | ~planes[a, 1]
        elif op in (SELECT, SELECT_WIDE):
            for k in range(lo, hi):
                source = b if (planes[a, 0] >> _U(k)) & _U(1) else c
                cells[o, k] = cells[source, k]
                if op == SELECT_WIDE:
                    cells[o + 1, k] = cells[source + 1, k]
            ok[o] = (planes[a, 0] & ok[b]) | (~planes[a, 1] & ok[c])
        else:
            left = (_ALL >> _U(64 - (hi - lo))) << _U(lo)
            fine = _U(0)
            for j in range(b, b + 2 * c + 1, 2):
                last = j == b + 2 * c
                source = lits[j] if last else lits[j + 1]
                here = left if last else left & planes[lits[j], 0]
                if here:
                    fine |= here & ok[source]
                    for k in range(lo, hi):
                        if (here >> _U(k)) & _U(1):
                            cells[o, k] = cells[source, k]
                            if op == SWITCH_WIDE:
                                cells[o + 1, k] = cells[source + 1, k]
                if not last:
                    left &= ~planes[lits[j], 1]
                if not left:
                    break
            ok[o] = fine


@njit(
    [
        f"void(int64, {_CODE}, {_INTS}, {_CELLS}, {_BITS}, {_PLANES}, {_LANES})",
        f"void(int64, {_CODE}, {_DOUBLES}, {_FLOATS}, {_BITS}, {_PLANES}, {_LANES})",
    ],
    cache=True,
)
def _compare(op, begin, end, ins, imm, cells, ok, planes, lo, hi):  # type: ignore[no-untyped-def]
    """Comparisons of one row with another or a constant; `op` counts from INT_EQ or DBL_EQ.

    Whole blocks of eight lanes are compared: what is in others is not looked at.
    """
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        v, c = _U(0), imm[node]
        for block in range(lo >> 3, (hi + 7) >> 3):
            x, y = np.int64(a) * 64 + 8 * block, np.int64(b) * 64 + 8 * block
            if op == 9:
                found = GE_C(cells, x, c)
            elif op == 6:
                found = LT_C(cells, x, c)
            elif op == 4:
                found = EQ_C(cells, x, c)
            elif op == 5:
                found = NE_C(cells, x, c)
            elif op == 7:
                found = LE_C(cells, x, c)
            elif op == 8:
                found = GT_C(cells, x, c)
            elif op == 0:
                found = EQ(cells, x, y)
            elif op == 1:
                found = NE(cells, x, y)
            elif op == 2:
                found = LT(cells, x, y)
            else:
                found = LE(cells, x, y)
            v |= found << _U(8 * block)
        fine = ok[a] & ok[b]
        planes[o, 0] = v & fine
        planes[o, 1] = v | ~fine


@njit(
    f"void(int64, {_CODE}, {_INTS}, {_DOUBLES}, {_CELLS}, {_FLOATS}, {_BITS}, {_BITS}, {_PLANES}, {_LANES})",
    cache=True,
)
def _tests(op, begin, end, ins, pool, fpool, cells, floats, ok, has, planes, lo, hi):  # type: ignore[no-untyped-def]
    """Times and money compared, membership of a list, flags and presence of inputs."""
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        if op == HAS:
            planes[o, 0] = planes[o, 1] = has[a]
            continue
        if op == FAILS:
            planes[o, 0] = planes[o, 1] = ~ok[a]
            continue
        v, fine = _U(0), ok[a]
        if op <= WIDE_LE:
            fine &= ok[b]
            for k in range(lo, hi):
                s, t, n, m = cells[a, k], cells[b, k], cells[a + 1, k], cells[b + 1, k]
                same = s == t and n == m
                less = s < t or (s == t and n < m)
                if op <= WIDE_NE:
                    v |= _U(same == (op == WIDE_EQ)) << _U(k)
                else:
                    v |= _U(less or (same and op == WIDE_LE)) << _U(k)
        elif op == FLAG:
            for k in range(lo, hi):
                v |= _U(cells[a, k] != 0) << _U(k)
        else:
            last = b + ins[node, 3]
            for k in range(lo, hi):
                low, high = np.int64(b), np.int64(last)
                while low < high:
                    middle = (low + high) >> 1
                    less = pool[middle] < cells[a, k] if op == INT_IN else fpool[middle] < floats[a, k]
                    if less:
                        low = middle + 1
                    else:
                        high = middle
                if low < last:
                    same = pool[low] == cells[a, k] if op == INT_IN else fpool[low] == floats[a, k]
                    v |= _U(same) << _U(k)
        planes[o, 0] = v & fine
        planes[o, 1] = v | ~fine


@njit(f"void(int64, {_CODE}, {_INTS}, {_SLOTS}, {_PLANES})", cache=True)
def _formulas(op, begin, end, ins, imm, lits, planes):  # type: ignore[no-untyped-def]
    """Conditions of conditions; 'error' is possible and not true. The most frequent have loops of their own."""
    if op == AND:
        for node in range(begin, end):
            t, p = _ALL, _ALL
            for j in range(ins[node, 2], ins[node, 2] + ins[node, 3]):
                literal = lits[j]
                t &= planes[literal, 0]
                p &= planes[literal, 1]
            planes[ins[node, 0], 0], planes[ins[node, 0], 1] = t, p
        return
    if op == OR_2:
        for node in range(begin, end):
            o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
            planes[o, 0], planes[o, 1] = planes[a, 0] | planes[b, 0], planes[a, 1] | planes[b, 1]
        return
    for node in range(begin, end):
        o, a, b, c = ins[node, 0], ins[node, 1], ins[node, 2], ins[node, 3]
        if op == AND_2:
            t, p = planes[a, 0] & planes[b, 0], planes[a, 1] & planes[b, 1]
        elif op == OR:
            t, p = _U(0), _U(0)
            for j in range(b, b + c):
                t |= planes[lits[j], 0]
                p |= planes[lits[j], 1]
        elif op == NOT:
            t, p = ~planes[a, 1], ~planes[a, 0]
        elif op == COND:
            ct, cf = planes[a, 0], ~planes[a, 1]
            t = (ct & planes[b, 0]) | (cf & planes[c, 0])
            p = ~(ct | cf) | (ct & planes[b, 1]) | (cf & planes[c, 1])
        elif op == SWITCH_PLANE:
            t, p, left = _U(0), _U(0), _ALL
            for j in range(b, b + 2 * c, 2):
                here, error = left & planes[lits[j], 0], left & planes[lits[j], 1] & ~planes[lits[j], 0]
                t |= here & planes[lits[j + 1], 0]
                p |= (here & planes[lits[j + 1], 1]) | error
                left &= ~planes[lits[j], 1]
                if not left:
                    break
            t |= left & planes[lits[b + 2 * c], 0]
            p |= left & planes[lits[b + 2 * c], 1]
        elif op == FAIL_PLANE:
            t, p = _U(0), _ALL
        elif op == FAILS_PLANE:
            t = p = planes[a, 1] & ~planes[a, 0]
        elif op == CONST_PLANE:
            t = p = _ALL if imm[node] else _U(0)
        else:
            x, error = planes[a, 0], planes[a, 1] & ~planes[a, 0]
            if op == NO_ERROR:
                v = _ALL
            else:
                y = planes[b, 0]
                error |= planes[b, 1] & ~y
                if op == EQUAL:
                    v = ~(x ^ y)
                elif op == DIFFER:
                    v = x ^ y
                elif op == LESS:
                    v = ~x & y
                else:
                    v = ~x | y
            t, p = v & ~error, v | error
        planes[o, 0] = t
        planes[o, 1] = p


@njit(
    f"void(int64, int32[:, ::1], int32[:, ::1], int32[:, ::1], uint32[:, ::1], {_INTS}, {_DOUBLES}, {_SLOTS},"
    f"{_INTS}, {_DOUBLES},"
    f"{_SLOTS}, {_SLOTS}, {_SLOTS}, int64[:, ::1], uint8[:, ::1],"
    f"{_INTS}, {_INTS}, {_INTS}, {_INTS}, {_INTS},"
    f"{_CELLS}, {_FLOATS}, {_BITS}, {_BITS}, {_PLANES},"
    "int64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1])",
    cache=True,
    error_model="numpy",
    nogil=True,
)
def evaluate(  # type: ignore[no-untyped-def]
    events, segments, spans, runs, ins, imm, fimm, lits, pool, fpool,
    loads, out_rows, out_planes, inputs, given,
    zone, starts, at_s, offset_s, rank,
    cells, floats, ok, has, planes,
    values, value_ok, trues, possibles,
):  # fmt: skip
    """Evaluates a batch.

    events, segments (.., 4) how many; those of one type in a word: word, type, first lane, one after the last;
                         in order of words; types without instructions of their own may be left out
    spans (types, 8)     begin and end in runs, loads, out_rows, out_planes; type 0 is for every event
    runs (.., 3)         operation, begin and end in `ins`
    ins (.., 4)          out, a, b, c of the instructions in order; imm their constants (fimm: seen as doubles)
    loads                row of `inputs` and `given` (columns, events and more, up to a multiple of 8) and row of
                         cells, in pairs
    out_rows, out_planes position and row or plane, in pairs: what is handed back
    given                bit 0: has a value, bit 1: it was given
    zone (events,)       number of the customer's zone, -1 unknown; rank (codes,) orders text codes
    cells .. possible    scratch, see above
    values (V, events), value_ok (W, V), trues, possibles (W, B): the results
    """
    s = 0
    for w in range((events + 63) >> 6):
        first = w << 6
        kind, lo, hi = 0, 0, min(64, events - first)
        while True:
            mask = (_ALL >> _U(64 - (hi - lo))) << _U(lo)
            for i in range(spans[kind, 2], spans[kind, 3], 2):
                j, row = loads[i], loads[i + 1]
                here, written = _U(0), _U(0)
                for k in range(lo, hi):
                    cells[row, k] = inputs[j, first + k]
                at = np.int64(j) * given.shape[1] + first
                for block in range(lo >> 3, (hi + 7) >> 3):
                    here |= BIT(given, at + 8 * block, np.uint8(1)) << _U(8 * block)
                    written |= BIT(given, at + 8 * block, np.uint8(2)) << _U(8 * block)
                ok[row] = here
                has[row] = written
            for i in range(spans[kind, 0], spans[kind, 1]):
                op, begin, end = runs[i, 0], runs[i, 1], runs[i, 2]
                group = op // 10
                if group == 8 or group == 9:
                    _formulas(op, begin, end, ins, imm, lits, planes)
                elif group == 5:
                    _compare(op - INT_EQ, begin, end, ins, imm, cells, ok, planes, lo, hi)
                elif group == 6:
                    _compare(op - DBL_EQ, begin, end, ins, fimm, floats, ok, planes, lo, hi)
                elif group == 7:
                    _tests(op, begin, end, ins, pool, fpool, cells, floats, ok, has, planes, lo, hi)
                elif group == 1:
                    _integers(op, begin, end, ins, cells, ok, lo, hi)
                elif group == 2:
                    _doubles(op, begin, end, ins, cells, floats, ok, lo, hi)
                elif group == 3:
                    wide(op, begin, end, ins, cells, floats, ok, lo, hi)
                elif group >= 10:
                    calendars(op, begin, end, ins, cells, ok, lo, hi, first, zone, starts, at_s, offset_s)
                else:
                    _columns(op, begin, end, ins, imm, lits, rank, cells, ok, planes, lo, hi)
            for i in range(spans[kind, 4], spans[kind, 5], 2):
                v, row = out_rows[i], out_rows[i + 1]
                for k in range(lo, hi):
                    values[v, first + k] = cells[row, k]
                value_ok[w, v] = (value_ok[w, v] & ~mask) | (ok[row] & mask)
            for i in range(spans[kind, 6], spans[kind, 7], 2):
                v, plane = out_planes[i], out_planes[i + 1]
                trues[w, v] = (trues[w, v] & ~mask) | (planes[plane, 0] & mask)
                possibles[w, v] = (possibles[w, v] & ~mask) | (planes[plane, 1] & mask)
            if s == len(segments) or segments[s, 0] != w:
                break
            kind, lo, hi = segments[s, 1], segments[s, 2], segments[s, 3]
            s += 1
