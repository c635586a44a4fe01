"""Confidence sequences: intervals that hold at all times at once, so a report may be looked at every day.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Oh (Annals of Statistics 2024, theorem
2.2): Robbins' normal mixture (1970) with an estimated variance. With n the number of independent units (customers),

    half-width = se sqrt((n r + 1) / (n r) (2 log(1 / alpha) + log(n r + 1)))

It holds for martingale sums too (their section 3), so for scores that were collected adaptively, given that units vary
about alike throughout; the weights in `effects` see to that while probabilities move. It is asymptotic: the
first handful of units is not covered, which is why effects are not told before there are enough of them.
r is fixed beforehand by the number of units at which the interval is to be narrowest, never by the data.
"""

from __future__ import annotations

import math


def tuning(alpha: float, tuned_for: int) -> float:
    """r (rho squared in the paper, equation 14) for the narrowest interval at `tuned_for` units."""
    return (2.0 * math.log(1.0 / alpha) + math.log(1.0 + 2.0 * math.log(1.0 / alpha))) / tuned_for


def half_width(se: float, n: int, alpha: float, tuned_for: int) -> float:
    """Of the interval around an estimate with standard error `se` from `n` units, at all times with 1 - alpha."""
    nr = n * tuning(alpha, tuned_for)
    return se * math.sqrt((nr + 1.0) / nr * (2.0 * math.log(1.0 / alpha) + math.log(nr + 1.0)))


def always_valid_p(z: float, n: int, alpha: float, tuned_for: int) -> float:
    """The p-value that goes with `half_width`: below a with probability at most a, ever (Johari et al., 2022).

    `alpha` is the level for which the sequence was tuned.
    """
    nr = n * tuning(alpha, tuned_for)
    log_e = 0.5 * z * z * nr / (nr + 1.0) - 0.5 * math.log(nr + 1.0)
    return min(1.0, math.exp(-log_e))
