"""A whole log as trials: who was sent (or kept from) what, with which probabilities, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from engine.decision import SHARE_UNIT, Outcome, OutcomeKind, Reason
from engine.learning.enrolment import Assignment
from engine.readout.decided import Decided
from engine.readout.log import (
    F64,
    I64,
    U64,
    Decisions,
    Flags,
    Lists,
    Names,
    Outcomes,
    decision_keys,
    read_decisions,
    read_outcomes,
)

DAY_MS = 86_400_000
HORIZONS = (7, 30, 60)  # days: a week, a month, two months
BEFORE_DAYS = 28  # of activity before a trial


@dataclass(slots=True)
class Happened:
    """Outcomes, row by row: the trial that each belongs to (-1: none of the log), customer, kind, when, value, what it
    was about (a name's code), and the hash of its id (0: none), the same where one was credited to several trials.
    `again`: the outcome of the row before, which another trial of the same decision id has too.
    """

    trial: I64
    customer: I64
    kind: I64
    at_ms: I64
    value: F64
    category: I64
    outcome: I64
    again: Flags


@dataclass(slots=True)
class Funnel:
    """What became of events: `reasons` of decisions; `stops` by message: reason -> how often."""

    decisions: int = 0
    reasons: Counter[int] = field(default_factory=Counter)
    stops: dict[str, Counter[int]] = field(default_factory=dict)


@dataclass(slots=True)
class TrialLog:
    """Every decision with a draw, in the order of its moment. Names are codes, customers numbers.

    `at_ms`: when it was decided; `send_ms`: when it was to be sent, from which outcomes count. `withheld`: by the
    holdout. `sticky`: an earlier draw, repeated. `assignment`: by what it was drawn (learning.enrolment). `reported`:
    what `report_by` says, as JSON. `values`: what conditions read, as JSON, if asked for. `activity`: events of the
    customer in the 28 days before. `event_customer`, `event_ms`, `event_type`: all events, by customer and time;
    `kpis`: what each of them adds, by name. `first_ms`, `last_ms`: of events and outcomes, events that came too late to
    be decided left out.
    """

    names: Names
    at_ms: I64
    send_ms: I64
    customer: I64
    message: I64
    variant: I64
    policy: I64
    version: I64
    segment: I64
    slot: I64
    event: U64
    revision: I64
    withheld: Flags
    sticky: Flags
    assignment: I64
    reported: I64
    variants: Lists
    activity: F64
    values: list[str] | None
    happened: Happened
    funnel: Funnel
    event_customer: I64
    event_ms: I64
    event_type: I64
    kpis: dict[str, F64]
    first_ms: int
    last_ms: int

    def __len__(self) -> int:
        return len(self.at_ms)

    @property
    def in_trial(self) -> Flags:
        """Trials that are some: decisions for customers outside of a trial, or before or after it, compare nothing."""
        part: Flags = self.assignment < Assignment.OUTSIDE
        return part

    def closed(self, days: float) -> Flags:
        """Trials whose horizon had passed when the log ends."""
        closed: Flags = self.send_ms + days * DAY_MS <= self.last_ms
        return closed

    def within(self, days: float, kind: int) -> Flags:
        """Outcomes of one kind that came within the horizon of their trial."""
        h = self.happened
        if not len(self):
            return np.zeros(len(h.trial), np.bool_)
        send = self.send_ms[h.trial]  # of -1 the last one's, taken out below
        soon: Flags = (h.trial >= 0) & (h.kind == kind) & (h.at_ms <= send + days * DAY_MS)
        return soon

    def rewards(self, days: float, kind: int, measure: str = "rate", category: str | None = None) -> F64:
        """By trial: whether (rate), how often (count), or for how much (value) the outcome came in time.

        `category`: only what was about that.
        """
        h, which = self.happened, self.within(days, kind)
        if category is not None:
            which &= np.array([t == category for t in self.names.texts])[h.category]
        weights = h.value[which] if measure == "value" else None
        sums = np.bincount(h.trial[which], weights, minlength=len(self)).astype(np.float64)
        return (sums > 0).astype(np.float64) if measure == "rate" else sums

    def events_after(self, days: float, types: Sequence[str] = ()) -> F64:
        """By trial: how many events (of these types, if any are named) its customer had within the horizon of it.

        The event that was decided on is not one of them.
        """
        wanted = np.ones(len(self.event_ms), np.bool_)
        if types:
            wanted = np.array([t in types for t in self.names.texts])[self.event_type]
        return _between(
            self.event_customer[wanted], self.event_ms[wanted], self.customer, self.at_ms,
            self.send_ms + round(days * DAY_MS),
        )  # fmt: skip

    def kpi_after(self, days: float, name: str) -> F64:
        """By trial: what its customer's events within the horizon of it add to a KPI."""
        return _between(
            self.event_customer, self.event_ms, self.customer, self.at_ms, self.send_ms + round(days * DAY_MS),
            self.kpis[name],
        )  # fmt: skip

    def shares(self, rows: I64, variants: list[int]) -> F64:
        """Logged probabilities (rows, variants); a variant that was not in the draw has 0.

        A sticky repetition logs its own share alone: it has the probabilities of the customer's draw, where the log
        has that.
        """
        v = self.variants
        place = {code: k for k, code in enumerate(variants)}
        table = np.zeros((len(self), len(variants)))
        column = np.array([place.get(c, -1) for c in range(len(self.names.texts))])[v.name]
        known = column >= 0
        table[v.row[known], column[known]] = v.share[known] / SHARE_UNIT
        if self.sticky.any():
            _, drawer = np.unique(self.message * len(self.names.texts) + self.policy, return_inverse=True)
            key = self.customer * len(self) + drawer
            drawn = np.flatnonzero(~self.sticky)
            keys, first = np.unique(key[drawn], return_index=True)
            repeated = np.flatnonzero(self.sticky)
            at = np.minimum(np.searchsorted(keys, key[repeated]), max(0, len(keys) - 1))
            found = keys[at] == key[repeated] if len(keys) else np.zeros(len(repeated), np.bool_)
            table[repeated[found]] = table[drawn[first[at[found]]]]
        return table[rows]

    def offered(self, rows: I64, variants: list[int]) -> F64:
        """1 where a variant could be said in a decision, also with a share of zero, else 0: (rows, variants)."""
        table = np.zeros((len(self), len(variants)))
        row = self.variants.row
        for k, code in enumerate(variants):
            table[row[self.variants.name == code], k] = 1.0
        return table[rows]

    def read_value(self, rows: I64, path: str) -> list[object]:
        """The value that `report_by` or conditions read at `path`, None where none was read."""
        reported = self._reported(rows)
        found = [reported[c].get(path) for c in self.reported[rows].tolist()]
        if self.values is None or any(path in r for r in reported.values()):
            return found
        return [orjson.loads(self.values[i] or "{}").get(path) for i in rows.tolist()]

    def reported_paths(self, rows: I64) -> list[str]:
        """What `report_by` of these trials names, sorted."""
        return sorted({path for values in self._reported(rows).values() for path in values})

    def _reported(self, rows: I64) -> dict[int, dict[str, object]]:
        codes = np.unique(self.reported[rows]).tolist()
        return {c: orjson.loads(self.names.texts[c] or "{}") for c in codes}


def read_trials(log: Path, with_values: bool = False) -> TrialLog:
    """Reads a log. `with_values` keeps what conditions read, for segments. Raises UnreadableLog."""
    names = Names()
    funnel = Funnel()
    parts: list[tuple[Decisions, I64]] = []
    for d in read_decisions(log, names, ("values_read",) if with_values else ()):
        _count(funnel, d)
        c = d.candidates
        parts.append((d, np.flatnonzero(c.sums((c.stopped_by == 0).astype(np.int64)) > 0)))
    outcomes = list(read_outcomes(log, names))
    owner = _numbered([d.customer for d, _ in parts] + [o.customer for o in outcomes])
    decided = sum(len(d) for d, _ in parts)
    event_customer = owner[:decided]
    event_ms = np.concatenate([d["at_ms"] for d, _ in parts])
    starts = np.cumsum([0, *(len(d) for d, _ in parts)])
    places = np.concatenate([rows + start for (_, rows), start in zip(parts, starts[:-1], strict=True)])
    order = np.argsort(event_ms[places], kind="stable")

    def column(name: str) -> I64:
        found: I64 = np.concatenate([d[name][rows] for d, rows in parts])[order]
        return found

    digests = np.concatenate([d.customer[rows] for d, rows in parts])[order]
    event = np.concatenate([d.event[rows] for d, rows in parts])[order]
    slot = column("slot")
    first_slot = np.concatenate([d["slot"] for d, _ in parts]) == 0
    event_type = np.concatenate([d["event_type"] for d, _ in parts])[first_slot]
    event_customer, event_ms = event_customer[first_slot], event_ms[first_slot]
    by_customer = np.lexsort((event_ms, event_customer))
    event_customer, event_ms = event_customer[by_customer], event_ms[by_customer]
    at_ms, customer = column("at_ms"), owner[places][order]
    happened = _happened(outcomes, owner[decided:], decision_keys(digests, event, slot), at_ms)
    values: list[str] | None = None
    if with_values:
        kept = [d.table["values_read"].take(pa.array(rows)).to_pylist() for d, rows in parts]
        flat = [text for part in kept for text in part]
        values = [flat[i] for i in order.tolist()]
    timely = event_ms[np.concatenate([d["reason"] for d, _ in parts])[first_slot][by_customer] != Reason.EVENT_TOO_OLD]
    moments = (timely if len(timely) else event_ms, happened.at_ms)
    return TrialLog(
        names, at_ms, np.maximum(column("send_at_ms"), at_ms), customer, column("message"), column("variant"),
        column("policy"), column("policy_version"), column("segment"), slot, event, column("revision"),
        column("withheld") != 0, column("sticky") != 0, column("assignment"), column("reported"),
        _joined(parts, order),
        _activity(event_customer, event_ms, customer, at_ms), values, happened, funnel, event_customer, event_ms,
        event_type[by_customer], _kpis([d for d, _ in parts], first_slot, by_customer),
        min((int(m.min()) for m in moments if len(m)), default=0),
        max((int(m.max()) for m in moments if len(m)), default=0),
    )  # fmt: skip


def kinds_of(log: TrialLog) -> list[OutcomeKind]:
    """The kinds of outcomes that the log has, the weightiest first."""
    there = set(np.unique(log.happened.kind).tolist())
    order = (
        OutcomeKind.CONVERTED, OutcomeKind.REPLIED, OutcomeKind.CLICKED, OutcomeKind.OPENED, OutcomeKind.DECLINED,
        OutcomeKind.OPTED_OUT, OutcomeKind.COMPLAINED, OutcomeKind.DELIVERED, OutcomeKind.NOT_DELIVERED,
    )  # fmt: skip
    return [k for k in order if k in there]


def _count(funnel: Funnel, d: Decisions) -> None:
    """Adds one file's decisions to the funnel."""
    funnel.decisions += len(d)
    reasons, counts = np.unique(d["reason"], return_counts=True)
    funnel.reasons.update(dict(zip(reasons.tolist(), counts.tolist(), strict=True)))
    c = d.candidates
    row = c.row
    chosen = (c.stopped_by == 0) & (c.name == d["message"][row])
    result = np.where(c.stopped_by != 0, c.stopped_by, int(Reason.OUTRANKED))
    sent = d["outcome"] == int(Outcome.SEND)
    result = np.where(chosen, np.where(sent[row], int(Reason.SELECTED), int(Reason.HOLDOUT)), result)
    pairs, counts = np.unique(c.name << 8 | result, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        funnel.stops.setdefault(d.names.texts[pair >> 8], Counter())[pair & 255] += count


def _numbered(digests: list[U64]) -> I64:
    """Customers as numbers from 0, in one column over all parts."""
    raw = np.concatenate([np.ascontiguousarray(d) for d in digests])
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(raw), [None, pa.py_buffer(raw)])
    numbers: I64 = column.dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


def _happened(files: list[Outcomes], customer: I64, keys: U64, decided_ms: I64) -> Happened:
    """Outcomes with their trials, found by decision: with those that were decided before it was reported."""
    decided, none = Decided(keys), np.zeros(0, np.int64)
    at_ms = np.concatenate([none, *(o["at_ms"] for o in files)])
    reported = [decision_keys(o.customer, o.event, o["slot"]) for o in files]
    row, trial = decided.of(np.concatenate([np.zeros(0, np.uint64), *reported]))
    later = at_ms[row] >= decided_ms[trial]
    row, trial = row[later], trial[later]
    alone = np.setdiff1d(np.arange(len(customer)), row)
    row, trial = np.concatenate([row, alone]), np.concatenate([trial, np.full(len(alone), -1)])
    order = np.argsort(row, kind="stable")
    row, trial = row[order], trial[order]
    return Happened(
        trial,
        customer[row],
        np.concatenate([none, *(o["kind"] for o in files)])[row],
        np.concatenate([none, *(o["occurred_ms"] for o in files)])[row],
        np.concatenate([np.zeros(0), *(o.value for o in files)])[row],
        np.concatenate([none, *(o["category"] for o in files)])[row],
        np.concatenate([none, *(o["outcome"] for o in files)])[row],
        np.diff(row, prepend=-1) == 0,
    )


def _joined(parts: list[tuple[Decisions, I64]], order: I64) -> Lists:
    """The variants of all trials, in their order."""
    sizes = np.concatenate([np.diff(d.variants.at)[rows] for d, rows in parts])
    starts, base = [], 0
    for d, rows in parts:
        starts.append(d.variants.at[:-1][rows] + base)
        base += len(d.variants.name)
    start, size = np.concatenate(starts)[order], sizes[order]
    at = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    source = np.arange(int(at[-1])) + np.repeat(start - at[:-1], size)
    name = np.concatenate([d.variants.name for d, _ in parts])
    share = np.concatenate([d.variants.share for d, _ in parts])
    return Lists(at, name[source], share[source])


def _activity(event_customer: I64, event_ms: I64, customer: I64, at_ms: I64) -> F64:
    """How many events each trial's customer had in the days before it, the trial's own not counted."""
    return _between(event_customer, event_ms, customer, at_ms - BEFORE_DAYS * DAY_MS - 1, at_ms - 1)


def _kpis(parts: Sequence[Decisions], first_slot: Flags, order: I64) -> dict[str, F64]:
    """What events add to each KPI, in their order."""
    found: dict[str, F64] = {}
    start = 0
    for d in parts:
        m = d.measured
        for code in np.unique(m.name).tolist():
            column = found.setdefault(d.names.texts[code], np.zeros(len(first_slot)))
            here = m.name == code
            column[start + m.row[here]] = m.rank[here]
        start += len(d)
    return {name: column[first_slot][order] for name, column in found.items()}


def _between(
    event_customer: I64, event_ms: I64, customer: I64, after_ms: I64, upto_ms: I64, worth: F64 | None = None
) -> F64:
    """How many of the events (by customer and time) are each row's customer's, later than one moment up to another.

    `worth`: what each event counts; absent: one.
    """
    if not len(customer):
        return np.zeros(0)
    moments = [m for m in (event_ms, after_ms, upto_ms) if len(m)]
    base = min(int(m.min()) for m in moments)
    span = max(int(m.max()) for m in moments) - base + 1
    keys = event_customer * span + (event_ms - base)
    end = np.searchsorted(keys, customer * span + (upto_ms - base), "right")
    begin = np.searchsorted(keys, customer * span + (after_ms - base), "right")
    if worth is None:
        return (end - begin).astype(np.float64)
    sums = np.concatenate((np.zeros(1), np.cumsum(worth)))
    found: F64 = sums[end] - sums[begin]
    return found
