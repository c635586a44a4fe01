"""From messages that fit to one message and one of its variants, each by one draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.compiler.model import Arbitration
from engine.identity import CustomerKey
from engine.learning import arbitration as between
from engine.learning.shares import MESSAGE_STAGE, VARIANT_STAGE, drawn, uniform
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


def message_shares(arbitration: Arbitration, fits: Sequence[Fit], now_ms: int) -> tuple[int, ...]:
    """Shares of 2^30 within the best tier, and in it of what can be sent now before what is deferred."""
    tier = min(f.step.purpose.tier for f in fits)
    best = [k for k, f in enumerate(fits) if f.step.purpose.tier == tier]
    best = [k for k in best if fits[k].at_ms <= now_ms] or best
    found = between.message_shares(arbitration, [fits[k].worth for k in best], [fits[k].step.key for k in best])
    shares = dict(zip(best, found, strict=True))
    return tuple(shares.get(k, 0) for k in range(len(fits)))


def choose(
    arbitration: Arbitration,
    fits: Sequence[Fit],
    now_ms: int,
    salt: bytes,
    customer: CustomerKey,
    event: int,
    slot: int,
) -> Choice:
    """One draw between messages, one between the winner's variants. A sticky assignment is not drawn again."""
    shares = message_shares(arbitration, fits, now_ms)
    u_message = uniform(salt, customer, event, slot, MESSAGE_STAGE)
    index = drawn(shares, u_message)
    fit = fits[index]
    u_variant = uniform(salt, customer, event, slot, VARIANT_STAGE)
    if fit.sticky:
        variant = next(k for k, share in enumerate(fit.shares.shares) if share)
    else:
        variant = drawn(fit.shares.shares, u_variant)
    return Choice(fit, index, variant, shares, u_message, u_variant)
