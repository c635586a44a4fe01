"""Policies: what turns a message's remaining variants into shares.

`fixed` keeps declared weights (a randomised trial). `thompson` keeps a Beta posterior per variant on
the reward scaled to [0, 1] (Beta-Bernoulli, Chapelle & Li 2011) and computes, not samples, the
probability of each variant to be the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.compiler.model import Policy
from engine.decision import OutcomeKind
from engine.identity import name_hash
from engine.learning.shares import best_of_betas, shares_of

REWARD_UNIT = 1 << 20  # rewards are summed as integers of this part of the best possible one
PRIOR = 1.0  # Beta(1, 1): uniform


class ArmKey(NamedTuple):
    """Whose statistics: segment "" is everybody."""

    policy: str
    message: str
    segment: str
    variant: str


class ArmState(NamedTuple):
    """Sufficient statistics: closed trials, and the sum of their rewards in REWARD_UNIT."""

    trials: int
    reward: int


@dataclass(frozen=True, slots=True)
class Posteriors:
    """A snapshot of everything learnt so far; pinned for the length of a batch."""

    version: int = 0
    arms: Mapping[ArmKey, ArmState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VariantShares:
    """Shares of 2^30 in the order of the variants asked for, and the state's version that gave them."""

    shares: tuple[int, ...]
    version: int


def learnt_message(policy: Policy, message: str) -> str:
    """The message part of the state's key: pooled policies learn over all their messages."""
    return "" if policy.pool else message


def variant_shares(
    policy: Policy | None, message: str, segment: str, variants: Sequence[str], posteriors: Posteriors
) -> VariantShares:
    """Shares of the variants that are left. No policy: equal weights. All zero where no weight is left."""
    hashes = tuple(name_hash(v) for v in variants)
    if policy is None:
        return VariantShares(shares_of((1.0,) * len(variants), 0.0, hashes), 0)
    if policy.kind == "fixed":
        weights = tuple(policy.weights.get(v, 0.0) if policy.weights else 1.0 for v in variants)
        return VariantShares(shares_of(weights, policy.floor, hashes), 0)
    owner = learnt_message(policy, message)
    states = [posteriors.arms.get(ArmKey(policy.name, owner, segment, v), ArmState(0, 0)) for v in variants]
    alphas = tuple(PRIOR + s.reward / REWARD_UNIT for s in states)
    betas = tuple(PRIOR + s.trials - s.reward / REWARD_UNIT for s in states)
    return VariantShares(shares_of(best_of_betas(alphas, betas), policy.floor, hashes), posteriors.version)


def scaled_reward(policy: Policy, kinds: set[OutcomeKind]) -> int:
    """The reward of one closed trial in REWARD_UNIT: the values of the kinds seen, as a part of the
    sum of all positive ones, held within [0, 1].
    """
    best = sum(v for v in policy.reward.values() if v > 0.0)
    if best <= 0.0:
        return 0
    got = sum(policy.reward.get(kind.name.lower(), 0.0) for kind in kinds)
    return round(min(1.0, max(0.0, got / best)) * REWARD_UNIT)
