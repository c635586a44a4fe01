"""Suppression after outcomes, over the touches of a record. The twin is `engine.contact.suppression`."""

from __future__ import annotations

import numpy as np

from engine.kernels.arena import AT_MS, EVENT, FLAGS, REPORT_BY_MS, SLOT, TOUCH_AT, TOUCH_N
from engine.kernels.compiled import kernel, part
from engine.kernels.hours import TO_STEP
from engine.kernels.limits import (
    FAR_MS,
    M_HELD,
    RELEASED,
    S_BIT,
    S_FROM,
    S_LASTS_MS,
    S_PER,
    S_TIMES,
    S_TO,
    S_WITHIN_MS,
    WITHHELD,
    counts,
    lacks_of,
)

# Codes of `stopped_by_outcomes`, but TO_STEP
FREE, CONVERTED, DECLINED, IGNORED = range(4)
CONVERTED_BIT, DECLINED_BIT = 1 << 14, 1 << 16  # as TouchFlag.outcome has them
REACTIONS = 0b1111111 << 11  # all outcomes but delivered and not delivered


@part
def _told(i, k, s, records, limits, m):  # type: ignore[no-untyped-def]
    """Whether a rule counts the touch in row k: never one that was withheld."""
    row = limits.suppress[s]
    return not records.touches[k, FLAGS] & WITHHELD and counts(
        row[S_PER], limits.counted, row[S_FROM], row[S_TO], records.touches, k, limits.messages, limits.names,
        limits.names_at, m, np.int64(0),
    )  # fmt: skip


@part
def _later(touches, k, other):  # type: ignore[no-untyped-def]
    """Whether the touch in row k comes after another one, by time, event and slot."""
    if touches[k, AT_MS] != touches[other, AT_MS]:
        return touches[k, AT_MS] > touches[other, AT_MS]
    if touches[k, EVENT] != touches[other, EVENT]:
        return np.uint64(touches[k, EVENT]) > np.uint64(touches[other, EVENT])
    return touches[k, SLOT] > touches[other, SLOT]


@part
def _counted(i, k, s, reacted, records, limits, m, now_ms):  # type: ignore[no-untyped-def]
    """Whether the touch in row k is one of those that the rule waits for; `reacted` is the row of the last reaction."""
    flags, bit = records.touches[k, FLAGS], limits.suppress[s, S_BIT]
    if bit:
        return flags & bit != 0 and _told(i, k, s, records, limits, m)
    if flags & (REACTIONS | RELEASED) or records.touches[k, REPORT_BY_MS] > now_ms:
        return False
    return (reacted < 0 or _later(records.touches, k, reacted)) and _told(i, k, s, records, limits, m)


@part
def _last_reaction(i, s, records, limits, m):  # type: ignore[no-untyped-def]
    """The row of the last touch that brought a reaction, -1 where none did."""
    first, found = records.rec[i, TOUCH_AT], np.int64(-1)
    for k in range(first, first + records.rec[i, TOUCH_N]):
        if (
            records.touches[k, FLAGS] & REACTIONS
            and (found < 0 or _later(records.touches, k, found))
            and _told(i, k, s, records, limits, m)
        ):
            found = np.int64(k)
    return found


@kernel
def stopped_by_outcomes(i, records, limits, m, now_ms):  # type: ignore[no-untyped-def]
    """Why earlier outcomes forbid message m: (code, index in `limits.suppress`, count, frees_at_ms)."""
    first, held, lacks = records.rec[i, TOUCH_AT], limits.messages[m, M_HELD], lacks_of(limits.messages, m, 0)
    last = first + records.rec[i, TOUCH_N]
    for n in range(limits.suppress_at[held], limits.suppress_at[held + 1]):
        s = limits.suppress_of[n]
        row = limits.suppress[s]
        if row[S_PER] & lacks:
            continue
        reacted = np.int64(-1) if row[S_BIT] else _last_reaction(i, s, records, limits, m)
        count, last_ms = 0, np.int64(0)
        for k in range(first, last):
            if not _counted(i, k, s, reacted, records, limits, m, now_ms):
                continue
            at_ms = records.touches[k, AT_MS]
            if not -FAR_MS < at_ms < FAR_MS:
                return TO_STEP, s, 0, 0
            last_ms = at_ms if count == 0 else max(last_ms, at_ms)
            count += 1
        if row[S_WITHIN_MS]:
            count = 0
            for k in range(first, last):
                if records.touches[k, AT_MS] > last_ms - row[S_WITHIN_MS] and _counted(
                    i, k, s, reacted, records, limits, m, now_ms
                ):
                    count += 1
        if count >= row[S_TIMES] and last_ms + row[S_LASTS_MS] > now_ms:
            code = IGNORED if not row[S_BIT] else CONVERTED if row[S_BIT] == CONVERTED_BIT else DECLINED
            return code, s, count, last_ms + row[S_LASTS_MS]
    return FREE, 0, 0, 0
