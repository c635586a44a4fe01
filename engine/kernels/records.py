"""Records in kernels: from their bytes into the arenas and back, as `engine.state.record` has them.

What a reader does not take is left to Python: corrupt bytes, another layout, sections that are unknown or come
twice, keys that come twice in one section, more entries than there is room for, values beyond 64 bits, times
beyond 2^60 ms. Nothing of a record is registered before all of it was read.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.arena import (
    A_AT,
    A_BEGIN,
    A_END,
    A_EVENT,
    A_FRESH,
    A_PRINT,
    ANSWER_AT,
    ANSWER_N,
    ASSIGN_AT,
    ASSIGN_N,
    AT_MS,
    FINE,
    LAST_MS,
    LEFT,
    OPT_AT,
    OPT_N,
    SINCE_MS,
    SPILL_AT,
    SPILL_N,
    TOUCH_AT,
    TOUCH_N,
    U_ANSWER,
    U_ASSIGN,
    U_OPT,
    U_SPILL,
    U_TOUCH,
    U_VALUE,
    U_WIN,
    VERSION,
    W_AT,
    W_N,
    WIN_AT,
    WIN_N,
)
from engine.kernels.compiled import kernel, part
from engine.kernels.packing import number, put, word
from engine.kernels.packing import room as column_room
from engine.kernels.sections import (
    ANSWERS,
    ASSIGNMENTS,
    NAMES,
    OPT_OUTS,
    SECTION,
    SPILLED,
    TOUCHES,
    WINDOWS,
    read_answers,
    read_table,
    read_touches,
    read_windows,
    touches_room,
    write_answers,
    write_table,
    write_touches,
    write_windows,
)

_U = np.uint64
_LAYOUT = 1
_HEAD = 25  # bytes


# ---- reading ------------------------------------------------------------------------------------


@kernel
def read_record(data, begin, end, i, records, windows):  # type: ignore[no-untyped-def]
    """Takes the record of event i apart, `record.decode` of its bytes; none are an empty record of version 0.

    data, begin, end  bytes and the record's part of them
    records           the arenas; row i of `rec` and what follows `used` of the others is filled
    windows           as many more rows of windows are kept free behind those read, each with room for a value

    Also free are one more touch, assignment and answer, one more value in every window, and a row of
    `spilled` for every answer. Answers FINE or LEFT; LEFT changes neither `used` nor means anything in `rec`.
    """
    rec, used = records.rec, records.used
    for column in range(rec.shape[1]):
        rec[i, column] = 0
    place = used[U_VALUE]  # where the values of the windows end
    if begin < end:
        if end - begin < _HEAD or data[begin + 8] != _LAYOUT:
            return LEFT
        rec[i, VERSION] = np.int64(word(data, begin))
        rec[i, LAST_MS] = np.int64(word(data, begin + 9))
        rec[i, SINCE_MS] = np.int64(word(data, begin + 17))
        at, seen = begin + _HEAD, np.int64(0)
        while at < end:
            if at + SECTION > end:
                return LEFT
            tag, size = np.int64(data[at]), np.int64(number(data, at + 1, end, 4))
            at += SECTION
            if size > end - at or tag < WINDOWS or tag > SPILLED or (seen >> tag) & 1:
                return LEFT
            seen |= 1 << tag
            stop = at + size
            if tag == WINDOWS:
                count, place = read_windows(data, at, stop, records, windows)
                column = WIN_N
            elif tag == TOUCHES:
                count = read_touches(data, at, stop, records.touches, used[U_TOUCH])
                column = TOUCH_N
            elif tag == OPT_OUTS:
                count = read_table(data, at, stop, records.opts, used[U_OPT], 0, 2, 1)
                column = OPT_N
            elif tag == ASSIGNMENTS:
                count = read_table(data, at, stop, records.assigned, used[U_ASSIGN], 1, 4, 3)
                column = ASSIGN_N
            elif tag == ANSWERS:
                count = read_answers(data, at, stop, records.answers, used[U_ANSWER])
                column = ANSWER_N
            else:
                count = read_table(data, at, stop, records.spilled, used[U_SPILL], 0, 2, 1)
                column = SPILL_N
            if count < 0:
                return LEFT
            rec[i, column] = count
            at = stop
    return _register(rec, i, records, place, windows)


@part
def _register(rec, i, records, place, windows):  # type: ignore[no-untyped-def]
    """Says where the rows of a record begin, and keeps free what the step may add."""
    used = records.used
    touch = used[U_TOUCH] + rec[i, TOUCH_N] + 1
    opt = used[U_OPT] + rec[i, OPT_N]
    assign = used[U_ASSIGN] + rec[i, ASSIGN_N] + 1
    answer = used[U_ANSWER] + rec[i, ANSWER_N] + 1
    spill = used[U_SPILL] + rec[i, SPILL_N] + rec[i, ANSWER_N] + 1
    win = used[U_WIN] + rec[i, WIN_N]
    if touch > len(records.touches) or opt > len(records.opts) or assign > len(records.assigned):
        return LEFT
    if answer > len(records.answers) or spill > len(records.spilled) or win + windows > len(records.wins):
        return LEFT
    if place + windows > min(len(records.buckets), len(records.values)):
        return LEFT
    rec[i, TOUCH_AT], rec[i, OPT_AT], rec[i, ASSIGN_AT] = used[U_TOUCH], used[U_OPT], used[U_ASSIGN]
    rec[i, ANSWER_AT], rec[i, SPILL_AT], rec[i, WIN_AT] = used[U_ANSWER], used[U_SPILL], used[U_WIN]
    for k in range(windows):
        records.wins[win + k, W_AT] = place + k
    used[U_TOUCH], used[U_OPT], used[U_ASSIGN], used[U_ANSWER] = touch, opt, assign, answer
    used[U_SPILL], used[U_WIN], used[U_VALUE] = spill, win + windows, place + windows
    return FINE


# ---- the step -----------------------------------------------------------------------------------


@part
def _keep_later(table, first, count, column, than):  # type: ignore[no-untyped-def]
    """Drops rows whose time is not later than that; how many are left, in their order."""
    kept = first
    for row in range(first, first + count):
        if table[row, column] > than:
            if row != kept:
                for c in range(table.shape[1]):
                    table[kept, c] = table[row, c]
            kept += 1
    return kept - first


@kernel
def forget(i, records, kept_ms, now_ms):  # type: ignore[no-untyped-def]
    """Drops the touches of record i that are past their life, as `apply_groups` does."""
    rec = records.rec
    rec[i, TOUCH_N] = _keep_later(records.touches, rec[i, TOUCH_AT], rec[i, TOUCH_N], AT_MS, now_ms - kept_ms)


@kernel
def known_answer(i, records, event):  # type: ignore[no-untyped-def]
    """The row of `answers` that answers an event (hash as int64), or -1."""
    first = records.rec[i, ANSWER_AT]
    for row in range(first, first + records.rec[i, ANSWER_N]):
        if records.answers[row, A_EVENT] == event:
            return row
    return np.int64(-1)


@kernel
def keep_answer(i, records, event, fingerprint, now_ms, begin, end, kept_ms, answers_kept):  # type: ignore[no-untyped-def]
    """Adds an answer to record i, as `operations.keep_answer`; at most once per record that was read.

    event, fingerprint  hashes as int64
    begin, end          the answer's body, in the buffer of fresh ones
    kept_ms             life of an answer
    answers_kept        more than these (1 or more) are not kept in the record

    Returns how many of the oldest move to keys of their own: they stand in the rows of `answers` just before
    the record's ANSWER_AT, and are in `spilled` already.
    """
    rec, answers, spilled = records.rec, records.answers, records.spilled
    first = rec[i, ANSWER_AT]
    count = _keep_later(answers, first, rec[i, ANSWER_N], A_AT, now_ms - kept_ms)
    rec[i, SPILL_N] = _keep_later(spilled, rec[i, SPILL_AT], rec[i, SPILL_N], 1, now_ms)
    row = first + count
    answers[row, A_EVENT], answers[row, A_PRINT], answers[row, A_AT] = event, fingerprint, now_ms
    answers[row, A_BEGIN], answers[row, A_END], answers[row, A_FRESH] = begin, end, 1
    count += 1
    moved = max(0, count - answers_kept)
    for old in range(first, first + moved):
        at = rec[i, SPILL_AT]
        last = at + rec[i, SPILL_N]
        while at < last and spilled[at, 0] != answers[old, A_EVENT]:
            at += 1
        spilled[at, 0], spilled[at, 1] = answers[old, A_EVENT], answers[old, A_AT] + kept_ms
        if at == last:
            rec[i, SPILL_N] += 1
    rec[i, ANSWER_AT], rec[i, ANSWER_N] = first + moved, count - moved
    return moved


# ---- writing ------------------------------------------------------------------------------------


@kernel
def record_room(i, records):  # type: ignore[no-untyped-def]
    """Bytes that must be free to write record i: as many are written to at most."""
    rec = records.rec
    total = _HEAD + 6 * (SECTION + 2) + 4 * column_room(rec[i, WIN_N])
    for row in range(rec[i, WIN_AT], rec[i, WIN_AT] + rec[i, WIN_N]):
        total += 3 * column_room(records.wins[row, W_N]) + 1
    total += touches_room(rec[i, TOUCH_N]) + 2 * NAMES * rec[i, TOUCH_N]
    total += 2 * column_room(rec[i, OPT_N]) + 4 * column_room(rec[i, ASSIGN_N])
    total += 2 * column_room(rec[i, SPILL_N]) + 4 * column_room(rec[i, ANSWER_N])
    for row in range(rec[i, ANSWER_AT], rec[i, ANSWER_AT] + rec[i, ANSWER_N]):
        total += records.answers[row, A_END] - records.answers[row, A_BEGIN]
    return total


@kernel
def write_record(data, bodies, i, records, version, last_ms, since_ms, out, at):  # type: ignore[no-untyped-def]
    """Writes record i with another version and other times, `record.encode` of it; returns where it ends.

    data, bodies  bytes that hold the bodies of answers: those that were read, and fresh ones
    version       uint64, whose bytes, little endian, are the version's
    out, at       bytes, with `record_room` of them free from `at` on
    """
    rec = records.rec
    put(out, at, _U(version))
    out[at + 8] = _LAYOUT
    put(out, at + 9, _U(last_ms))
    put(out, at + 17, _U(since_ms))
    at += _HEAD
    if rec[i, WIN_N]:
        at = write_windows(records, rec[i, WIN_AT], rec[i, WIN_N], out, at)
    if rec[i, TOUCH_N]:
        at = write_touches(records.touches, rec[i, TOUCH_AT], rec[i, TOUCH_N], out, at)
    at = write_table(records.opts, rec[i, OPT_AT], rec[i, OPT_N], 2, 1, OPT_OUTS, out, at)
    at = write_table(records.assigned, rec[i, ASSIGN_AT], rec[i, ASSIGN_N], 4, 3, ASSIGNMENTS, out, at)
    if rec[i, ANSWER_N]:
        at = write_answers(data, bodies, records.answers, rec[i, ANSWER_AT], rec[i, ANSWER_N], out, at)
    return write_table(records.spilled, rec[i, SPILL_AT], rec[i, SPILL_N], 2, 1, SPILLED, out, at)
