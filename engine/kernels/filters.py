"""The filters between the rules and the draw, in the order of the design. The twin is `engine.step.filters`."""

from __future__ import annotations

import numpy as np

from engine.kernels import arena as a
from engine.kernels.compiled import inlined, kernel, part
from engine.kernels.consent import ALLOWED, blocks_channel, consent, opted_out_ms
from engine.kernels.hours import SEND as AT_ONCE
from engine.kernels.hours import TO_STEP, send_time
from engine.kernels.limits import FREE, stopped_by_limits
from engine.kernels.messages import (
    ALL_FIT,
    ALWAYS,
    ASSIGNED_UNFIT,
    AT_MS,
    BLOCKED_CHANNEL,
    CHANNEL,
    CHANNEL_AT,
    CHANNEL_END,
    CHANNEL_ROW,
    CONDITION,
    CONSENT,
    ENROLS,
    FITTING,
    FLOATING,
    HOURS,
    IS_STICKY,
    KEY,
    LEARNED,
    LEFT_OUT,
    LIMITS,
    MESSAGE,
    NEVER,
    NO_CHANNEL,
    NO_WEIGHT,
    NOT_FIT,
    OUTCOMES,
    OUTSIDE,
    OVER,
    OWN_SHARES,
    PAUSE,
    POLICY,
    PURPOSE,
    QUIET,
    RANK,
    RESERVE,
    SHARE_FIT,
    SHARE_M,
    SHARE_MODEL,
    SHARE_VERSION,
    SHARES,
    SHARES_FROM,
    SHARES_WANTED,
    STATUS,
    STICKY,
    STOP_CODE,
    STOP_COUNT,
    STOP_FREES,
    STOP_STAGE,
    STOP_X,
    STOP_Y,
    SUPPRESSION,
    TEXT,
    TIER,
    TO_PYTHON,
    TOPIC_AT,
    TOPIC_END,
    TOUCHES_MAX,
    TRIAL,
    VALUE,
    VARIANT_AT,
    VARIANT_END,
    VARIANT_NO,
    VARIANT_SHARE,
)
from engine.kernels.suppression import FREE as NOT_SUPPRESSED
from engine.kernels.suppression import stopped_by_outcomes


@inlined
def true_at(planes, row, column):  # type: ignore[no-untyped-def]
    return (planes[row >> 6, column] >> np.uint64(row & 63)) & np.uint64(1) != 0


@inlined
def value_of(m, row, messages, facts):  # type: ignore[no-untyped-def]
    """A message's value; minus infinity where it has none."""
    column = messages.table[m, VALUE]
    if column < 0:
        return messages.constant[m]
    if not true_at(facts.value_ok, row, column):
        return -np.inf
    value = facts.values[column, row]
    return value + 0.0 if np.isfinite(value) else -np.inf


@inlined
def wait_of(m, i, messages, hours, customers, own_from, own_to, zones, scratch):  # type: ignore[no-untyped-def]
    """Where in `scratch.waits` stands when a message may be sent: worked out once an event for each rule of hours."""
    quiet, can_wait = messages.table[m, QUIET], messages.table[m, TIER] != 1
    place = 2 * (quiet + 1) + (1 if can_wait else 0)
    if scratch.waits[place, 0] != i:
        at, code, frees = send_time(
            customers.now_ms[i], quiet, hours, own_from if can_wait else -1, own_to if can_wait else -1,
            zones.of[i], zones.starts, zones.at_s, zones.offset_s,
        )  # fmt: skip
        scratch.waits[place, 0], scratch.waits[place, 1] = i, at
        scratch.waits[place, 2], scratch.waits[place, 3] = code, frees
    return place


@part
def _channel(m, i, row, data, messages, facts, customers):  # type: ignore[no-untyped-def]
    """The first channel that is permitted, as a row of `channels`; else -1 - the first that the customer blocked,
    or -1 - the end where none was."""
    blocked = messages.table[m, CHANNEL_END]
    for c in range(messages.table[m, CHANNEL_AT], messages.table[m, CHANNEL_END]):
        holds = True
        for k in range(messages.channels[c, 0], messages.channels[c, 1]):
            holds &= true_at(facts.trues, row, messages.conditions[k])
        if not holds:
            continue
        begin, end = messages.channels[c, 3], messages.channels[c, 4]
        if blocks_channel(data, customers.contact[i, 0], customers.contact[i, 1], messages.names, begin, end):
            if blocked == messages.table[m, CHANNEL_END]:
                blocked = c
            continue
        return c
    return -1 - blocked


@part
def _unfit(text, row, messages, facts):  # type: ignore[no-untyped-def]
    """The place of the first slot of a text that has no value, -1 where all have."""
    first = messages.texts[text, 0]
    for k in range(first, messages.texts[text, 1]):
        kind, column = messages.slots[k, 0], messages.slots[k, 1]
        if kind == ALWAYS:
            continue
        if kind == NEVER:
            return k - first
        if kind == CONDITION:
            if true_at(facts.possibles, row, column) and not true_at(facts.trues, row, column):
                return k - first
            continue
        fine = true_at(facts.value_ok, row, column)
        if kind == FLOATING:
            fine &= np.isfinite(facts.values[column, row])
        if not fine:
            return k - first
    return -1


@part
def text_of(m, v, c, language, messages, given):  # type: ignore[no-untyped-def]
    """The row of `texts` of a variant in the customer's language for a channel, -1 where there is none."""
    place = given.places[language, messages.variants[v, 1]]
    if place < 0:
        return np.int64(-1)
    first, end = messages.table[m, CHANNEL_AT], messages.table[m, CHANNEL_END]
    return messages.variants[v, 2] + place * (end - first) + (c - first)


@kernel
def share_slot(m, fit, slots):  # type: ignore[no-untyped-def]
    """Where the row of shares of a message and its fitting variants (bits) is searched first."""
    hashed = (np.uint64(m) * np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(fit) * np.uint64(0xC2B2AE3D27D4EB4F))
    return np.int64((hashed >> np.uint64(33)) & np.uint64(len(slots) - 1))


@part
def _shares(m, fit, i, messages, given):  # type: ignore[no-untyped-def]
    """The row of shares of a message and its fitting variants, -1 where nobody has worked it out yet."""
    if messages.table[m, OWN_SHARES]:
        low, high = 0, len(given.own)
        while low < high:
            middle = (low + high) >> 1
            if given.own[middle, 0] < i:
                low = middle + 1
            else:
                high = middle
        while low < len(given.own) and given.own[low, 0] == i:
            found = given.own[low, 1]
            if given.shares[found, SHARE_M] == m and given.shares[found, SHARE_FIT] == fit:
                return found
            low += 1
        return np.int64(-1)
    slot = share_slot(m, fit, given.share_slots)
    while given.share_slots[slot] >= 0:
        found = np.int64(given.share_slots[slot])
        if given.shares[found, SHARE_M] == m and given.shares[found, SHARE_FIT] == fit:
            return found
        slot = (slot + 1) & (len(given.share_slots) - 1)
    return np.int64(-1)


@part
def _assigned(m, i, messages, records):  # type: ignore[no-untyped-def]
    """The row of the customer's assignment in the message's sticky trial, -1 where there is none."""
    first = records.rec[i, a.ASSIGN_AT]
    for k in range(first, first + records.rec[i, a.ASSIGN_N]):
        if records.assigned[k, 0] == messages.table[m, POLICY] and records.assigned[k, 1] == messages.table[m, KEY]:
            return k
    return np.int64(-1)


@inlined
def say(out, i, m, c, stage, code, x, y, count, frees):  # type: ignore[no-untyped-def]
    """Notes where a message stopped."""
    rows = out.rows
    rows[i, MESSAGE], rows[i, CHANNEL_ROW], rows[i, STOP_STAGE], rows[i, STOP_CODE] = m, c, stage, code
    rows[i, STOP_X], rows[i, STOP_Y], rows[i, STOP_COUNT], rows[i, STOP_FREES] = x, y, count, frees


@part
def _variants(m, c, i, row, messages, given, facts, records, customers, out):  # type: ignore[no-untyped-def]
    """Which variants of a message can be said, and by which shares: whether there is one.

    Else what stopped it is noted, or TO_PYTHON or SHARES_WANTED.
    """
    table, rows = messages.table, out.rows
    first, end = table[m, VARIANT_AT], table[m, VARIANT_END]
    fit, unfit, unfit_slot = np.int64(0), np.int64(-1), np.int64(-1)
    for v in range(first, end):
        text = text_of(m, v, c, customers.language[i], messages, given)
        slot = np.int64(-1) if text < 0 else _unfit(text, row, messages, facts)
        if text >= 0 and slot < 0:
            fit |= np.int64(1) << (v - first)
        elif unfit < 0:
            unfit, unfit_slot = v - first, slot
    if fit == 0:
        say(out, i, m, c, TEXT, NOT_FIT, unfit, unfit_slot, 0, 0)
        return False
    rows[i, FITTING], rows[i, IS_STICKY], rows[i, SHARES] = fit, 0, -1
    if table[m, ENROLS]:
        shares = _shares(m, fit, i, messages, given)
        if shares < 0:
            rows[i, STATUS], rows[i, MESSAGE] = SHARES_WANTED, m
            return False
        how = -given.shares[shares, SHARE_VERSION]
        if how > OVER:
            rows[i, STATUS] = TO_PYTHON
            return False
        if how >= OUTSIDE:
            rows[i, SHARES] = shares
            for k in range(SHARES_FROM, given.shares.shape[1]):
                if given.shares[shares, k] > 0:
                    return True
            say(out, i, m, c, TRIAL, LEFT_OUT + how, -1, -1, 0, 0)
            return False
    if table[m, STICKY]:
        found = _assigned(m, i, messages, records)
        if found >= 0:
            for v in range(first, end):
                if messages.variants[v, 0] == records.assigned[found, 2] and (fit >> (v - first)) & 1:
                    rows[i, IS_STICKY], rows[i, VARIANT_NO] = 1, v - first
                    rows[i, VARIANT_SHARE] = records.assigned[found, 3]
                    return True
            say(out, i, m, c, TRIAL, ASSIGNED_UNFIT, -1, -1, 0, 0)
            return False
    if table[m, ALL_FIT] and unfit >= 0:
        say(out, i, m, c, TRIAL, NOT_FIT, unfit, unfit_slot, 0, 0)
        return False
    shares = _shares(m, fit, i, messages, given)
    if shares < 0:
        rows[i, STATUS], rows[i, MESSAGE] = SHARES_WANTED, m
        return False
    rows[i, SHARES] = shares
    if given.shares[shares, SHARE_MODEL] >= 0:  # a linear policy leaves no variant out; its shares are for the drawn
        return True
    for k in range(SHARES_FROM, given.shares.shape[1]):
        if given.shares[shares, k] > 0:
            return True
    say(out, i, m, c, TRIAL, NO_WEIGHT, -1, -1, 0, 0)
    return False


@part
def _may_be_suppressed(m, i, messages, records):  # type: ignore[no-untyped-def]
    """Whether what came of earlier messages could suppress this one: most customers have no such touch."""
    outcomes, most = messages.table[m, OUTCOMES], messages.table[m, TOUCHES_MAX]
    if most > 0 and records.rec[i, a.TOUCH_N] >= most:
        return True
    seen, first = np.int64(0), records.rec[i, a.TOUCH_AT]
    for k in range(first, first + records.rec[i, a.TOUCH_N]):
        seen |= records.touches[k, a.FLAGS]
    return seen & outcomes != 0


@part
def consider(  # type: ignore[no-untyped-def]
    m, i, row, value, wait, live, data, messages, given, limits, facts, records, customers, zones, scratch, out
):
    """Runs one message through the filters that follow its own rules: whether it may be said.

    Else what stopped it is noted in the event's row, or its status says that it cannot be told here. Its rank is noted
    where it has one.
    """
    table = messages.table
    begin, end = customers.contact[i, 0], customers.contact[i, 1]
    if given.paused[m]:
        say(out, i, m, -1, PAUSE, 0, -1, -1, 0, 0)
        return False
    purpose = table[m, PURPOSE]
    code = consent(
        data, begin, end, messages.names, messages.purposes[purpose, 1], messages.purposes[purpose, 2],
        messages.purposes[purpose, 3] != 0, opted_out_ms(records, i, messages.purposes[purpose, 0]),
        table[m, TOPIC_AT], table[m, TOPIC_END],
    )  # fmt: skip
    if code != ALLOWED:
        say(out, i, m, -1, CONSENT, code, -1, -1, 0, 0)
        return False
    if _may_be_suppressed(m, i, messages, records):
        code, index, count, frees = stopped_by_outcomes(i, records, limits, m, customers.now_ms[i])
        if code == TO_STEP:
            out.rows[i, STATUS] = TO_PYTHON
            return False
        if code != NOT_SUPPRESSED:
            say(out, i, m, -1, SUPPRESSION, code, index, -1, count, frees)
            return False
    c = _channel(m, i, row, data, messages, facts, customers)
    if c < 0:
        blocked = -1 - c
        none = blocked == table[m, CHANNEL_END]
        say(out, i, m, -1, CHANNEL, NO_CHANNEL if none else BLOCKED_CHANNEL, -1 if none else blocked, -1, 0, 0)
        return False
    at_ms, code, frees = scratch.waits[wait, 1], scratch.waits[wait, 2], scratch.waits[wait, 3]
    if code != AT_ONCE:
        say(out, i, m, c, HOURS, code, table[m, QUIET], -1, 0, frees)
        return False
    code, index, count, frees = stopped_by_limits(
        i, records, scratch.live, live, scratch.times, limits, m, messages.channels[c, 2], at_ms,
        zones.of[i], zones.starts, zones.at_s, zones.offset_s,
    )  # fmt: skip
    if code == TO_STEP:
        out.rows[i, STATUS] = TO_PYTHON
        return False
    if code != FREE:
        say(out, i, m, c, LIMITS, code, index, -1, count, frees)
        return False
    if not _variants(m, c, i, row, messages, given, facts, records, customers, out):
        return False
    rank = value
    if table[m, LEARNED] and np.isfinite(value):
        shares = out.rows[i, SHARES]
        rank = value * given.rates[shares, 0] * given.rates[shares, 1]
    if not np.isfinite(rank):
        say(out, i, m, c, RANK, 0, -1, -1, 0, 0)
        return False
    out.ranks[i] = rank = rank + 0.0  # 0 has one sign
    if rank < messages.reserve[m]:
        say(out, i, m, c, RESERVE, 0, -1, -1, 0, 0)
        return False
    out.rows[i, CHANNEL_ROW], out.rows[i, AT_MS] = c, at_ms
    return True
