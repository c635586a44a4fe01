"""The effect of a variant against the control, from logged probabilities: valid for trials and for bandits.

Each trial i (a decision, with its outcome y) gives a score for each arm a, the augmented inverse probability weighting
of Robins, Rotnitzky & Zhao (1994):

    score_i(a) = m_i(a) + 1[drawn a] / p_i(a) (y_i - m_i(a))

p is the logged probability and m_i(a) the mean of the arm's earlier trials, so whatever the policy had learnt before,
score_i(v) - score_i(c) has the conditional mean of the effect in trial i: the sum of deviations is a martingale.
Trials are weighted by h_i = (1 / p_i(v) + 1 / p_i(c))^(-1/2), which keeps the variance of the sum steady while a policy
moves its probabilities, and so makes the estimate normal (Hadad, Hirshberg, Zhan, Wager & Athey, PNAS 2021: adaptively
weighted AIPW with variance-stabilising weights). In a trial with fixed shares h is constant.

Assumptions: the logged probabilities are the true ones; trials of different customers do not disturb each other; an
effect that drifts is averaged with the weights h. Trials of one customer may depend on each other in any way: the
variance is that of customers' sums (Liang & Zeger 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.readout.log import F64, I64, Flags
from engine.readout.sequences import always_valid_p, half_width
from engine.readout.special import two_sided, z_of

ENOUGH = 5  # trials with the outcome, and without it, in each arm: below, no interval says anything


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials in the order of their time. All of shape (n,).

    `treated`, `control`: which were drawn into the two arms; others only tell of the covariate.
    `p_treated`, `p_control`: logged probabilities in [0, 1]. `customer`: a number for each customer.
    `covariate`: known before the trial.
    """

    y: F64
    treated: Flags
    control: Flags
    p_treated: F64
    p_control: F64
    customer: I64
    covariate: F64 | None = None

    def some(self, which: Flags) -> Trials:
        """Only these trials."""
        x = self.covariate[which] if self.covariate is not None else None
        return Trials(
            self.y[which], self.treated[which], self.control[which], self.p_treated[which], self.p_control[which],
            self.customer[which], x,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Effect:
    """Variant against control. Intervals are at the level asked for; None where there is too little to say.

    `n_*` trials and `sum_*` outcomes as they were drawn; `mean_*` are estimates over all comparable trials.
    `low`/`high`, `p`: fixed horizon, to be looked at once. `seq_low`/`seq_high`, `seq_p`: may be watched daily.
    `ratio*`: mean of the variant by mean of the control. `saved`: part of the variance that the covariate took away.
    `se_*`: standard errors of the two means.
    """

    n_treated: int
    n_control: int
    sum_treated: float
    sum_control: float
    customers: int
    incomparable: int
    mean_treated: float | None = None
    mean_control: float | None = None
    effect: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seq_low: float | None = None
    seq_high: float | None = None
    seq_p: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    saved: float | None = None
    se_treated: float | None = None
    se_control: float | None = None


def compare(trials: Trials, level: float = 0.95, tuned_for: int = 1000) -> Effect:
    """The effect of the treated arm. `tuned_for`: customers at which the confidence sequence is narrowest.

    Trials in which one of the two arms could not be drawn compare nothing: they are counted as `incomparable`.
    """
    both = (trials.p_treated > 0.0) & (trials.p_control > 0.0)
    t = trials.some(both)
    n = (int(t.treated.sum()), int(t.control.sum()))
    sums = (float(t.y[t.treated].sum()), float(t.y[t.control].sum()))
    customers = len(np.unique(t.customer))
    bare = Effect(*n, *sums, customers, len(both) - len(t.y))
    if min(n) < 2 * ENOUGH or customers < 2 * ENOUGH or _rare(t.y[t.treated]) or _rare(t.y[t.control]):
        return bare
    y, saved = t.y, None
    if t.covariate is not None:
        y, saved = _adjusted(t)
    h = (1.0 / t.p_treated + 1.0 / t.p_control) ** -0.5
    h /= h.sum()
    treated, control = scores(y, t.treated, t.p_treated), scores(y, t.control, t.p_control)
    means = (float((h * treated).sum()), float((h * control).sum()))
    by_customer = _per_customer(t.customer, np.stack([h * (treated - means[0]), h * (control - means[1])]))
    g = by_customer.shape[1]
    covariance = np.einsum("ig,jg->ij", by_customer, by_customer) * (g / (g - 1))
    effect = means[0] - means[1]
    se = math.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    if se <= 0.0:
        return bare
    z, wide = z_of(level), half_width(se, g, 1.0 - level, tuned_for)
    ratio = ratio_low = ratio_high = None
    if min(means) > 0.0:
        ratio = means[0] / means[1]
        gradient = np.array([1.0 / means[0], -1.0 / means[1]])
        spread = math.exp(z * math.sqrt(max(0.0, gradient @ covariance @ gradient)))
        ratio_low, ratio_high = ratio / spread, ratio * spread
    return Effect(
        *n, *sums, customers, bare.incomparable, *means, effect, se,
        effect - z * se, effect + z * se, two_sided(effect / se),
        effect - wide, effect + wide, always_valid_p(effect / se, g, 1.0 - level, tuned_for),
        ratio, ratio_low, ratio_high, saved, math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1]),
    )  # fmt: skip


def scores(y: F64, drawn: Flags, p: F64) -> F64:
    """AIPW scores of one arm, shape (n,), the arm's weighted mean so far as the model of its outcome."""
    weight = drawn / p
    so_far = np.cumsum(weight) - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        model = (np.cumsum(weight * y) - weight * y) / so_far
    model = np.where(so_far > 0.0, model, 0.0)
    result: F64 = model + weight * (y - model)
    return result


def _rare(y: F64) -> bool:
    """Too few different outcomes for a variance to mean anything."""
    usual = float(np.median(y))
    return int((y != usual).sum()) < ENOUGH


def _per_customer(customer: I64, values: F64) -> F64:
    """Sums of the rows of `values` (k, n) over each customer: (k, customers)."""
    _, place = np.unique(customer, return_inverse=True)
    return np.stack([np.bincount(place, row) for row in values])


def _adjusted(t: Trials) -> tuple[F64, float | None]:
    """CUPED: the outcome less what was to be expected from before the trial (Deng, Xu, Kohavi & Walker, WSDM 2013).

    theta is pooled over both arms; the mean of the covariate is that of all trials, so no effect is moved.
    """
    x = t.covariate
    arms = t.treated | t.control
    if x is None or arms.sum() < 2 or np.ptp(x[arms]) == 0.0:
        return t.y, None
    centred = x - x.mean()
    within = np.where(t.treated, t.y - t.y[t.treated].mean(), np.where(t.control, t.y - t.y[t.control].mean(), 0.0))
    own = centred[arms] - centred[arms].mean()
    theta = float((own * within[arms]).sum()) / float((own * own).sum())
    before = float((within[arms] ** 2).sum())
    after = float(((within[arms] - theta * own) ** 2).sum())
    return t.y - theta * centred, (1.0 - after / before) if before > 0.0 else None
