"""The probability of each of some rates to be the best one; `kernels.normals` has that of normal arms.

P(i) = integral f_i(x) prod_{j != i} F_j(x) dx, over points that every arm gives where it needs them, so that a sharp
arm beside a wide one is seen as finely. The twin is `tests/learning/best_twin.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_POINTS = 180  # of all arms together, but
_LEAST = 12  # of each, and as many between them; over
_SPREAD = 7.0  # standard deviations on either side
_TAIL = 12.0  # a tail like exp(-alpha z) is followed until this is the exponent
_NOTHING = 1e-100  # smaller ones soon have fewer digits, and are slow
_F1, _F2 = "float64[::1]", "float64[:, ::1]"


@njit(f"void({_F2}, {_F2}, {_F1})", cache=True, error_model="numpy", nogil=True)
def _integrate(below, mass, out):  # type: ignore[no-untyped-def]
    """Probabilities to be the largest.

    below, mass   of each arm (k, points): its distribution function there, and the part of it that a point stands
                  for; mass is used up
    """
    k, n = below.shape
    product = np.ones(n)
    for arm in range(k):
        for p in range(n):
            mass[arm, p] *= product[p]
            product[p] = product[p] * below[arm, p] if product[p] > _NOTHING else 0.0
    product[:] = 1.0
    total = 0.0
    for arm in range(k - 1, -1, -1):
        best = 0.0
        for p in range(n):
            best += mass[arm, p] * product[p]
            product[p] = product[p] * below[arm, p] if product[p] > _NOTHING else 0.0
        out[arm] = best
        total += best
    for arm in range(k):
        out[arm] /= total


@njit(f"float64[::1]({_F1})", cache=True, error_model="numpy", nogil=True)
def _simpson(points):  # type: ignore[no-untyped-def]
    """The length that each point stands for, by Simpson's rule over each pair of steps."""
    n = len(points)
    length = np.empty(n)
    for p in range(1, n, 2):
        length[p] = 4.0 / 6.0 * (points[p + 1] - points[p - 1])
    for p in range(0, n, 2):
        length[p] = (points[min(p + 2, n - 1)] - points[max(p - 2, 0)]) / 6.0
    return length


@njit("float64(int64, int64)", cache=True, error_model="numpy", nogil=True)
def _place(p, own):  # type: ignore[no-untyped-def]
    """Where the point p of an arm's own lies, in its standard deviations."""
    return _SPREAD * (2.0 * p / (own - 1) - 1.0)


@njit(f"float64[::1]({_F1})", cache=True, error_model="numpy", nogil=True)
def _with_middles(knots):  # type: ignore[no-untyped-def]
    """The knots, ascending, and one more point in the middle between each two."""
    points = np.empty(2 * len(knots) - 1)
    points[: len(knots)] = np.sort(knots)
    for p in range(len(knots) - 1, 0, -1):
        points[2 * p] = points[p]
    for p in range(1, len(points), 2):
        points[p] = 0.5 * (points[p - 1] + points[p + 1])
    return points


@njit("float64(float64, float64)", cache=True, error_model="numpy", nogil=True)
def _moved(z, part):  # type: ignore[no-untyped-def]
    """The logit of part x rate, of a rate's logit z."""
    if part == 1.0 or z < -500.0:
        return z + math.log(part)
    worth = part / (1.0 + math.exp(-z))
    return math.log(worth / (1.0 - worth))


@njit("float64(float64, float64)", cache=True, error_model="numpy", nogil=True)
def _back(z, part):  # type: ignore[no-untyped-def]
    """The logit of the rate whose part has the logit z; infinite where no rate reaches it."""
    if z < -500.0:
        return z - math.log(part)
    rate = 1.0 / (1.0 + math.exp(-z)) / part
    return math.log(rate / (1.0 - rate)) if rate < 1.0 else np.inf


@njit(f"void({_F1}, {_F1}, {_F1}, {_F1})", cache=True, error_model="numpy", nogil=True)
def best_of_betas(alphas, betas, values, out):  # type: ignore[no-untyped-def]
    """Fills `out` with the probability of each value x Beta(alpha, beta) to be the largest; to about 1e-3,
    or 1e-2 where alphas or betas are far below 1.

    In the logit of a rate its density is smooth with exponential tails. Points are logits of the worth as a part of
    the largest value; each arm's distribution function is summed by the trapezoid rule with its end correction.
    """
    k = len(alphas)
    most = values.max()
    own = max(_LEAST, _POINTS // k)
    knots = np.empty(k * (own + 1))
    for arm in range(k):
        at = math.log(alphas[arm] / betas[arm])
        wide = math.sqrt(1.0 / alphas[arm] + 1.0 / betas[arm])
        part = values[arm] / most
        for p in range(own):
            z = at + wide * _place(p, own)
            if p % 6 == 4:  # where alpha or beta are small a tail is longer than deviations tell
                z = at - wide * _SPREAD - max(0.0, _TAIL / alphas[arm] - wide * _SPREAD) * (p + 1) / own
            elif p % 6 == 5:
                z = at + wide * _SPREAD + max(0.0, _TAIL / betas[arm] - wide * _SPREAD) * (p + 1) / own
            knots[arm * (own + 1) + p] = _moved(z, part)
        # where the worth of the arm ends, and its density may fall from something to nothing
        knots[arm * (own + 1) + own] = (
            np.log(part / (1.0 - part)) + 1e-9 if part < 1.0 else knots[arm * (own + 1) + own - 1]
        )
    points = _with_middles(knots)
    n = len(points)
    length = _simpson(points)
    below, mass = np.empty((k, n)), np.empty((k, n))
    for arm in range(k):
        a, b, part = alphas[arm], betas[arm], values[arm] / most
        top = a * math.log(a / b) - (a + b) * math.log1p(a / b)
        last_z, last_f, last_slope, total = 0.0, 0.0, 0.0, 0.0
        for p in range(n):
            z = points[p] if part == 1.0 else _back(points[p], part)
            mass[arm, p] = 0.0
            if z < np.inf:
                softplus = z + math.log1p(math.exp(-z)) if z > 0.0 else math.log1p(math.exp(z))
                rate = math.exp(z - softplus)
                f = math.exp(max(-230.0, a * z - (a + b) * softplus - top))
                slope = f * (a - (a + b) * rate)
                if p == 0:  # what lies below: a tail that falls like exp(a z)
                    total = f / a
                else:
                    h = z - last_z
                    total += max(0.0, 0.5 * h * (f + last_f) + h * h / 12.0 * (last_slope - slope))
                last_z, last_f, last_slope = z, f, slope
                mass[arm, p] = f * length[p]
            below[arm, p] = total
        total += last_f / b  # what lies above
        for p in range(n):
            below[arm, p] /= total
            mass[arm, p] /= total
        if part < 1.0:  # over a variable in which its density may have no bound: from what lies below
            for p in range(n):
                mass[arm, p] = 0.5 * (below[arm, min(p + 1, n - 1)] - below[arm, max(p - 1, 0)])
    _integrate(below, mass, out)
