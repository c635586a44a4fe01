"""The probability of each of some normal arms to be the largest: P(i) = integral f_i(x) prod_{j != i} F_j(x) dx.

From the top down, panel by panel, each as wide as the sharpest arm in it allows, by Gauss and Legendre's rule. The
largest worth lies above the lower end of each arm, so what is below the highest of these ends is not looked at.
Nothing but arithmetic and square roots: every machine gets the same bits. The twin is `tests/learning/best_twin.py`.
"""

from __future__ import annotations

import math

import numpy as np

from engine.kernels.compiled import kernel

POINTS = 16  # of a panel
_WIDTH = 6.5  # of a panel at most, in deviations of every arm that lies in it
_REACH = 4.25  # deviations on either side of a mean: beyond lies 1e-5
_REST = 1e-5  # probability that everything is below a panel, which need not be looked at any more
_FAR = 6.0  # deviations after which there is nothing: 1e-9
_X = (
    0.09501250983763744, 0.2816035507792589, 0.45801677765722737, 0.6178762444026438, 0.755404408355003,
    0.8656312023878318, 0.9445750230732326, 0.9894009349916499,
)  # fmt: skip
_W = (
    0.1894506104550685, 0.18260341504492358, 0.16915651939500254, 0.14959598881657674, 0.12462897125553388,
    0.09515851168249279, 0.062253523938647894, 0.027152459411754096,
)  # fmt: skip
_NODES, _PARTS = np.array([*(-x for x in _X[::-1]), *_X]), np.array([*_W[::-1], *_W])
_HALVED = 64.0  # exp(-x) is the 64th power of exp(-x / 64), for which six terms are enough
_ERF_P = 0.3275911 * math.sqrt(0.5)  # Abramowitz & Stegun 7.1.26, to 1.5e-7
_E1, _E2, _E3, _E4, _E5 = 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429


@kernel
def best_of_normals(means, deviations, k, below, mass, product, out):  # type: ignore[no-untyped-def]
    """Fills `out` with the probability of each of the first k Normal(mean, deviation) to be the largest; to 1e-4.

    Deviations are above zero. An arm that cannot win gets 0. Means are moved, so that the largest lower end is near 0.
    below, mass (k or more, POINTS), product (POINTS,)   room
    """
    first = 0
    for arm in range(1, k):
        if means[arm] - _REACH * deviations[arm] > means[first] - _REACH * deviations[first]:
            first = arm
    origin, high = means[first], -np.inf
    for arm in range(k):
        out[arm] = 0.0
        means[arm] -= origin
        high = max(high, means[arm] + _REACH * deviations[arm])
    low = -_REACH * deviations[first]
    top = high
    while top > low:
        bottom = -np.inf
        for arm in range(k):  # a panel ends where another arm begins, or is narrow enough for it
            ends = means[arm] + _REACH * deviations[arm]
            bottom = max(bottom, min(ends, top - _WIDTH * deviations[arm]))
        if not bottom < top:
            bottom = top - 1e-15 * (high - low)
        left = _panel(means, deviations, k, bottom, top, below, mass, product, out)
        top = bottom if left > _REST else low
    total = 0.0
    for arm in range(k):
        total += out[arm]
    if not 0.0 < total < np.inf:  # of numbers that are too large, or too far apart
        out[first], total = 1.0, 1.0
        for arm in range(k):
            out[arm] = 1.0 if arm == first else 0.0
    for arm in range(k):
        out[arm] /= total


@kernel
def _panel(means, deviations, k, bottom, top, below, mass, product, out):  # type: ignore[no-untyped-def]
    """Adds what lies between bottom and top; the probability that all arms are below the lowest point."""
    half, middle = 0.5 * (top - bottom), 0.5 * (top + bottom)
    for p in range(POINTS):
        product[p] = 1.0
    for arm in range(k):
        away, sharp = means[arm] - middle, 1.0 / deviations[arm]
        if means[arm] + _REACH * deviations[arm] <= bottom:  # it is below, surely
            continue
        for p in range(POINTS):
            z = min(_FAR, max(-_FAR, (half * _NODES[p] - away) * sharp))
            x = z * z * (-0.5 / _HALVED)
            e = 1.0 + x * (1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720))))))
            e *= e
            e *= e
            e *= e
            e *= e
            e *= e
            e *= e
            e = e if abs(z) < _FAR else 0.0
            t = 1.0 / (1.0 + _ERF_P * abs(z))
            tail = 0.5 * e * t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
            under = 1.0 - tail if z > 0.0 else tail
            below[arm, p] = under
            mass[arm, p] = half * sharp * _PARTS[p] * e * product[p]
            product[p] *= under
    left = product[0]
    for p in range(POINTS):
        product[p] = 1.0
    for arm in range(k - 1, -1, -1):
        if means[arm] + _REACH * deviations[arm] <= bottom:
            continue
        best = 0.0
        for p in range(POINTS):
            best += mass[arm, p] * product[p]
            product[p] *= below[arm, p]
        out[arm] += best
    return left
