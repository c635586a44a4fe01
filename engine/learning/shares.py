"""From weights to shares: integers that sum to 2^30, and one draw from them.

Floor and quantise first, draw from the integers, log the integers: so the logged propensity is the
true one, and any decision can be drawn again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from engine.decision import SHARE_UNIT
from engine.identity import CustomerKey
from engine.kernels.philox import uniform30

MESSAGE_STAGE, VARIANT_STAGE = 0, 1


def floored(weights: Sequence[float], floor: float) -> list[float]:
    """Probabilities from weights: each that is not zero gets at least `floor`.

    K x floor > 1: uniform over the K weights that are not zero. All zero: all zero.
    """
    live = sum(w > 0.0 for w in weights)
    if live == 0:
        return [0.0] * len(weights)
    if live * floor >= 1.0:
        return [1.0 / live if w > 0.0 else 0.0 for w in weights]
    total = math.fsum(weights)
    rest = 1.0 - live * floor
    return [floor + rest * (w / total) if w > 0.0 else 0.0 for w in weights]


def quantised(probabilities: Sequence[float], hashes: Sequence[int]) -> list[int]:
    """Integers that sum to 2^30 (or all zero), by largest remainder; ties by the arms' hashes.

    A probability of zero stays zero; one above zero stays at least 1.
    """
    total = math.fsum(probabilities)
    if total <= 0.0:
        return [0] * len(probabilities)
    exact = [p / total * SHARE_UNIT for p in probabilities]
    shares = [max(1, math.floor(e)) if e > 0.0 else 0 for e in exact]
    order = sorted(
        (i for i, e in enumerate(exact) if e > 0.0),
        key=lambda i: (exact[i] - math.floor(exact[i]), hashes[i]),
        reverse=True,
    )
    missing = SHARE_UNIT - sum(shares)
    for k in range(abs(missing)):
        if missing > 0:
            shares[order[k % len(order)]] += 1
        else:
            shares[max(range(len(shares)), key=shares.__getitem__)] -= 1
    return shares


@lru_cache(maxsize=65536)
def shares_of(weights: tuple[float, ...], floor: float, hashes: tuple[int, ...]) -> tuple[int, ...]:
    """Floored and quantised; the same few sets of arms come again and again."""
    return tuple(quantised(floored(weights, floor), hashes))


@lru_cache(maxsize=64)
def salt_keys(salt: bytes) -> tuple[int, int]:
    """The two words that key the draws of a deployment."""
    digest = hashlib.blake2b(salt, digest_size=16, person=b"tact-draw").digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def uniform(salt: bytes, customer: CustomerKey, event: int, slot: int, stage: int) -> int:
    """The draw's uniform, 0 .. 2^30 - 1: keyed on who, what and which draw, and on nothing that a
    retry or another revision could change.
    """
    key0, key1 = salt_keys(salt)
    low, high = int.from_bytes(customer.digest[:8], "little"), int.from_bytes(customer.digest[8:], "little")
    counter = (np.uint64(low), np.uint64(high), np.uint64(event), np.uint64(slot << 8 | stage))
    return int(uniform30(np.uint64(key0), np.uint64(key1), *counter))


def drawn(shares: Sequence[int], u: int) -> int:
    """The index whose cumulative share holds `u`."""
    for i, share in enumerate(shares):
        if u < share:
            return i
        u -= share
    raise ValueError("shares do not sum to 2^30")
