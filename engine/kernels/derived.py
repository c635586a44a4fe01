"""What rules see of windows in kernels: one that is stored, a mean, or how many months or days fulfil a condition.

The twin is `engine.windows.value_of`. A condition is a list of steps for a stack of truths of three values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.kernels.arena import I64, W_AT, W_FLOAT, W_N
from engine.kernels.compiled import kernel, part
from engine.kernels.windows import (
    COUNT,
    INCOMPLETE,
    MISSING,
    NUMBER,
    PAIR,
    SUM,
    UNKNOWN,
    VALUE,
    find,
    kept,
    less,
    read,
    total,
)

PLAIN, MEAN, CHOSEN, UNREAD = range(4)  # how a window is read; UNREAD ones are left
LT, LE, GT, GE, EQ, NE, AND, OR, NOT = range(9)  # steps
HOW, FIRST, SECOND, BEGIN, END = range(5)  # columns of `Shown.rows`
STEP, OF, SUM_AT, COUNT_AT, TYPE, CONSTANT = range(6)  # columns of `Shown.steps`
OF_MEAN = 100  # as OF, beside COUNT, SUM, MINIMUM and MAXIMUM
DEPTH_MAX = 30  # truths on the stack
_FALSE, _TRUE, _ERROR = 0, 1, 2
_NS = 1e9


class Shown(NamedTuple):
    """The windows that rules name, in order, each over the windows of a `WindowPlans`.

    A plain one is the FIRST; of a mean FIRST is the sum and SECOND the count; of a chosen one FIRST counts all
    events, and the steps BEGIN to END are the condition: a comparison of an aggregate with a constant (OF: its
    kind, or OF_MEAN; SUM_AT: the window that has it, of the mean its sum; TYPE: of what it aggregates;
    CONSTANT as stored values are), or AND, OR, NOT of what is on the stack.
    """

    rows: I64  # (W, 5)
    steps: I64  # (.., 6)


@kernel
def show(i, records, plans, shown, w, now_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The value of window w of those shown: its state and cells, as `windows.read` has them."""
    none = np.int64(0)
    how, first, second = shown.rows[w, HOW], shown.rows[w, FIRST], shown.rows[w, SECOND]
    if how == PLAIN:
        return read(i, records, plans, first, now_ms, zone, starts, at_s, offset_s)
    if how == MEAN:
        state, row, begin, end = kept(i, records, plans, first, now_ms, zone, starts, at_s, offset_s)
        if state != VALUE:
            return state, none, none
        of = plans.type[first]
        if begin < end and records.wins[row, W_FLOAT] != (of == NUMBER):
            return UNKNOWN, none, none
        held, fits = total(records.values, of, begin, end)
        state, count, _ = read(i, records, plans, second, now_ms, zone, starts, at_s, offset_s)
        if state != VALUE:
            return state, none, none
        if not fits:
            return UNKNOWN, none, none
        if not count:
            return MISSING, none, none
        return VALUE, _mean(of, held, count), none
    if how == CHOSEN:
        return _chosen(i, records, plans, shown, w, now_ms, zone, starts, at_s, offset_s)
    return UNKNOWN, none, none


@part
def _mean(of, held, count):  # type: ignore[no-untyped-def]
    """`windows.mean`, by its bits."""
    number = np.float64(count)
    if of == NUMBER:
        found = np.int64(held).view(np.float64) / number
    else:
        found = np.float64(held) / (number * _NS if of == PAIR else number)
    return np.float64(found).view(np.int64)


@part
def _fit(i, records, plans, w, now_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """`kept`, but UNKNOWN too where the values are of another kind than the window's."""
    state, row, begin, end = kept(i, records, plans, w, now_ms, zone, starts, at_s, offset_s)
    if state == VALUE and begin < end and records.wins[row, W_FLOAT] != (plans.type[w] == NUMBER):
        return UNKNOWN, begin, end
    return state, begin, end


@part
def _chosen(i, records, plans, shown, w, now_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    none = np.int64(0)
    begin, end = shown.rows[w, BEGIN], shown.rows[w, END]
    state, first, last = _fit(i, records, plans, shown.rows[w, FIRST], now_ms, zone, starts, at_s, offset_s)
    worst = state
    for s in range(begin, end):
        if shown.steps[s, STEP] <= NE:
            for column in (SUM_AT, COUNT_AT):
                state, _, _ = _fit(i, records, plans, shown.steps[s, column], now_ms, zone, starts, at_s, offset_s)
                if state == UNKNOWN or worst == UNKNOWN:
                    worst = UNKNOWN
                elif state == INCOMPLETE:
                    worst = INCOMPLETE
    if worst != VALUE:
        return worst, none, none
    found = none
    for k in range(first, last):
        found += _holds(i, records, plans, shown, begin, end, records.buckets[k])
    return VALUE, found, none


@part
def _holds(i, records, plans, shown, begin, end, bucket):  # type: ignore[no-untyped-def]
    """Whether a bucket fulfils the condition."""
    stack = np.int64(0)  # two bits each, the last lowest
    for s in range(begin, end):
        op = shown.steps[s, STEP]
        if op <= NE:
            stack = stack << 2 | _compared(i, records, plans, shown.steps, s, bucket)
            continue
        top = stack & 3
        stack >>= 2
        if op == NOT:
            stack = stack << 2 | (top if top == _ERROR else 1 - top)
            continue
        under = stack & 3
        stack >>= 2
        absorbing = _FALSE if op == AND else _TRUE
        if top == absorbing or under == absorbing:
            stack = stack << 2 | absorbing
        elif top == _ERROR or under == _ERROR:
            stack = stack << 2 | _ERROR
        else:
            stack = stack << 2 | (1 - absorbing)
    return stack & 3 == _TRUE


@part
def _place(i, records, plans, w, bucket):  # type: ignore[no-untyped-def]
    """Where a stored window has this bucket, or -1."""
    row = find(i, records, plans.key[w], w)
    if row >= 0:
        first = records.wins[row, W_AT]
        low, high = first, first + records.wins[row, W_N]
        while low < high:
            middle = (low + high) // 2
            if records.buckets[middle] < bucket:
                low = middle + 1
            else:
                high = middle
        if low < first + records.wins[row, W_N] and records.buckets[low] == bucket:
            return low
    return np.int64(-1)


@part
def _compared(i, records, plans, steps, s, bucket):  # type: ignore[no-untyped-def]
    """An aggregate of a bucket's events against a constant."""
    of, kind = steps[s, TYPE], steps[s, OF]
    place = _place(i, records, plans, steps[s, SUM_AT], bucket)
    if place < 0 and kind != SUM and kind != COUNT:
        return _ERROR
    value = records.values[place] if place >= 0 else np.int64(0)
    if kind == OF_MEAN:
        counted = _place(i, records, plans, steps[s, COUNT_AT], bucket)
        if counted < 0:
            return _ERROR
        value = _mean(of, value, records.values[counted])
        of = NUMBER
    op, constant = steps[s, STEP], steps[s, CONSTANT]
    below, above = less(of, value, constant), less(of, constant, value)
    if of == NUMBER:
        same = np.int64(value).view(np.float64) == np.int64(constant).view(np.float64)
    else:
        same = value == constant
    if op == LT:
        return np.int64(below)
    if op == LE:
        return np.int64(below or same)
    if op == GT:
        return np.int64(above)
    if op == GE:
        return np.int64(above or same)
    return np.int64(same if op == EQ else not same)
