"""Why each message was or was not chosen: the funnel of one event, with the values read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from engine.bundle import Bundle
from engine.compiler.model import Position
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent, Defaulted, Inputs
from engine.compiler.source import did_you_mean
from engine.contact.volume import Counter
from engine.decision import DecideRequest, Decision, Details, Event, Reason
from engine.errors import InvalidInput, NotFound, Violation
from engine.identity import CustomerKey, DecisionRef, event_hash
from engine.learning.enrolment import why_not
from engine.plan import MessageStep
from engine.state.log import DecisionEntry
from engine.state.model import ReadBatch, ReadEntry, Record, Store
from engine.state.profile import decode as decode_profile
from engine.state.record import decode as decode_record
from engine.step.filters import Fit
from engine.step.operations import Change, known_answer, repeat_answer
from engine.step.reasons import Stop, sentence, stopped_by_rules
from engine.step.take import Drawn, Step, Subject, World, take
from engine.step.traces import ConditionTrace, Tracer, said, written


@dataclass(slots=True)
class CandidateView:
    """One message's way: SELECTED, OUTRANKED, or what stopped it and where that is written."""

    message: str
    stopped_by: Reason
    details: Details
    reason_text: str
    position: Position | None = None
    expression: str = ""
    values_read: dict[str, str] = field(default_factory=dict)
    rank: float = 0.0
    message_share: int = 0
    variants: list[tuple[str, int, str]] = field(default_factory=list)  # name, share, why unfit
    channel: str = ""
    send_after_ms: int = 0
    conditions: list[ConditionTrace] = field(default_factory=list)


@dataclass(slots=True)
class Explanation:
    """The decisions of an event and every message's way to them."""

    decisions: list[Decision]
    candidates: list[CandidateView]
    wanted: list[Counter] = field(default_factory=list)  # to be asked first: until then it is not the last word


def explain_what_if(
    world: World, key: CustomerKey, request: DecideRequest, read: ReadBatch, locale: str, traced: Collection[str] = ()
) -> Explanation:
    """Decides as if, on what was read, and tells every message of the rule set its way.

    `traced` names the messages whose conditions are told part by part; empty: all. Raises InvalidInput.
    """
    known = world.bundle.ruleset.messages
    violations = []
    for i, name in enumerate(traced):
        if name not in known:
            hint = did_you_mean(name, known) or "expected the name of one"
            violations.append(Violation(f"conditions_of[{i}]", f"found '{name}', which is no message; {hint}"))
    if violations:
        raise InvalidInput(violations)
    entry = read.entries[0]
    profile, record = decode_profile(entry.profile), decode_record(entry.record)
    now_ms = max(read.now_ms, record.last_ms)
    return explain_step(world, Subject(key, profile, record, now_ms), request, locale, traced or known)


def explain_step(
    world: World, subject: Subject, request: DecideRequest, locale: str, traced: Collection[str], **given: object
) -> Explanation:
    """The same for a subject at hand; it is changed by the step. `given` goes to `Step`."""
    if request.event.type not in world.bundle.ruleset.events:
        raise InvalidInput([Violation("event.type", f"found '{request.event.type}', expected a declared event type")])
    given_ns = request.event.occurred_at_ns
    occurred_ms = subject.now_ms if given_ns is None else given_ns // 1_000_000
    step = Step(subject, request, event_hash(request.event.event_id), occurred_ms, in_full=True, **given)  # type: ignore[arg-type]
    take(world, [step])
    drawn = step.logged[0][1] if step.logged else Drawn([], [], None, False)
    fits = {f.step.index: (k, f) for k, f in enumerate(drawn.fits)}
    stops = {m.index: stop for m, stop in drawn.stops}
    twin = Inputs(step.inputs, subject.now_ms * 1_000_000, step.zone)
    language = locale or world.bundle.ruleset.default_language
    facts: dict[int, object] = {}
    views = []
    for m in world.bundle.steps.messages:
        heard = m.message.on is None or request.event.type in m.message.on
        if m.index in fits:
            k, fit = fits[m.index]
            view = _fit_view(step, fit, k, drawn)
        else:
            stop = stops.get(m.index)
            if stop is None and heard:
                stop = stopped_by_rules(m, twin, language, facts=facts)
            view = _stop_view(step, m, stop, request.event.type)
        views.append(view)
    order = {Reason.SELECTED: 0, Reason.HOLDOUT: 0, Reason.OUTRANKED: 1, Reason.NO_RULE_FOR_EVENT: 3}
    views.sort(key=lambda v: (order.get(v.stopped_by, 2), -v.rank, v.message))
    tracer = Tracer(world.bundle.ruleset, twin, request.event.type)
    for view in views:  # those that came furthest first: what is told in all is bounded
        if view.message in traced and view.stopped_by != Reason.NO_RULE_FOR_EVENT:
            view.conditions = tracer.message(world.bundle.steps.by_name[view.message])
    return Explanation(step.decisions, views, step.wanted)


_ABSENT = {"DATA_STALE": "too old", "WINDOW_INCOMPLETE": "history too short"}


def _written(value: object, kind: Type | None, unit: str | None = None) -> str:
    """A value for people. `kind` None: of a past decision whose rules have changed since."""
    if isinstance(value, Absent):
        return _ABSENT.get(value.reason, "missing")
    if isinstance(value, Defaulted):
        return f"{_written(value.value, kind, unit)} (default)"
    return said(value, None) if kind is None else written(value, kind, unit)


def _values(step: Step, message: MessageStep) -> dict[str, str]:
    return {path: _written(step.inputs[path], *of) for path, of in message.reads.items() if path in step.inputs}


def _logged(value: object, kind: Type | None) -> str:
    absent = isinstance(value, str) and value.startswith("?")
    return _written(Absent(str(value)[1:]) if absent else value, kind)


def _fit_view(step: Step, fit: Fit, k: int, drawn: Drawn) -> CandidateView:
    choice = drawn.choice
    chosen = choice is not None and choice.index == k
    reason = Reason.OUTRANKED
    if chosen:
        reason = Reason.HOLDOUT if drawn.withheld else Reason.SELECTED
    details = Details(message=fit.step.message.name)
    if fit.step.policy is not None and not fit.assignment.in_trial:
        details.cause = why_not(fit.step.policy, fit.assignment)
    share = choice.message_shares[k] if choice is not None else 0
    return CandidateView(
        message=fit.step.message.name,
        stopped_by=reason,
        details=details,
        reason_text=_passed_over(share) if reason is Reason.OUTRANKED else sentence(reason, details),
        position=fit.step.message.position,
        values_read=_values(step, fit.step),
        rank=fit.rank,
        message_share=share,
        variants=[(v, s, "") for v, s in zip(fit.variants, fit.shares.shares, strict=True)]
        + [(u.variant, 0, u.cause) for u in fit.unfit],
        channel=fit.channel.name,
        send_after_ms=fit.at_ms,
    )


def _passed_over(share: int) -> str:
    return "another message was drawn" if share else sentence(Reason.OUTRANKED, Details())


def _stop_view(step: Step, m: MessageStep, stop: Stop | None, event_type: str) -> CandidateView:
    if stop is None:
        details = Details(message=m.message.name, cause=f"'{m.message.name}' does not listen to '{event_type}'")
        return CandidateView(m.message.name, Reason.NO_RULE_FOR_EVENT, details, details.cause, m.message.position)
    return CandidateView(
        message=m.message.name,
        stopped_by=stop.reason,
        details=stop.details,
        reason_text=stop.text or sentence(stop.reason, stop.details),
        position=stop.position or m.message.position,
        expression=stop.expression,
        values_read=_values(step, m),
        rank=stop.rank,
    )


async def explain_decision(
    store: Store, bundle: Bundle, ref: DecisionRef, record: Record, read: ReadEntry
) -> Explanation:
    """A past decision from its answer, with the candidates its log entry kept while the log still has it.

    Raises NotFound where the answer is past its life.
    """
    known = known_answer(record, read.spilled, Change(), ref.event)
    if known is None:
        raise NotFound("no such decision of the last 24 hours")
    request = DecideRequest(Event("", "", "", None, {}))
    decisions = [d for d in repeat_answer(known[1], ref.customer, ref.event, request) if d.slot == ref.slot]
    entry = await store.find_decision(ref.customer, ref.event, ref.slot)
    return Explanation(decisions, _logged_views(bundle, entry, decisions) if entry is not None else [])


def _logged_views(bundle: Bundle, entry: DecisionEntry, decisions: list[Decision]) -> list[CandidateView]:
    told = {d.details.message: d for d in decisions if d.details.message}  # its details were kept with the answer
    heard = [m for m in bundle.steps.messages if m.message.on is None or entry.event_type in m.message.on]
    kinds = {path: kind for m in heard for path, (kind, _) in m.reads.items()}
    values_read = {path: _logged(value, kinds.get(path)) for path, value in entry.values_read.items()}
    views = []
    for name, stopped_by, rank, share in entry.candidates:
        chosen = stopped_by == 0 and name == entry.message
        if stopped_by:
            reason = Reason(stopped_by)
        elif chosen:
            reason = Reason.HOLDOUT if entry.withheld else Reason.SELECTED
        else:
            reason = Reason.OUTRANKED
        details, text = Details(message=name), sentence(reason, Details(message=name))
        if reason is Reason.OUTRANKED:
            text = _passed_over(share)
        if name in told and told[name].reason is reason:
            details, text = told[name].details, told[name].reason_text
        step = bundle.steps.by_name.get(name)
        views.append(
            CandidateView(
                message=name,
                stopped_by=reason,
                details=details,
                reason_text=text,
                position=step.message.position if step is not None else None,
                values_read=values_read,
                rank=rank,
                message_share=share,
                variants=[(v, s, "") for v, s in entry.variants] if chosen else [],
                channel=entry.channel if chosen else "",
                send_after_ms=entry.send_at_ms if chosen else 0,
            )
        )
    return views
