"""A batch's customers: what the store holds of them taken apart, and their windows kept.

The twins are `engine.step.group` (opening) and `engine.step.take` (windows).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.kernels.arena import ANSWER_N, FINE, LAST_MS, LEFT, SPILL_N
from engine.kernels.blake2b import digest
from engine.kernels.compiled import kernel, part
from engine.kernels.derived import show
from engine.kernels.profiles import UNKNOWN_SCHEMA, read_profile
from engine.kernels.records import forget, known_answer, read_record
from engine.kernels.windows import UNKNOWN, counted_before, ensure, observe

I64 = NDArray[np.int64]

_U = np.uint64
_FAR_MS = 4_000_000_000_000  # years after 2096 are left to Python
ROOM_ANSWERS = 512  # answers of a record, those in keys of their own included
# Kinds of an amount, in `Counted.rows`
NOTHING, ONE_CELL, TWO_CELLS, CONSTANT, TRUTH, TEXT = range(6)
WINDOW, WHERE, AMOUNT, COLUMN, FIRST, SECOND = range(6)  # columns of `Counted.rows`


class Ages(NamedTuple):
    """Limits in ms: how old an event may be, how far ahead, and how long touches are kept."""

    event: int
    ahead: int
    touch: int


class Counted(NamedTuple):
    """What an event adds to windows, by the plan's number of its type."""

    spans: I64  # (types, 2)
    rows: I64  # (.., 6): window, condition's column or -1, kind of the amount, its column, its cells


@njit(cache=True, error_model="numpy", nogil=True)
def held_out(start, customer, below, out):  # type: ignore[no-untyped-def]
    """Marks who is in the holdout: by the keyed hash of the digest, see contact.holdout.

    start  of the hash (`blake2b.start`); customer (16 x events,): the digests' bytes; below: of a hash held out
    """
    hashed = np.empty(8, np.uint64)
    for i in range(len(out)):
        digest(start, customer, 16 * i, 16 * i + 16, hashed)
        out[i] = hashed[0] < below


@kernel
def open_records(  # type: ignore[no-untyped-def]
    events, data, spans, answered, store_ms, occurred, event, ages, windows, records, now_ms, status
):
    """Reads the records of these events, and leaves to Python what is not plainly new.

    spans (events, 4)    profile and record of each in `data`; answered (events,) 1 where an answer was spilled
    occurred (events, 3) given, seconds, nanoseconds; becomes the present where it was not given
    """
    for n in range(len(events)):
        i = events[n]
        if answered[i] or read_record(data, spans[i, 2], spans[i, 3], i, records, windows) != FINE:
            status[i] = LEFT
            continue
        now = max(np.int64(store_ms), records.rec[i, LAST_MS])
        now_ms[i] = now
        if now > _FAR_MS or records.rec[i, ANSWER_N] + records.rec[i, SPILL_N] > ROOM_ANSWERS:
            status[i] = LEFT
            continue
        if occurred[i, 0]:
            at = occurred[i, 1] * 1000 + occurred[i, 2] // 1_000_000
            if at > now + ages.ahead or at <= now - ages.event:
                status[i] = LEFT
                continue
        else:
            occurred[i, 1], occurred[i, 2] = now // 1000, now % 1000 * 1_000_000
        if known_answer(i, records, np.int64(event[i])) >= 0:
            status[i] = LEFT
            continue
        forget(i, records, ages.touch, now)


@kernel
def open_profiles(events, data, spans, schemas, features, now_ms, profiles, status):  # type: ignore[no-untyped-def]
    """Reads the profiles of these events; returns how many have a schema section that is not known yet.

    These have the status UNKNOWN_SCHEMA: to be read again once it was learnt.
    """
    unknown = 0
    for n in range(len(events)):
        i = events[n]
        if status[i] == LEFT:
            continue
        status[i] = read_profile(data, spans[i, 0], spans[i, 1], i, now_ms[i], schemas, features, profiles)
        unknown += status[i] == UNKNOWN_SCHEMA
    return unknown


@kernel
def ensure_windows(events, records, plans, ages, now_ms, status):  # type: ignore[no-untyped-def]
    """Gives every customer the windows of the rule set."""
    for n in range(len(events)):
        i = events[n]
        if status[i] == FINE:
            ensure(i, records, plans, now_ms[i])
            if counted_before(i, records, plans, now_ms[i] - ages.event):
                status[i] = LEFT


@part
def _bit(planes, row, column):  # type: ignore[no-untyped-def]
    return (planes[row >> 6, column] >> _U(row & 63)) & _U(1) != 0


@kernel
def count_events(  # type: ignore[no-untyped-def]
    order, kinds, counted, values, value_ok, trues, possibles, hashes, occurred, now_ms, plans, zones, records, status
):
    """Adds every event to its customer's windows.

    order, kinds (rows,)           the event of each row and the plan's number of its type
    values .. possibles            results of `evaluate` for the plan of windows, values as int64
    hashes                         of texts, by their codes
    """
    for row in range(len(order)):
        i = order[row]
        if status[i] != FINE:
            continue
        at_ms = occurred[i, 1] * 1000 + occurred[i, 2] // 1_000_000
        for k in range(counted.spans[kinds[row], 0], counted.spans[kinds[row], 1]):
            where, amount, column = counted.rows[k, WHERE], counted.rows[k, AMOUNT], counted.rows[k, COLUMN]
            if where >= 0 and not _bit(trues, row, where):
                continue
            first, second = counted.rows[k, FIRST], counted.rows[k, SECOND]
            if amount == TRUTH:
                first = np.int64(_bit(trues, row, column))
                if not first and _bit(possibles, row, column):
                    continue
            elif amount in (ONE_CELL, TWO_CELLS, TEXT):
                if not _bit(value_ok, row, column):
                    continue
                first = values[column, row]
                if amount == TWO_CELLS:
                    second = values[column + 1, row]
                elif amount == TEXT:
                    first = hashes[first]
            if (
                observe(
                    i, records, plans, counted.rows[k, WINDOW], at_ms, now_ms[i],
                    zones.of[i], zones.starts, zones.at_s, zones.offset_s, first, second,
                ) != FINE
            ):  # fmt: skip
                status[i] = LEFT
                break


@kernel
def text_hashes(start, known, codes, data, hashes):  # type: ignore[no-untyped-def]
    """Hashes of texts by their codes: of constants those `known`, of the others from a `start` of BLAKE2b."""
    for code in range(codes.first):
        hashes[code] = known[code]
    scratch = hashes[len(hashes) - 8 :].view(np.uint64)
    for k in range(codes.used[0]):
        digest(start, data, codes.fresh[k, 0], codes.fresh[k, 1], scratch)
        hashes[codes.first + k] = np.int64(scratch[0])


@kernel
def read_windows(events, now_ms, plans, shown, zones, records, windows, kept, status):  # type: ignore[no-untyped-def]
    """Reads every window of these events' customers into `windows` (events, W, 2) and `kept` (events, W)."""
    for n in range(len(events)):
        i = events[n]
        if status[i] != FINE:
            continue
        for w in range(len(shown.rows)):
            state, first, second = show(
                i, records, plans, shown, w, now_ms[i], zones.of[i], zones.starts, zones.at_s, zones.offset_s
            )
            if state == UNKNOWN:
                status[i] = LEFT
                break
            kept[i, w], windows[i, w, 0], windows[i, w, 1] = state, first, second
