"""The filters between the rules and the draw, in the order of the design: pause, consent, suppression, channel,
hours, caps and gaps, volume, trial, text, rank, reserve. A message stops at its first failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from engine.bundle import Bundle, Pauses
from engine.compiler.model import Position, Text
from engine.compiler.program import Batch
from engine.contact.caps import Proposal, stopped_by_limits
from engine.contact.consent import objects_to_learning, permits, stopped_by_consent
from engine.contact.hours import send_time
from engine.contact.suppression import stopped_by_outcomes
from engine.contact.volume import Counter, Left, Volumes, counters
from engine.decision import Details, Reason
from engine.identity import CustomerKey, name_hash
from engine.learning.enrolment import Assignment, assigned_shares, assignment, fallback, why_not
from engine.learning.linear import context_of
from engine.learning.policies import VariantShares
from engine.learning.posteriors import Posteriors
from engine.learning.ranks import Worth, learnt_worth
from engine.plan import ChannelPlan, MessageStep
from engine.state.log import RankEntry
from engine.state.model import Profile, Record, Touch
from engine.step.measured import reported
from engine.step.reasons import (
    CHANNEL,
    CONSENT,
    HOURS,
    LIMITS,
    PAUSE,
    RANK,
    SUPPRESSION,
    TEXT,
    TRIAL,
    VOLUME,
    Stop,
    below_reserve,
)
from engine.step.render import language_for, slots_used


@dataclass(slots=True)
class View:
    """One event as the filters see it: the customer's state, and where its values are in the batch.

    `volumes` None: they are not counted. `wanted` gathers the counters that must be asked first: where there are
    any, what came of the filters does not hold.
    """

    customer: CustomerKey
    bundle: Bundle
    pauses: Pauses
    posteriors: Posteriors
    batch: Batch
    i: int
    profile: Profile
    record: Record
    now_ms: int
    zone: str | None
    language: str | None
    held_out: bool
    unknown_before_ms: int = 0  # what was sent before may be forgotten
    volumes: Volumes | None = None
    wanted: list[Counter] = field(default_factory=list)
    live: list[Touch] | None = None  # those that count, once asked for; None again after a booking
    hours: dict[tuple[str | None, bool], int | tuple[Reason, Details]] = field(default_factory=dict)

    def touches(self) -> list[Touch]:
        """The touches that count for this customer."""
        if self.live is None:
            self.live = [t for t in self.record.touches if t.counts(self.held_out)]
        return self.live


class Unfit(NamedTuple):
    """A variant that cannot be said, and why; `slot` where one has no value."""

    variant: str
    cause: str
    slot: str = ""


@dataclass(slots=True)
class Fit:
    """A message that may be said: when, on which channel, and the shares of its variants."""

    step: MessageStep
    at_ms: int
    channel: ChannelPlan
    worth: Worth
    variants: list[str]
    texts: list[tuple[str, Text, str]]  # language, text declaration, template for the channel
    unfit: list[Unfit]
    shares: VariantShares
    sticky: bool
    segment: str
    about: int
    volumes: tuple[Counter, ...]
    context: tuple[int, ...] = ()
    assignment: Assignment = Assignment.POLICY
    reported: dict[str, object] = field(default_factory=dict)

    @property
    def rank(self) -> float:
        """What it is compared by."""
        return self.worth.rank


def _stop(stage: int, found: tuple[Reason, Details], step: MessageStep, position: Position | None = None) -> Stop:
    reason, details = found
    details.message = step.message.name
    return Stop(stage, reason, details, "", position or step.message.position)


def _channel(view: View, step: MessageStep) -> ChannelPlan | Stop:
    """The first permitted channel; a condition that is an error skips its channel."""
    blocked = view.profile.contact.blocked_channels if view.profile.contact is not None else []
    refused: tuple[str, str] | None = None
    for channel in step.channels:
        if not all(view.batch.truth(root, view.i) for root, _ in channel.conditions):
            continue
        if channel.name in blocked:
            refused = refused or (channel.name, "the customer blocked the channel")
            continue
        if not permits(step.message, step.purpose, view.profile.contact, view.record, channel.name):
            refused = refused or (channel.name, f"no consent for '{step.purpose.name}' on the channel")
            continue
        return channel
    if refused is not None:
        details = Details(channel=refused[0], cause=refused[1])
        return _stop(CHANNEL, (Reason.CHANNEL_BLOCKED, details), step)
    names = ", ".join(c.name for c in step.channels)
    return _stop(CHANNEL, (Reason.NO_CHANNEL, Details(cause=f"no channel is open to the customer (of {names})")), step)


def _hours(view: View, step: MessageStep) -> int | tuple[Reason, Details]:
    """When it may be sent; worked out once per event for each rule of hours."""
    can_wait = step.purpose.tier != 1  # the customer's own hours are for what can wait
    rule = (step.quiet_hours.name if step.quiet_hours is not None else None, can_wait)
    found = view.hours.get(rule)
    if found is None:
        contact = view.profile.contact if can_wait else None
        found = view.hours[rule] = send_time(view.now_ms, step.quiet_hours, contact, view.zone)
    return found


def _about(view: View, step: MessageStep) -> int:
    value = view.batch.value(step.about, view.i) if step.about is not None else None
    return 0 if value is None else name_hash(f"about:{value!r}")


def _segment(view: View, step: MessageStep) -> str:
    parts = []
    for root in step.by:
        value = view.batch.value(root, view.i)
        written = "?" if value is None else str(value)
        parts.append(written.lower() if isinstance(value, bool) else written)
    return "|".join(parts)


def _context(view: View, step: MessageStep) -> tuple[int, ...]:
    return context_of([view.batch.value(root, view.i) for root in step.context]) if step.context else ()


def _unfit(view: View, step: MessageStep, template: str) -> str:
    """The first slot of the template that has no value (an empty list is none), or ""."""
    for slot in slots_used(template):
        value = view.batch.value(step.slots[slot].root, view.i)
        if value is None or value == () or (isinstance(value, float) and not math.isfinite(value)):
            return slot
    return ""


def _renderable(
    view: View, step: MessageStep, channel: str
) -> tuple[list[str], list[tuple[str, Text, str]], list[Unfit]]:
    """(variants that can be said, their language and template, the others with the cause)."""
    fit: list[str] = []
    texts: list[tuple[str, Text, str]] = []
    unfit: list[Unfit] = []
    default = view.bundle.ruleset.default_language
    for name, variant in step.message.variants.items():
        language = language_for(view.language, default, variant.texts)
        if language is None:
            unfit.append(Unfit(name, f"no text in '{view.language or default}'"))
            continue
        text = variant.texts[language]
        template = text.channels.get(channel, text.text)
        slot = _unfit(view, step, template)
        if slot:
            unfit.append(Unfit(name, f"slot '{slot}' has no value", slot))
            continue
        fit.append(name)
        texts.append((language, text, template))
    return fit, texts, unfit


def _shares(
    view: View, step: MessageStep, variants: list[str], unfit: list[Unfit], segment: str, context: tuple[int, ...],
    how: Assignment,
) -> tuple[VariantShares, bool] | Stop:  # fmt: skip
    """The shares of the variants left, and whether they come from an earlier assignment."""
    policy = step.policy
    if how is Assignment.OBJECTED and policy is not None:
        shares = assigned_shares(policy, how, step.message.name, segment, variants, view.posteriors, context)
        return (shares, False) if any(shares.shares) else _no_weight(step)
    if not how.in_trial:
        stop = _outside(step, variants, unfit, how)
        if stop is not None:
            return stop
        return assigned_shares(policy, how, step.message.name, segment, variants, view.posteriors, context), False
    if policy is not None and policy.sticky:
        owner = name_hash(policy.name)
        found = (view.record.assignments.get((owner, key)) for key in (step.key, *step.keys))
        assigned = next((a for a in found if a is not None), None)
        if assigned is not None:
            key, share = assigned
            at = next((k for k, v in enumerate(variants) if step.variant_keys[v] == key), None)
            if at is None:
                cause = "the variant assigned to the customer cannot be said"
                return _stop(TRIAL, (Reason.VARIANT_UNAVAILABLE, Details(cause=cause)), step)
            return VariantShares(tuple(share if k == at else 0 for k in range(len(variants))), 0), True
    if policy is not None and policy.kind == "fixed" and policy.if_unfit == "leave_out" and unfit:
        cause = f"left out of the trial: variant '{unfit[0].variant}': {unfit[0].cause}"
        return _stop(TRIAL, (Reason.NOT_IN_TRIAL, Details(cause=cause)), step)
    shares = assigned_shares(policy, how, step.message.name, segment, variants, view.posteriors, context)
    return (shares, False) if any(shares.shares) else _no_weight(step)


def _no_weight(step: MessageStep) -> Stop:
    return _stop(TRIAL, (Reason.VARIANT_UNAVAILABLE, Details(cause="no variant with weight is left")), step)


def _outside(step: MessageStep, variants: list[str], unfit: list[Unfit], how: Assignment) -> Stop | None:
    """Why a customer who is not in the trial is told nothing, or None."""
    policy = step.policy
    assert policy is not None
    assert policy.enrolment is not None
    variant, why = fallback(policy.enrolment, how), why_not(policy, how)
    if not variant:
        return _stop(TRIAL, (Reason.NOT_IN_TRIAL, Details(cause=why)), step, policy.position)
    if variant not in variants:
        cause = next((u.cause for u in unfit if u.variant == variant), "there is no such variant")
        told = f"{why}, so the variant is '{variant}': {cause}"
        return _stop(TRIAL, (Reason.VARIANT_UNAVAILABLE, Details(cause=told)), step)
    return None


def value_of(view: View, step: MessageStep) -> float:
    """A message's value. Minus infinity where it has none."""
    if step.constant is not None:
        return step.constant
    value = view.batch.value(step.value, view.i)
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) + 0.0 if known else -math.inf  # type: ignore[arg-type]


def _worth(
    view: View,
    step: MessageStep,
    segment: str,
    variants: list[str],
    shares: VariantShares,
    context: tuple[int, ...],
) -> Worth:
    """Value x rate: the rate is 1, or what the message's policy has learnt."""
    value, policy = value_of(view, step), step.policy
    if not step.message.learned or policy is None or not math.isfinite(value):
        return Worth(value)
    return learnt_worth(
        policy, step.message.name, value, segment, variants, shares.shares, view.posteriors, context
    )  # fmt: skip


def waits(view: View, step: MessageStep) -> bool:
    """Whether it could be sent later only, if at all."""
    at = _hours(view, step)
    return not isinstance(at, int) or at > view.now_ms


def _volume(view: View, volumes: Sequence[Counter]) -> tuple[Reason, Details, Position] | None:
    """Why a volume over all customers stops the message, or None. Counters to be asked first are noted."""
    if view.volumes is None:
        return None
    left = [view.volumes.left(counter) for counter in volumes]
    if Left.NONE in left:
        return view.volumes.reached(volumes[left.index(Left.NONE)])
    view.wanted += [counter for counter, some in zip(volumes, left, strict=True) if some is Left.UNKNOWN]
    return None


def consider(view: View, step: MessageStep) -> Fit | Stop:
    """Runs one message through the filters that follow its own rules."""
    message = step.message
    if view.pauses.holds(message.name, message.purpose):
        return _stop(PAUSE, (Reason.PAUSED, Details(purpose=message.purpose)), step)
    names = [channel.name for channel in step.channels]
    refused = stopped_by_consent(message, step.purpose, view.profile.contact, view.record, names)
    if refused is not None:
        return _stop(CONSENT, refused, step)
    told = Proposal(
        view.now_ms, step.keys, name_hash(message.purpose), step.topic, 0, step.product, step.stage, 0,
        step.former_topics,
    )  # fmt: skip
    left_alone = stopped_by_outcomes(step.suppressions, view.record.touches, told, view.now_ms)
    if left_alone is not None:
        return _stop(SUPPRESSION, left_alone[:2], step, left_alone[2])
    channel = _channel(view, step)
    if isinstance(channel, Stop):
        return channel
    at = _hours(view, step)
    if not isinstance(at, int):
        quiet = step.quiet_hours if at[0] is Reason.QUIET_HOURS else None
        return _stop(HOURS, (at[0], replace(at[1])), step, quiet.position if quiet is not None else None)
    about = _about(view, step)
    if about == 0 and step.about is not None and step.limits.about:
        cause = "what the message is about is unknown, so its caps cannot be checked"
        return _stop(LIMITS, (Reason.DATA_MISSING, Details(cause=cause)), step)
    proposal = told._replace(at_ms=at, channel=channel.key, about=about)
    held = stopped_by_limits(
        step.limits, view.touches(), len(view.record.touches), proposal, view.zone, view.unknown_before_ms
    )
    if held is not None:
        return _stop(LIMITS, held[:2], step, held[2])
    volumes = counters(step.volumes, channel.name, at)
    full = _volume(view, volumes)
    if full is not None:
        return _stop(VOLUME, full[:2], step, full[2])
    variants, texts, unfit = _renderable(view, step, channel.name)
    if not variants:
        name, cause, slot = unfit[0]
        return _stop(TEXT, (Reason.TEXT_UNAVAILABLE, Details(slot=slot, cause=f"variant '{name}': {cause}")), step)
    segment = _segment(view, step)
    context = _context(view, step)
    objects = step.policy is not None and objects_to_learning(view.profile.contact, view.record)
    how = assignment(step.policy, view.customer.digest, view.now_ms, objects)
    shares = _shares(view, step, variants, unfit, segment, context, how)
    if isinstance(shares, Stop):
        return shares
    worth = _worth(view, step, segment, variants, shares[0], context)
    if not math.isfinite(worth.rank):
        cause = "the message's value could not be computed"
        return _stop(RANK, (Reason.DATA_MISSING, Details(cause=cause)), step)
    fit = Fit(
        step, at, channel, worth, variants, texts, unfit, shares[0], shares[1], segment, about, volumes, context, how,
        reported(view.batch, view.i, step),
    )  # fmt: skip
    if message.reserve is not None and worth.rank < message.reserve.least:
        return replace(below_reserve(message, worth.rank), made_of=made_of(fit, view.posteriors.version))
    return fit


def made_of(fit: Fit, version: int) -> RankEntry | None:
    """What a learned rank is made of, by posteriors of this version; None where the rank is the value."""
    if not fit.step.message.learned:
        return None
    context = ",".join(map(str, fit.context))
    return RankEntry(0, version, fit.segment, ",".join(fit.variants), context, *fit.worth, int(fit.assignment))
