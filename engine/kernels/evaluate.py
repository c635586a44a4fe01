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
    true, possible      (planes,) a bit an event: a condition is true; is true or an error

Only bits of lanes that are run mean anything. Masks come before divisions and conversions, no comparison
is ever turned round, nothing here is fastmath: NaN and overflow are what CEL says.
Numba's cache does not see changes of the modules imported here: touch this file too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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
_CODE = "int32[::1], int32[:, ::1]"  # nodes of the run, instructions
_CELLS, _FLOATS, _BITS = "int64[:, ::1]", "float64[:, ::1]", "uint64[::1]"
_INTS, _DOUBLES = "int64[::1]", "float64[::1]"
_LANES = "int64, int64"  # the first, and the one after the last


@njit(f"void(int64, {_CODE}, {_CELLS}, {_BITS}, {_LANES})", cache=True, error_model="numpy")
def _integers(op, nodes, ins, cells, ok, lo, hi):  # type: ignore[no-untyped-def]
    """Integers, durations and days; overflow and division by zero clear `ok`.

    What may wrap is unsigned: LLVM takes signed overflow for impossible and drops the check after it.
    """
    for node in nodes:
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
def _doubles(op, nodes, ins, cells, floats, ok, lo, hi):  # type: ignore[no-untyped-def]
    """IEEE 754; `floats` is `cells` seen as doubles."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        for k in range(lo, hi):
            if op == DBL_ADD:
                floats[o, k] = floats[a, k] + floats[b, k]
            elif op == DBL_SUB:
                floats[o, k] = floats[a, k] - floats[b, k]
            elif op == DBL_MUL:
                floats[o, k] = floats[a, k] * floats[b, k]
            elif op == DBL_DIV:
                floats[o, k] = floats[a, k] / floats[b, k]
            elif op == DBL_NEG:
                floats[o, k] = -floats[a, k]
            elif op == DBL_RATIO:
                floats[o, k] = floats[a, k] / floats[b, k]
                bad |= _U(floats[b, k] == 0.0) << _U(k)
            elif op == TO_NUMBER:
                floats[o, k] = np.float64(cells[a, k])
            else:
                x = floats[a, k]
                # CEL leaves the exact lower bound out as well
                fits = x > -9223372036854775808.0 and x < 9223372036854775808.0
                cells[o, k] = np.int64(x if fits else 0.0)
                bad |= _U(not fits) << _U(k)
        ok[o] = ok[a] & ok[b] & ~bad


@njit(f"void(int64, {_CODE}, {_INTS}, int32[::1], {_INTS}, {_CELLS}, {', '.join([_BITS] * 3)}, {_LANES})", cache=True)
def _columns(op, nodes, ins, imm, lits, rank, cells, ok, true, possible, lo, hi):  # type: ignore[no-untyped-def]
    """Constants, choice by conditions, order of texts."""
    for node in nodes:
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
                cells[o, k] = np.int64((true[a] >> _U(k)) & _U(1))
            ok[o] = true[a] | ~possible[a]
        elif op in (SELECT, SELECT_WIDE):
            for k in range(lo, hi):
                source = b if (true[a] >> _U(k)) & _U(1) else c
                cells[o, k] = cells[source, k]
                if op == SELECT_WIDE:
                    cells[o + 1, k] = cells[source + 1, k]
            ok[o] = (true[a] & ok[b]) | (~possible[a] & ok[c])
        else:
            left = (_ALL >> _U(64 - (hi - lo))) << _U(lo)
            fine = _U(0)
            for j in range(b, b + 2 * c + 1, 2):
                last = j == b + 2 * c
                source = lits[j] if last else lits[j + 1]
                here = left if last else left & true[lits[j]]
                if here:
                    fine |= here & ok[source]
                    for k in range(lo, hi):
                        if (here >> _U(k)) & _U(1):
                            cells[o, k] = cells[source, k]
                            if op == SWITCH_WIDE:
                                cells[o + 1, k] = cells[source + 1, k]
                if not last:
                    left &= ~possible[lits[j]]
                if not left:
                    break
            ok[o] = fine


@njit(
    [
        f"void(int64, {_CODE}, {_INTS}, {_CELLS}, {_BITS}, {_BITS}, {_BITS}, {_LANES})",
        f"void(int64, {_CODE}, {_DOUBLES}, {_FLOATS}, {_BITS}, {_BITS}, {_BITS}, {_LANES})",
    ],
    cache=True,
)
def _compare(op, nodes, ins, imm, cells, ok, true, possible, lo, hi):  # type: ignore[no-untyped-def]
    """Comparisons of one row with another or a constant; `op` counts from INT_EQ or DBL_EQ."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        v, c = _U(0), imm[node]
        for k in range(lo, hi):
            x = cells[a, k]
            y = c if op >= 4 else cells[b, k]
            if op in (0, 4):
                v |= _U(x == y) << _U(k)
            elif op in (1, 5):
                v |= _U(x != y) << _U(k)
            elif op in (2, 6):
                v |= _U(x < y) << _U(k)
            elif op in (3, 7):
                v |= _U(x <= y) << _U(k)
            elif op == 8:
                v |= _U(x > y) << _U(k)
            else:
                v |= _U(x >= y) << _U(k)
        fine = ok[a] & ok[b]
        true[o] = v & fine
        possible[o] = v | ~fine


@njit(
    f"void(int64, {_CODE}, {_INTS}, {_DOUBLES}, {_CELLS}, {_FLOATS}, {', '.join([_BITS] * 4)}, {_LANES})",
    cache=True,
)
def _tests(op, nodes, ins, pool, fpool, cells, floats, ok, has, true, possible, lo, hi):  # type: ignore[no-untyped-def]
    """Times and money compared, membership of a list, flags and presence of inputs."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        if op == HAS:
            true[o] = possible[o] = has[a]
            continue
        if op == FAILS:
            true[o] = possible[o] = ~ok[a]
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
                low, high = b, last
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
        true[o] = v & fine
        possible[o] = v | ~fine


@njit(f"void(int64, {_CODE}, {_INTS}, int32[::1], {_BITS}, {_BITS})", cache=True)
def _planes(op, nodes, ins, imm, lits, true, possible):  # type: ignore[no-untyped-def]
    """Conditions of conditions; 'error' is possible and not true."""
    for node in nodes:
        o, a, b, c = ins[node, 0], ins[node, 1], ins[node, 2], ins[node, 3]
        if op == AND_2:
            t, p = true[a] & true[b], possible[a] & possible[b]
        elif op == OR_2:
            t, p = true[a] | true[b], possible[a] | possible[b]
        elif op == AND:
            t, p = _ALL, _ALL
            for j in range(b, b + c):
                t &= true[lits[j]]
                p &= possible[lits[j]]
        elif op == OR:
            t, p = _U(0), _U(0)
            for j in range(b, b + c):
                t |= true[lits[j]]
                p |= possible[lits[j]]
        elif op == NOT:
            t, p = ~possible[a], ~true[a]
        elif op == COND:
            ct, cf = true[a], ~possible[a]
            t = (ct & true[b]) | (cf & true[c])
            p = ~(ct | cf) | (ct & possible[b]) | (cf & possible[c])
        elif op == SWITCH_PLANE:
            t, p, left = _U(0), _U(0), _ALL
            for j in range(b, b + 2 * c, 2):
                here, error = left & true[lits[j]], left & possible[lits[j]] & ~true[lits[j]]
                t |= here & true[lits[j + 1]]
                p |= (here & possible[lits[j + 1]]) | error
                left &= ~possible[lits[j]]
                if not left:
                    break
            t |= left & true[lits[b + 2 * c]]
            p |= left & possible[lits[b + 2 * c]]
        elif op == FAIL_PLANE:
            t, p = _U(0), _ALL
        elif op == FAILS_PLANE:
            t = p = possible[a] & ~true[a]
        elif op == CONST_PLANE:
            t = p = _ALL if imm[node] else _U(0)
        else:
            x, error = true[a], possible[a] & ~true[a]
            if op == NO_ERROR:
                v = _ALL
            else:
                y = true[b]
                error |= possible[b] & ~y
                if op == EQUAL:
                    v = ~(x ^ y)
                elif op == DIFFER:
                    v = x ^ y
                elif op == LESS:
                    v = ~x & y
                else:
                    v = ~x | y
            t, p = v & ~error, v | error
        true[o] = t
        possible[o] = p


@njit(
    f"void(int64, int32[:, ::1], int32[:, ::1], int32[:, ::1], {_CODE}, {_INTS}, {_DOUBLES}, int32[::1],"
    f"{_INTS}, {_DOUBLES},"
    "int32[::1], int32[::1], int32[::1], int64[:, ::1], uint8[:, ::1],"
    f"{_INTS}, {_INTS}, {_INTS}, {_INTS}, {_INTS},"
    f"{_CELLS}, {_FLOATS}, {_BITS}, {_BITS}, {_BITS}, {_BITS},"
    "int64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1])",
    cache=True,
    error_model="numpy",
    nogil=True,
)
def evaluate(  # type: ignore[no-untyped-def]
    events, segments, spans, runs, order, ins, imm, fimm, lits, pool, fpool,
    loads, out_rows, out_planes, inputs, given,
    zone, starts, at_s, offset_s, rank,
    cells, floats, ok, has, true, possible,
    values, value_ok, trues, possibles,
):  # fmt: skip
    """Evaluates a batch.

    events, segments (.., 4) how many; those of one type in a word: word, type, first lane, one after the last;
                         in order of words; types without instructions of their own may be left out
    spans (types, 8)     begin and end in runs, loads, out_rows, out_planes; type 0 is for every event
    runs (.., 3)         operation, begin and end in `order`, which lists instructions
    ins (.., 4)          out, a, b, c of every instruction; imm its constant (fimm: seen as double)
    loads                row of `inputs` and `given` (columns, events) and row of cells, in pairs
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
                    state = _U(given[j, first + k])
                    here |= (state & _U(1)) << _U(k)
                    written |= (state >> _U(1)) << _U(k)
                ok[row] = here
                has[row] = written
            for i in range(spans[kind, 0], spans[kind, 1]):
                op, nodes = runs[i, 0], order[runs[i, 1] : runs[i, 2]]
                group = op // 10
                if group == 8 or group == 9:
                    _planes(op, nodes, ins, imm, lits, true, possible)
                elif group == 5:
                    _compare(op - INT_EQ, nodes, ins, imm, cells, ok, true, possible, lo, hi)
                elif group == 6:
                    _compare(op - DBL_EQ, nodes, ins, fimm, floats, ok, true, possible, lo, hi)
                elif group == 7:
                    _tests(op, nodes, ins, pool, fpool, cells, floats, ok, has, true, possible, lo, hi)
                elif group == 1:
                    _integers(op, nodes, ins, cells, ok, lo, hi)
                elif group == 2:
                    _doubles(op, nodes, ins, cells, floats, ok, lo, hi)
                elif group == 3:
                    wide(op, nodes, ins, cells, floats, ok, lo, hi)
                elif group >= 10:
                    calendars(op, nodes, ins, cells, ok, lo, hi, first, zone, starts, at_s, offset_s)
                else:
                    _columns(op, nodes, ins, imm, lits, rank, cells, ok, true, possible, lo, hi)
            for i in range(spans[kind, 4], spans[kind, 5], 2):
                v, row = out_rows[i], out_rows[i + 1]
                for k in range(lo, hi):
                    values[v, first + k] = cells[row, k]
                value_ok[w, v] = (value_ok[w, v] & ~mask) | (ok[row] & mask)
            for i in range(spans[kind, 6], spans[kind, 7], 2):
                v, plane = out_planes[i], out_planes[i + 1]
                trues[w, v] = (trues[w, v] & ~mask) | (true[plane] & mask)
                possibles[w, v] = (possibles[w, v] & ~mask) | (possible[plane] & mask)
            if s == len(segments) or segments[s, 0] != w:
                break
            kind, lo, hi = segments[s, 1], segments[s, 2], segments[s, 3]
            s += 1
