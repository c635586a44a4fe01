"""Who is in a trial: by salted hash of the customer, as in the holdout, and by date.

Layers, fixed slices and the holdout are salted apart, so none of them says anything about the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

from engine.compiler.model import Enrolment, Policy, Slice
from engine.decision import SHARE_UNIT
from engine.identity import name_hash
from engine.learning.policies import VariantShares, objected_shares, variant_shares
from engine.learning.posteriors import Posteriors
from engine.learning.shares import shares_of


class Assignment(IntEnum):
    """By what a decision's variant was drawn, as the log has it; from OUTSIDE on it was no part of the trial."""

    POLICY = 0
    FIXED_SLICE = 1
    OUTSIDE = 2
    EARLY = 3
    OVER = 4
    OBJECTED = 5

    @property
    def in_trial(self) -> bool:
        """Whether it is learnt from and compared."""
        return self < Assignment.OUTSIDE


@lru_cache(maxsize=4096)
def _key(owner: str, salt: str) -> bytes:
    return hashlib.blake2b(f"{owner}\0{salt}".encode(), digest_size=32, person=b"tact-slice").digest()


def place(digest: bytes, part: Slice) -> int:
    """Where a customer (16 bytes of hash) stands among all, 0 .. 2^64 - 1: the same in all slices of a layer."""
    hashed = hashlib.blake2b(digest, digest_size=8, key=_key(part.owner, part.salt), person=b"tact-slice")
    return int.from_bytes(hashed.digest(), "little")


def inside(digest: bytes, part: Slice) -> bool:
    """Whether a customer belongs to a slice: for as long as its owner, its salt and its edges stay."""
    return part.low <= place(digest, part) < part.high


def assignment(policy: Policy | None, digest: bytes, now_ms: int, objects: bool = False) -> Assignment:
    """By what a customer's variant is drawn now. `objects`: who is not to be learnt from."""
    if policy is None:
        return Assignment.POLICY
    enrolment = policy.enrolment
    if enrolment is not None:
        if enrolment.until_ms is not None and now_ms >= enrolment.until_ms:
            return Assignment.OVER
        if enrolment.from_ms is not None and now_ms < enrolment.from_ms:
            return Assignment.EARLY
        if enrolment.part is not None and not inside(digest, enrolment.part):
            return Assignment.OUTSIDE
    if objects:
        return Assignment.OBJECTED
    if policy.fixed_slice is not None and inside(digest, policy.fixed_slice.part):
        return Assignment.FIXED_SLICE
    return Assignment.POLICY


def known_assignment(number: int) -> Assignment:
    """What a log's number means; POLICY for one that this version does not know."""
    return Assignment(number) if number in set(Assignment) else Assignment.POLICY


def fallback(enrolment: Enrolment, how: Assignment) -> str:
    """The variant of who is not in the trial; "": the message is not said."""
    return enrolment.then if how is Assignment.OVER else enrolment.outside


def why_not(policy: Policy, how: Assignment) -> str:
    """In words, why a customer is not in a policy's trial, or is not learnt from."""
    if how is Assignment.OBJECTED:
        return "the customer objects to being learnt from"
    if how is Assignment.OUTSIDE and policy.enrolment is not None and policy.enrolment.part is not None:
        return f"not in the slice of '{policy.name}' in the layer '{policy.enrolment.part.owner}'"
    return f"the trial of '{policy.name}' {'is over' if how is Assignment.OVER else 'has not begun'}"


def assigned_shares(
    policy: Policy | None,
    how: Assignment,
    message: str,
    segment: str,
    variants: Sequence[str],
    posteriors: Posteriors,
    context: tuple[int, ...] = (),
) -> VariantShares:
    """Shares of the variants that are left. Outside of a trial all is of one; all zero where that is not left."""
    if policy is not None and how is Assignment.OBJECTED:
        return objected_shares(policy, variants)
    if policy is not None and not how.in_trial and policy.enrolment is not None:
        variant = fallback(policy.enrolment, how)
        return VariantShares(tuple(SHARE_UNIT if v == variant else 0 for v in variants), 0)
    if policy is not None and how is Assignment.FIXED_SLICE and policy.fixed_slice is not None:
        given = policy.fixed_slice.weights
        weights = tuple(given.get(v, 0.0) if given else 1.0 for v in variants)
        return VariantShares(shares_of(weights, 0.0, tuple(map(name_hash, variants))), 0)
    return variant_shares(policy, message, segment, variants, posteriors, context)
