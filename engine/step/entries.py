"""What the log keeps of a decision: all that is needed to draw it again and to judge it, nothing personal. And of its
outcomes.
"""

from __future__ import annotations

from engine.compiler.reference import Absent, Defaulted
from engine.compiler.written import plain
from engine.decision import Decision, Outcome, Outcomes, Reason
from engine.learning import arbitration, terms
from engine.plan import MessageStep
from engine.state.log import CandidateEntry, DecisionEntry, OutcomeEntry, VariantEntry
from engine.state.model import Touch
from engine.step.filters import made_of
from engine.step.take import Drawn, Step, Subject, World


def decision_entries(
    world: World, step: Step, fingerprint: int, record_version: bytes, profile_version: bytes
) -> list[DecisionEntry]:
    """One entry per slot of the event that was decided."""
    return [
        _entry(world, step, decision, drawn, fingerprint, record_version, profile_version)
        for decision, drawn in step.logged
    ]


def values_read(step: Step, messages: list[MessageStep]) -> dict[str, object]:
    """The inputs that these messages' conditions read, as JSON has them, personal ones left out.

    Absent: a question mark and the reason's name.
    """
    values: dict[str, object] = {}
    for message in messages:
        for path in message.reads:
            if path in values:
                continue
            value = step.inputs.get(path)
            if isinstance(value, Defaulted):
                value = value.value
            values[path] = f"?{value.reason}" if isinstance(value, Absent) else plain(value, *message.reads[path])
    return values


def _entry(
    world: World,
    step: Step,
    d: Decision,
    drawn: Drawn,
    fingerprint: int,
    record_version: bytes,
    profile_version: bytes,
) -> DecisionEntry:
    choice = drawn.choice
    candidates: list[CandidateEntry] = []
    for k, fit in enumerate(drawn.fits):
        share = choice.message_shares[k] if choice is not None else 0
        candidates.append(CandidateEntry(fit.step.message.name, 0, fit.rank, share))
    candidates += [CandidateEntry(m.message.name, int(stop.reason), stop.rank, 0) for m, stop in drawn.stops]
    learnt = [made_of(fit, world.posteriors.version) for fit in drawn.fits] + [stop.made_of for _, stop in drawn.stops]
    candidates += [CandidateEntry(m.message.name, int(Reason.OUTRANKED), rank, 0) for m, rank in drawn.outranked]
    fit_drawn = choice.fit if choice is not None else None
    policy = fit_drawn.step.policy if fit_drawn is not None else None
    considered = [f.step for f in drawn.fits] + [m for m, _ in drawn.stops]
    return DecisionEntry(
        at_ms=step.subject.now_ms,
        customer=step.subject.key.digest,
        event=step.event,
        event_type=step.request.event.type,
        fingerprint=fingerprint,
        revision=world.bundle.revision,
        record_version=record_version,
        profile_version=profile_version,
        outcome=int(d.outcome),
        reason=int(d.reason),
        slot=d.slot,
        message=fit_drawn.step.message.name if fit_drawn is not None else d.details.message,
        variant=fit_drawn.variants[choice.variant] if choice is not None and fit_drawn is not None else "",
        channel=fit_drawn.channel.name if fit_drawn is not None else "",
        policy=policy.name if policy is not None else "",
        policy_version=fit_drawn.shares.version if fit_drawn is not None else 0,
        segment=fit_drawn.segment if fit_drawn is not None else "",
        context=list(fit_drawn.context) if fit_drawn is not None else [],
        candidates=candidates,
        variants=[VariantEntry(*pair) for pair in zip(fit_drawn.variants, fit_drawn.shares.shares, strict=True)]
        if fit_drawn is not None
        else [],
        u_message=choice.u_message if choice is not None else 0,
        u_variant=choice.u_variant if choice is not None else 0,
        send_at_ms=fit_drawn.at_ms if fit_drawn is not None else 0,
        withheld=drawn.withheld,
        sticky=fit_drawn.sticky if fit_drawn is not None else False,
        about=fit_drawn.about if fit_drawn is not None else 0,
        values_read=values_read(step, considered),
        arbitration=arbitration.written(world.bundle.ruleset.arbitration) if choice is not None else "",
        ranks=[one._replace(candidate=k) for k, one in enumerate(learnt) if one is not None],
        attribution_s=policy.attribution_s if policy is not None and d.outcome is Outcome.SEND else 0,
        terms=terms.written(policy) if policy is not None else "",
        assignment=int(fit_drawn.assignment) if fit_drawn is not None else 0,
        reported=fit_drawn.reported if fit_drawn is not None else {},
        measured=step.measured if d.slot == 0 else [],
    )


def outcome_entry(
    subject: Subject, touch: Touch, step: MessageStep | None, report: Outcomes, occurred_ms: int, key: int
) -> OutcomeEntry:
    """An outcome of a touch, whose message is `step`. `key`: the hash of the outcome's id, 0 for none."""
    variants = {v: k for k, v in step.variant_keys.items()} if step is not None else {}
    return OutcomeEntry(
        at_ms=subject.now_ms,
        occurred_ms=occurred_ms,
        customer=subject.key.digest,
        event=touch.event,
        slot=touch.slot,
        kind=int(report.kind),
        value=report.value,
        outcome=key,
        message=step.message.name if step is not None else "",
        variant=variants.get(touch.variant, ""),
        policy=step.message.policy or "" if step is not None else "",
        policy_version=touch.policy_version,
        segment="",
        category=report.category,
    )
