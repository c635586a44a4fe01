"""What a message is worth by what its policy has learnt: `rank: learned`.

The rate of a message is the reward expected of sending it now, in parts of the best possible one: over the variants
that are left, the sum of share x mean, with the shares that the variant is then drawn from. So it is true of the very
send that is being ranked. Pooled trials and rewards of the message would be the mean of past draws: of shares that
were others, of variants that are gone, and of a time in which more was tried out.

The rate's deviation is that of its posterior, the variants being independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from engine.compiler.model import Policy
from engine.compiler.sections_learning import LINEAR
from engine.decision import SHARE_UNIT
from engine.learning.policies import learnt_message
from engine.learning.posteriors import Posteriors

_NOTHING = 1e-100  # so small a deviation is none: its square still has all its digits


class Worth(NamedTuple):
    """What a message is thought to be worth: value x rate.

    value       of the best possible reward: the message's value x the largest of its variants' `values`
    rate        1, or its posterior mean; of a linear policy that extrapolates outside of 0 to 1
    deviation   standard deviation of the rate's posterior; 0: the rate is known
    normal      whether that posterior is normal; else it is a Beta
    """

    value: float
    rate: float = 1.0
    deviation: float = 0.0
    normal: bool = False

    @property
    def rank(self) -> float:
        """What messages are compared by; 0 has one sign."""
        return self.value * self.rate + 0.0

    @property
    def known(self) -> bool:
        """Whether nothing about it is uncertain."""
        return abs(self.value) * self.deviation < _NOTHING


def learnt_worth(
    policy: Policy,
    message: str,
    value: float,
    segment: str,
    variants: Sequence[str],
    shares: Sequence[int],
    posteriors: Posteriors,
    context: tuple[int, ...] = (),
) -> Worth:
    """The worth of a message whose own value is `value`, in a segment: `shares` are of the variants that are left."""
    values = [policy.learning.values.get(v, 1.0) for v in variants]
    most = max(values)
    means, deviations, normal = _rates(policy, message, segment, variants, posteriors, context)
    parts = [share / SHARE_UNIT * (v / most) for share, v in zip(shares, values, strict=True)]
    rate = math.fsum(part * mean for part, mean in zip(parts, means, strict=True))
    variance = math.fsum((part * deviation) ** 2 for part, deviation in zip(parts, deviations, strict=True))
    return Worth(value * most, rate, math.sqrt(variance), normal)


def _rates(
    policy: Policy,
    message: str,
    segment: str,
    variants: Sequence[str],
    posteriors: Posteriors,
    context: tuple[int, ...],
) -> tuple[Sequence[float], Sequence[float], bool]:
    """Mean and deviation of each variant's rate, and whether they are normal."""
    owner = learnt_message(policy, message)
    if policy.kind in LINEAR:
        means, deviations = posteriors.model(policy, owner, segment, tuple(variants)).scores(context)
        values = [policy.learning.values.get(v, 1.0) for v in variants]
        rates = [mean / value for mean, value in zip(means, values, strict=True)]
        return rates, [deviation / value for deviation, value in zip(deviations, values, strict=True)], True
    beliefs = [posteriors.belief(policy, owner, segment, v) for v in variants]
    rates = [b.mean for b in beliefs]
    if policy.kind == "thompson" and policy.learning.model == "gaussian":
        return rates, [b.deviation for b in beliefs], True
    # of a Beta; bad rewards may take the mean to 0 and below, where it has none
    variances = [max(r * (1.0 - r), 0.0) / (b.weight + 1.0) for r, b in zip(rates, beliefs, strict=True)]
    return rates, list(map(math.sqrt, variances)), False
