"""Linear bandits in one call: what each arm is worth for a context, and the probability of each to be the best.

The twin is `engine.learning.linear`. Nothing here is logged or remembered.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_POINTS = 33  # of each arm, over 6 standard deviations on either side
_SPREAD = 6.0
_ROOT_HALF = math.sqrt(0.5)
_F1, _F2, _F3 = "float64[::1]", "float64[:, ::1]", "float64[:, :, ::1]"


@njit(f"void({_F1}, {_F2}, {_F3}, float64, {_F1}, {_F1}, {_F1})", cache=True, error_model="numpy", nogil=True)
def linear_scores(x, centre, spread, explore, values, means, deviations):  # type: ignore[no-untyped-def]
    """Fills `means` and `deviations` of the arms' worth for a context.

    x        context, d numbers, the first is 1
    centre   coefficients by arm (k, d)
    spread   inverse of each arm's precision (k, d, d)
    explore  standard deviation of one reward
    values   what each arm's reward is multiplied by (k)
    """
    d = len(x)
    for arm in range(len(centre)):
        mean, variance = 0.0, 0.0
        for i in range(d):
            mean += x[i] * centre[arm, i]
            row = 0.0
            for j in range(d):
                row += spread[arm, i, j] * x[j]
            variance += x[i] * row
        means[arm] = mean * values[arm]
        deviations[arm] = explore * math.sqrt(max(variance, 1e-12)) * values[arm]


@njit(f"void({_F1}, {_F1}, {_F1})", cache=True, error_model="numpy", nogil=True)
def best_of_normals(means, deviations, out):  # type: ignore[no-untyped-def]
    """Fills `out` with the probability of each Normal(mean, deviation) to be the largest; to about 1e-3.

    Every arm gives points where it needs them, so that a sharp arm beside a wide one is seen as finely. Below
    the largest lower end of all no arm can be the largest.
    """
    k = len(means)
    low, high = -np.inf, -np.inf
    for arm in range(k):
        low = max(low, means[arm] - 8.0 * deviations[arm])
        high = max(high, means[arm] + 8.0 * deviations[arm])
    points = np.empty(k * _POINTS + 2)
    points[0], points[1], n = low, high, 2
    for arm in range(k):
        for p in range(_POINTS):
            at = means[arm] + deviations[arm] * _SPREAD * (2.0 * p / (_POINTS - 1) - 1.0)
            if low < at < high:
                points[n] = at
                n += 1
    points = np.sort(points[:n])
    before, below, others = np.empty(k), np.empty(k), np.empty(k)
    for arm in range(k):
        out[arm] = 0.0
    for p in range(n):
        for arm in range(k):
            below[arm] = 0.5 * math.erfc((means[arm] - points[p]) / deviations[arm] * _ROOT_HALF)
        product = 1.0
        now = others if p == 0 else np.empty(k)
        for arm in range(k):
            now[arm] = product
            product *= below[arm]
        product = 1.0
        for arm in range(k - 1, -1, -1):
            now[arm] *= product
            product *= below[arm]
        if p > 0:
            for arm in range(k):
                out[arm] += 0.5 * (now[arm] + others[arm]) * (below[arm] - before[arm])
        others = now
        for arm in range(k):
            before[arm] = below[arm]
    total = 0.0
    for arm in range(k):
        total += out[arm]
    for arm in range(k):
        out[arm] /= total
