"""What all messages together do: everybody against the customers who are told nothing.

Intention to treat: a customer belongs to the holdout by a salted hash, so what is compared are customers, each from the
first message that was sent to or withheld from them, whatever came later. One row a customer, so rows are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.compiler.model import RuleSet
from engine.decision import OutcomeKind
from engine.readout.effects import ENOUGH
from engine.readout.log import F64, Flags
from engine.readout.means import Contrast, difference_of_means, ratio_of_means
from engine.readout.sequences import always_valid_p, half_width
from engine.readout.special import two_sided
from engine.readout.trials import DAY_MS, HORIZONS, Happened, TrialLog

# what can happen to somebody who was told nothing
COMPARABLE = (OutcomeKind.CONVERTED, OutcomeKind.OPTED_OUT, OutcomeKind.COMPLAINED)
_RARE = 1e-4  # of the share test


@dataclass(frozen=True, slots=True)
class Held:
    """One measure at one horizon. `sent` and `held`: customers; means per customer.

    `measure`: an outcome's name, `CONVERTED value`, `activity` (events in the log), or a KPI. `is_rate`: it is a share
    of customers. `share_p`: of 'the holdout has the share that the rules say', None without rules.
    """

    measure: str
    is_rate: bool
    days: float
    sent: int
    held: int
    mean_sent: float
    mean_held: float
    difference: Contrast | None
    ratio: Contrast | None
    seq_low: float | None
    seq_high: float | None
    seq_p: float | None
    share_p: float | None

    @property
    def suspect(self) -> bool:
        """The holdout is not as large as it should be."""
        return self.share_p is not None and self.share_p < _RARE


def holdout_effects(log: TrialLog, ruleset: RuleSet | None, level: float, tuned_for: int) -> list[Held]:
    """Everybody against the holdout; empty where nothing was withheld."""
    names = log.names.texts
    if ruleset is not None:
        held_out = {m.name for m in ruleset.messages.values() if ruleset.purposes[m.purpose].holdout}
        codes = [c for c, n in enumerate(names) if n in held_out]
    else:
        codes = np.unique(log.message[log.withheld]).tolist()
    about = np.flatnonzero(np.isin(log.message, codes))
    if not log.withheld[about].any():
        return []
    customer, first = np.unique(log.customer[about], return_index=True)
    start_ms, held = log.send_ms[about][first], log.withheld[about][first]
    share_p = None
    if ruleset is not None and ruleset.holdout is not None and 0.0 < ruleset.holdout.share < 1.0:
        share = ruleset.holdout.share
        share_p = two_sided((held.sum() - share * len(held)) / np.sqrt(share * (1.0 - share) * len(held)))
    h = log.happened
    at = np.minimum(np.searchsorted(customer, h.customer), len(customer) - 1)
    known, once = customer[at] == h.customer, _once(h)
    kinds = [k for k in COMPARABLE if (h.kind == k).any()]
    found: list[Held] = []
    for days in HORIZONS:
        closed = start_ms + days * DAY_MS <= log.last_ms
        soon = known & once & (h.at_ms >= start_ms[at]) & (h.at_ms <= start_ms[at] + days * DAY_MS)
        for kind in kinds:
            which = soon & (h.kind == kind)
            y = (np.bincount(at[which], minlength=len(customer)) > 0).astype(np.float64)
            found.append(_held(kind.name, True, days, y, held, closed, level, tuned_for, share_p))
        which = soon & (h.kind == OutcomeKind.CONVERTED)
        if (h.value[which] != 0.0).any():
            y = np.bincount(at[which], h.value[which], minlength=len(customer)).astype(np.float64)
            found.append(_held("CONVERTED value", False, days, y, held, closed, level, tuned_for, share_p))
        place = np.minimum(np.searchsorted(customer, log.event_customer), len(customer) - 1)
        after = (customer[place] == log.event_customer) & (log.event_ms > start_ms[place])
        after &= log.event_ms <= start_ms[place] + days * DAY_MS
        y = np.bincount(place[after], minlength=len(customer)).astype(np.float64)
        found.append(_held("activity", False, days, y, held, closed, level, tuned_for, share_p))
        for name, worth in log.kpis.items():
            y = np.bincount(place[after], worth[after], minlength=len(customer)).astype(np.float64)
            found.append(_held(name, False, days, y, held, closed, level, tuned_for, share_p))
    return found


def _once(h: Happened) -> Flags:
    """All outcomes but those credited to another decision already: a customer's counts once, however many policies."""
    once = ~h.again
    named = np.flatnonzero(h.outcome)
    order = named[np.lexsort((h.outcome[named], h.customer[named]))]
    before, after = order[:-1], order[1:]
    once[after[(h.outcome[before] == h.outcome[after]) & (h.customer[before] == h.customer[after])]] = False
    return once


def _held(
    measure: str,
    is_rate: bool,
    days: float,
    y: F64,
    held: Flags,
    closed: Flags,
    level: float,
    tuned_for: int,
    share_p: float | None,
) -> Held:
    a, b = y[~held & closed], y[held & closed]
    difference = low = high = p = None
    if min(len(a), len(b)) >= 2 * ENOUGH and min(_varied(a), _varied(b)) >= ENOUGH:
        difference = difference_of_means(a, b, level)
    if difference is not None:
        se = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
        wide = half_width(se, len(a) + len(b), 1.0 - level, tuned_for)
        low, high = difference.value - wide, difference.value + wide
        p = always_valid_p(difference.value / se, len(a) + len(b), 1.0 - level, tuned_for)
    ratio = ratio_of_means(a, b, level) if difference is not None else None
    means = (float(a.mean()) if len(a) else 0.0, float(b.mean()) if len(b) else 0.0)
    return Held(measure, is_rate, days, len(a), len(b), *means, difference, ratio, low, high, p, share_p)


def _varied(y: F64) -> int:
    return int((y != np.median(y)).sum())


def columns(level: float) -> list[str]:
    """Headings of a table of these effects."""
    sides, watched = ["mean", "held out", "difference"], [f"{level:.0%} watched", "p watched"]
    return ["per customer", "days", "sent", "held out", *sides, *watched]
