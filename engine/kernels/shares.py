"""From weights to shares: floored, and quantised to integers that sum to 2^30. The twin is `engine.learning.shares`."""

from __future__ import annotations

import math

import numpy as np

from engine.kernels.compiled import kernel

SHARE_UNIT = 1 << 30


@kernel
def share_out(weights, k, floor, order, shares):  # type: ignore[no-untyped-def]
    """Fills `shares` with the shares of the first k arms, by largest remainder; uses `weights` up.

    weights (k or more,)   above zero
    floor   the least probability of each arm; where k x floor is 1 or more, all are alike
    order (k,)   larger ones come first where remainders are equal
    """
    total = 0.0
    for arm in range(k):
        total += weights[arm]
    rest = 1.0 - k * floor
    summed = 0.0
    for arm in range(k):
        weights[arm] = floor + rest * (weights[arm] / total) if rest > 0.0 else 1.0 / k
        summed += weights[arm]
    missing = np.int64(SHARE_UNIT)
    for arm in range(k):
        exact = weights[arm] / summed * SHARE_UNIT
        share = math.floor(exact)
        weights[arm] = exact - share
        shares[arm] = max(np.int64(share), np.int64(1))
        missing -= shares[arm]
    while missing > 0:  # one more for each, those with the largest remainder first
        first = 0
        for arm in range(1, k):
            if weights[arm] > weights[first] or (weights[arm] == weights[first] and order[arm] > order[first]):
                first = arm
        shares[first] += 1
        weights[first] -= 1.0
        missing -= 1
    while missing < 0:
        largest = 0
        for arm in range(1, k):
            if shares[arm] > shares[largest]:
                largest = arm
        shares[largest] -= 1
        missing += 1
