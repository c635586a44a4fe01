"""Quiet hours and the customer's own hours: when may something be sent, and until when.

The twin is `engine.contact.hours`. A zone is its number in `engine.zones.ZONES`, followed by the arrays of the
table; UNKNOWN where the customer has none, or one that nobody knows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.kernels.calendar import local_day, offset
from engine.kernels.compiled import kernel, part

I64 = npt.NDArray[np.int64]

_DAY_S = 86_400
_DAY_M = 1_440

FIRST_MS, LAST_MS = 0, 4_086_547_200_000  # moments before 2099-07-01: the tables of zones end with that year
UNKNOWN, OWN = -1, -2  # zones: nobody knows; the customer's own
DEFER, DROP = 0, 1  # what quiet hours do with a message
TO_STEP = -1  # a code, and a moment: left to the step in Python
UNBOUND = 2**63 - 1  # a moment that never ends

# Codes of `send_time` but TO_STEP, with the cause that the twin gives:
SEND = 0
QUIET_ZONE = 1  # quiet hours: the customer's time zone is unknown
OWN_ZONE = 2  # outside preferred hours: the customer's time zone is unknown
QUIET = 3  # quiet hours that drop; with the moment at which they end
OUTSIDE = 4  # outside the hours the customer chose; with the moment at which they begin
NO_HOUR = 5  # quiet hours: the customer's hours lie within them


class Hours(NamedTuple):
    """The quiet hours of a rule set, a row each; minutes of the day, from `start` until before `end`."""

    start: I64
    end: I64
    then: I64  # DEFER or DROP
    zone: I64  # of the clock they go by: a number, UNKNOWN or OWN
    guess: I64  # 1: where the customer's zone is unknown, others stand for it; that is left to the step


@part
def _inside(second, start, end):  # type: ignore[no-untyped-def]
    """Whether a second of the day lies between two minutes of it, which may span midnight."""
    if start <= end:
        return start * 60 <= second < end * 60
    return second >= start * 60 or second < end * 60


@part
def _second_of_day(at_ms, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    second = at_ms // 1000
    return (second + offset(second, zone, starts, at_s, offset_s)) % _DAY_S


@part
def _utc(wall, fold, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The UTC second at which the clock shows `wall`; of one shown twice or skipped, what `datetime` has for a fold."""
    low, high = starts[zone], starts[zone + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        before, after = offset_s[middle - 1], offset_s[middle]
        if at_s[middle] + (min(before, after) if fold else max(before, after)) <= wall:
            low = middle
        else:
            high = middle
    return wall - offset_s[low]


@part
def _change(low, high, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The second at which the offset ends that holds at `low`, before `high`: bisected as the twin does, which
    matters where there are two such changes."""
    before = offset(low, zone, starts, at_s, offset_s)
    while high - low > 1:
        middle = (low + high) >> 1
        if offset(middle, zone, starts, at_s, offset_s) == before:
            low = middle
        else:
            high = middle
    return high


@part
def _after_jump(near, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The second at which the clock jumps, within a day of one that it jumps over."""
    return _change(near - _DAY_S, near + _DAY_S, zone, starts, at_s, offset_s)


@kernel
def next_wall(at_ms, zone, minute, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The first moment after `at_ms` at which the clock of a zone shows `minute` of the day, in ms.

    Where the clock jumps over it, the moment right after the jump; where it shows it twice, the first of the
    two that is still ahead. TO_STEP where the tables do not reach. `zone` is a number of the table.
    """
    if not (FIRST_MS <= at_ms < LAST_MS and 0 <= minute < _DAY_M):
        return TO_STEP
    day = local_day(at_ms // 1000, zone, starts, at_s, offset_s)
    for ahead in range(3):
        wall = (day + ahead) * _DAY_S + minute * 60
        for fold in range(2):
            at = _utc(wall, fold, zone, starts, at_s, offset_s)
            if at + offset(at, zone, starts, at_s, offset_s) != wall:
                at = _after_jump(at, zone, starts, at_s, offset_s)
            if at * 1000 > at_ms:
                return at * 1000
    return TO_STEP


@part
def _begins(at_ms, start, end, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """The first moment after one outside of these hours that lies within them, in ms, or TO_STEP.

    The clock shows their beginning, or it was set back to a time within them.
    """
    begins_ms = next_wall(at_ms, zone, start, starts, at_s, offset_s)
    low, high = at_ms // 1000, at_ms // 1000 + _DAY_S
    if begins_ms == TO_STEP:
        return begins_ms
    if offset(low, zone, starts, at_s, offset_s) != offset(high, zone, starts, at_s, offset_s):
        changes_ms = _change(low, high, zone, starts, at_s, offset_s) * 1000
        second = _second_of_day(changes_ms, zone, starts, at_s, offset_s)
        if changes_ms < begins_ms and _inside(second, start, end):
            return changes_ms
    return begins_ms


@part
def _quiet(at_ms, start, end, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Whether it is quiet, where there are quiet hours at all."""
    return start >= 0 and _inside(_second_of_day(at_ms, zone, starts, at_s, offset_s), start, end)


@part
def _pushed(  # type: ignore[no-untyped-def]
    now_ms, start, end, drops, declared, own_from, own_to, zone, starts, at_s, offset_s
):
    """`send_time` where some hours hold and their clocks are known; of hours that do not hold, the start is -1."""
    at_ms = now_ms
    for _ in range(8):  # the two kinds of hours may push each other on
        if _quiet(at_ms, start, end, declared, starts, at_s, offset_s):
            ends_ms = next_wall(at_ms, declared, end, starts, at_s, offset_s)
            if ends_ms == TO_STEP:
                return now_ms, TO_STEP, 0
            if drops:
                return now_ms, QUIET, ends_ms
            at_ms = ends_ms
        if own_from < 0 or _inside(_second_of_day(at_ms, zone, starts, at_s, offset_s), own_from, own_to):
            if not _quiet(at_ms, start, end, declared, starts, at_s, offset_s):
                return at_ms, SEND, 0
            continue
        opens_ms = next_wall(at_ms, zone, own_from, starts, at_s, offset_s)
        if opens_ms == TO_STEP:
            return now_ms, TO_STEP, 0
        if drops:
            return now_ms, OUTSIDE, opens_ms
        at_ms = opens_ms
    return now_ms, NO_HOUR, 0


@kernel
def send_time(now_ms, quiet, hours, own_from, own_to, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """When to send: (at_ms, code, frees_at_ms), where `at_ms` is for SEND only and `frees_at_ms` else 0.

    `quiet` is the row of the message's quiet hours in `hours`, -1 for none; `own_from` and `own_to` are the
    minutes of the customer's own hours, -1 for none, and for purposes of tier 1, which they do not hold.
    """
    preferred = own_from >= 0
    if quiet < 0 and not preferred:
        return now_ms, SEND, 0
    if not FIRST_MS <= now_ms < LAST_MS or (preferred and not (own_from < _DAY_M and 0 <= own_to < _DAY_M)):
        return now_ms, TO_STEP, 0
    declared, start, end, drops = zone, -1, -1, True  # without quiet hours, those of the customer's own do not defer
    if quiet >= 0:
        start, end, drops = hours.start[quiet], hours.end[quiet], hours.then[quiet] == DROP
        if hours.zone[quiet] != OWN:
            declared = hours.zone[quiet]
        if declared < 0 and hours.guess[quiet]:
            return now_ms, TO_STEP, 0
        if declared < 0:
            return now_ms, QUIET_ZONE, 0
    if preferred and zone < 0:
        return now_ms, OWN_ZONE, 0
    return _pushed(now_ms, start, end, drops, declared, own_from, own_to, zone, starts, at_s, offset_s)


@kernel
def closes(at_ms, quiet, hours, own_from, own_to, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """When a moment that may be sent at stops being one, in ms: quiet hours begin, or the customer's own end.

    UNBOUND where nothing bounds it, TO_STEP where the tables do not reach. Arguments as those of `send_time`.
    """
    ends_ms = UNBOUND
    if quiet >= 0:
        declared = zone if hours.zone[quiet] == OWN else hours.zone[quiet]
        if declared >= 0:
            ends_ms = _begins(at_ms, hours.start[quiet], hours.end[quiet], declared, starts, at_s, offset_s)
    if own_from >= 0 and zone >= 0:
        ends_ms = min(ends_ms, _begins(at_ms, own_to, own_from, zone, starts, at_s, offset_s))
    return ends_ms
