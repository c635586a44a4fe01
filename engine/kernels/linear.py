"""Linear bandits: posteriors of a message's variants, packed, and the shares they give for a context.

A model lies in a row of doubles, for k variants (arms) and d coefficients:

    k, d, kind, floor         the head
    order (k)                 places of the arms' hashes, ascending: ties of the quantising
    scale (k)                 what the root of x' P^-1 x is multiplied by: exploration x value
    (d blocks)                block j: rows j .. d-1 of column j of the inverse of P's Cholesky factor, and the
                              coefficient j x value; each row has an entry for each arm

so that all sums over a context run through it once, in its order, over independent places. Twins: `engine.learning.
shares`, `tests/learning/test_linear.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compiled import inlined, kernel
from engine.kernels.normals import POINTS, best_of_normals
from engine.kernels.shares import share_out

ARMS, COEFFICIENTS, KIND, FLOOR, HEAD = range(5)
THOMPSON, UCB = range(2)
X_UNIT = 1 << 10  # a context is in integers of this part
X_LIMIT = 16  # and no further from zero
_LEAST = 1e-300  # a variant that a policy takes never still has its floor; without one, a unit
_LEAST_VARIANCE = 1e-12

F64 = NDArray[np.float64]


class Room(NamedTuple):
    """What one event needs on the way, for up to k arms and d coefficients."""

    sums: F64  # (k x (d + 1),)
    means: F64  # (k,)
    deviations: F64  # (k,)
    weights: F64  # (k,)
    below: F64  # (k, POINTS)
    mass: F64  # (k, POINTS)
    product: F64  # (POINTS,)


def room(k: int, d: int) -> Room:
    """Room for so many arms and coefficients."""
    means, deviations, weights = np.empty((3, k))
    below, mass = np.empty((2, k, POINTS))
    return Room(np.empty(k * (d + 1)), means, deviations, weights, below, mass, np.empty(POINTS))


def model_size(k: int, d: int) -> int:
    """Doubles that a model takes."""
    return HEAD + 2 * k + k * (d * (d + 1) // 2 + d)


@kernel
def _precision(moments, d, prior_weight, lower, right):  # type: ignore[no-untyped-def]
    """Fills `lower` with the lower half of an arm's precision, and `right` with its right side less the prior's."""
    at = 0
    for i in range(d):
        for j in range(i, d):
            lower[j, i] = moments[at]
            at += 1
        lower[i, i] += prior_weight
        right[i] = moments[d * (d + 1) // 2 + i]


@kernel
def _factored(d, prior_weight, lower, inverse):  # type: ignore[no-untyped-def]
    """Fills `inverse` with the inverse of the Cholesky factor of a precision, whose lower half is used up."""
    for j in range(d):  # no pivot is below the prior's weight but by rounding
        pivot = lower[j, j]
        for c in range(j):
            pivot -= lower[j, c] * lower[j, c]
        lower[j, j] = math.sqrt(max(pivot, prior_weight))
        for i in range(j + 1, d):
            found = lower[i, j]
            for c in range(j):
                found -= lower[i, c] * lower[j, c]
            lower[i, j] = found / lower[j, j]
    for j in range(d):
        inverse[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, d):
            found = 0.0
            for c in range(j, i):
                found -= lower[i, c] * inverse[c, j]
            inverse[i, j] = found / lower[i, i]


@kernel
def _solved(inverse, d, right):  # type: ignore[no-untyped-def]
    """What P^-1 makes of `right`, in place, P^-1 being inverse' inverse."""
    for i in range(d - 1, -1, -1):
        found = 0.0
        for c in range(i + 1):
            found += inverse[i, c] * right[c]
        right[i] = found
    for j in range(d):
        found = 0.0
        for i in range(j, d):
            found += inverse[i, j] * right[i]
        right[j] = found


@kernel
def _packed(factor, centre, arm, k, d, value, out):  # type: ignore[no-untyped-def]
    """Writes an arm's posterior into a model: `factor` (d, d) lower, the covariance being factor' factor."""
    at = HEAD + 2 * k + arm
    for j in range(d):
        for i in range(j, d):
            out[at] = factor[i, j]
            at += k
        out[at] = centre[j] * value
        at += k


@kernel
def pack_arm(moments, arm, k, d, prior_weight, prior_rate, value, lower, inverse, right, out):  # type: ignore[no-untyped-def]
    """Writes an arm's posterior into a model: ridge regression, with a prior of that weight on each coefficient.

    moments (d (d + 1) / 2 + d,)   the upper half of the sum of x x' by rows, then the sum of reward x x; as doubles
    lower, inverse (d, d), right (d,)   room
    """
    _precision(moments, d, prior_weight, lower, right)
    _factored(d, prior_weight, lower, inverse)
    right[0] += prior_weight * prior_rate
    _solved(inverse, d, right)
    _packed(inverse, right, arm, k, d, value, out)


@kernel
def pack_hybrid(  # type: ignore[no-untyped-def]
    moments, fits, k, d, prior_weight, prior_rate, values, room, rights, out
):
    """Writes the posteriors of arms that have something in common: coefficients b + t, b shared by all, t an arm's own.

    b and t have a prior of that weight on each coefficient, b's first is thought to be the rate. With A = sum x x',
    r = sum of reward x x and P = A + w of an arm, b has the precision w + sum_arms w (1 - w P^-1) and the right side
    w prior + sum_arms w P^-1 r; an arm's coefficients are P^-1 (r + w b), given b.

    moments (arms, ..)   of all arms that are known; fits (arms,): the place in the model, -1 for those not in it
    values (k,), room (4, d, d), rights (2, d)
    """
    lower, inverse, common, wide = room[0], room[1], room[2], room[3]
    right, mean = rights[0], rights[1]
    for i in range(d):
        for j in range(d):
            wide[i, j] = 0.0
        wide[i, i] = prior_weight
        mean[i] = 0.0
    mean[0] = prior_weight * prior_rate
    for arm in range(len(moments)):
        _precision(moments[arm], d, prior_weight, lower, right)
        _factored(d, prior_weight, lower, inverse)
        _solved(inverse, d, right)
        for i in range(d):
            mean[i] += prior_weight * right[i]
            wide[i, i] += prior_weight
            for j in range(i + 1):
                found = 0.0
                for c in range(i, d):
                    found += inverse[c, i] * inverse[c, j]
                wide[i, j] -= prior_weight * prior_weight * found
    _factored(d, prior_weight, wide, common)
    _solved(common, d, mean)
    for arm in range(len(moments)):
        if fits[arm] < 0:
            continue
        _precision(moments[arm], d, prior_weight, lower, right)
        _factored(d, prior_weight, lower, inverse)
        for i in range(d):
            right[i] += prior_weight * mean[i]
        _solved(inverse, d, right)
        _widened(common, d, prior_weight, lower, wide, inverse)
        _packed(inverse, right, fits[arm], k, d, values[fits[arm]], out)


@kernel
def _widened(common, d, prior_weight, lower, wide, inverse):  # type: ignore[no-untyped-def]
    """Adds to an arm's covariance what is not known of b: of V = P^-1 + w^2 P^-1 B P^-1, B being common' common, the
    lower factor with V = factor' factor takes the place of `inverse`. `lower`, `wide`: room
    """
    for c in range(d):  # row c of w common P^-1
        for j in range(d):
            lower[c, j] = common[c, j] * prior_weight if j <= c else 0.0
        _solved(inverse, d, lower[c])
    for i in range(d):
        for j in range(i + 1):
            found = 0.0
            for c in range(i, d):
                found += inverse[c, i] * inverse[c, j]
            for c in range(d):
                found += lower[c, i] * lower[c, j]
            wide[i, j] = found
    for j in range(d - 1, -1, -1):  # from the end; no pivot is below that of P^-1 but by rounding
        pivot = wide[j, j]
        for c in range(j + 1, d):
            pivot -= inverse[c, j] * inverse[c, j]
        inverse[j, j] = math.sqrt(max(pivot, inverse[j, j] * inverse[j, j]))
        for i in range(j):
            found = wide[j, i]
            for c in range(j + 1, d):
                found -= inverse[c, i] * inverse[c, j]
            inverse[j, i] = found / inverse[j, j]


@inlined
def _scores(model, context, room):  # type: ignore[no-untyped-def]
    """Fills the room's means and deviations: of each arm's worth for a context, exploration included."""
    k, d = np.int64(model[ARMS]), np.int64(model[COEFFICIENTS])
    sums = room.sums[: k * (d + 1)]
    for p in range(len(sums)):
        sums[p] = 0.0
    at = HEAD + 2 * k
    for j in range(d):
        part, rows = model[at : at + k * (d - j + 1)], sums[k * j :]
        at += len(part)
        x = context[j] / X_UNIT
        if x != 0.0:
            for p in range(len(part)):
                rows[p] += x * part[p]
    means, deviations = room.means, room.deviations
    for arm in range(k):
        means[arm], deviations[arm] = sums[k * d + arm], 0.0
    for j in range(d):
        for arm in range(k):
            deviations[arm] += sums[k * j + arm] * sums[k * j + arm]
    for arm in range(k):
        deviations[arm] = math.sqrt(max(deviations[arm], _LEAST_VARIANCE)) * model[HEAD + k + arm]


@kernel
def linear_scores(model, context, room):  # type: ignore[no-untyped-def]
    """The same, for who wants them alone."""
    _scores(model, context, room)


@kernel
def linear_shares(model, context, room, shares):  # type: ignore[no-untyped-def]
    """Fills `shares` with the shares of a model's arms for a context, which sum to 2^30.

    context (d,)   integers of 1 / X_UNIT, the first is X_UNIT; shares (k or more,)
    """
    _scores(model, context, room)
    k, means, deviations, weights = np.int64(model[ARMS]), room.means, room.deviations, room.weights
    if model[KIND] == THOMPSON:
        best_of_normals(means, deviations, k, room.below, room.mass, room.product, weights)
    else:
        most = -np.inf
        for arm in range(k):
            most = max(most, means[arm] + deviations[arm])
        for arm in range(k):
            weights[arm] = 1.0 if means[arm] + deviations[arm] == most else 0.0
    for arm in range(k):
        weights[arm] = max(weights[arm], _LEAST)
    share_out(weights, k, model[FLOOR], model[HEAD : HEAD + k], shares)
