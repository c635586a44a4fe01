"""The few distribution functions that the readout needs, without a library for them."""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL = NormalDist()
_ROUNDS = 1000
_EPSILON = 1e-15


def z_of(level: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 of 0.95."""
    return _NORMAL.inv_cdf(0.5 + level / 2.0)


def quantile(p: float) -> float:
    """The standard normal quantile."""
    return _NORMAL.inv_cdf(p)


def normal_cdf(z: float) -> float:
    """P(Z <= z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def two_sided(z: float) -> float:
    """P(|Z| >= |z|)."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def chi_square_sf(x: float, df: int) -> float:
    """P(X >= x) of a chi-square variable: the regularised upper incomplete gamma function Q(df / 2, x / 2).

    By its series below a + 1 and Lentz's continued fraction above (Press et al., Numerical Recipes, 6.2).
    """
    if x <= 0.0 or df <= 0:
        return 1.0
    a, x = df / 2.0, x / 2.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        for k in range(1, _ROUNDS):
            term *= x / (a + k)
            total += term
            if term < total * _EPSILON:
                break
        return max(0.0, 1.0 - total * scale)
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    h = d
    for k in range(1, _ROUNDS):
        an = -k * (k - a)
        b += 2.0
        d = 1.0 / (an * d + b)
        c = b + an / c
        h *= d * c
        if abs(d * c - 1.0) < _EPSILON:
            break
    return scale * h
