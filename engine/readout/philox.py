"""The draws' uniforms for whole columns: Philox4x64-10 as in `kernels.philox`, without compiling anything."""

from __future__ import annotations

import numpy as np

from engine.readout.log import I64, U64

_U = np.uint64
_HALF, _LOW = _U(32), _U(0xFFFFFFFF)
_M0, _M1 = _U(0xD2E7470EE14C6C93), _U(0xCA5A826395121157)  # multipliers, table 2 of Salmon et al., SC 2011
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_WORD = (1 << 64) - 1
_ROUNDS = 10
_ROWS = 16384  # at once: the columns stay in the cache


def _multiply_high(a: np.uint64, b: U64) -> U64:
    """Upper 64 bits of the 128-bit product, by halves."""
    a0, a1 = a & _LOW, a >> _HALF
    b0, b1 = b & _LOW, b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    other = a0 * b1 + (middle & _LOW)
    high: U64 = a1 * b1 + (middle >> _HALF) + (other >> _HALF)
    return high


def uniforms(key0: int, key1: int, c0: U64, c1: U64, c2: U64, c3: U64) -> I64:
    """Integers in [0, 2^30) of one key and a column of counters (uint64 each, shape (n,))."""
    drawn = np.empty(len(c0), np.int64)
    for at in range(0, len(c0), _ROWS):
        part = slice(at, at + _ROWS)
        drawn[part] = _rounds(key0, key1, c0[part], c1[part], c2[part], c3[part])
    return drawn


def _rounds(key0: int, key1: int, c0: U64, c1: U64, c2: U64, c3: U64) -> U64:
    for _ in range(_ROUNDS):
        c0, c1, c2, c3 = (
            _multiply_high(_M1, c2) ^ c1 ^ _U(key0),
            _M1 * c2,
            _multiply_high(_M0, c0) ^ c3 ^ _U(key1),
            _M0 * c0,
        )
        key0, key1 = (key0 + _W0) & _WORD, (key1 + _W1) & _WORD
    return c0 >> _U(34)
