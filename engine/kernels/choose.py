"""Which message, and which of its variants: the filters between the rules and the draw, the draw, the booking.

The twins are `engine.step.filters`, `engine.step.choice` and `engine.step.take`. What they know and this does not
(what a message is about, slates, former names of sticky trials, ..) is left to them: LEFT.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels import arena as a
from engine.kernels.compiled import kernel, part
from engine.kernels.consent import ALLOWED, blocks_channel, consent, opted_out_ms, preferred
from engine.kernels.hours import SEND as AT_ONCE
from engine.kernels.hours import TO_STEP, UNBOUND, closes, send_time
from engine.kernels.limits import FREE, live_touches, stopped_by_limits
from engine.kernels.philox import uniform30

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

SHARE_UNIT = 1 << 30
DAY_MS = 86_400_000
WITHHELD, DEFERRED = 2, 4  # flags of a touch, as in state.model
# Filters in their order, as in step.reasons; the first three are the funnel's.
ELIGIBILITY, WHEN, UNLESS, PAUSE, CONSENT, CHANNEL, HOURS, LIMITS, TRIAL, TEXT, RANK = range(1, 12)

# Columns of `Messages.table`.
TIER, PURPOSE, TOPIC, PRODUCT, STAGE, KEY, QUIET, VALUE = range(8)
ELIGIBLE_AT, ELIGIBLE_END, WHEN_AT, UNLESS_AT, CHANNEL_AT, CHANNEL_END, VARIANT_AT, VARIANT_END = range(8, 16)
POLICY, STICKY, ALL_FIT, OWN_SHARES, TOPIC_AT, TOPIC_END, HOLDOUT, LEAVE, BY_NAME = range(16, 25)
MESSAGE_COLUMNS = 25
# Kinds of slots: a value, a double (which must be finite), a condition, a constant, a constant that is none.
PLAIN, FLOATING, CONDITION, ALWAYS, NEVER = range(5)

# Columns of `Chosen.rows`.
STATUS, MESSAGE, VARIANT_NO, TEXT_ROW, AT_MS, SEND_BEFORE, REPORT_BY = range(7)
IS_DEFERRED, SHARES, MESSAGE_SHARE, VARIANT_SHARE, U_MESSAGE, U_VARIANT, IS_STICKY, FITTING = range(7, 15)
STOP_STAGE, STOP_CODE, STOP_X, STOP_Y, STOP_COUNT, STOP_FREES = range(15, 21)
SEEN_AT, FITS, STOPS, OUTRANKED, CHANNEL_ROW = range(21, 26)
ROW = 26
# STATUS: LEFT to the step in Python, shares of variants are wanted first, and what was decided.
TO_PYTHON, SHARES_WANTED, SENDS, HELD_OUT, REFUSED, BY_RULES, NO_RULE = range(1, 8)
# Columns of `Chosen.seen`: the message, what stopped it (stage and the stop's code; stage 0: nothing; -1: outranked),
# rank (bits of a double), share of the draw among messages.
SEEN_MESSAGE, SEEN_STAGE, SEEN_CODE, SEEN_RANK, SEEN_SHARE = range(5)
SEEN = 5
# Codes of stops that are not another kernel's.
NO_CHANNEL, BLOCKED_CHANNEL = 1, 2
NOT_FIT, ASSIGNED_UNFIT, NO_WEIGHT = 1, 2, 3


class Messages(NamedTuple):
    """A rule set's messages. Spans of names lie in `names`; columns are of `trues`, or -1."""

    table: I64  # (M, MESSAGE_COLUMNS)
    constant: F64  # (M,): the value where its column is -1
    eligible: I64  # columns of conditions
    channels: I64  # (.., 5): conditions' begin and end, hash, span of the name
    conditions: I64  # columns
    variants: I64  # (.., 3): key, set of languages, first row in `texts`
    texts: I64  # (.., 2): slots' begin and end; per variant by language and channel
    slots: I64  # (.., 2): kind, column
    purposes: I64  # (P, 4): hash, span of the name, whether consent is required
    names: U8


class Given(NamedTuple):
    """What else a choice depends on: what may change between batches."""

    paused: U8  # (M,)
    places: I64  # (languages, sets): a language's place among a set's, -1 where it has none
    share_slots: NDArray[np.int32]  # a power of two: rows of `shares`, by message and variants; -1
    shares: I64  # (rows, 3 + most variants): message, fitting variants (bits), version, the shares
    own: I64  # (.., 2): an event and a row of `shares` that is its own (shares by segment); ascending by event
    key0: np.uint64  # of the draw
    key1: np.uint64


class Zones(NamedTuple):
    """The tables of `engine.zones.ZONES`, and the zone of every event, -1 where it is unknown."""

    of: I64
    starts: I64
    at_s: I64
    offset_s: I64


class Facts(NamedTuple):
    """What the rules gave, as `evaluate` and `funnel` hand it back; by row."""

    values: F64  # (V, rows)
    value_ok: U64  # (W, V)
    trues: U64  # (W, B)
    possibles: U64  # (W, B)
    starts: I64  # (rows + 1,)
    found: NDArray[np.int32]
    furthest: NDArray[np.int32]
    stage: NDArray[np.int8]


class Customers(NamedTuple):
    """A batch's customers, by event."""

    customer: U64  # (events, 2): the digest
    event: U64  # (events,)
    contact: I64  # (events, 2): span in `data`
    language: I64  # (events,): number of the language
    held_out: U8  # (events,)
    now_ms: I64  # (events,)


class Scratch(NamedTuple):
    """Room for one event."""

    waits: I64  # (2 x quiet hours + 2, 4): event, at, code, frees
    order: I64  # (M, 3): message, whether it waits, stage and code of its stop
    ranks: F64  # (M,)
    live: I64  # (MAX_TOUCHES,)
    times: I64  # (MAX_TOUCHES,)


class Chosen(NamedTuple):
    """Results: a row an event, and the messages looked at."""

    rows: I64  # (events, ROW)
    ranks: F64  # (events,): of the message that was drawn
    seen: I64  # (room, SEEN)
    used: I64  # (1,)


@part
def _true(planes, row, column):  # type: ignore[no-untyped-def]
    return (planes[row >> 6, column] >> np.uint64(row & 63)) & np.uint64(1) != 0


@part
def _rank(m, row, messages, facts):  # type: ignore[no-untyped-def]
    """A message's value; minus infinity where it has none."""
    column = messages.table[m, VALUE]
    if column < 0:
        return messages.constant[m]
    if not _true(facts.value_ok, row, column):
        return -np.inf
    value = facts.values[column, row]
    return value + 0.0 if np.isfinite(value) else -np.inf


@part
def _wait(m, i, messages, hours, customers, own_from, own_to, zones, scratch):  # type: ignore[no-untyped-def]
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
def _before(messages, scratch, m, waits, rank, other):  # type: ignore[no-untyped-def]
    """Whether a message comes before the one at place `other` of the order."""
    n = scratch.order[other, 0]
    tier, tier_n = messages.table[m, TIER], messages.table[n, TIER]
    if tier != tier_n:
        return tier < tier_n
    if waits != scratch.order[other, 1]:
        return waits < scratch.order[other, 1]
    if rank != scratch.ranks[other]:
        return rank > scratch.ranks[other]
    return m < n


@part
def _sort(count, messages, scratch):  # type: ignore[no-untyped-def]
    """The best first: by tier, waiting, rank, number (Shell's sort, Ciura's gaps)."""
    for gap in (1750, 701, 301, 132, 57, 23, 10, 4, 1):
        for k in range(gap, count):
            m, waits, rank = scratch.order[k, 0], scratch.order[k, 1], scratch.ranks[k]
            j = k
            while j >= gap and _before(messages, scratch, m, waits, rank, j - gap):
                scratch.order[j, 0], scratch.order[j, 1] = scratch.order[j - gap, 0], scratch.order[j - gap, 1]
                scratch.ranks[j] = scratch.ranks[j - gap]
                j -= gap
            scratch.order[j, 0], scratch.order[j, 1], scratch.ranks[j] = m, waits, rank


@part
def _channel(m, i, row, data, messages, facts, customers):  # type: ignore[no-untyped-def]
    """The first channel that is permitted, as a row of `channels`; else -1 - the first that the customer blocked,
    or -1 - the end where none was."""
    blocked = messages.table[m, CHANNEL_END]
    for c in range(messages.table[m, CHANNEL_AT], messages.table[m, CHANNEL_END]):
        holds = True
        for k in range(messages.channels[c, 0], messages.channels[c, 1]):
            holds &= _true(facts.trues, row, messages.conditions[k])
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
            if _true(facts.possibles, row, column) and not _true(facts.trues, row, column):
                return k - first
            continue
        fine = _true(facts.value_ok, row, column)
        if kind == FLOATING:
            fine &= np.isfinite(facts.values[column, row])
        if not fine:
            return k - first
    return -1


@part
def _text_of(m, v, c, language, messages, given):  # type: ignore[no-untyped-def]
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
            if given.shares[found, 0] == m and given.shares[found, 1] == fit:
                return found
            low += 1
        return np.int64(-1)
    slot = share_slot(m, fit, given.share_slots)
    while given.share_slots[slot] >= 0:
        found = np.int64(given.share_slots[slot])
        if given.shares[found, 0] == m and given.shares[found, 1] == fit:
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


@part
def _say(out, i, m, c, stage, code, x, y, count, frees):  # type: ignore[no-untyped-def]
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
        text = _text_of(m, v, c, customers.language[i], messages, given)
        slot = np.int64(-1) if text < 0 else _unfit(text, row, messages, facts)
        if text >= 0 and slot < 0:
            fit |= np.int64(1) << (v - first)
        elif unfit < 0:
            unfit, unfit_slot = v - first, slot
    if fit == 0:
        _say(out, i, m, c, TEXT, NOT_FIT, unfit, unfit_slot, 0, 0)
        return False
    rows[i, FITTING], rows[i, IS_STICKY], rows[i, SHARES] = fit, 0, -1
    if table[m, STICKY]:
        found = _assigned(m, i, messages, records)
        if found >= 0:
            for v in range(first, end):
                if messages.variants[v, 0] == records.assigned[found, 2] and (fit >> (v - first)) & 1:
                    rows[i, IS_STICKY], rows[i, VARIANT_NO] = 1, v - first
                    rows[i, VARIANT_SHARE] = records.assigned[found, 3]
                    return True
            _say(out, i, m, c, TRIAL, ASSIGNED_UNFIT, -1, -1, 0, 0)
            return False
    if table[m, ALL_FIT] and unfit >= 0:
        _say(out, i, m, c, TRIAL, NOT_FIT, unfit, unfit_slot, 0, 0)
        return False
    shares = _shares(m, fit, i, messages, given)
    if shares < 0:
        rows[i, STATUS], rows[i, MESSAGE] = SHARES_WANTED, m
        return False
    rows[i, SHARES] = shares
    for k in range(3, given.shares.shape[1]):
        if given.shares[shares, k] > 0:
            return True
    _say(out, i, m, c, TRIAL, NO_WEIGHT, -1, -1, 0, 0)
    return False


@part
def _consider(  # type: ignore[no-untyped-def]
    m, i, row, rank, wait, live, data, messages, given, hours, limits, facts, records, customers, zones, scratch, out
):
    """Runs one message through the filters that follow its own rules: whether it may be said.

    Else what stopped it is noted in the event's row, or its status says that it cannot be told here.
    """
    table = messages.table
    begin, end = customers.contact[i, 0], customers.contact[i, 1]
    if given.paused[m]:
        _say(out, i, m, -1, PAUSE, 0, -1, -1, 0, 0)
        return False
    purpose = table[m, PURPOSE]
    code = consent(
        data, begin, end, messages.names, messages.purposes[purpose, 1], messages.purposes[purpose, 2],
        messages.purposes[purpose, 3] != 0, opted_out_ms(records, i, messages.purposes[purpose, 0]),
        table[m, TOPIC_AT], table[m, TOPIC_END],
    )  # fmt: skip
    if code != ALLOWED:
        _say(out, i, m, -1, CONSENT, code, -1, -1, 0, 0)
        return False
    c = _channel(m, i, row, data, messages, facts, customers)
    if c < 0:
        blocked = -1 - c
        none = blocked == table[m, CHANNEL_END]
        _say(out, i, m, -1, CHANNEL, NO_CHANNEL if none else BLOCKED_CHANNEL, -1 if none else blocked, -1, 0, 0)
        return False
    at_ms, code, frees = scratch.waits[wait, 1], scratch.waits[wait, 2], scratch.waits[wait, 3]
    if code != AT_ONCE:
        _say(out, i, m, c, HOURS, code, table[m, QUIET], -1, 0, frees)
        return False
    code, index, count, frees = stopped_by_limits(
        i, records, scratch.live, live, scratch.times, limits, m, messages.channels[c, 2], at_ms,
        zones.of[i], zones.starts, zones.at_s, zones.offset_s,
    )  # fmt: skip
    if code == TO_STEP:
        out.rows[i, STATUS] = TO_PYTHON
        return False
    if code != FREE:
        _say(out, i, m, c, LIMITS, code, index, -1, count, frees)
        return False
    if not _variants(m, c, i, row, messages, given, facts, records, customers, out):
        return False
    if not np.isfinite(rank):
        _say(out, i, m, c, RANK, 0, -1, -1, 0, 0)
        return False
    out.rows[i, CHANNEL_ROW], out.rows[i, AT_MS] = c, at_ms
    return True


@part
def _see(out, m, stage, code, rank):  # type: ignore[no-untyped-def]
    """Adds a message to those that were looked at."""
    n = out.used[0]
    out.seen[n, SEEN_MESSAGE], out.seen[n, SEEN_STAGE], out.seen[n, SEEN_CODE] = m, stage, code
    out.seen[n, SEEN_SHARE] = 0
    out.seen[:, SEEN_RANK].view(np.float64)[n] = rank
    out.used[0] = n + 1


@part
def _by_rules(i, row, messages, facts, out):  # type: ignore[no-untyped-def]
    """No message passed its own rules: which condition of the one that got furthest decided.

    STOP_CODE: 0 it is false (of `unless`: true), 1 it is an error; STOP_X: which condition of eligibility.
    """
    m, stage = np.int64(facts.furthest[row]), np.int64(facts.stage[row])
    if stage == 0:
        out.rows[i, STATUS] = NO_RULE
        return
    out.rows[i, STATUS] = BY_RULES
    code, place = 1, np.int64(-1)
    if stage == ELIGIBILITY:
        first = messages.table[m, ELIGIBLE_AT]
        for k in range(first, messages.table[m, ELIGIBLE_END]):
            column = messages.eligible[k]
            if not _true(facts.possibles, row, column):
                code, place = 0, k - first
                break
            if place < 0 and not _true(facts.trues, row, column):
                place = k - first
    elif stage == WHEN:
        code = 1 if _true(facts.possibles, row, messages.table[m, WHEN_AT]) else 0
    else:
        code = 0 if _true(facts.trues, row, messages.table[m, UNLESS_AT]) else 1
    _say(out, i, m, -1, stage, code, place, -1, 0, 0)
    out.rows[i, STOPS] = 1
    _see(out, m, stage, code, 0.0)


@part
def _further(place, best, messages, scratch):  # type: ignore[no-untyped-def]
    """Whether a stopped message got further than the best so far; ties by tier, rank, name."""
    stage, other = scratch.order[place, 2] >> 8, scratch.order[best, 2] >> 8
    if stage != other:
        return stage > other
    m, n = scratch.order[place, 0], scratch.order[best, 0]
    if messages.table[m, TIER] != messages.table[n, TIER]:
        return messages.table[m, TIER] < messages.table[n, TIER]
    if scratch.ranks[place] != scratch.ranks[best]:
        return scratch.ranks[place] > scratch.ranks[best]
    return messages.table[m, BY_NAME] < messages.table[n, BY_NAME]


@part
def _draw(i, shared, messages, given, customers, out):  # type: ignore[no-untyped-def]
    """Shares the draw among the messages that fit (all are as good), and draws: the place of the winner."""
    at = out.rows[i, SEEN_AT]
    for k in range(shared):
        out.seen[at + k, SEEN_SHARE] = SHARE_UNIT // shared
    for _ in range(SHARE_UNIT - SHARE_UNIT // shared * shared):  # what is left goes to the largest hashes
        largest = -1
        for k in range(shared):
            if out.seen[at + k, SEEN_SHARE] == SHARE_UNIT // shared and (
                largest < 0
                or np.uint64(messages.table[out.seen[at + k, SEEN_MESSAGE], KEY])
                > np.uint64(messages.table[out.seen[at + largest, SEEN_MESSAGE], KEY])
            ):
                largest = k
        out.seen[at + largest, SEEN_SHARE] += 1
    u = uniform30(
        given.key0, given.key1, customers.customer[i, 0], customers.customer[i, 1], customers.event[i], np.uint64(0)
    )
    out.rows[i, U_MESSAGE] = u
    for k in range(shared):
        if u < out.seen[at + k, SEEN_SHARE]:
            return k
        u -= out.seen[at + k, SEEN_SHARE]
    return 0


@part
def _draw_variant(i, given, customers, out):  # type: ignore[no-untyped-def]
    """Draws one of the message's fitting variants; a sticky one is not drawn again."""
    rows = out.rows
    u = uniform30(
        given.key0, given.key1, customers.customer[i, 0], customers.customer[i, 1], customers.event[i], np.uint64(1)
    )
    rows[i, U_VARIANT] = u
    if rows[i, IS_STICKY]:
        return
    shares = rows[i, SHARES]
    for k in range(3, given.shares.shape[1]):
        share = given.shares[shares, k]
        if u < share:
            rows[i, VARIANT_NO], rows[i, VARIANT_SHARE] = k - 3, share
            return
        u -= share


@part
def _book(i, m, messages, given, hours, own_from, own_to, records, customers, zones, out):  # type: ignore[no-untyped-def]
    """Books the touch and keeps a sticky assignment; FINE, or LEFT where the time to send has no bound here."""
    rows, table = out.rows, messages.table
    at_ms, can_wait = rows[i, AT_MS], table[m, TIER] != 1
    closes_ms = closes(
        at_ms, table[m, QUIET], hours, own_from if can_wait else -1, own_to if can_wait else -1,
        zones.of[i], zones.starts, zones.at_s, zones.offset_s,
    )  # fmt: skip
    if closes_ms == TO_STEP:
        return a.LEFT
    send_before = at_ms + DAY_MS
    if closes_ms != UNBOUND:
        send_before = min(send_before, closes_ms)
    deferred = at_ms > customers.now_ms[i]
    withheld = customers.held_out[i] != 0 and table[m, HOLDOUT] != 0
    variant = messages.variants[table[m, VARIANT_AT] + rows[i, VARIANT_NO], 0]
    rows[i, SEND_BEFORE], rows[i, REPORT_BY] = send_before, send_before + 2 * DAY_MS
    rows[i, IS_DEFERRED] = deferred
    rows[i, STATUS] = HELD_OUT if withheld else SENDS
    version = np.int64(0) if rows[i, IS_STICKY] else given.shares[rows[i, SHARES], 2]
    touch = records.touches[records.rec[i, a.TOUCH_AT] + records.rec[i, a.TOUCH_N]]
    records.rec[i, a.TOUCH_N] += 1
    touch[a.AT_MS], touch[a.EVENT], touch[a.SLOT] = at_ms, np.int64(customers.event[i]), 0
    touch[a.MESSAGE], touch[a.VARIANT] = table[m, KEY], variant
    touch[a.CHANNEL], touch[a.PURPOSE] = (
        messages.channels[rows[i, CHANNEL_ROW], 2],
        messages.purposes[table[m, PURPOSE], 0],
    )
    touch[a.TOPIC], touch[a.PRODUCT], touch[a.STAGE] = table[m, TOPIC], table[m, PRODUCT], table[m, STAGE]
    touch[a.ABOUT], touch[a.POLICY], touch[a.POLICY_VERSION] = 0, table[m, POLICY], version
    touch[a.SEND_BEFORE_MS], touch[a.REPORT_BY_MS] = send_before, send_before + 2 * DAY_MS
    touch[a.FLAGS] = (WITHHELD if withheld else 0) | (DEFERRED if deferred else 0)
    if table[m, STICKY] and not rows[i, IS_STICKY]:
        row = records.assigned[records.rec[i, a.ASSIGN_AT] + records.rec[i, a.ASSIGN_N]]
        records.rec[i, a.ASSIGN_N] += 1
        row[0], row[1], row[2], row[3] = table[m, POLICY], table[m, KEY], variant, rows[i, VARIANT_SHARE]
    return a.FINE


@part
def _behind(place, first, messages, scratch):  # type: ignore[no-untyped-def]
    """Whether the message at a place of the order cannot win against the one at `first`."""
    tiers = messages.table[scratch.order[place, 0], TIER] != messages.table[scratch.order[first, 0], TIER]
    return tiers or scratch.order[place, 1] != scratch.order[first, 1] or scratch.ranks[place] != scratch.ranks[first]


@part
def _among(  # type: ignore[no-untyped-def]
    i, row, count, data, messages, given, hours, limits, facts, records, customers, zones, scratch, out
):
    """Chooses among the `count` messages in `scratch.order`, which passed their own rules."""
    rows, order, ranks = out.rows, scratch.order, scratch.ranks
    own_from, own_to = preferred(data, customers.contact[i, 0], customers.contact[i, 1])
    for k in range(count):
        wait = _wait(order[k, 0], i, messages, hours, customers, own_from, own_to, zones, scratch)
        if scratch.waits[wait, 2] == TO_STEP:
            rows[i, STATUS] = TO_PYTHON
            return
        order[k, 1] = scratch.waits[wait, 2] != AT_ONCE or scratch.waits[wait, 1] > customers.now_ms[i]
        ranks[k] = _rank(order[k, 0], row, messages, facts)
    _sort(count, messages, scratch)
    live = live_touches(i, records, customers.held_out[i], scratch.live)
    first, fits, best, place = -1, 0, -1, 0
    while place < count and (first < 0 or not _behind(place, first, messages, scratch)):
        m = order[place, 0]
        if messages.table[m, LEAVE]:
            rows[i, STATUS] = TO_PYTHON
            return
        wait = _wait(m, i, messages, hours, customers, own_from, own_to, zones, scratch)
        if _consider(
            m, i, row, ranks[place], wait, live, data, messages, given, hours, limits, facts, records, customers,
            zones, scratch, out,
        ):  # fmt: skip
            order[place, 2] = 0
            first = place if first < 0 else first
            fits += 1
        elif rows[i, STATUS]:
            return
        else:
            order[place, 2] = rows[i, STOP_STAGE] << 8 | rows[i, STOP_CODE]
            if best < 0 or _further(place, best, messages, scratch):
                best = place
        place += 1
    rows[i, SEEN_AT], rows[i, FITS] = out.used[0], fits
    rows[i, STOPS], rows[i, OUTRANKED] = place - fits, count - place
    for k in range(place):
        if not order[k, 2]:
            _see(out, order[k, 0], 0, 0, ranks[k])
    for k in range(place):
        if order[k, 2]:
            _see(out, order[k, 0], order[k, 2] >> 8, order[k, 2] & 255, 0.0)
    for k in range(place, count):
        _see(out, order[k, 0], -1, 0, ranks[k])
    if fits:
        drawn = _draw(i, fits, messages, given, customers, out)
        rows[i, MESSAGE_SHARE] = out.seen[rows[i, SEEN_AT] + drawn, SEEN_SHARE]
        for k in range(first, place):
            if not order[k, 2]:
                if not drawn:
                    best = k
                drawn -= 1
    # once more, for the row: of the one that was drawn, or that got furthest
    m = order[best, 0]
    wait = _wait(m, i, messages, hours, customers, own_from, own_to, zones, scratch)
    _consider(
        m, i, row, ranks[best], wait, live, data, messages, given, hours, limits, facts, records, customers,
        zones, scratch, out,
    )  # fmt: skip
    rows[i, MESSAGE], rows[i, STATUS], out.ranks[i] = m, REFUSED, ranks[best]
    if fits:
        _draw_variant(i, given, customers, out)
        variant = messages.table[m, VARIANT_AT] + rows[i, VARIANT_NO]
        rows[i, TEXT_ROW] = _text_of(m, variant, rows[i, CHANNEL_ROW], customers.language[i], messages, given)
        if _book(i, m, messages, given, hours, own_from, own_to, records, customers, zones, out) == a.LEFT:
            rows[i, STATUS] = TO_PYTHON


@kernel
def choose(  # type: ignore[no-untyped-def]
    order, status, data, messages, given, hours, limits, facts, records, customers, zones, scratch, out
):
    """Decides for every event whose `status` is FINE and whose row has none yet, or wants shares that are here now.

    order (rows,)  the event of each row of `facts`. Touches are booked in `records`.
    """
    scratch.waits[:, 0] = -1
    for row in range(len(order)):
        i = order[row]
        if status[i] != a.FINE or (out.rows[i, STATUS] and out.rows[i, STATUS] != SHARES_WANTED):
            continue
        out.rows[i, STATUS] = 0
        begin, end = facts.starts[row], facts.starts[row + 1]
        out.rows[i, SEEN_AT] = out.used[0]
        if begin == end:
            _by_rules(i, row, messages, facts, out)
            continue
        for k in range(begin, end):
            scratch.order[k - begin, 0] = facts.found[k]
        _among(
            i, row, end - begin, data, messages, given, hours, limits, facts, records, customers, zones, scratch, out
        )
