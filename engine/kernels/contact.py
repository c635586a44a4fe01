"""Kernels of the contact policy. Their plain twins are in tests/kernels/test_contact.py."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit("int64(int64[::1], int64, int64)", cache=True)
def rolling_load(times: NDArray[np.int64], at: int, span: int) -> int:
    """How many of the sorted `times` share some window [s, s + span) with `at`, at most.

    A cap must hold in every window that contains the new touch, later bookings included, so the
    answer is the largest count over all such windows. Two moments exactly `span` apart share none.
    """
    n = times.shape[0]
    lo = 0
    while lo < n and times[lo] <= at - span:
        lo += 1
    best = 0
    hi = lo
    # a fullest window starts at a touch, or at the new one
    while lo < n and times[lo] < at:
        while hi < n and times[hi] < times[lo] + span:
            hi += 1
        best = max(best, hi - lo)
        lo += 1
    hi = max(lo, hi)
    while hi < n and times[hi] < at + span:
        hi += 1
    return max(best, hi - lo)
