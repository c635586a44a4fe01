"""How many customers a comparison needs, and what it could find."""

from __future__ import annotations

import math

from engine.readout.sequences import half_width
from engine.readout.special import normal_cdf, quantile

_MOST = 1 << 40


def standard_error(n: float, share: float, variance_treated: float, variance_control: float) -> float:
    """Of a difference of means between `share` of `n` customers and the rest."""
    return math.sqrt(variance_treated / (n * share) + variance_control / (n * (1.0 - share)))


def power_of(effect: float, se: float, alpha: float) -> float:
    """The chance that a two-sided test at level `alpha` finds a true effect."""
    z, shift = quantile(1.0 - alpha / 2.0), abs(effect) / se
    return normal_cdf(shift - z) + normal_cdf(-shift - z)


def watched_power_of(effect: float, se: float, n: int, alpha: float, tuned_for: int) -> float:
    """The chance that the confidence sequence leaves out zero at `n` customers (earlier looks add to it a little)."""
    wide = half_width(se, n, alpha, tuned_for)
    return normal_cdf((abs(effect) - wide) / se)


def customers_needed(
    effect: float,
    share: float,
    variance_treated: float,
    variance_control: float,
    alpha: float,
    power: float,
    watched: bool = False,
) -> int:
    """The fewest customers, both arms together, with which `effect` is found with `power`; by bisection.

    `watched`: with the confidence sequence, tuned for that number, instead of one test at the end.
    """

    def found(n: int) -> float:
        se = standard_error(n, share, variance_treated, variance_control)
        return watched_power_of(effect, se, n, alpha, n) if watched else power_of(effect, se, alpha)

    if effect == 0.0:
        return _MOST
    low, high = 2, 4
    while found(high) < power and high < _MOST:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= power else (middle, high)
    return high


def detectable_effect(
    n: int, share: float, variance_control: float, alpha: float, power: float, watched: bool = False
) -> float:
    """The smallest effect that `n` customers find with `power`, both arms as variable as the control."""
    se = standard_error(n, share, variance_control, variance_control)
    edge = half_width(se, n, alpha, n) if watched else se * quantile(1.0 - alpha / 2.0)
    return edge + se * quantile(power)


def rate_variance(rate: float) -> float:
    """Of a yes or no."""
    return rate * (1.0 - rate)
