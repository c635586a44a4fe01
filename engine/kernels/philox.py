"""Counter-based random numbers: Philox4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011).

The same key and counter give the same number everywhere and for ever, so any draw can be repeated.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_U = np.uint64
_LOW = _U(0xFFFFFFFF)
_M0, _M1 = _U(0xD2E7470EE14C6C93), _U(0xCA5A826395121157)  # multipliers, table 2 of the paper
_W0, _W1 = _U(0x9E3779B97F4A7C15), _U(0xBB67AE8584CAA73B)  # Weyl constants: golden ratio, sqrt(3) - 1
_ROUNDS = 10


@njit("uint64(uint64, uint64)", cache=True, error_model="numpy")
def _multiply_high(a, b):  # type: ignore[no-untyped-def]
    """Upper 64 bits of the 128-bit product, by halves."""
    half = np.uint64(32)
    a0, a1 = a & _LOW, a >> half
    b0, b1 = b & _LOW, b >> half
    middle = a1 * b0 + ((a0 * b0) >> half)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> half) + (other >> half)


@njit("int64(uint64, uint64, uint64, uint64, uint64, uint64)", cache=True, error_model="numpy", nogil=True)
def uniform30(key0, key1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
    """An integer in [0, 2^30): the top 30 bits of the first output word of key and counter (uint64 each)."""
    for _ in range(_ROUNDS):
        h0, l0 = _multiply_high(_M0, c0), _M0 * c0
        h1, l1 = _multiply_high(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = h1 ^ c1 ^ key0, l1, h0 ^ c3 ^ key1, l0
        key0, key1 = key0 + _W0, key1 + _W1
    return np.int64(c0 >> np.uint64(34))
