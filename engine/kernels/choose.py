"""Which message, and which of its variants: the best first, the filters, the draw, the booking.

The twins are `engine.step.choice` and `engine.step.take`. What they know and this does not (what a message is about,
slates, former names of sticky trials, ..) is left to them.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import arena as a
from engine.kernels.compiled import inlined, kernel, part
from engine.kernels.consent import ALLOWED, consent, opted_out_ms, preferred
from engine.kernels.filters import consider, say, text_of, true_at, value_of, wait_of
from engine.kernels.hours import SEND as AT_ONCE
from engine.kernels.hours import TO_STEP, UNBOUND, closes
from engine.kernels.limits import live_touches
from engine.kernels.linear import X_LIMIT, X_UNIT, linear_shares
from engine.kernels.messages import (
    ALWAYS,
    AT_MS,
    BY_NAME,
    BY_RULES,
    CHANNEL_ROW,
    CONDITION,
    CONTEXT_AT,
    CONTEXT_END,
    DAY_MS,
    DEFERRED,
    ELIGIBILITY,
    ELIGIBLE_AT,
    ELIGIBLE_END,
    FITS,
    HELD_OUT,
    HOLDOUT,
    IS_DEFERRED,
    IS_STICKY,
    KEY,
    LEARNED,
    LEAVE,
    MESSAGE,
    MESSAGE_SHARE,
    NO_RULE,
    OUTRANKED,
    OUTSIDE,
    PLAIN,
    POLICY,
    PRODUCT,
    PURPOSE,
    QUIET,
    RANK,
    REFUSED,
    REPORT_BY,
    RESERVE,
    SEEN_AT,
    SEEN_CODE,
    SEEN_MESSAGE,
    SEEN_RANK,
    SEEN_ROW,
    SEEN_SHARE,
    SEEN_STAGE,
    SEEN_VALUE,
    SEND_BEFORE,
    SENDS,
    SHARE_FIT,
    SHARE_MODEL,
    SHARE_UNIT,
    SHARE_VERSION,
    SHARES,
    SHARES_FROM,
    SHARES_WANTED,
    STAGE,
    STATUS,
    STICKY,
    STOP_CODE,
    STOP_STAGE,
    STOPS,
    TEXT_ROW,
    TIER,
    TO_PYTHON,
    TOPIC,
    TRIAL,
    U_MESSAGE,
    U_VARIANT,
    UNLESS_AT,
    VARIANT_AT,
    VARIANT_NO,
    VARIANT_SHARE,
    WHEN,
    WHEN_AT,
    WITHHELD,
)
from engine.kernels.philox import uniform30


@inlined
def _highest(m, value, messages):  # type: ignore[no-untyped-def]
    """The rank that a message may have before its filters are run: what it has learnt is known only then."""
    return np.inf if messages.table[m, LEARNED] else value


@inlined
def _before(messages, scratch, m, waits, value, other):  # type: ignore[no-untyped-def]
    """Whether a message comes before the one at place `other` of the order."""
    n = scratch.order[other, 0]
    tier, tier_n = messages.table[m, TIER], messages.table[n, TIER]
    if tier != tier_n:
        return tier < tier_n
    if waits != scratch.order[other, 1]:
        return waits < scratch.order[other, 1]
    mine, theirs = _highest(m, value, messages), _highest(n, scratch.values[other], messages)
    if mine != theirs:
        return mine > theirs
    return m < n


@inlined
def _sort(count, messages, scratch):  # type: ignore[no-untyped-def]
    """The best first: by tier, waiting, rank, number (Shell's sort, Ciura's gaps)."""
    for gap in (1750, 701, 301, 132, 57, 23, 10, 4, 1):
        for k in range(gap, count):
            m, waits, value = scratch.order[k, 0], scratch.order[k, 1], scratch.values[k]
            j = k
            while j >= gap and _before(messages, scratch, m, waits, value, j - gap):
                scratch.order[j, 0], scratch.order[j, 1] = scratch.order[j - gap, 0], scratch.order[j - gap, 1]
                scratch.values[j] = scratch.values[j - gap]
                j -= gap
            scratch.order[j, 0], scratch.order[j, 1], scratch.values[j] = m, waits, value


@inlined
def _see(out, m, stage, code, rank, row, value):  # type: ignore[no-untyped-def]
    """Adds a message to those that were looked at."""
    n = out.used[0]
    out.seen[n, SEEN_MESSAGE], out.seen[n, SEEN_STAGE], out.seen[n, SEEN_CODE] = m, stage, code
    out.seen[n, SEEN_SHARE], out.seen[n, SEEN_ROW] = 0, row
    out.seen[:, SEEN_RANK].view(np.float64)[n] = rank
    out.seen[:, SEEN_VALUE].view(np.float64)[n] = value
    out.used[0] = n + 1


@inlined
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
            if not true_at(facts.possibles, row, column):
                code, place = 0, k - first
                break
            if place < 0 and not true_at(facts.trues, row, column):
                place = k - first
    elif stage == WHEN:
        code = 1 if true_at(facts.possibles, row, messages.table[m, WHEN_AT]) else 0
    else:
        code = 0 if true_at(facts.trues, row, messages.table[m, UNLESS_AT]) else 1
    say(out, i, m, -1, stage, code, place, -1, 0, 0)
    out.rows[i, STOPS] = 1
    _see(out, m, stage, code, 0.0, -1, 0.0)


@inlined
def _further(place, best, messages, scratch):  # type: ignore[no-untyped-def]
    """Whether a stopped message got further than the best so far; ties by tier, value, name."""
    stage, other = scratch.order[place, 2] >> 8, scratch.order[best, 2] >> 8
    if stage != other:
        return stage > other
    m, n = scratch.order[place, 0], scratch.order[best, 0]
    if messages.table[m, TIER] != messages.table[n, TIER]:
        return messages.table[m, TIER] < messages.table[n, TIER]
    if scratch.values[place] != scratch.values[best]:
        return scratch.values[place] > scratch.values[best]
    return messages.table[m, BY_NAME] < messages.table[n, BY_NAME]


@inlined
def _draw(i, fits, top, messages, given, customers, out):  # type: ignore[no-untyped-def]
    """Shares the draw among the messages that fit and rank highest, and draws: the place of the winner."""
    at, ranks = out.rows[i, SEEN_AT], out.seen[:, SEEN_RANK].view(np.float64)
    shared = 0
    for k in range(fits):
        shared += ranks[at + k] == top
    for k in range(fits):
        if ranks[at + k] == top:
            out.seen[at + k, SEEN_SHARE] = SHARE_UNIT // shared
    for _ in range(SHARE_UNIT - SHARE_UNIT // shared * shared):  # what is left goes to the largest hashes
        largest = -1
        for k in range(fits):
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
    for k in range(fits):
        if u < out.seen[at + k, SEEN_SHARE]:
            return k
        u -= out.seen[at + k, SEEN_SHARE]
    return 0


@part
def _context(i, row, m, messages, facts, out):  # type: ignore[no-untyped-def]
    """What a linear policy looks at, as `learning.linear.context_of` has it."""
    first, x = messages.table[m, CONTEXT_AT], out.contexts[i]
    x[0] = X_UNIT
    for k in range(first, messages.table[m, CONTEXT_END]):
        kind, column = messages.contexts[k, 0], messages.contexts[k, 1]
        place = 1 + k - first
        if kind == ALWAYS:
            x[place] = messages.contexts[k, 2]
        elif kind == CONDITION:
            x[place] = X_UNIT if true_at(facts.trues, row, column) else 0
        elif true_at(facts.value_ok, row, column):
            number = np.float64(facts.values[column, row])
            if kind == PLAIN:
                number = np.float64(number.view(np.int64))
            if np.isfinite(number):
                x[place] = np.int64(np.rint(max(-X_LIMIT, min(X_LIMIT, number)) * X_UNIT))


@part
def _shares(i, row, m, messages, given, facts, scratch, out):  # type: ignore[no-untyped-def]
    """The shares of the drawn message's variants, as they are drawn from and logged."""
    rows, shares = out.rows, out.shares[i]
    if rows[i, IS_STICKY]:
        shares[rows[i, VARIANT_NO]] = rows[i, VARIANT_SHARE]
        return
    found = given.shares[rows[i, SHARES]]
    if found[SHARE_MODEL] < 0:
        for v in range(len(shares)):
            shares[v] = found[SHARES_FROM + v]
        return
    linear_shares(given.models[found[SHARE_MODEL] :], out.contexts[i], scratch.linear, scratch.shares)
    k = 0
    for v in range(len(shares)):
        if (found[SHARE_FIT] >> v) & 1:
            shares[v] = scratch.shares[k]
            k += 1


@inlined
def _draw_variant(i, given, customers, out):  # type: ignore[no-untyped-def]
    """Draws one of the message's fitting variants; a sticky one is not drawn again."""
    rows = out.rows
    u = uniform30(
        given.key0, given.key1, customers.customer[i, 0], customers.customer[i, 1], customers.event[i], np.uint64(1)
    )
    rows[i, U_VARIANT] = u
    if rows[i, IS_STICKY]:
        return
    for k in range(out.shares.shape[1]):
        share = out.shares[i, k]
        if u < share:
            rows[i, VARIANT_NO], rows[i, VARIANT_SHARE] = k, share
            return
        u -= share


@inlined
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
    version = np.int64(0) if rows[i, IS_STICKY] else given.shares[rows[i, SHARES], SHARE_VERSION]
    in_trial = version > -OUTSIDE
    version = max(np.int64(0), version)
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
    if table[m, STICKY] and not rows[i, IS_STICKY] and in_trial:
        row = records.assigned[records.rec[i, a.ASSIGN_AT] + records.rec[i, a.ASSIGN_N]]
        records.rec[i, a.ASSIGN_N] += 1
        row[0], row[1], row[2], row[3] = table[m, POLICY], table[m, KEY], variant, rows[i, VARIANT_SHARE]
    return a.FINE


@inlined
def _behind(place, first, top, messages, scratch):  # type: ignore[no-untyped-def]
    """Whether the message at a place of the order cannot win: the one at `first` fits, and `top` is the best rank."""
    m, n = scratch.order[place, 0], scratch.order[first, 0]
    if messages.table[m, TIER] != messages.table[n, TIER] or scratch.order[place, 1] != scratch.order[first, 1]:
        return True
    return _highest(m, scratch.values[place], messages) < top


@inlined
def _among(  # type: ignore[no-untyped-def]
    i, row, count, data, messages, given, hours, limits, facts, records, customers, zones, scratch, out
):
    """Chooses among the `count` messages in `scratch.order`, which passed their own rules."""
    rows, order, values, ranks = out.rows, scratch.order, scratch.values, scratch.ranks
    own_from, own_to = preferred(data, customers.contact[i, 0], customers.contact[i, 1])
    for k in range(count):
        wait = wait_of(order[k, 0], i, messages, hours, customers, own_from, own_to, zones, scratch)
        if scratch.waits[wait, 2] == TO_STEP:
            rows[i, STATUS] = TO_PYTHON
            return
        order[k, 1] = scratch.waits[wait, 2] != AT_ONCE or scratch.waits[wait, 1] > customers.now_ms[i]
        values[k] = value_of(order[k, 0], row, messages, facts)
    _sort(count, messages, scratch)
    live = live_touches(i, records, customers.held_out[i], scratch.live)
    learning = messages.purposes[len(messages.purposes) - 1]  # withdrawn: the customer is not learnt from
    objects = consent(
        data, customers.contact[i, 0], customers.contact[i, 1], messages.names, learning[1], learning[2], False,
        opted_out_ms(records, i, learning[0]), 0, 0,
    ) != ALLOWED  # fmt: skip
    first, fits, best, place, top = -1, 0, -1, 0, -np.inf
    while place < count and (first < 0 or not _behind(place, first, top, messages, scratch)):
        m = order[place, 0]
        if messages.table[m, LEAVE]:
            rows[i, STATUS] = TO_PYTHON
            return
        wait = wait_of(m, i, messages, hours, customers, own_from, own_to, zones, scratch)
        order[place, 2], order[place, 3], ranks[place] = 0, -1, 0.0
        fit = consider(
            m, i, row, values[place], wait, live, data, messages, given, limits, facts, records, customers,
            zones, scratch, out,
        )  # fmt: skip
        if (
            objects
            and messages.table[m, POLICY]
            and (fit or (not rows[i, STATUS] and rows[i, STOP_STAGE] in (TRIAL, RANK, RESERVE)))
        ):
            rows[i, STATUS] = TO_PYTHON  # by shares of their own
            return
        if fit:
            first = place if first < 0 else first
            fits += 1
            top = max(top, out.ranks[i])
        elif rows[i, STATUS]:
            return
        else:
            order[place, 2] = rows[i, STOP_STAGE] << 8 | rows[i, STOP_CODE]
            if best < 0 or _further(place, best, messages, scratch):
                best = place
        if fit or rows[i, STOP_STAGE] == RESERVE:
            ranks[place] = out.ranks[i]
            order[place, 3] = rows[i, SHARES] if messages.table[m, LEARNED] else -1
        place += 1
    rows[i, SEEN_AT], rows[i, FITS] = out.used[0], fits
    rows[i, STOPS], rows[i, OUTRANKED] = place - fits, count - place
    for k in range(place):
        if not order[k, 2]:
            _see(out, order[k, 0], 0, 0, ranks[k], order[k, 3], values[k])
    for k in range(place):
        if order[k, 2]:
            _see(out, order[k, 0], order[k, 2] >> 8, order[k, 2] & 255, ranks[k], order[k, 3], values[k])
    for k in range(place, count):
        _see(out, order[k, 0], -1, 0, values[k], -1, values[k])
    if fits:
        drawn = _draw(i, fits, top, messages, given, customers, out)
        rows[i, MESSAGE_SHARE] = out.seen[rows[i, SEEN_AT] + drawn, SEEN_SHARE]
        for k in range(first, place):
            if not order[k, 2]:
                if not drawn:
                    best = k
                drawn -= 1
    m = order[best, 0]
    if best != place - 1:  # once more, for the row: of the one that was drawn, or that got furthest
        wait = wait_of(m, i, messages, hours, customers, own_from, own_to, zones, scratch)
        consider(
            m, i, row, values[best], wait, live, data, messages, given, limits, facts, records, customers,
            zones, scratch, out,
        )  # fmt: skip
    rows[i, MESSAGE], rows[i, STATUS], out.ranks[i] = m, REFUSED, ranks[best]
    if fits:
        if messages.table[m, CONTEXT_AT] < messages.table[m, CONTEXT_END]:
            _context(i, row, m, messages, facts, out)
        _shares(i, row, m, messages, given, facts, scratch, out)
        _draw_variant(i, given, customers, out)
        variant = messages.table[m, VARIANT_AT] + rows[i, VARIANT_NO]
        rows[i, TEXT_ROW] = text_of(m, variant, rows[i, CHANNEL_ROW], customers.language[i], messages, given)
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
