"""The readout: every variant against its control, message by message, and what became of all events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from engine.compiler.model import RuleSet
from engine.decision import OutcomeKind, Reason
from engine.errors import TactError
from engine.learning.enrolment import Assignment
from engine.readout.corrections import benjamini_hochberg, heterogeneity, holm, interaction
from engine.readout.effects import Effect, Trials, compare
from engine.readout.holdout import Held, holdout_effects
from engine.readout.kpis import ACTIVITY, Kpi, Total, categories_of, kpis_of, totals_of
from engine.readout.log import F64, I64
from engine.readout.ratio import SampleRatio, sample_ratio
from engine.readout.segments import Segmented, segments_of
from engine.readout.series import Series, series_of
from engine.readout.trials import HORIZONS, TrialLog, kinds_of

KNOWN_CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked: the main outcome and horizon, the level of intervals, values to split by, what is planned for,
    event types to count.
    """

    kind: OutcomeKind | None = None
    days: float = 7
    level: float = 0.95
    by: tuple[str, ...] = ()
    tuned_for: int = 1000
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arm:
    """A variant as it was drawn. `probability` is the mean logged one over the message's trials."""

    variant: str
    trials: int
    customers: int
    probability: float
    not_delivered: int
    totals: list[Total]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant against the control by one outcome. `holm`: the one-look p-value, corrected over all messages.

    `measure`: rate (whether it came), count (how often) or value (for how much).
    """

    variant: str
    kind: str
    days: float
    measure: str
    effect: Effect
    holm: float | None = None
    category: str = ""

    @property
    def outcome(self) -> str:
        """What is compared, in words."""
        told = self.kind.lower() if self.kind in OutcomeKind.__members__ or self.kind == ACTIVITY else self.kind
        return f"{told} {self.category}".rstrip()

    @property
    def verdict(self) -> str:
        """By the confidence sequence, which may be watched: higher, lower, open, or too few."""
        e = self.effect
        if e.seq_low is None or e.seq_high is None:
            return "too few"
        return "higher" if e.seq_low > 0.0 else "lower" if e.seq_high < 0.0 else "open"


@dataclass(frozen=True, slots=True)
class SegmentEffect:
    """A comparison inside one segment. `interaction`: p-value of 'as elsewhere'; `adjusted`: over all segments."""

    variant: str
    by: str
    segment: str
    effect: Effect
    interaction: float | None = None
    adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class MessageReport:
    """One message under one policy. `main` are the comparisons asked for, `others` all kinds and horizons there are.

    `learns`: the logged probabilities moved. `heterogeneity`: by variant and split, 'all segments have one effect'.
    `fixed_slice`: only of the customers who are drawn by fixed weights beside a policy that learns; the others are a
    report of their own. `outside`: decisions that were no part of the trial, and are left out.
    """

    message: str
    policy: str
    control: str
    control_known: bool
    learns: bool
    trials: int
    open_trials: int
    arms: list[Arm]
    ratio: SampleRatio
    main: list[Comparison]
    others: list[Comparison]
    segments: list[SegmentEffect]
    heterogeneity: list[tuple[str, str, float]]
    series: Series
    fixed_slice: bool = False
    outside: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A readout of one log. `reasons` and `stops` count decisions and, message by message, what became of it."""

    decisions: int
    trials: int
    outcomes: int
    strays: int
    customers: int
    first_ms: int
    last_ms: int
    kind: str
    days: float
    level: float
    reasons: dict[str, int]
    stops: dict[str, dict[str, int]]
    messages: list[MessageReport] = field(default_factory=list)
    single: list[str] = field(default_factory=list)
    holdout: list[Held] = field(default_factory=list)


def make_report(log: TrialLog, wish: Wish, ruleset: RuleSet | None = None) -> Report:
    """Reads out a log. `ruleset` tells controls, rewards and which messages are held out.

    Raises TactError where the log has nothing of an outcome or event type that is asked for.
    """
    kinds = kinds_of(log)
    if wish.kind is not None and wish.kind not in kinds:
        there = ", ".join(k.name.lower() for k in kinds) or "none"
        raise TactError(f"the log has no outcome '{wish.kind.name.lower()}'; it has: {there}")
    types = sorted({log.names.texts[c] for c in np.unique(log.event_type).tolist()})
    if unknown := [e for e in wish.events if e not in types]:
        raise TactError(f"the log has no event of the type '{unknown[0]}'; it has: {', '.join(types) or 'none'}")
    kind = wish.kind or (_rewarded(ruleset, kinds) if ruleset is not None else None) or (kinds[0] if kinds else None)
    messages: list[MessageReport] = []
    single: list[str] = []
    names = log.names.texts
    sent = ~log.withheld
    pairs = np.unique(np.stack([log.message[sent], log.policy[sent]], axis=1), axis=0).tolist()
    for message, policy in sorted(pairs, key=lambda pair: (names[pair[0]], names[pair[1]])):
        rows = np.flatnonzero(sent & (log.message == message) & (log.policy == policy))
        found = _parts(log, rows, wish, kind, kinds, ruleset)
        messages += found
        if not found:
            single.append(names[message])
    messages = _corrected(messages)
    h = log.happened
    return Report(
        log.funnel.decisions,
        len(log),
        int((~h.again).sum()),
        int((h.trial < 0).sum()),
        len(np.unique(log.event_customer)),
        log.first_ms,
        log.last_ms,
        kind.name if kind is not None else "",
        wish.days,
        wish.level,
        {reason_name(r): n for r, n in log.funnel.reasons.most_common()},
        {m: {reason_name(r): n for r, n in c.most_common()} for m, c in sorted(log.funnel.stops.items())},
        messages,
        sorted(set(single)),
        holdout_effects(log, ruleset, wish.level, wish.tuned_for),
    )


def reason_name(reason: int) -> str:
    """The reason's name; of a later version's reason the number."""
    return Reason(reason).name if reason in set(Reason) else str(reason)


def _rewarded(ruleset: RuleSet, kinds: Sequence[OutcomeKind]) -> OutcomeKind | None:
    """The outcome of greatest reward in any policy, if the log has it."""
    rewards: dict[str, float] = {}
    for policy in ruleset.policies.values():
        for name, value in policy.reward.items():
            rewards[name] = max(value, rewards.get(name, 0.0))
    known = [k for k in kinds if rewards.get(k.name.lower(), 0.0) > 0.0]
    return max(known, key=lambda k: rewards[k.name.lower()], default=None)


def _parts(
    log: TrialLog,
    rows: I64,
    wish: Wish,
    kind: OutcomeKind | None,
    kinds: Sequence[OutcomeKind],
    ruleset: RuleSet | None,
) -> list[MessageReport]:
    """One message's readout: of the policy's own draws, and of the fixed slice beside them, where there is one."""
    how = log.assignment[rows]
    outside = int((~log.in_trial[rows]).sum())
    found = []
    for part in (Assignment.POLICY, Assignment.FIXED_SLICE):
        report = _message(log, rows[how == part], wish, kind, kinds, ruleset)
        if report is not None:
            found.append(replace(report, fixed_slice=part is Assignment.FIXED_SLICE, outside=outside))
    return found


def _message(
    log: TrialLog,
    rows: I64,
    wish: Wish,
    kind: OutcomeKind | None,
    kinds: Sequence[OutcomeKind],
    ruleset: RuleSet | None,
) -> MessageReport | None:
    """The readout of some trials of a message; None where there was never more than one variant to draw from."""
    names = log.names.texts
    sizes = np.diff(log.variants.at)[rows]
    if not len(rows) or sizes.max() < 2:
        return None
    inside = np.isin(log.variants.row, rows)
    codes = sorted(np.unique(log.variants.name[inside]).tolist(), key=lambda c: names[c])
    message, policy = names[log.message[rows[0]]], names[log.policy[rows[0]]]
    declared = ruleset.policies.get(policy) if ruleset is not None else None
    control, known = _control([names[c] for c in codes], declared.control if declared is not None else None)
    p = log.shares(rows, codes)
    arm = np.array([codes.index(c) for c in log.variant[rows].tolist()])
    drawn = ~log.sticky[rows]
    treated = [k for k in range(len(codes)) if names[codes[k]] != control]
    base = next(k for k in range(len(codes)) if names[codes[k]] == control)
    learns = bool((log.version[rows] > 0).any())

    def trials(k: int, y: F64, which: I64) -> Trials:
        """Arm `k` against the control; `y` is of the log's trials, `which` are places in `rows`."""
        here = rows[which]
        return Trials(
            y[here], arm[which] == k, arm[which] == base, p[which, k], p[which, base], log.customer[here],
            log.activity[here],
        )  # fmt: skip

    categories = categories_of(log, rows)
    kpis = kpis_of(log, kinds, categories, wish.events)

    def compared(kpi: Kpi, days: float) -> list[Comparison]:
        which, y = np.flatnonzero(log.closed(days)[rows]), kpi.of(days)
        effects = [(k, compare(trials(k, y, which), wish.level, wish.tuned_for)) for k in treated]
        return [Comparison(names[codes[k]], kpi.kind, days, kpi.measure, e, category=kpi.category) for k, e in effects]

    asked = [
        kpi for kpi in kpis if kind is not None and (kpi.kind, kpi.measure, kpi.category) == (kind.name, "rate", "")
    ]
    main = [c for kpi in asked for c in compared(kpi, wish.days)]
    others = [
        c for kpi in kpis for days in HORIZONS if kpi not in asked or days != wish.days for c in compared(kpi, days)
    ]
    others.sort(key=lambda c: [names[codes[k]] for k in treated].index(c.variant))  # by variant, else as they came
    segments: list[SegmentEffect] = []
    uneven: list[tuple[str, str, float]] = []
    if kind is not None:
        which = np.flatnonzero(log.closed(wish.days)[rows])
        y = log.rewards(wish.days, kind)
        for split in segments_of(log, rows, dict.fromkeys((*log.reported_paths(rows), *wish.by))):
            for k in treated:
                found = _split(split, which, partial(trials, k, y), names[codes[k]], wish)
                segments += found
                known_ones = [f.effect for f in found if f.effect.effect is not None]
                q = heterogeneity([e.effect or 0.0 for e in known_ones], [e.se or 1.0 for e in known_ones])
                if q is not None:
                    uneven.append((names[codes[k]], split.by, q))
    return MessageReport(
        message,
        policy,
        control,
        known,
        learns,
        len(rows),
        int((~log.closed(wish.days)[rows]).sum()),
        [
            _arm(
                log,
                rows[arm == k],
                names[codes[k]],
                float(p[:, k].mean()),
                totals_of(log, rows[arm == k], kinds, categories, wish.events),
            )
            for k in range(len(codes))
        ],
        sample_ratio(arm[drawn], _whole(p[drawn])),
        main,
        others,
        segments,
        uneven,
        series_of(log, rows, arm, p, [names[c] for c in codes], base, kind, wish.days, wish.level, wish.tuned_for),
    )


def _split(
    split: Segmented, which: I64, trials: Callable[[I64], Trials], variant: str, wish: Wish
) -> list[SegmentEffect]:
    """Each segment's effect and whether it differs from that of the rest."""
    found = []
    place = split.place[which]
    for s, name in enumerate(split.names):
        inside, outside = which[place == s], which[(place != s) & (place >= 0)]
        here = compare(trials(inside), wish.level, wish.tuned_for)
        there = compare(trials(outside), wish.level, wish.tuned_for) if len(split.names) > 1 else None
        p = None
        if here.effect is not None and there is not None and there.effect is not None:
            p = interaction(here.effect, here.se or 0.0, there.effect, there.se or 0.0)
        found.append(SegmentEffect(variant, split.by, name, here, p))
    return found


def _control(variants: Sequence[str], declared: str | None) -> tuple[str, bool]:
    """(the control, whether somebody said so): the rules', else the one of that name, else the first by name."""
    if declared in variants:
        return str(declared), True
    return (KNOWN_CONTROL, True) if KNOWN_CONTROL in variants else (variants[0], False)


def _arm(log: TrialLog, rows: I64, variant: str, probability: float, totals: list[Total]) -> Arm:
    lost = int(log.rewards(HORIZONS[-1], OutcomeKind.NOT_DELIVERED)[rows].sum())
    return Arm(variant, len(rows), len(np.unique(log.customer[rows])), probability, lost, totals)


def _whole(p: F64) -> F64:
    """Rows that sum to 1 (they miss it by rounding only)."""
    total = p.sum(axis=1, keepdims=True)
    return p / np.where(total > 0.0, total, 1.0)


def _corrected(messages: Sequence[MessageReport]) -> list[MessageReport]:
    """Holm over the main comparisons of all messages, Benjamini-Hochberg over all interactions."""
    main = iter(holm([c.effect.p for m in messages for c in m.main]))
    apart = iter(benjamini_hochberg([s.interaction for m in messages for s in m.segments]))
    return [
        replace(
            m,
            main=[replace(c, holm=next(main)) for c in m.main],
            segments=[replace(s, adjusted=next(apart)) for s in m.segments],
        )
        for m in messages
    ]
