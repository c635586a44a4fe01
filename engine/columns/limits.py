"""Quiet hours, caps and gaps of a rule set, as the arrays that kernels read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from engine.compiler.model import Cap, QuietHours, RuleSet
from engine.contact.caps import limits_of
from engine.contact.suppression import OUTCOME_BITS, suppressions_of
from engine.identity import name_hash
from engine.kernels.hours import DEFER, DROP, OWN, Hours
from engine.kernels.limits import (
    BY_ABOUT,
    BY_CHANNEL,
    BY_MESSAGE,
    BY_PRODUCT,
    BY_PURPOSE,
    BY_STAGE,
    BY_TOPIC,
    CAP_ROW,
    DAY,
    GAP_ROW,
    LIMIT_MESSAGE,
    MONTH,
    ROLLING,
    SUPPRESS_ROW,
    WEEK,
    Limits,
)
from engine.plan import StepPlan
from engine.zones import ZONES

I64 = npt.NDArray[np.int64]

_DAY_MS = 86_400_000
# how far back a unit can reach: its days, one for a day that is left out or lived twice, two for an unknown zone
_UNITS = {"day": (4 * _DAY_MS, DAY), "week": (10 * _DAY_MS, WEEK), "month": (34 * _DAY_MS, MONTH)}
_BITS = {
    "customer": 0, "message": BY_MESSAGE, "channel": BY_CHANNEL, "purpose": BY_PURPOSE, "topic": BY_TOPIC,
    "product": BY_PRODUCT, "stage": BY_STAGE, "about": BY_ABOUT,
}  # fmt: skip


def hours_table(quiet_hours: Mapping[str, QuietHours]) -> Hours:
    """A row for each of a rule set's quiet hours, in their order. Numbers the zones they name."""
    declared = list(quiet_hours.values())
    return Hours(
        _ints(q.from_minute for q in declared),
        _ints(q.to_minute for q in declared),
        _ints(DROP if q.then == "drop" else DEFER for q in declared),
        _ints(OWN if q.zone == "customer" else ZONES.id(q.zone) for q in declared),
        _ints(bool(q.unknown_zones) for q in declared),
    )


def limit_tables(ruleset: RuleSet, steps: StepPlan) -> Limits:
    """Caps, gaps and suppressions of a rule set, and which of them hold each of its messages.

    Messages are numbered as in `steps`, caps and gaps as in the rule set.
    """
    rows = {name: k for k, name in enumerate(ruleset.purposes)}
    purposes = dict(ruleset.purposes)
    held_caps: list[list[int]] = [[] for _ in rows]
    held_gaps: list[list[int]] = [[] for _ in rows]
    held_rules: list[list[int]] = [[] for _ in rows]
    limits = (*ruleset.caps, *ruleset.gaps, *ruleset.suppressions)
    counts: list[list[int]] = [[] for _ in limits]  # hashes of purposes, in that order
    for message in {m.message.purpose: m.message for m in steps.messages}.values():
        row = rows[message.purpose]
        for k, cap in enumerate(ruleset.caps):
            for _, counted in limits_of(message, purposes, (cap,), ()).caps:
                held_caps[row].append(k)
                counts[k] = sorted(counted)
        for k, gap in enumerate(ruleset.gaps):
            for _, counted in limits_of(message, purposes, (), (gap,)).gaps:
                held_gaps[row].append(k)
                counts[len(ruleset.caps) + k] = sorted(counted)
        for k, rule in enumerate(ruleset.suppressions):
            for _, counted in suppressions_of(message, purposes, (rule,)).rules:
                held_rules[row].append(k)
                counts[len(ruleset.caps) + len(ruleset.gaps) + k] = sorted(counted)
    counted_at, counted_of = _lists(counts)
    names_at, names = _lists([sorted(m.keys) for m in steps.messages])
    cap_at, cap_of = _lists(held_caps)
    gap_at, gap_of = _lists(held_gaps)
    rule_at, rule_of = _lists(held_rules)
    messages = [
        (rows[m.message.purpose], name_hash(m.message.purpose), m.topic, m.product, m.stage) for m in steps.messages
    ]
    spans = list(zip(counted_at[:-1].tolist(), counted_at[1:].tolist(), strict=True))
    cap_rows = [(c.at_most, _mask(c.per), *_reach(c), *span) for c, span in zip(ruleset.caps, spans, strict=False)]
    gap_rows = [
        (g.apart.span_s * 1000, _mask(g.per), *span)
        for g, span in zip(ruleset.gaps, spans[len(cap_rows) :], strict=False)
    ]
    left = spans[len(cap_rows) + len(gap_rows) :]
    rule_rows = [
        (
            OUTCOME_BITS.get(s.after, 0), s.times, s.within.span_s * 1000 if s.within is not None else 0,
            s.lasts.span_s * 1000, _mask(s.per), *span,
        )
        for s, span in zip(ruleset.suppressions, left, strict=True)
    ]  # fmt: skip
    return Limits(
        _hashes(n for m in messages for n in m).reshape(-1, LIMIT_MESSAGE),
        names,
        names_at,
        _ints(n for c in cap_rows for n in c).reshape(-1, CAP_ROW),
        _ints(n for g in gap_rows for n in g).reshape(-1, GAP_ROW),
        counted_of,
        cap_at,
        cap_of,
        gap_at,
        gap_of,
        _ints(n for s in rule_rows for n in s).reshape(-1, SUPPRESS_ROW),
        rule_at,
        rule_of,
        _ints((0,)),
    )


def _ints(values: Iterable[int]) -> I64:
    return np.array(list(values), np.int64)


def _hashes(values: Iterable[int]) -> I64:
    """Unsigned 64-bit hashes by their bits."""
    return np.array(list(values), np.uint64).view(np.int64)


def _lists(lists: list[list[int]]) -> tuple[I64, I64]:
    """Lists end to end: where each begins (and the last ends), and what they hold."""
    return _ints(np.cumsum([0, *map(len, lists)])), _hashes(n for one in lists for n in one)


def _mask(per: Iterable[str]) -> int:
    """The bits of what is counted apart."""
    return sum(_BITS[key] for key in set(per))


def _reach(cap: Cap) -> tuple[int, int]:
    """Span in ms and unit of a cap; the twin takes a day where it has neither."""
    return (cap.over.span_s * 1000, ROLLING) if cap.over is not None else _UNITS[cap.calendar or "day"]
