"""From messages that fit to one message and one of its variants, each by one draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.identity import CustomerKey
from engine.learning.shares import MESSAGE_STAGE, VARIANT_STAGE, drawn, shares_of, uniform
from engine.step.filters import Fit


@dataclass(frozen=True, slots=True)
class Choice:
    """What was drawn: `index` and `message_shares` are of the fits as given, `variant` of the fit's variants."""

    fit: Fit
    index: int
    variant: int
    message_shares: tuple[int, ...]
    u_message: int
    u_variant: int


def message_shares(fits: Sequence[Fit], now_ms: int) -> tuple[int, ...]:
    """Shares of 2^30: the best tier; in it, what can be sent now before what is deferred; of those
    the largest rank, ties shared evenly.
    """
    tier = min(f.step.purpose.tier for f in fits)
    best = [f for f in fits if f.step.purpose.tier == tier]
    at_once = [f for f in best if f.at_ms <= now_ms]
    best = at_once or best
    rank = max(f.rank for f in best)
    winners = {id(f) for f in best if f.rank == rank}
    weights = tuple(1.0 if id(f) in winners else 0.0 for f in fits)
    return shares_of(weights, 0.0, tuple(f.step.key for f in fits))


def choose(fits: Sequence[Fit], now_ms: int, salt: bytes, customer: CustomerKey, event: int, slot: int) -> Choice:
    """One draw between messages, one between the winner's variants. A sticky assignment is not drawn again."""
    shares = message_shares(fits, now_ms)
    u_message = uniform(salt, customer, event, slot, MESSAGE_STAGE)
    index = drawn(shares, u_message)
    fit = fits[index]
    u_variant = uniform(salt, customer, event, slot, VARIANT_STAGE)
    if fit.sticky:
        variant = next(k for k, share in enumerate(fit.shares.shares) if share)
    else:
        variant = drawn(fit.shares.shares, u_variant)
    return Choice(fit, index, variant, shares, u_message, u_variant)
