"""What a learning policy makes of what was seen: a weight for each variant, by the policy's kind.

    epsilon_greedy  the best mean, and `epsilon` of the time any (Sutton & Barto 2018, 2.2)
    softmax         exp(mean / temperature) (the same, 2.8)
    ucb1            the largest mean + sqrt(2 ln N / n) (Auer et al. 2002)
    kl_ucb          the largest rate that n trials do not speak against: n kl(mean, q) <= ln N (Garivier & Cappe 2011)
    thompson        the probability to be the best: Beta posteriors (Chapelle & Li 2011), or normal ones of the mean

Rewards are parts of the best possible one, -1 to 1. A variant's `value` multiplies its reward. Where success is a rate
(Beta posteriors, KL), an arm that loses more than it earns has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.compiler.model import Learning
from engine.learning.best import best_of_betas, best_of_normals

_VARIANCE = 0.25  # of a reward within [0, 1], before anything was seen: the largest there is
_LEAST_VARIANCE = 1e-6
_LEAST_SUCCESS = 1e-3  # of a Beta distribution: its density has no bound at 0 then, as with the least prior


class Seen(NamedTuple):
    """What counts of a variant's closed trials: how many (forgetting makes parts), sums of rewards and squares."""

    trials: float = 0.0
    reward: float = 0.0
    squares: float = 0.0

    def plus(self, other: Seen, times: float = 1.0) -> Seen:
        """Both together, the other one `times`."""
        return Seen(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


class Belief(NamedTuple):
    """What is thought of a variant: a prior and what was seen, its own trials, and the mean of both together."""

    prior_rate: float
    prior_weight: float
    seen: Seen

    @property
    def weight(self) -> float:
        """Trials, those of the prior included."""
        return self.prior_weight + self.seen.trials

    @property
    def mean(self) -> float:
        """The reward expected of one trial."""
        return (self.prior_rate * self.prior_weight + self.seen.reward) / self.weight

    @property
    def deviation(self) -> float:
        """Standard deviation of the mean, were it normal."""
        n, reward, squares = self.seen
        spread = self.prior_weight * _VARIANCE + (squares - reward * reward / n if n > 0.0 else 0.0)
        return math.sqrt(max(spread / self.weight, _LEAST_VARIANCE) / self.weight)


def belief(learning: Learning, own: Seen, others: Seen) -> Belief:
    """The prior is the rule file's; with `shrink`, what was seen in the other segments, worth so many trials."""
    rate, weight = learning.prior_rate, learning.prior_weight
    if learning.shrink > 0.0:
        elsewhere = Belief(rate, weight, others)
        rate, weight = elsewhere.mean, min(learning.shrink, elsewhere.weight)
    return Belief(rate, weight, own)


Beliefs = Sequence[Belief]
Values = Sequence[float]


def _largest(scores: Sequence[float]) -> list[float]:
    best = max(scores)
    return [1.0 if score == best else 0.0 for score in scores]


def _epsilon_greedy(learning: Learning, beliefs: Beliefs, values: Values) -> Sequence[float]:
    best = _largest([b.mean * v for b, v in zip(beliefs, values, strict=True)])
    shared = math.fsum(best)
    return [(1.0 - learning.epsilon) * w / shared + learning.epsilon / len(best) for w in best]


def _softmax(learning: Learning, beliefs: Beliefs, values: Values) -> Sequence[float]:
    scores = [b.mean * v / learning.temperature for b, v in zip(beliefs, values, strict=True)]
    return [math.exp(score - max(scores)) for score in scores]


def _ucb1(learning: Learning, beliefs: Beliefs, values: Values) -> Sequence[float]:
    log_all = math.log(max(1.0, math.fsum(b.seen.trials for b in beliefs)))
    return _largest([
        (b.seen.reward / b.seen.trials + math.sqrt(2.0 * log_all / b.seen.trials)) * v if b.seen.trials > 0.0
        else math.inf
        for b, v in zip(beliefs, values, strict=True)
    ])  # fmt: skip


def _kl_ucb(learning: Learning, beliefs: Beliefs, values: Values) -> Sequence[float]:
    log_all = math.log(max(1.0, math.fsum(b.seen.trials for b in beliefs)))
    return _largest([
        kl_bound(b.seen.reward / b.seen.trials, log_all / b.seen.trials) * v if b.seen.trials > 0.0 else math.inf
        for b, v in zip(beliefs, values, strict=True)
    ])  # fmt: skip


def kl_bound(mean: float, most: float) -> float:
    """The largest q with kl(mean, q) <= most, of Bernoulli distributions; to 2^-40."""
    mean = max(mean, 0.0)  # a rate; a loss is no success
    low, high = min(mean, 1.0), 1.0
    for _ in range(40):
        q = 0.5 * (low + high)
        if _kl(mean, q) <= most:
            low = q
        else:
            high = q
    return low


def _kl(p: float, q: float) -> float:
    if q >= 1.0:
        return 0.0 if p >= 1.0 else math.inf
    gained = p * math.log(p / q) if p > 0.0 else 0.0
    return gained + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


def _thompson(learning: Learning, beliefs: Beliefs, values: Values) -> Sequence[float]:
    if learning.model == "gaussian":
        return best_of_normals(
            tuple(b.mean * v for b, v in zip(beliefs, values, strict=True)),
            tuple(b.deviation * v for b, v in zip(beliefs, values, strict=True)),
        )
    successes = tuple(max(b.prior_rate * b.prior_weight + b.seen.reward, _LEAST_SUCCESS) for b in beliefs)
    rest = tuple(max(b.weight - s, _LEAST_SUCCESS) for b, s in zip(beliefs, successes, strict=True))
    return best_of_betas(successes, rest, tuple(values))


KINDS: dict[str, Callable[[Learning, Beliefs, Values], Sequence[float]]] = {
    "thompson": _thompson,
    "epsilon_greedy": _epsilon_greedy,
    "softmax": _softmax,
    "ucb1": _ucb1,
    "kl_ucb": _kl_ucb,
}
