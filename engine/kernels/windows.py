"""Windows in kernels: what `engine.windows` does with a customer's, on the rows of the arenas.

Left to Python: windows of types that have no place in 64 bits, amounts and sums that do not fit them, values of
another kind than the window's, times beyond 2^50 ms, calendars outside the years 1 to 9999.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.kernels.arena import FINE, I64, LEFT, W_AT, W_FLOAT, W_KEY, W_N, W_SINCE, W_USED, WIN_AT, WIN_N
from engine.kernels.calendar import civil, offset
from engine.kernels.compiled import kernel, part

COUNT, SUM, WITH, LAST, MINIMUM, MAXIMUM, DISTINCT, ODD = range(8)  # kinds; WITH: months or days; ODD ones are left
WHOLE, NUMBER, TRUTH, DAY, PAIR = range(5)  # types: integers and durations, doubles, bools, dates, money and times
MISSING, INCOMPLETE, VALUE, UNKNOWN = 0, 2, 3, -1  # what `read` finds; UNKNOWN is left

_U = np.uint64
_NS = 1_000_000_000
_UNUSED_KEPT_MS = 30 * 86_400_000
_FAR_MS = 1 << 50
_DAY_MIN, _DAY_MAX = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
_NEVER = -(1 << 62)  # no number of a bucket
_MONTHS, _WEEKS, _THURSDAY = -1, -2, 3  # 1970-01-01 was a Thursday
DISTINCT_MAX = 100  # values told apart
_INT_MAX = (1 << 63) - 1
_UNITS_MAX = _INT_MAX // _NS - 1  # units whose billionths surely fit 64 bits


class WindowPlans(NamedTuple):
    """The windows that are stored for a rule set, each once."""

    key: I64  # hash of the definition, with the same bits
    kind: I64  # COUNT ..
    type: I64  # WHOLE ..
    width_s: I64  # seconds of a bucket; 0: days, -1: months, -2: weeks
    buckets: I64  # how many are covered
    begins: I64  # -1, -2: those of the days that lie in the running month, or week
    since_zero: I64  # 1 where it is complete from the start
    history: int  # the key under which the events are that were counted from history


@kernel
def find(i, records, key, hint):  # type: ignore[no-untyped-def]
    """The row of record i's window with a key, or -1; it is looked for at place `hint` first."""
    wins, first, count = records.wins, records.rec[i, WIN_AT], records.rec[i, WIN_N]
    if hint < count and wins[first + hint, W_KEY] == key:
        return first + hint
    for row in range(first, first + count):
        if wins[row, W_KEY] == key:
            return row
    return np.int64(-1)


@kernel
def ensure(i, records, plans, now_ms):  # type: ignore[no-untyped-def]
    """Adds the windows that record i lacks, notes that all are used, and drops those unused for 30 days.

    The record was read with room for as many windows as `plans` has.
    """
    rec, wins = records.rec, records.wins
    first = rec[i, WIN_AT]
    for w in range(len(plans.key)):
        row = find(i, records, plans.key[w], w)
        if row < 0:
            row = first + rec[i, WIN_N]
            rec[i, WIN_N] += 1
            wins[row, W_KEY], wins[row, W_SINCE], wins[row, W_FLOAT], wins[row, W_N] = plans.key[w], now_ms, 0, 0
        wins[row, W_USED] = now_ms
    kept = first
    for row in range(first, first + rec[i, WIN_N]):
        if wins[row, W_USED] >= now_ms - _UNUSED_KEPT_MS:
            if row != kept:  # exchanged, so that every row keeps a place for values of its own
                for column in range(wins.shape[1]):
                    wins[row, column], wins[kept, column] = wins[kept, column], wins[row, column]
            kept += 1
    rec[i, WIN_N] = kept - first


@part
def _far(ms):  # type: ignore[no-untyped-def]
    return ms > _FAR_MS or ms < -_FAR_MS


@part
def _bucket(width_s, ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The number of the bucket that holds a moment, or _NEVER: it is in no month of the calendar."""
    if width_s > 0:
        return ms // (width_s * 1000)
    second = ms // 1000
    if zone >= 0:
        second += offset(second, zone, starts, at_s, offset_s)
    day = second // 86_400
    if width_s == 0:
        return day
    if width_s == _WEEKS:
        return (day + _THURSDAY) // 7
    if day < _DAY_MIN or day > _DAY_MAX:
        return np.int64(_NEVER)
    year, month, _ = civil(day)
    return (year - 1970) * 12 + month - 1


@part
def _bisect(buckets, first, count, bucket):  # type: ignore[no-untyped-def]
    """`bisect_left`: how many of the buckets are before one."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if buckets[first + middle] < bucket:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _joined(kind, cell0, cell1):  # type: ignore[no-untyped-def]
    """A value's cells as it is stored, and whether it fits."""
    if kind != PAIR:
        return cell0, True
    if cell0 > _UNITS_MAX or cell0 < -_UNITS_MAX or cell1 < 0 or cell1 >= _NS:
        return np.int64(0), False
    return cell0 * _NS + cell1, True


@part
def _plus(a, b):  # type: ignore[no-untyped-def]
    """The sum modulo 2^64, and whether it is the sum."""
    total = np.int64(_U(a) + _U(b))
    return total, ((a ^ total) & (b ^ total)) >= 0


@part
def _double(bits):  # type: ignore[no-untyped-def]
    return np.int64(bits).view(np.float64)


@part
def _bits(value):  # type: ignore[no-untyped-def]
    return np.float64(value).view(np.int64)


@part
def _added(kind, old, value):  # type: ignore[no-untyped-def]
    """`_held` of the sum of two stored values, and whether it is that."""
    if kind == NUMBER:
        return _bits(_double(old) + _double(value)), True
    total, fits = _plus(old, value)
    if kind == WHOLE:  # at the bound it says 'at least this much'
        if not fits:
            total = np.int64(-_INT_MAX if value < 0 else _INT_MAX)
        return max(total, np.int64(-_INT_MAX)), True
    return total, fits


@kernel
def less(of, a, b):  # type: ignore[no-untyped-def]
    """Whether one stored value is less than another."""
    return _double(a) < _double(b) if of == NUMBER else a < b


@part
def _insert(buckets, values, place, end, bucket, value):  # type: ignore[no-untyped-def]
    for k in range(end, place, -1):
        buckets[k], values[k] = buckets[k - 1], values[k - 1]
    buckets[place], values[place] = bucket, value


@part
def _remove(buckets, values, place, end):  # type: ignore[no-untyped-def]
    for k in range(place, end - 1):
        buckets[k], values[k] = buckets[k + 1], values[k + 1]


@part
def _tell_apart(buckets, values, first, count, bucket, value):  # type: ignore[no-untyped-def]
    """A value was seen in a bucket; how many are kept then."""
    end = first + count
    for k in range(first, end):
        if values[k] == value:
            if buckets[k] >= bucket:
                return count
            _remove(buckets, values, k, end)
            end -= 1
            break
    _insert(buckets, values, first + _bisect(buckets, first, end - first, bucket), end, bucket, value)
    end += 1
    if end - first > DISTINCT_MAX:
        _remove(buckets, values, first, end)
        end -= 1
    return end - first


@kernel
def observe(i, records, plans, w, at_ms, now_ms, zone, starts, at_s, offset_s, cell0, cell1):  # type: ignore[no-untyped-def]
    """Adds one event to window w of the plans in record i, at most once per record and stored window.

    at_ms, now_ms           when it happened, and the present
    zone                    number of the customer's zone, -1: UTC; the arrays of the `ZoneTable` follow
    cell0, cell1            what is aggregated, as `compiler.pool` has cells (of a text to be told apart: its hash);
                            ignored where events are counted

    Answers FINE, or LEFT: then the window may be damaged.
    """
    row = find(i, records, plans.key[w], w)
    kind, of = plans.kind[w], plans.type[w]
    if row < 0 or kind >= ODD or _far(at_ms) or _far(now_ms):
        return LEFT
    wins, buckets, values = records.wins, records.buckets, records.values
    first, count = wins[row, W_AT], wins[row, W_N]
    value = np.int64(1)
    if kind in (SUM, LAST, MINIMUM, MAXIMUM, DISTINCT):
        value, fits = _joined(of, cell0, cell1)
        if not fits:
            return LEFT
    if kind == LAST:
        if count == 0 or at_ms >= buckets[first]:
            buckets[first], values[first] = at_ms, value
            wins[row, W_FLOAT], wins[row, W_N] = of == NUMBER, 1
        return FINE
    newest = _bucket(plans.width_s[w], now_ms, zone, starts, at_s, offset_s)
    bucket = _bucket(plans.width_s[w], at_ms, zone, starts, at_s, offset_s)
    if newest == _NEVER or bucket == _NEVER:
        return LEFT
    if bucket <= newest - plans.buckets[w]:
        return FINE
    extreme = kind in (MINIMUM, MAXIMUM)
    if extreme and of == NUMBER and np.isnan(_double(value)):
        return FINE
    expired = _bisect(buckets, first, count, newest - plans.buckets[w] + 1)
    count -= expired
    if expired:
        for k in range(first, first + count):
            buckets[k], values[k] = buckets[k + expired], values[k + expired]
    is_float = (kind == SUM or extreme) and of == NUMBER
    if wins[row, W_FLOAT] != is_float and (count or not (kind == SUM or extreme)):  # by another version of the engine
        return LEFT
    wins[row, W_FLOAT] = is_float
    if kind == DISTINCT:
        wins[row, W_N] = _tell_apart(buckets, values, first, count, bucket, value)
        return FINE
    place = first + _bisect(buckets, first, count, bucket)
    empty = place == first + count or buckets[place] != bucket
    if empty:
        _insert(buckets, values, place, first + count, bucket, np.int64(0))
        count += 1
    wins[row, W_N] = count
    if kind == WITH:
        values[place] = 1
        return FINE
    if extreme:
        if empty or (less(of, value, values[place]) if kind == MINIMUM else less(of, values[place], value)):
            values[place] = value
        return FINE
    values[place], fits = _added(of if kind == SUM else PAIR, values[place], value)
    return FINE if fits else LEFT


@part
def _shown(of, value):  # type: ignore[no-untyped-def]
    """A stored value as a state and cells."""
    if of == PAIR:
        return VALUE, value // _NS, value % _NS
    if of == TRUTH:
        return VALUE, np.int64(value != 0), np.int64(0)
    if of == DAY and (value < _DAY_MIN or value > _DAY_MAX):
        return UNKNOWN, np.int64(0), np.int64(0)
    return VALUE, value, np.int64(0)


@kernel
def read(i, records, plans, w, now_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The value of window w of the plans in record i: its state, and its cells as `compiler.pool` has them.

    The states are MISSING (DATA_MISSING), INCOMPLETE (WINDOW_INCOMPLETE), VALUE, or UNKNOWN: left to Python.
    Values of one cell have 0 in the second. The other arguments are those of `observe`.
    """
    none = np.int64(0)
    row = find(i, records, plans.key[w], w)
    kind, of = plans.kind[w], plans.type[w]
    wins, values = records.wins, records.values
    if kind >= ODD:
        return UNKNOWN, none, none
    if kind == LAST:
        if row < 0 or wins[row, W_N] == 0:
            return MISSING, none, none
        if wins[row, W_FLOAT] != (of == NUMBER):
            return UNKNOWN, none, none
        return _shown(of, values[wins[row, W_AT]])
    state, row, begin, end = kept(i, records, plans, w, now_ms, zone, starts, at_s, offset_s)
    if state != VALUE:
        return state, none, none
    if kind in (WITH, DISTINCT):
        return VALUE, end - begin, none
    if begin < end and wins[row, W_FLOAT] != (of == NUMBER):
        return UNKNOWN, none, none
    if kind in (MINIMUM, MAXIMUM):
        if begin == end:
            return MISSING, none, none
        best = values[begin]
        for k in range(begin + 1, end):
            if less(of, values[k], best) if kind == MINIMUM else less(of, best, values[k]):
                best = values[k]
        return _shown(of, best)
    found, fits = total(values, of, begin, end)
    if not fits:
        return UNKNOWN, none, none
    return _shown(of, found)


@kernel
def total(values, of, begin, end):  # type: ignore[no-untyped-def]
    """The sum of stored values, from the oldest on, and whether it is that."""
    found = np.int64(0)
    if of == NUMBER:
        number = 0.0
        for k in range(begin, end):
            number += _double(values[k])
        return _bits(number), True
    for k in range(begin, end):
        found, fits = _plus(found, values[k])
        if not fits:
            return found, False
    return (max(found, np.int64(-_INT_MAX)) if of == WHOLE else found), True


@kernel
def kept(i, records, plans, w, now_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Whether a stored window says something, its row or -1, and the places of what it covers now.

    The state is VALUE, INCOMPLETE or UNKNOWN.
    """
    none = np.int64(0)
    row = find(i, records, plans.key[w], w)
    if plans.kind[w] >= ODD:
        return UNKNOWN, row, none, none
    if row < 0:
        return (VALUE if plans.since_zero[w] else INCOMPLETE), row, none, none
    wins, width_s = records.wins, plans.width_s[w]
    since_ms = wins[row, W_SINCE] - 1
    if _far(now_ms) or _far(since_ms):
        return UNKNOWN, row, none, none
    newest = _bucket(width_s, now_ms, zone, starts, at_s, offset_s)
    if newest == _NEVER:
        return UNKNOWN, row, none, none
    oldest = newest - plans.buckets[w] + 1
    if plans.begins[w] == _WEEKS:
        oldest = newest - (newest + _THURSDAY) % 7
    elif plans.begins[w] == _MONTHS:
        if newest < _DAY_MIN or newest > _DAY_MAX:
            return UNKNOWN, row, none, none
        _, _, day = civil(newest)
        oldest = newest - day + 1
    if not plans.since_zero[w]:
        since = _bucket(width_s, since_ms, zone, starts, at_s, offset_s)
        if since == _NEVER:
            return UNKNOWN, row, none, none
        if since >= oldest:
            return INCOMPLETE, row, none, none
    first, count = wins[row, W_AT], wins[row, W_N]
    return VALUE, row, first + _bisect(records.buckets, first, count, oldest), first + count


@kernel
def counted_before(i, records, plans, after_ms):  # type: ignore[no-untyped-def]
    """Whether record i has events of after that moment that were counted from history: each is to be looked for."""
    row = find(i, records, plans.history, 0)
    if row < 0 or records.wins[row, W_N] == 0:
        return False
    return records.buckets[records.wins[row, W_AT] + records.wins[row, W_N] - 1] > after_ms
