"""Policies: what turns a message's remaining variants into shares, and outcomes into rewards.

`fixed` keeps declared weights (a randomised trial); the others learn (`kinds`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from engine.compiler.model import Policy
from engine.compiler.sections_learning import LINEAR
from engine.decision import OutcomeKind
from engine.identity import name_hash
from engine.learning.kinds import KINDS
from engine.learning.linear import REWARD_UNIT
from engine.learning.posteriors import Posteriors
from engine.learning.shares import shares_of
from engine.learning.terms import Terms

_LEAST = 1e-300  # a variant that a policy takes never still has its floor; without one, a unit


@dataclass(frozen=True, slots=True)
class VariantShares:
    """Shares of 2^30 in the order of the variants asked for, and the state's version that gave them."""

    shares: tuple[int, ...]
    version: int


def learnt_message(policy: Policy | Terms, message: str) -> str:
    """The message part of the state's key: pooled policies learn over all their messages."""
    return "" if policy.pool else message


def variant_shares(
    policy: Policy | None,
    message: str,
    segment: str,
    variants: Sequence[str],
    posteriors: Posteriors,
    context: tuple[int, ...] = (),
) -> VariantShares:
    """Shares of the variants that are left. No policy: equal weights. All zero where no weight is left.

    `context` is what a linear policy looks at (`linear.context_of`).
    """
    if policy is not None and policy.kind in LINEAR and variants:
        model = posteriors.model(policy, learnt_message(policy, message), segment, tuple(variants))
        return VariantShares(model.shares(context), posteriors.version)
    hashes = tuple(name_hash(v) for v in variants)
    if policy is None:
        return VariantShares(shares_of((1.0,) * len(variants), 0.0, hashes), 0)
    if policy.kind == "fixed":
        weights = tuple(policy.weights.get(v, 0.0) if policy.weights else 1.0 for v in variants)
        return VariantShares(shares_of(weights, policy.floor, hashes), 0)
    owner = learnt_message(policy, message)
    values = [policy.learning.values.get(v, 1.0) for v in variants]
    beliefs = [posteriors.belief(policy, owner, segment, v) for v in variants]
    weights = tuple(max(w, _LEAST) for w in KINDS[policy.kind](policy.learning, beliefs, values)) if variants else ()
    return VariantShares(shares_of(weights, policy.floor, hashes), posteriors.version)


def objected_shares(policy: Policy, variants: Sequence[str]) -> VariantShares:
    """Shares for a customer who objects to learning: the control; where it is not left or there is none, the fixed
    weights, else equal ones. Nothing that was learnt goes into them.
    """
    hashes = tuple(name_hash(v) for v in variants)
    if policy.control in variants:
        return VariantShares(shares_of(tuple(float(v == policy.control) for v in variants), 0.0, hashes), 0)
    return variant_shares(policy if policy.kind == "fixed" else None, "", "", variants, Posteriors())


def scaled_reward(policy: Policy | Terms, kinds: Set[OutcomeKind]) -> int:
    """The reward of one closed trial in REWARD_UNIT: the values of the kinds seen, as a part of the sum of all
    positive ones (of all negative ones where there are no others), held within [-1, 1].

    Below zero, so that an arm which drives customers away is worse than one that does nothing, and an opt-out undoes
    a conversion of another trial; not below -1, so that one trial never costs more than the best one earns.
    """
    worth = policy.reward.values()
    best = sum(v for v in worth if v > 0.0) or -sum(worth)
    if best <= 0.0:
        return 0
    got = sum(policy.reward.get(kind.name.lower(), 0.0) for kind in sorted(kinds))
    return round(min(1.0, max(-1.0, got / best)) * REWARD_UNIT)
