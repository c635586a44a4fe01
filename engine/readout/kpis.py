"""What is measured of trials at the three horizons: outcomes, what replies were about, activity.

Field notes ask for engagement (who replies, how often), the content of replies, and transactions one week, one month
and two months after. Outcomes are credited to their message; activity is all events of the customer after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.decision import OutcomeKind
from engine.readout.log import F64, I64
from engine.readout.trials import HORIZONS, TrialLog

ACTIVITY = "ACTIVITY"
CATEGORIES_MAX = 12  # of replies; rarer ones are counted as replies alone


@dataclass(frozen=True, slots=True)
class Kpi:
    """Something that trials are compared by. `of` gives it by trial, for a horizon in days.

    `kind`: an outcome's name, ACTIVITY, an event type, or a KPI's name; `category`: of replies, what they were about.
    `measure`: rate (whether it came), count (how often) or value (for how much).
    """

    kind: str
    measure: str
    of: Callable[[float], F64]
    category: str = ""


@dataclass(frozen=True, slots=True)
class Total:
    """Of one arm and horizon: `trials` whose horizon has passed and their `customers`, how many trials had the
    outcome, how often, and for how much. `kind` and `category` as in `Kpi`.
    """

    kind: str
    days: float
    trials: int
    positive: int
    count: float
    value: float
    customers: int = 0
    category: str = ""


def categories_of(log: TrialLog, rows: I64) -> list[str]:
    """What replies to these trials were about, the commonest ones, sorted."""
    h = log.happened
    here = np.zeros(len(log) + 1, np.bool_)  # one more for -1
    here[rows] = True
    replies = here[h.trial] & (h.trial >= 0) & (h.kind == OutcomeKind.REPLIED) & (h.category > 0)
    codes, counts = np.unique(h.category[replies], return_counts=True)
    common = codes[np.argsort(-counts, kind="stable")][:CATEGORIES_MAX]
    return sorted(log.names.texts[c] for c in common.tolist())


def kpis_of(log: TrialLog, kinds: Sequence[OutcomeKind], categories: Sequence[str], events: Sequence[str]) -> list[Kpi]:
    """All that trials are compared by: replies also by number and content, sales also by value, activity."""

    def outcome(kind: OutcomeKind, measure: str, category: str = "") -> Kpi:
        return Kpi(
            kind.name,
            measure,
            lambda days: log.rewards(days, kind, measure, category or None),
            category,
        )

    plain = [k for k in kinds if k not in (OutcomeKind.DELIVERED, OutcomeKind.NOT_DELIVERED)]
    found = [outcome(kind, "rate") for kind in plain]
    if OutcomeKind.REPLIED in kinds:
        found.append(outcome(OutcomeKind.REPLIED, "count"))
    found += [outcome(OutcomeKind.REPLIED, "rate", category) for category in categories]
    h = log.happened
    if (h.value[h.kind == OutcomeKind.CONVERTED] != 0.0).any():
        found.append(outcome(OutcomeKind.CONVERTED, "value"))
    found.append(Kpi(ACTIVITY, "count", log.events_after))
    for name in events:
        found.append(Kpi(name, "count", partial(log.events_after, types=(name,))))
    for name in log.kpis:
        found.append(Kpi(name, "value", partial(log.kpi_after, name=name)))
    return found


def totals_of(
    log: TrialLog, rows: I64, kinds: Sequence[OutcomeKind], categories: Sequence[str], events: Sequence[str]
) -> list[Total]:
    """The sums of one arm's trials."""
    asked: list[tuple[str, str, OutcomeKind | None]] = [(kind.name, "", kind) for kind in kinds]
    asked += [(OutcomeKind.REPLIED.name, category, OutcomeKind.REPLIED) for category in categories]
    asked += [(name, "", None) for name in dict.fromkeys((ACTIVITY, *events, *log.kpis))]
    totals = []
    for days in HORIZONS:
        closed = rows[log.closed(days)[rows]]
        customers = len(np.unique(log.customer[closed]))
        for name, category, kind in asked:
            if kind is None:
                value = float(log.kpi_after(days, name)[closed].sum()) if name in log.kpis else 0.0
                y = log.events_after(days, () if name == ACTIVITY else (name,))[closed]
                sums = float((y > 0.0).sum()), float(y.sum()), value
            else:
                rate, count, value = (
                    float(log.rewards(days, kind, m, category or None)[closed].sum())
                    for m in ("rate", "count", "value")
                )
                sums = rate, count, value
            totals.append(Total(name, days, len(closed), int(sums[0]), sums[1], sums[2], customers, category))
    return totals


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of KPIs: what it says, its horizon, and a value for each arm (None: no trial is so old)."""

    title: str
    days: float
    is_rate: bool
    values: list[float | None]


def _count(t: Total) -> tuple[float, int]:
    return t.count, t.trials


def _value(t: Total) -> tuple[float, int]:
    return t.value, t.trials


def rows_of(arms: Sequence[Sequence[Total]]) -> list[Row]:
    """The table of KPIs from the totals of every arm: those that anybody has."""
    kinds = {t.kind for t in arms[0]}
    wanted: list[tuple[str, str, bool, Callable[[Total], tuple[float, int]], str]] = []
    if OutcomeKind.REPLIED.name in kinds:
        name = OutcomeKind.REPLIED.name
        wanted += [
            ("replied", name, True, lambda t: (t.positive, t.trials), ""),
            ("replies a customer", name, False, lambda t: (t.count, t.customers), ""),
        ]
        for category in sorted({t.category for t in arms[0]} - {""}):
            wanted.append((f"replied: {category}", name, True, lambda t: (t.positive, t.trials), category))
    if OutcomeKind.CONVERTED.name in kinds:
        name = OutcomeKind.CONVERTED.name
        wanted += [
            ("conversions a customer", name, False, lambda t: (t.count, t.customers), ""),
            ("their value a customer", name, False, lambda t: (t.value, t.customers), ""),
        ]
    for kind in dict.fromkeys(t.kind for t in arms[0] if t.kind not in OutcomeKind.__members__):
        title = "events after it" if kind == ACTIVITY else f"{kind} after it"
        summed = any(t.value for arm in arms for t in arm if t.kind == kind)
        part_of = _value if summed else _count
        wanted.append((title, kind, False, part_of, ""))
    rows = []
    for title, kind, is_rate, part, category in wanted:
        lines = []
        for days in HORIZONS:
            found = [next(t for t in arm if (t.kind, t.category, t.days) == (kind, category, days)) for arm in arms]
            parts = [part(t) for t in found]
            lines.append(Row(title, days, is_rate, [a / n if n else None for a, n in parts]))
        if any(v for line in lines for v in line.values):
            rows += lines
    return rows
