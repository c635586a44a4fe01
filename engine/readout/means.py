"""Two independent groups: shares, means, their difference and ratio, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.readout.log import F64
from engine.readout.special import two_sided, z_of


@dataclass(frozen=True, slots=True)
class Contrast:
    """An estimate with its interval and the p-value of 'no difference'."""

    value: float
    low: float
    high: float
    p: float


def rate_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (1927), which also holds for rare successes (Brown, Cai & DasGupta 2001)."""
    if n == 0:
        return 0.0, 1.0
    z = z_of(level)
    share, grown = successes / n, 1.0 + z * z / n
    middle = share + z * z / (2.0 * n)
    wide = z * math.sqrt(max(0.0, share * (1.0 - share) / n + z * z / (4.0 * n * n)))
    return max(0.0, (middle - wide) / grown), min(1.0, (middle + wide) / grown)


def difference_of_means(a: F64, b: F64, level: float = 0.95) -> Contrast | None:
    """mean(a) - mean(b), variances apart (Welch 1947), by the normal distribution; None for fewer than two each."""
    if min(len(a), len(b)) < 2:
        return None
    se = math.sqrt(float(a.var(ddof=1)) / len(a) + float(b.var(ddof=1)) / len(b))
    value = float(a.mean() - b.mean())
    if se == 0.0:
        return None
    z = z_of(level)
    return Contrast(value, value - z * se, value + z * se, two_sided(value / se))


def ratio_of_means(a: F64, b: F64, level: float = 0.95) -> Contrast | None:
    """mean(a) / mean(b), by the delta method on the logarithm (Katz et al. 1978); None where a mean is not positive."""
    if min(len(a), len(b)) < 2:
        return None
    above, below = float(a.mean()), float(b.mean())
    if min(above, below) <= 0.0:
        return None
    se = math.sqrt(float(a.var(ddof=1)) / (len(a) * above * above) + float(b.var(ddof=1)) / (len(b) * below * below))
    if se == 0.0:
        return None
    value, spread = above / below, math.exp(z_of(level) * se)
    return Contrast(value, value / spread, value * spread, two_sided(math.log(value) / se))
