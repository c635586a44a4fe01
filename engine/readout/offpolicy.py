"""What another policy would have earned, from the log of the one that ran: off-policy evaluation.

Per logged decision i: context x, action a with logged probability p_i(a), reward r; the target policy gives pi_i(a).
With w = pi_i(a) / p_i(a) and q(x, a) a model of the reward:

    IPS         mean w r                                        Horvitz & Thompson 1952
    SNIPS       sum w r / sum w                                 Hajek 1971; Swaminathan & Joachims, NeurIPS 2015
    DM          mean sum_a pi(a) q(x, a)                        the model alone
    DR          mean [DM_i + w (r - q(x, a))]                   Dudik, Langford & Li, ICML 2011
    switch-DR   as DR, but only where w <= t                    Wang, Agarwal & Dudik, ICML 2017

IPS and DR need true probabilities, and that whatever the target does was possible; then DR is right even where the
model is wrong. Values are per decision at the logged states: what a policy changes for later decisions (caps, fatigue)
is not in them. Intervals are normal, with customers as clusters; that of DM leaves out the error of its model and is
too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.readout.log import F64, I64
from engine.readout.special import two_sided, z_of

FOLDS = 4  # the model of a decision's reward has not seen its customer
RIDGE = 1.0
_THRESHOLDS = 20


@dataclass(frozen=True, slots=True)
class Logged:
    """Decisions to judge by. `logged` (n, k): probabilities of all actions, None where only the drawn one's is known.

    `possible` (n, k): which actions there were; `context` (n, d): numbers; `customer` (n,): clusters.
    """

    actions: list[str]
    action: I64
    reward: F64
    propensity: F64
    customer: I64
    context: F64
    possible: F64
    logged: F64 | None = None

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value per decision and its difference from what the log earned, each with its interval."""

    method: str
    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of the log speaks about the target.

    `effective`: Kish's effective number of decisions. `largest`: the largest weight, `largest_share` its part of all.
    `unsupported`: share of the target's choices that the log could not have made (or of decisions in which it has
    none), None where that is not known. `mean_weight` should be 1 less `unsupported`; `weight_p` tests that.
    """

    decisions: int
    customers: int
    effective: float
    largest: float
    largest_share: float
    unsupported: float | None
    mean_weight: float
    weight_p: float
    threshold: float

    @property
    def warnings(self) -> list[str]:
        """Why the estimates should not be believed; empty where nothing is wrong."""
        found = []
        if self.weight_p < 1e-3:
            expected = 1.0 - (self.unsupported or 0.0)
            found.append(
                f"the weights average {self.mean_weight:.3f} instead of {expected:.3f}: the probabilities are not "
                "those of this log, or the target does what the log never could"
            )
        if self.unsupported:
            found.append(
                f"{self.unsupported:.1%} of what the target would do was impossible in the log: "
                "of that nothing is known"
            )
        if self.effective < 100 or self.effective < 0.01 * self.decisions:
            found.append(f"only {self.effective:,.0f} effective decisions: the target is too far from what ran")
        if self.largest_share > 0.05:
            found.append(f"one decision carries {self.largest_share:.0%} of the weight")
        return found


@dataclass(frozen=True, slots=True)
class Judgement:
    """The log's own value per decision, the target's by each method, and how far they can be believed."""

    earned: float
    earned_low: float
    earned_high: float
    estimates: list[Estimate]
    overlap: Overlap


def judge(log: Logged, target: F64, level: float = 0.95) -> Judgement:
    """Estimates the value of `target` (n, k): its probabilities of the actions in each logged decision."""
    n, rows = len(log), np.arange(len(log))
    w = target[rows, log.action] / log.propensity
    q = reward_model(log)
    direct = (target * q).sum(axis=1)
    rest = log.reward - q[rows, log.action]
    threshold = _threshold(log, target, w, direct, rest)
    earned = float(log.reward.mean())
    own = log.reward - earned
    mean_weight = float(w.mean())
    snips = float(w @ log.reward) / float(w.sum()) if w.any() else 0.0
    columns = {
        "IPS": w * log.reward,
        "SNIPS": snips + w * (log.reward - snips) / (mean_weight or 1.0),
        "DM": direct,
        "DR": direct + w * rest,
        "switch-DR": direct + w * rest * (w <= threshold),
    }
    z = z_of(level)
    estimates = []
    for method, column in columns.items():
        value = float(column.mean())
        se, apart = clustered_se(column, log.customer), clustered_se(column - value - own, log.customer)
        gain = value - earned
        estimates.append(
            Estimate(method, value, value - z * se, value + z * se, gain, gain - z * apart, gain + z * apart)
        )
    se = clustered_se(log.reward, log.customer)
    unsupported = None
    if log.logged is not None:
        unsupported = 1.0 - float((target * (log.logged > 0.0)).sum() / n)
        unsupported = unsupported if unsupported > 1e-9 else 0.0
    expected = 1.0 - (unsupported or 0.0)
    spread = clustered_se(w, log.customer)
    squares = float(w @ w)
    overlap = Overlap(
        n,
        len(np.unique(log.customer)),
        float(w.sum()) ** 2 / squares if squares else 0.0,
        float(w.max()),
        float(w.max() / w.sum()) if w.any() else 1.0,
        unsupported,
        mean_weight,
        two_sided((mean_weight - expected) / spread) if spread else float(abs(mean_weight - expected) < 1e-9),
        threshold,
    )
    return Judgement(earned, earned - z * se, earned + z * se, estimates, overlap)


def clustered_se(column: F64, customer: I64) -> float:
    """Standard error of a mean whose customers are independent, their decisions not."""
    _, place = np.unique(customer, return_inverse=True)
    sums = np.bincount(place, column - column.mean())
    g = len(sums)
    return math.sqrt(float(sums @ sums) * g / (g - 1)) / len(column) if g > 1 else math.inf


def reward_model(log: Logged) -> F64:
    """q (n, k): ridge regression of the reward on the context, one for each action, fitted on the other customers.

    An action that the others never took has the mean reward of all.
    """
    _, place = np.unique(log.customer, return_inverse=True)
    fold = (place * 2654435761 >> 8) % FOLDS  # Knuth's multiplicative hash: no order in it
    x = np.concatenate([np.ones((len(log), 1)), _standard(log.context)], axis=1)
    q = np.full((len(log), len(log.actions)), float(log.reward.mean()) if len(log) else 0.0)
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    for f in range(FOLDS):
        other, here = fold != f, fold == f
        for a in range(len(log.actions)):
            rows = np.flatnonzero(other & (log.action == a))
            if len(rows):
                own = x[rows]
                q[here, a] = x[here] @ np.linalg.solve(own.T @ own + penalty, own.T @ log.reward[rows])
    return q


def _standard(context: F64) -> F64:
    spread = context.std(axis=0)
    scaled: F64 = (context - context.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    return scaled


def _threshold(log: Logged, target: F64, w: F64, direct: F64, rest: F64) -> float:
    """The weight from which on the model is believed instead: the least bound of the mean squared error.

    Variance of the estimate, and the square of the greatest bias that the model could bring: the target's mass beyond
    the threshold times the range of rewards (Wang et al. 2017, section 3.2). The mass is that of all actions where
    their probabilities are known, else estimated from the drawn ones.
    """
    if not w.any():
        return 0.0
    best, best_error = float(w.max()), math.inf
    n, reach = len(w), float(np.ptp(log.reward))
    ratio = None
    if log.logged is not None:
        ratio = target / np.where(log.logged > 0.0, log.logged, np.inf)
    for t in np.unique(np.quantile(w[w > 0.0], np.linspace(0.5, 1.0, _THRESHOLDS))):
        kept = direct + w * rest * (w <= t)
        beyond = float((target * (ratio > t)).sum() if ratio is not None else w[w > t].sum()) / n
        error = float(kept.var()) / n + (reach * beyond) ** 2
        if error <= best_error:
            best, best_error = float(t), error
    return best
