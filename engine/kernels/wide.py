"""Kernels of `evaluate` for values of two rows, times and money, and for calendars."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.calendar import civil, day_of, local_day, months_later, offset, utc_second
from engine.kernels.operations import (
    DATE,
    DATE_MONTHS,
    DATE_SINCE,
    DATE_UNTIL,
    DAY_MAX,
    DAY_MIN,
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    DAYS_SINCE,
    FULL_YEAR,
    HOURS,
    MILLISECONDS,
    MINUTES,
    MONEY_ADD,
    MONEY_MUL,
    MONEY_NEG,
    MONEY_NUMBER,
    MONTH,
    SECONDS,
    TIME_ADD,
    TIME_DIFF,
    TIME_MAX_S,
    TIME_MIN_S,
    TIME_MONTHS,
    TIME_OF,
    TIME_SECONDS,
    TIME_SUB,
    TO_DATE,
)

_NS = 1_000_000_000
_MONTHS_MAX = 12 * 10_000
_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_LOW = _U(0xFFFFFFFF)
_CODE = "int64, int64, uint32[:, ::1]"  # begin and end of the run, instructions
_CELLS, _INTS = "int64[:, ::1]", "int64[::1]"


@njit("UniTuple(int64, 3)(int64, int64, int64)", cache=True, error_model="numpy", nogil=True)
def money_times(units, billionths, factor):  # type: ignore[no-untyped-def]
    """Units and billionths of an amount times an integer, exactly, and 1 where the units overflow, else 0.

    The product of units and factor has 128 bits: with the rest added it may be back in range.
    """
    times, rest = factor // _NS, factor % _NS  # so that no product with the billionths overflows
    part = billionths * rest
    more = billionths * times + part // _NS
    a0, a1 = _U(units) & _LOW, _U(units) >> _U(32)
    b0, b1 = _U(factor) & _LOW, _U(factor) >> _U(32)
    middle = a1 * b0 + ((a0 * b0) >> _U(32))
    other = a0 * b1 + (middle & _LOW)
    high = a1 * b1 + (middle >> _U(32)) + (other >> _U(32))
    if units < 0:
        high -= _U(factor)
    if factor < 0:
        high -= _U(units)
    low = _U(units) * _U(factor)
    total = low + _U(more)
    if total < low:
        high += _U(1)
    if more < 0:
        high += _ALL
    z = np.int64(total)
    return z, part % _NS, np.int64(np.int64(high) != z >> 63)


@njit("float64(int64, int64)", cache=True, error_model="numpy", nogil=True)
def money_number(units, billionths):  # type: ignore[no-untyped-def]
    """The double nearest to an amount."""
    if units >= -9_000_000 and units < 9_000_000:
        return np.float64(units * _NS + billionths) / 1e9  # of two exact doubles
    rest = np.float64(billionths) / 1e9
    if units > -(1 << 53) and units < (1 << 53):
        # an amount of that size is the middle of two doubles, or further from it than `rest` is wrong
        return np.float64(units) + rest
    return 2048.0 * (np.float64(units >> 11) + (np.float64(units & 2047) + rest) / 2048.0)


@njit(f"void(int64, {_CODE}, {_CELLS}, float64[:, ::1], uint64[::1], int64, int64)", cache=True, error_model="numpy")
def wide(op, begin, end, ins, cells, floats, ok, lo, hi):  # type: ignore[no-untyped-def]
    """Times with durations, and money; input times lie in the years 1 to 9999."""
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        bad = _U(0)
        if op == TIME_DIFF:
            for k in range(lo, hi):
                s, n = cells[a, k] - cells[b, k], cells[a + 1, k] - cells[b + 1, k]
                if n < 0:
                    s, n = s - 1, n + _NS
                # int64 nanoseconds reach from -9223372037 s + 145224192 ns to 9223372036 s + 854775807 ns
                wrong = s > 9223372036 or s < -9223372037
                wrong = wrong or (s == 9223372036 and n > 854775807) or (s == -9223372037 and n < 145224192)
                cells[o, k] = np.int64(_U(s) * _U(_NS) + _U(n))
                bad |= _U(wrong) << _U(k)
        elif op in (TIME_ADD, TIME_SUB):
            for k in range(lo, hi):
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
        elif op == TIME_OF:
            for k in range(lo, hi):
                s = cells[a, k]
                cells[o, k] = s
                cells[o + 1, k] = 0
                bad |= _U(s < TIME_MIN_S or s > TIME_MAX_S) << _U(k)
        elif op == TIME_SECONDS:
            for k in range(lo, hi):
                cells[o, k] = cells[a, k]
        elif op == MONEY_NUMBER:
            for k in range(lo, hi):
                floats[o, k] = money_number(cells[a, k], cells[a + 1, k])
        elif op == MONEY_MUL:
            for k in range(lo, hi):
                s, n, over = money_times(cells[a, k], cells[a + 1, k], cells[b, k])
                cells[o, k] = s
                cells[o + 1, k] = n
                bad |= _U(over) << _U(k)
        else:
            for k in range(lo, hi):
                x, n, y, m = cells[a, k], cells[a + 1, k], cells[b, k], cells[b + 1, k]
                if op == MONEY_NEG:
                    x, n, y, m = np.int64(0), np.int64(0), x, n
                if op != MONEY_ADD:  # x - y is x + ~y with a carry of 1
                    y, m = ~y, _NS - m
                n += m
                carry = n >= _NS
                s = np.int64(_U(x) + _U(y) + _U(carry))
                cells[o, k] = s
                cells[o + 1, k] = n - _NS if carry else n
                bad |= _U(((x ^ s) & (y ^ s)) < 0) << _U(k)
        ok[o] = ok[a] & ok[b] & ~bad


@njit(
    f"void(int64, {_CODE}, {_CELLS}, uint64[::1], int64, int64, int64, {_INTS}, {_INTS}, {_INTS}, {_INTS})",
    cache=True,
    error_model="numpy",
)
def calendars(op, begin, end, ins, cells, ok, lo, hi, first, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Days and months on the customer's calendar, and parts of times in any zone.

    A result outside the years 1 to 9999 is an error, and so is a time whose local day is.
    """
    for node in range(begin, end):
        o, a, b = ins[node, 0], ins[node, 1], ins[node, 2]
        fine, bad = ok[a] & ok[b], _U(0)
        for k in range(lo, hi):
            if not (fine >> _U(k)) & _U(1):
                continue
            x, y = cells[a, k], cells[b, k]
            if op == DATE_MONTHS:
                day = months_later(x, y) if y >= -_MONTHS_MAX and y <= _MONTHS_MAX else np.int64(DAY_MAX + 1)
                cells[o, k] = day
                bad |= _U(day < DAY_MIN or day > DAY_MAX) << _U(k)
                continue
            z = y if op >= FULL_YEAR else zone[first + k]
            if z < 0:
                bad |= _U(1) << _U(k)
                continue
            if op <= DATE_UNTIL:
                then = x if op >= DATE_SINCE else local_day(x, z, starts, at_s, offset_s)
                now = local_day(y, z, starts, at_s, offset_s)
                cells[o, k] = now - then if op in (DAYS_SINCE, DATE_SINCE) else then - now
                bad |= _U(min(then, now) < DAY_MIN or max(then, now) > DAY_MAX) << _U(k)
                continue
            local = x + offset(x, z, starts, at_s, offset_s)
            day, second = local // 86_400, local % 86_400
            outside = day < DAY_MIN or day > DAY_MAX
            if op == TO_DATE:
                cells[o, k] = day
            elif op == TIME_MONTHS:
                day = months_later(day, y) if y >= -_MONTHS_MAX and y <= _MONTHS_MAX else np.int64(DAY_MAX + 1)
                s = utc_second(day * 86_400 + second, z, starts, at_s, offset_s)
                cells[o, k] = s
                cells[o + 1, k] = cells[a + 1, k]
                outside = outside or day < DAY_MIN or day > DAY_MAX or s < TIME_MIN_S or s > TIME_MAX_S
            elif op == HOURS:
                cells[o, k] = second // 3600
            elif op == MINUTES:
                cells[o, k] = second // 60 % 60
            elif op == SECONDS:
                cells[o, k] = second % 60
            elif op == MILLISECONDS:
                cells[o, k] = cells[a + 1, k] // 1_000_000
            elif op == DAY_OF_WEEK:
                cells[o, k] = (day + 4) % 7  # 1970-01-01 was a Thursday; 0 is Sunday
            else:
                year, month, of_month = civil(day)
                if op == FULL_YEAR:
                    cells[o, k] = year
                elif op == MONTH:
                    cells[o, k] = month - 1
                elif op == DATE:
                    cells[o, k] = of_month
                elif op == DAY_OF_MONTH:
                    cells[o, k] = of_month - 1
                else:
                    cells[o, k] = day - day_of(year, 1, 1)
            bad |= _U(outside) << _U(k)
        ok[o] = fine & ~bad
