"""Frequency caps and gaps over the touches of a record: how many a customer bears, and how far apart.

The twin is `stopped_by_limits` of `engine.contact.caps`, for messages that do not say what they are about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.kernels.arena import (
    AT_MS,
    CHANNEL,
    FLAGS,
    MESSAGE,
    PRODUCT,
    PURPOSE,
    SINCE_MS,
    STAGE,
    TOPIC,
    TOUCH_AT,
    TOUCH_N,
)
from engine.kernels.calendar import civil, day_of, local_day, utc_second
from engine.kernels.compiled import kernel, part
from engine.kernels.contact import rolling_load
from engine.kernels.hours import FIRST_MS, LAST_MS, TO_STEP

I64 = npt.NDArray[np.int64]

MAX_TOUCHES = 512  # a full touch log is a cap reached, never an eviction; the length of both scratch arrays
RELEASED, WITHHELD = 1, 2  # bits of state.model.TouchFlag
FAR_MS = 2**60  # beyond it times do not add up in 64 bits
_DAY_S = 86_400
_ZONE_SPREAD_MS = 26 * 3_600_000  # UTC-12 to UTC+14

# Columns of `messages`: the row of `cap_at` and `gap_at`, and the hashes that a touch would have (0: none).
M_HELD, M_PURPOSE, M_TOPIC, M_PRODUCT, M_STAGE = range(5)
LIMIT_MESSAGE = 5

# Columns of `caps` and `gaps`. *_FROM and *_TO: whose touches count, a range of `counted`.
# C_SPAN_MS: of a rolling cap its span, of a calendar one how far back its unit can reach at most.
C_AT_MOST, C_PER, C_SPAN_MS, C_UNIT, C_FROM, C_TO = range(6)
CAP_ROW = 6
G_APART_MS, G_PER, G_FROM, G_TO = range(4)
GAP_ROW = 4

# Columns of `suppress`. S_BIT: the outcome's flag, 0 for ignored; S_WITHIN_MS: 0 for whenever it was.
S_BIT, S_TIMES, S_WITHIN_MS, S_LASTS_MS, S_PER, S_FROM, S_TO = range(7)
SUPPRESS_ROW = 7

ROLLING, DAY, WEEK, MONTH = range(4)  # units of caps

# Bits of `per`; the customer is always meant.
BY_MESSAGE, BY_CHANNEL, BY_PURPOSE, BY_TOPIC, BY_PRODUCT, BY_STAGE, BY_ABOUT = 1, 2, 4, 8, 16, 32, 64

# Codes of `stopped_by_limits`, but TO_STEP
FREE, FULL, CAP, GAP, CAP_FORGETS, GAP_FORGETS = range(6)


class Limits(NamedTuple):
    """Caps and gaps of a rule set in the order written, and which of them hold each message. Hashes are int64."""

    messages: I64  # (messages, LIMIT_MESSAGE)
    names: I64  # present and former names of message m: names[names_at[m] : names_at[m + 1]]
    names_at: I64
    caps: I64  # (caps, CAP_ROW)
    gaps: I64  # (gaps, GAP_ROW)
    counted: I64  # purposes
    cap_at: I64  # the caps of M_HELD h: cap_of[cap_at[h] : cap_at[h + 1]]
    cap_of: I64
    gap_at: I64  # and its gaps likewise
    gap_of: I64
    suppress: I64  # (rules, SUPPRESS_ROW): see `suppression`
    suppress_at: I64  # the rules of M_HELD h, as of caps
    suppress_of: I64
    history: I64  # (1,): what was sent before it may be forgotten, of those who were here by then; ms


@kernel
def live_touches(i, records, shadow, live):  # type: ignore[no-untyped-def]
    """Writes to `live` (int64[MAX_TOUCHES]) the rows of `records.touches` that count for event i, by their time.

    How many they are, or TO_STEP where a time is out of all reason. `shadow` (0 or 1): whether withheld ones
    count too, as for customers held out. Of a full log none is written. To be asked once an event, and again
    after a booking.
    """
    touches, first, remembered, count = records.touches, records.rec[i, TOUCH_AT], records.rec[i, TOUCH_N], 0
    if remembered >= MAX_TOUCHES:
        return 0
    unseen = RELEASED if shadow else RELEASED | WITHHELD
    for row in range(first, first + remembered):
        if touches[row, FLAGS] & unseen:
            continue
        at_ms = touches[row, AT_MS]
        if not -FAR_MS < at_ms < FAR_MS:
            return TO_STEP
        place = count  # they come nearly in order
        while place > 0 and touches[live[place - 1], AT_MS] > at_ms:
            live[place] = live[place - 1]
            place -= 1
        live[place] = row
        count += 1
    return count


@kernel
def calendar_span(unit, at_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """[start, end) in ms of the calendar day, week (from Monday) or month around a moment within the tables.

    Unknown zone (-1): the span that covers it wherever the customer may be.
    """
    second = at_ms // 1000
    day = local_day(second, zone, starts, at_s, offset_s) if zone >= 0 else second // _DAY_S
    if unit == DAY:
        begin, end = day, day + 1
    elif unit == WEEK:
        begin = day - (day + 3) % 7  # 1970-01-01 was a Thursday
        end = begin + 7
    else:
        year, month, _ = civil(day)
        begin = day_of(year, month, 1)
        end = day_of(year + month // 12, month % 12 + 1, 1)
    if zone < 0:
        return begin * _DAY_S * 1000 - _ZONE_SPREAD_MS, end * _DAY_S * 1000 + _ZONE_SPREAD_MS
    return (
        utc_second(begin * _DAY_S, zone, starts, at_s, offset_s) * 1000,
        utc_second(end * _DAY_S, zone, starts, at_s, offset_s) * 1000,
    )


@part
def lacks_of(messages, m, channel):  # type: ignore[no-untyped-def]
    """Bits of what a message has none of: a cap per topic does not hold one without a topic, and so on."""
    lacks = BY_ABOUT
    if channel == 0:
        lacks |= BY_CHANNEL
    if messages[m, M_PURPOSE] == 0:
        lacks |= BY_PURPOSE
    if messages[m, M_TOPIC] == 0:
        lacks |= BY_TOPIC
    if messages[m, M_PRODUCT] == 0:
        lacks |= BY_PRODUCT
    if messages[m, M_STAGE] == 0:
        lacks |= BY_STAGE
    return lacks


@part
def counts(per, counted, begin, end, touches, row, messages, names, names_at, m, channel):  # type: ignore[no-untyped-def]
    """Whether a cap or gap of those counted purposes sees a touch beside the new one."""
    k = begin
    while k < end and counted[k] != touches[row, PURPOSE]:
        k += 1
    if k == end or (per & BY_CHANNEL and touches[row, CHANNEL] != channel):
        return False
    if per & BY_PURPOSE and touches[row, PURPOSE] != messages[m, M_PURPOSE]:
        return False
    if per & BY_TOPIC and touches[row, TOPIC] != messages[m, M_TOPIC]:
        return False
    if per & BY_PRODUCT and touches[row, PRODUCT] != messages[m, M_PRODUCT]:
        return False
    if per & BY_STAGE and touches[row, STAGE] != messages[m, M_STAGE]:
        return False
    if not per & BY_MESSAGE:
        return True
    k = names_at[m]
    while k < names_at[m + 1] and names[k] != touches[row, MESSAGE]:
        k += 1
    return k < names_at[m + 1]


@part
def _frees_at(times, span_ms, at_most):  # type: ignore[no-untyped-def]
    """The first moment at which the cap would let one more through, 0 for never.

    `times` are sorted, and all of them less than a span before the new touch.
    """
    if at_most == 0:
        return 0
    for k in range(times.shape[0]):
        if k > 0 and times[k] == times[k - 1]:
            continue
        if rolling_load(times, times[k] + span_ms, span_ms) < at_most:
            return times[k] + span_ms
    return 0


@part
def _capped(  # type: ignore[no-untyped-def]
    caps, c, counted, touches, live, count, times, messages, names, names_at, m, channel, at_ms,
    zone, starts, at_s, offset_s,
):  # fmt: skip
    """(code, load, frees_at_ms) of one cap that applies."""
    at_most, per, span_ms, unit = caps[c, C_AT_MOST], caps[c, C_PER], caps[c, C_SPAN_MS], caps[c, C_UNIT]
    begin, end = caps[c, C_FROM], caps[c, C_TO]
    first = MAX_TOUCHES
    for k in range(count - 1, -1, -1):
        row = live[k]
        if touches[row, AT_MS] <= at_ms - span_ms:  # too far back for the new touch, and for later ones
            break
        if counts(per, counted, begin, end, touches, row, messages, names, names_at, m, channel):
            first -= 1
            times[first] = touches[row, AT_MS]
    if MAX_TOUCHES - first < at_most:
        return FREE, 0, 0
    near = times[first:MAX_TOUCHES]
    if unit == ROLLING:
        load = rolling_load(near, at_ms, span_ms)
        if load >= at_most:
            return CAP, load, _frees_at(near, span_ms, at_most)
        return FREE, 0, 0
    if not FIRST_MS <= at_ms < LAST_MS:
        return TO_STEP, 0, 0
    start_ms, end_ms = calendar_span(unit, at_ms, zone, starts, at_s, offset_s)
    load = 0
    for k in range(near.shape[0]):
        if start_ms <= near[k] < end_ms:
            load += 1
    if load >= at_most:
        return CAP, load, end_ms
    return FREE, 0, 0


@kernel
def stopped_by_limits(  # type: ignore[no-untyped-def]
    i, records, live, count, times, limits, m, channel, at_ms, zone, starts, at_s, offset_s
):  # fmt: skip
    """Why caps or gaps forbid message m on a channel (its hash) at a moment: (code, index, count, frees_at_ms).

    `live` and `count` are those of `live_touches`, `times` is scratch (int64[MAX_TOUCHES]). FREE: nothing does.
    FULL: the touch log is full, `count` is how many it holds. CAP and GAP: `index` is the place in `caps` or
    `gaps`, `count` what is held against the limit; 0 for `frees_at_ms` is never. TO_STEP: left to the step in
    Python. CAP_FORGETS and GAP_FORGETS: it looks further back than is surely remembered. The zone is the
    customer's number in `engine.zones.ZONES` or -1, and the arrays of the table.
    """
    remembered = records.rec[i, TOUCH_N]
    if remembered >= MAX_TOUCHES:
        return FULL, 0, remembered, 0
    if count < 0 or not -FAR_MS < at_ms < FAR_MS:
        return TO_STEP, 0, 0, 0
    touches, messages, names, names_at = records.touches, limits.messages, limits.names, limits.names_at
    caps, gaps, counted = limits.caps, limits.gaps, limits.counted
    held, lacks = messages[m, M_HELD], lacks_of(messages, m, channel)
    known_ms = limits.history[0] if 0 < records.rec[i, SINCE_MS] < limits.history[0] else 0
    for k in range(limits.cap_at[held], limits.cap_at[held + 1]):
        c = limits.cap_of[k]
        if caps[c, C_PER] & lacks:
            continue
        if caps[c, C_UNIT] == ROLLING and 0 < known_ms > at_ms - caps[c, C_SPAN_MS]:
            return CAP_FORGETS, c, caps[c, C_AT_MOST], known_ms + caps[c, C_SPAN_MS]
        if count < caps[c, C_AT_MOST]:
            continue  # most customers bear less than any cap
        code, load, frees_at_ms = _capped(
            caps, c, counted, touches, live, count, times, messages, names, names_at, m, channel, at_ms,
            zone, starts, at_s, offset_s,
        )  # fmt: skip
        if code != FREE:
            return code, c, load, frees_at_ms
    for k in range(limits.gap_at[held], limits.gap_at[held + 1]):
        g = limits.gap_of[k]
        per, apart_ms = gaps[g, G_PER], gaps[g, G_APART_MS]
        if per & lacks:
            continue
        if 0 < known_ms > at_ms - apart_ms:
            return GAP_FORGETS, g, 1, known_ms + apart_ms
        begin, end = gaps[g, G_FROM], gaps[g, G_TO]
        for n in range(count - 1, -1, -1):  # the last of those too near frees it
            row = live[n]
            touched_ms = touches[row, AT_MS]
            if touched_ms <= at_ms - apart_ms:
                break
            if touched_ms < at_ms + apart_ms and counts(
                per, counted, begin, end, touches, row, messages, names, names_at, m, channel
            ):
                return GAP, g, 1, touched_ms + apart_ms
    return FREE, 0, 0, 0
