"""Three-valued evaluation of a lowered rule set over a batch, 64 events to a machine word.

Every sub-expression is one instruction, written once. A batch is cut into words of events of one type;
a word runs the instructions for any type and then those of its own, in order of (level, operation), so
that runs of the same operation need one dispatch and everything stays in the first-level caches.

    cells (rows, 64)    int64 a value and event: integer, duration, text code, double (by its bits);
                        a time takes two rows: seconds since 1970 (floor) and nanoseconds
    ok    (rows,)       a bit an event: the value is there and no error
    has   (rows,)       a bit an event, inputs only: a value was given
    true, possible      (planes,) a bit an event: a condition is true; is true or an error

Only bits of real events mean anything. Masks come before divisions and conversions, no comparison is
ever turned round, nothing here is fastmath: NaN and overflow are what CEL says.
Numba's cache does not see changes of `calendar.py`, which is compiled in: touch this file too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.calendar import local_day

# Operations; the tens are the kernel that runs them. `out, a, b, c` are rows, planes or ranges.
CONST = 0  # out <- imm
INT_ADD, INT_SUB, INT_MUL, INT_DIV, INT_MOD, INT_NEG = 10, 11, 12, 13, 14, 15
DBL_ADD, DBL_SUB, DBL_MUL, DBL_DIV, DBL_NEG, DBL_RATIO, TO_NUMBER, TO_INTEGER = 20, 21, 22, 23, 24, 25, 26, 27
TIME_ADD, TIME_SUB, TIME_DIFF, DAYS_SINCE, DAYS_UNTIL = 30, 31, 32, 33, 34  # DAYS: a from b, which is now
SELECT, SELECT_TIME, RANK = 40, 41, 42  # SELECT: plane a ? row b : row c; RANK: order of a text code
INT_EQ, INT_NE, INT_LT, INT_LE = 50, 51, 52, 53  # rows a, b -> plane
INT_EQ_C, INT_NE_C, INT_LT_C, INT_LE_C, INT_GT_C, INT_GE_C = 54, 55, 56, 57, 58, 59  # row a, imm
DBL_EQ, DBL_NE, DBL_LT, DBL_LE = 60, 61, 62, 63
DBL_EQ_C, DBL_NE_C, DBL_LT_C, DBL_LE_C, DBL_GT_C, DBL_GE_C = 64, 65, 66, 67, 68, 69
TIME_EQ, TIME_NE, TIME_LT, TIME_LE, INT_IN, DBL_IN, FLAG, HAS = 70, 71, 72, 73, 74, 75, 76, 77
# IN: row a among pool[b : b + c], ascending
AND, OR, NOT, COND, EQUAL, DIFFER, LESS, LESS_EQ, NO_ERROR, CONST_PLANE = (
    90,
    91,
    92,
    93,
    94,
    95,
    96,
    97,
    98,
    99,
)
# AND, OR: of the c planes lits[b : b + c]; AND_2, OR_2: of the planes a, b
AND_2, OR_2 = 80, 81

TIME_MIN_S, TIME_MAX_S = -62_135_596_800, 253_402_300_799  # years 1 to 9999, as in CEL
_DAY_MIN, _DAY_MAX = TIME_MIN_S // 86_400, TIME_MAX_S // 86_400
_INT_MIN = np.int64(-(2**63))
_NS = 1_000_000_000
_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_CODE = "int32[::1], int32[:, ::1]"  # nodes of the run, instructions
_CELLS, _FLOATS, _BITS = "int64[:, ::1]", "float64[:, ::1]", "uint64[::1]"
_INTS, _DOUBLES = "int64[::1]", "float64[::1]"


@njit(f"void(int64, {_CODE}, {_CELLS}, {_BITS}, int64)", cache=True, error_model="numpy")
def _integers(op, nodes, ins, cells, ok, count):  # type: ignore[no-untyped-def]
    """Integers and durations; overflow and division by zero clear `ok`.

    What may wrap is unsigned: LLVM takes signed overflow for impossible and drops the check after it.
    """
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        for k in range(count):
            x, y = cells[a, k], cells[b, k]
            wrong, z = False, np.int64(0)
            if op == INT_ADD:
                z = np.int64(_U(x) + _U(y))
                wrong = ((x ^ z) & (y ^ z)) < 0
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


@njit(f"void(int64, {_CODE}, {_CELLS}, {_FLOATS}, {_BITS}, int64)", cache=True, error_model="numpy")
def _doubles(op, nodes, ins, cells, floats, ok, count):  # type: ignore[no-untyped-def]
    """IEEE 754; `floats` is `cells` seen as doubles."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        for k in range(count):
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


@njit(
    f"void(int64, {_CODE}, {_CELLS}, {_BITS}, int64, int64, int64[::1], int64[::1], int64[::1], int64[::1])",
    cache=True,
    error_model="numpy",
)
def _times(op, nodes, ins, cells, ok, count, first, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Times with durations, and calendar days; input times lie in the years 1 to 9999."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        if op >= DAYS_SINCE:
            for k in range(count):
                z = zone[first + k]
                if z < 0:
                    bad |= _U(1) << _U(k)
                elif (ok[a] >> _U(k)) & _U(1):
                    then = local_day(cells[a, k], z, starts, at_s, offset_s)
                    now = local_day(cells[b, k], z, starts, at_s, offset_s)
                    cells[o, k] = now - then if op == DAYS_SINCE else then - now
                    outside = min(then, now) < _DAY_MIN or max(then, now) > _DAY_MAX
                    bad |= _U(outside) << _U(k)
        elif op == TIME_DIFF:
            for k in range(count):
                s, n = cells[a, k] - cells[b, k], cells[a + 1, k] - cells[b + 1, k]
                if n < 0:
                    s, n = s - 1, n + _NS
                # int64 nanoseconds reach from -9223372037 s + 145224192 ns to 9223372036 s + 854775807 ns
                wrong = s > 9223372036 or s < -9223372037
                wrong = wrong or (s == 9223372036 and n > 854775807) or (s == -9223372037 and n < 145224192)
                cells[o, k] = np.int64(_U(s) * _U(_NS) + _U(n))
                bad |= _U(wrong) << _U(k)
        else:
            for k in range(count):
                ds, dn = cells[b, k] // _NS, cells[b, k] % _NS
                if op == TIME_ADD:
                    s, n = cells[a, k] + ds, cells[a + 1, k] + dn
                else:
                    s, n = cells[a, k] - ds, cells[a + 1, k] - dn
                if n >= _NS:
                    s, n = s + 1, n - _NS
                elif n < 0:
                    s, n = s - 1, n + _NS
                cells[o, k] = s
                cells[o + 1, k] = n
                bad |= _U(s < TIME_MIN_S or s > TIME_MAX_S) << _U(k)
        ok[o] = ok[a] & ok[b] & ~bad


@njit(f"void(int64, {_CODE}, {_INTS}, {_INTS}, {_CELLS}, {_BITS}, {_BITS}, {_BITS}, int64)", cache=True)
def _columns(op, nodes, ins, imm, rank, cells, ok, true, possible, count):  # type: ignore[no-untyped-def]
    """Constants, choice by a condition, order of texts."""
    for node in nodes:
        o, a, b, c = ins[node, 0], ins[node, 1], ins[node, 2], ins[node, 3]
        if op == CONST:
            for k in range(count):
                cells[o, k] = imm[node]
            ok[o] = _ALL
        elif op == RANK:
            for k in range(count):
                cells[o, k] = rank[cells[a, k]] if (ok[a] >> _U(k)) & _U(1) else 0
            ok[o] = ok[a]
        else:
            for k in range(count):
                source = b if (true[a] >> _U(k)) & _U(1) else c
                cells[o, k] = cells[source, k]
                if op == SELECT_TIME:
                    cells[o + 1, k] = cells[source + 1, k]
            ok[o] = (true[a] & ok[b]) | (~possible[a] & ok[c])


@njit(
    [
        f"void(int64, {_CODE}, {_INTS}, {_CELLS}, {_BITS}, {_BITS}, {_BITS}, int64)",
        f"void(int64, {_CODE}, {_DOUBLES}, {_FLOATS}, {_BITS}, {_BITS}, {_BITS}, int64)",
    ],
    cache=True,
)
def _compare(op, nodes, ins, imm, cells, ok, true, possible, count):  # type: ignore[no-untyped-def]
    """Comparisons of one row with another or a constant; `op` counts from INT_EQ or DBL_EQ."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        v, c = _U(0), imm[node]
        for k in range(count):
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
    f"void(int64, {_CODE}, {_INTS}, {_DOUBLES}, {_CELLS}, {_FLOATS}, {', '.join([_BITS] * 4)}, int64)",
    cache=True,
)
def _tests(op, nodes, ins, pool, fpool, cells, floats, ok, has, true, possible, count):  # type: ignore[no-untyped-def]
    """Times compared, membership of a list, flags and presence of inputs."""
    for node in nodes:
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        if op == HAS:
            true[o] = possible[o] = has[a]
            continue
        v, fine = _U(0), ok[a]
        if op <= TIME_LE:
            fine &= ok[b]
            for k in range(count):
                s, t, n, m = cells[a, k], cells[b, k], cells[a + 1, k], cells[b + 1, k]
                same = s == t and n == m
                less = s < t or (s == t and n < m)
                if op <= TIME_NE:
                    v |= _U(same == (op == TIME_EQ)) << _U(k)
                else:
                    v |= _U(less or (same and op == TIME_LE)) << _U(k)
        elif op == FLAG:
            for k in range(count):
                v |= _U(cells[a, k] != 0) << _U(k)
        else:
            last = b + ins[node, 3]
            for k in range(count):
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
    f"void(int32[:, ::1], int32[:, ::1], int32[:, ::1], {_CODE}, {_INTS}, {_DOUBLES}, int32[::1],"
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
    words, spans, runs, order, ins, imm, fimm, lits, pool, fpool,
    loads, out_rows, out_planes, inputs, given,
    zone, starts, at_s, offset_s, rank,
    cells, floats, ok, has, true, possible,
    values, value_ok, trues, possibles,
):  # fmt: skip
    """Evaluates a batch.

    words (W, 3)         event type, first event, events (1 to 64)
    spans (types, 8)     begin and end in runs, loads, out_rows, out_planes; type 0 is for every word
    runs (.., 3)         operation, begin and end in `order`, which lists instructions
    ins (.., 4)          out, a, b, c of every instruction; imm its constant (fimm: seen as double)
    loads                column of `inputs` and `given` (events, columns) and row, in pairs: what a type reads
    out_rows, out_planes position and row or plane, in pairs: what is handed back
    given                bit 0: has a value, bit 1: it was given
    zone (events,)       ids in the zone table, -1 unknown; rank (codes,) orders text codes
    cells .. possible    scratch, see above
    values (events, V), value_ok (W, V), trues, possibles (W, B): the results
    """
    for w in range(words.shape[0]):
        first, count = words[w, 1], words[w, 2]
        for part in range(2 if words[w, 0] else 1):
            kind = words[w, 0] if part else 0
            for i in range(spans[kind, 2], spans[kind, 3], 2):
                j, row = loads[i], loads[i + 1]
                here, written = _U(0), _U(0)
                for k in range(count):
                    cells[row, k] = inputs[first + k, j]
                    state = _U(given[first + k, j])
                    here |= (state & _U(1)) << _U(k)
                    written |= (state >> _U(1)) << _U(k)
                ok[row] = here
                has[row] = written
            for i in range(spans[kind, 0], spans[kind, 1]):
                op, nodes = runs[i, 0], order[runs[i, 1] : runs[i, 2]]
                group = op // 10
                if group >= 8:
                    _planes(op, nodes, ins, imm, lits, true, possible)
                elif group == 5:
                    _compare(op - INT_EQ, nodes, ins, imm, cells, ok, true, possible, count)
                elif group == 6:
                    _compare(op - DBL_EQ, nodes, ins, fimm, floats, ok, true, possible, count)
                elif group == 7:
                    _tests(op, nodes, ins, pool, fpool, cells, floats, ok, has, true, possible, count)
                elif group == 1:
                    _integers(op, nodes, ins, cells, ok, count)
                elif group == 2:
                    _doubles(op, nodes, ins, cells, floats, ok, count)
                elif group == 3:
                    _times(op, nodes, ins, cells, ok, count, first, zone, starts, at_s, offset_s)
                else:
                    _columns(op, nodes, ins, imm, rank, cells, ok, true, possible, count)
            for i in range(spans[kind, 4], spans[kind, 5], 2):
                v, row = out_rows[i], out_rows[i + 1]
                for k in range(count):
                    values[first + k, v] = cells[row, k]
                value_ok[w, v] = ok[row]
            for i in range(spans[kind, 6], spans[kind, 7], 2):
                trues[w, out_planes[i]] = true[out_planes[i + 1]]
                possibles[w, out_planes[i]] = possible[out_planes[i + 1]]
