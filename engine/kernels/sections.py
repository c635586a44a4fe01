"""The sections of a record, from bytes into the arenas and back: see `engine.state.record` and `records.py`."""

from __future__ import annotations

import numpy as np

from engine.kernels.arena import (
    A_AT,
    A_BEGIN,
    A_END,
    A_EVENT,
    A_FRESH,
    A_PRINT,
    AT_MS,
    EVENT,
    MESSAGE,
    POLICY,
    POLICY_VERSION,
    REPORT_BY_MS,
    SEND_BEFORE_MS,
    TOUCH,
    U_VALUE,
    U_WIN,
    W_AT,
    W_FLOAT,
    W_KEY,
    W_N,
    W_SINCE,
    W_USED,
)
from engine.kernels.compiled import kernel, part
from engine.kernels.packing import (
    SIGNED,
    STEPS,
    UNSIGNED,
    number,
    pack,
    pack_as,
    pack_floats,
    put,
    unpack,
    unpack_floats,
    word,
)
from engine.kernels.packing import room as column_room

WINDOWS, TOUCHES, OPT_OUTS, ASSIGNMENTS, ANSWERS, SPILLED = 1, 2, 3, 4, 5, 6  # tags
SECTION = 5  # bytes of a section's head
NAMES = POLICY - MESSAGE + 1  # columns of touches that hold names

_U = np.uint64
_TOUCHES_MAX = 512
_KEYS_MAX = 512  # of a section whose keys are compared with one another
_BUCKETS_MAX = 65_534  # one more may come, and the bytes hold 65,535
_FAR = 1 << 60  # times and buckets stay within this, so that no sum or difference of two overflows


# ---- reading ------------------------------------------------------------------------------------


@part
def _far(value):  # type: ignore[no-untyped-def]
    return value > _FAR or value < -_FAR


@part
def _count(data, at, end, most):  # type: ignore[no-untyped-def]
    """A section's number of entries, or -1: it is not there, or larger than `most`."""
    if at + 2 > end:
        return np.int64(-1)
    count = np.int64(number(data, at, end, 2))
    return count if count <= most else np.int64(-1)


@part
def _distinct(table, first, count, keys):  # type: ignore[no-untyped-def]
    """Whether no two rows have the same key, in the first `keys` columns (1 or 2)."""
    for a in range(first + 1, first + count):
        for b in range(first, a):
            if table[a, 0] == table[b, 0] and (keys == 1 or table[a, 1] == table[b, 1]):
                return False
    return True


@kernel
def read_table(data, at, end, table, first, spare, columns, hashes):  # type: ignore[no-untyped-def]
    """Reads a section of columns, the first `hashes` of them unsigned; how many rows, or -1.

    Its keys are one column, or two of assignments.
    """
    count = _count(data, at, end, min(_KEYS_MAX, len(table) - first - spare))
    if count < 0:
        return count
    at += 2
    for column in range(columns):
        at = unpack(data, at, end, table, first, count, column, column < hashes)
        if at < 0:
            return np.int64(-1)
    return count if at == end and _distinct(table, first, count, 2 if hashes > 2 else 1) else np.int64(-1)


@part
def _read_buckets(data, at, end, buckets, values, place, size, is_float):  # type: ignore[no-untyped-def]
    """Reads what a window that has buckets gathered; where that ends, or -1."""
    at = unpack(data, at, end, buckets, place, 1, 0, SIGNED)
    if at < 0:
        return -1
    at = unpack(data, at, end, buckets, place + 1, size - 1, 0, SIGNED)
    if at < 0 or _far(buckets[place, 0]):
        return -1
    for k in range(place + 1, place + size):
        if buckets[k, 0] > 2 * _FAR or buckets[k, 0] < -2 * _FAR:
            return -1
        buckets[k, 0] += buckets[k - 1, 0]
        if _far(buckets[k, 0]):
            return -1
    if is_float:
        return unpack_floats(data, at, end, values, place, size, 0)
    return unpack(data, at, end, values, place, size, 0, SIGNED)


@kernel
def read_windows(data, at, end, records, spare):  # type: ignore[no-untyped-def]
    """Reads the section of windows; how many there are and where their values end, or -1."""
    wins, first, place = records.wins, records.used[U_WIN], records.used[U_VALUE]
    buckets, values = records.buckets.reshape(-1, 1), records.values.reshape(-1, 1)
    none = np.int64(-1), place
    count = _count(data, at, end, min(_KEYS_MAX, len(wins) - first - spare))
    if count < 0:
        return none
    at += 2
    for column in (W_KEY, W_SINCE, W_USED, W_N):
        at = unpack(data, at, end, wins, first, count, column, column == W_KEY)
        if at < 0:
            return none
    for row in range(first, first + count):
        size, is_float = wins[row, W_N] >> 1, wins[row, W_N] & 1
        if size < 0 or size > min(_BUCKETS_MAX, len(values) - place - 1, len(buckets) - place - 1):
            return none
        wins[row, W_FLOAT], wins[row, W_AT], wins[row, W_N] = is_float, place, size
        if size:
            at = _read_buckets(data, at, end, buckets, values, place, size, is_float)
            if at < 0:
                return none
        place += size + 1
    return (count, place) if at == end and _distinct(wins, first, count, 1) else none


@kernel
def read_touches(data, at, end, touches, first):  # type: ignore[no-untyped-def]
    """Reads the section of touches; how many there are, or -1."""
    none = np.int64(-1)
    count = _count(data, at, end, min(_TOUCHES_MAX, len(touches) - first - 1))
    if count < 0 or at + 4 > end:
        return none
    names, listed = at + 4, np.int64(number(data, at + 2, end, 2))
    at = names + 8 * listed
    if at + 1 > end:
        return none
    relative = data[at] != 0
    at += 1
    for column in range(TOUCH):
        at = unpack(data, at, end, touches, first, count, column, column in (EVENT, POLICY_VERSION))
        if at < 0:
            return none
    for row in range(first, first + count):
        for column in range(MESSAGE, POLICY + 1):
            place = touches[row, column]
            if place < 0 or place >= listed:
                return none
            touches[row, column] = np.int64(word(data, names + 8 * place))
        for column in (AT_MS, SEND_BEFORE_MS, REPORT_BY_MS):
            if _far(touches[row, column]):
                return none
        if relative:
            for column in (SEND_BEFORE_MS, REPORT_BY_MS):
                if touches[row, column]:
                    touches[row, column] += touches[row, AT_MS]
    return count if at == end else none


@kernel
def read_answers(data, at, end, answers, first):  # type: ignore[no-untyped-def]
    """Reads the section of answers; how many there are, or -1."""
    none = np.int64(-1)
    count = _count(data, at, end, len(answers) - first - 1)
    if count < 0:
        return none
    at += 2
    for column in (A_EVENT, A_PRINT, A_AT, A_END):
        at = unpack(data, at, end, answers, first, count, column, column in (A_EVENT, A_PRINT))
        if at < 0:
            return none
    for row in range(first, first + count):
        size = answers[row, A_END]
        if size < 0 or size > end - at or _far(answers[row, A_AT]):
            return none
        answers[row, A_BEGIN], answers[row, A_END], answers[row, A_FRESH] = at, at + size, 0
        at += size
    return count if at == end else none


# ---- writing ------------------------------------------------------------------------------------


@part
def _section(out, begin, at, tag):  # type: ignore[no-untyped-def]
    """Writes the head of a section whose payload ends at `at`; returns `at`."""
    size = at - begin - SECTION
    out[begin] = tag
    for b in range(4):
        out[begin + 1 + b] = (size >> 8 * b) & 255
    return at


@part
def _put_count(out, at, count):  # type: ignore[no-untyped-def]
    out[at], out[at + 1] = count & 255, (count >> 8) & 255
    return at + 2


@kernel
def write_table(table, first, count, columns, hashes, tag, out, begin):  # type: ignore[no-untyped-def]
    """A section of columns, the first `hashes` of them unsigned; nothing where there are no rows.

    As all here: writes rows first .. first + count - 1 to `out` from `begin` on; returns where that ends.
    """
    if count == 0:
        return begin
    at = _put_count(out, begin + SECTION, count)
    for column in range(columns):
        at = pack(table, first, count, column, column < hashes, out, at)
    return _section(out, begin, at, tag)


@kernel
def write_windows(records, first, count, out, begin):  # type: ignore[no-untyped-def]
    """The section of windows, at least one."""
    wins = records.wins
    buckets, values = records.buckets.reshape(-1, 1), records.values.reshape(-1, 1)
    for row in range(first, first + count):
        wins[row, W_N] = wins[row, W_N] << 1 | wins[row, W_FLOAT]
    at = _put_count(out, begin + SECTION, count)
    for column in (W_KEY, W_SINCE, W_USED, W_N):
        at = pack(wins, first, count, column, column == W_KEY, out, at)
    for row in range(first, first + count):
        wins[row, W_N] >>= 1
        place, size = wins[row, W_AT], wins[row, W_N]
        if size == 0:
            continue
        at = pack(buckets, place, 1, 0, SIGNED, out, at)
        at = pack_as(buckets, place, size - 1, 0, SIGNED, STEPS, out, at)
        if wins[row, W_FLOAT]:
            at = pack_floats(values, place, size, 0, out, at)
        else:
            at = pack(values, place, size, 0, SIGNED, out, at)
    return _section(out, begin, at, WINDOWS)


@kernel
def touches_room(count):  # type: ignore[no-untyped-def]
    """Bytes of a section of so many touches, at most."""
    return SECTION + 5 + 8 * NAMES * count + TOUCH * column_room(count)


@part
def _write_names(touches, first, count, out, at, places):  # type: ignore[no-untyped-def]
    """Writes the list of names in order of first mention, column by column; returns how many there are.

    Each name's place in the list goes to `out` from `places` on, in two bytes.
    """
    listed = 0
    for column in range(MESSAGE, POLICY + 1):
        place = -1
        for row in range(first, first + count):
            name = touches[row, column]
            if place < 0 or name != touches[row - 1, column]:  # most columns are constant
                place = 0
                while place < listed and word(out, at + 8 * place) != _U(name):
                    place += 1
                if place == listed:
                    put(out, at + 8 * place, _U(name))
                    listed += 1
            _put_count(out, places, place)
            places += 2
    return listed


@part
def _pack_places(out, places, count, at):  # type: ignore[no-untyped-def]
    """`pack` of a column of places, two bytes each at `places`: they are below 2^15."""
    low = high = np.int64(number(out, places, places + 2, 2))
    for k in range(1, count):
        place = np.int64(number(out, places + 2 * k, places + 2 * k + 2, 2))
        low, high = min(low, place), max(high, place)
    span = high - low
    size = 0 if low == 0 else 1 if low < 128 else 2
    width = 0 if span == 0 else 1 if span < 256 else 2
    out[at] = size << 4 | width
    at += 1
    if size:
        _put_count(out, at, low)
        at += size
    for k in range(count if width else 0):
        _put_count(out, at, np.int64(number(out, places + 2 * k, places + 2 * k + 2, 2)) - low)
        at += width
    return at


@kernel
def write_touches(touches, first, count, out, begin):  # type: ignore[no-untyped-def]
    """The section of touches, at least one. Another 2 * NAMES * count bytes behind `touches_room` are scratch."""
    at = _put_count(out, begin + SECTION, count)
    places = begin + touches_room(count)  # behind all that is written here
    listed = _write_names(touches, first, count, out, at + 2, places)
    at = _put_count(out, at, listed) + 8 * listed
    relative = True
    for row in range(first, first + count):
        for column in (SEND_BEFORE_MS, REPORT_BY_MS):
            due = touches[row, column]
            relative = relative and (due == 0 or due > touches[row, AT_MS])
    out[at] = relative
    at += 1
    for column in range(TOUCH):
        if column >= MESSAGE and column <= POLICY:
            at = _pack_places(out, places + 2 * count * (column - MESSAGE), count, at)
        elif relative and column in (SEND_BEFORE_MS, REPORT_BY_MS):
            at = pack_as(touches, first, count, column, SIGNED, AT_MS, out, at)
        else:
            hashes = column in (EVENT, POLICY_VERSION)
            at = pack(touches, first, count, column, hashes, out, at)
    return _section(out, begin, at, TOUCHES)


@part
def _copy(source, begin, end, out, at):  # type: ignore[no-untyped-def]
    while begin + 8 <= end:
        put(out, at, word(source, begin))
        begin, at = begin + 8, at + 8
    while begin < end:
        out[at] = source[begin]
        begin, at = begin + 1, at + 1
    return at


@kernel
def write_answers(data, bodies, answers, first, count, out, begin):  # type: ignore[no-untyped-def]
    """The section of answers, at least one; their bodies are in `bodies` where they are fresh, else in `data`."""
    at = _put_count(out, begin + SECTION, count)
    at = pack(answers, first, count, A_EVENT, UNSIGNED, out, at)
    at = pack(answers, first, count, A_PRINT, UNSIGNED, out, at)
    at = pack(answers, first, count, A_AT, SIGNED, out, at)
    for row in range(first, first + count):  # sizes, for a moment
        answers[row, A_END] -= answers[row, A_BEGIN]
    at = pack(answers, first, count, A_END, SIGNED, out, at)
    for row in range(first, first + count):
        answers[row, A_END] += answers[row, A_BEGIN]
        if answers[row, A_FRESH]:
            at = _copy(bodies, answers[row, A_BEGIN], answers[row, A_END], out, at)
        else:
            at = _copy(data, answers[row, A_BEGIN], answers[row, A_END], out, at)
    return _section(out, begin, at, ANSWERS)
