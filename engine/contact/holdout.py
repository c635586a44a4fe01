"""Holdout: the customers who are told nothing, so that it can be measured what messages do."""

from __future__ import annotations

import hashlib
import math

from engine.compiler.model import Holdout
from engine.identity import CustomerKey


def held_out(customer: CustomerKey, holdout: Holdout | None) -> bool:
    """Whether the customer belongs to the holdout: by salted hash, so the same for as long as the salt."""
    if holdout is None or holdout.share <= 0.0:
        return False
    digest = hashlib.blake2b(
        customer.digest, digest_size=8, key=holdout.salt.encode()[:64], person=b"tact-holdout"
    ).digest()
    return int.from_bytes(digest, "little") < threshold(holdout)


def threshold(holdout: Holdout | None) -> int:
    """The hash from which on nobody is held out: 0 for nobody, 2^64 for everybody."""
    return 0 if holdout is None or holdout.share <= 0.0 else min(1 << 64, math.ceil(holdout.share * 2.0**64))
