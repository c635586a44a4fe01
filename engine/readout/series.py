"""A message's trials through time: probabilities, rewards, and the confidence sequence as it was on each day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.decision import OutcomeKind
from engine.readout.effects import Trials, compare
from engine.readout.log import F64, I64
from engine.readout.trials import DAY_MS, TrialLog

POINTS_MAX = 40


@dataclass(frozen=True, slots=True)
class Watched:
    """A variant's effect and confidence sequence at each moment; None before there was enough."""

    variant: str
    effect: list[float | None]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """At `at_ms` (moments, whole days apart), by variant in `variants`: the mean logged probability since the moment
    before (None: no trial), and the rewards in closed trials so far.
    """

    at_ms: list[int]
    variants: list[str]
    probability: list[list[float | None]]
    reward: list[list[float]]
    watched: list[Watched]


def series_of(
    log: TrialLog,
    rows: I64,
    arm: I64,
    p: F64,
    variants: Sequence[str],
    control: int,
    kind: OutcomeKind | None,
    days: float,
    level: float,
    tuned_for: int,
) -> Series:
    """The series of one message's trials `rows`, whose arms are `arm` and probabilities `p` (n, k)."""
    at = log.at_ms[rows]
    first, last = int(at[0]), max(int(at[-1]), int(at[0]) + 1)
    step = max(1, -(-(last - first) // (POINTS_MAX * DAY_MS))) * DAY_MS
    ends = list(range(first + step, last + step + 1, step))
    part = np.minimum((at - first) // step, len(ends) - 1)
    count = np.bincount(part, minlength=len(ends))
    probability: list[list[float | None]] = []
    reward: list[list[float]] = []
    closed = log.closed(days)[rows]
    y = log.rewards(days, kind)[rows] if kind is not None else np.zeros(len(rows))
    for k in range(len(variants)):
        sums = np.bincount(part, p[:, k], minlength=len(ends))
        probability.append([float(s / n) if n else None for s, n in zip(sums, count, strict=True)])
        reward.append(np.bincount(part, y * (closed & (arm == k)), minlength=len(ends)).cumsum().tolist())
    watched = []
    for k in range(len(variants)):
        if k == control or kind is None:
            continue
        effects = []
        for place in range(len(ends)):
            which = np.flatnonzero(closed & (part <= place))
            here = rows[which]
            trials = Trials(
                y[which], arm[which] == k, arm[which] == control, p[which, k], p[which, control], log.customer[here],
                log.activity[here],
            )  # fmt: skip
            effects.append(compare(trials, level, tuned_for))
        watched.append(
            Watched(
                variants[k], [e.effect for e in effects], [e.seq_low for e in effects], [e.seq_high for e in effects]
            )
        )
    return Series([min(e, last) for e in ends], list(variants), probability, reward, watched)
