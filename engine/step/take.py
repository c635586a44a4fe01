"""The pure step: (profile, record, event, now, uniform) -> (decisions, record'), for a batch at once.

windows -> facts -> eligibility -> contact policy -> choice. No input or output happens here, so any
decision can be taken again from what the log says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.bundle import Bundle, Pauses
from engine.compiler.reference import Inputs
from engine.contact.holdout import held_out
from engine.contact.hours import closes
from engine.contact.volume import Counter, Volumes
from engine.decision import DecideRequest, Decision, Details, Outcome, Reason
from engine.identity import CustomerKey, decision_id, name_hash
from engine.learning.posteriors import Posteriors
from engine.plan import MessageStep
from engine.state.history import NO_HISTORY, History
from engine.state.model import Profile, Record, Touch, TouchFlag, WindowState
from engine.step.choice import Choice, choose
from engine.step.filters import Fit, View, consider, value_of, waits
from engine.step.inputs import gather, text_feature
from engine.step.measured import measured
from engine.step.reasons import Stop, sentence, stopped_by_rules
from engine.step.render import fill, shown, slots_used
from engine.windows import UNUSED_KEPT_MS, from_history, observe

DAY_MS = 86_400_000
AHEAD_MS_MAX = 5 * 60_000  # how far ahead of the engine's clock an event may lie
ANSWER_LIFE_MS = DAY_MS  # also the greatest age of an event
SEND_FOR_MS = DAY_MS  # how long a SEND may be sent after send_after
REPORT_WITHIN_MS = 2 * DAY_MS  # after send_before
ASKED_AT_ONCE = 64  # counters of volumes: a turn that asks for one would be too many turns where many are exhausted


@dataclass(frozen=True, slots=True)
class World:
    """All that a step depends on beside the customer and the event; pinned for a batch."""

    bundle: Bundle
    pauses: Pauses
    posteriors: Posteriors
    salt: bytes
    history: History = NO_HISTORY
    volumes: Volumes | None = None  # what this worker has leased; None: volumes are not counted


@dataclass(slots=True)
class Subject:
    """One customer's state while a group of events is stepped."""

    key: CustomerKey
    profile: Profile
    record: Record
    now_ms: int


@dataclass(slots=True)
class Drawn:
    """What was considered and drawn for one slot: the raw material of the log entry.

    `outranked` are messages, with their values, that could not have won whatever the filters say.
    """

    fits: list[Fit]
    stops: list[tuple[MessageStep, Stop]]
    choice: Choice | None
    withheld: bool
    outranked: list[tuple[MessageStep, float]] = field(default_factory=list)


NOTHING_DRAWN = Drawn([], [], None, False)


@dataclass(slots=True)
class Step:
    """One event to decide. After `take` the results are filled in.

    `given_windows` stands in for stored windows (`tact test`); `stateless` decides without the
    customer's state (the store cannot be read); `in_full` puts every message through the filters, also
    those that others outrank (Explain). `logged` pairs what the log keeps with its draw: every
    decision, and where a slate ends in the holdout also what was withheld. `wanted` are counters to be asked
    first: where there are any, the step is to be taken again. `taken` is what was booked of them. `measured` is what
    the event adds to KPIs.
    """

    subject: Subject
    request: DecideRequest
    event: int
    occurred_ms: int
    given_windows: Mapping[str, object] | None = None
    given_zone: str | None = None
    stateless: bool = False
    in_full: bool = False
    zone: str | None = None
    inputs: dict[str, object] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    logged: list[tuple[Decision, Drawn]] = field(default_factory=list)
    wanted: list[Counter] = field(default_factory=list)
    taken: list[Counter] = field(default_factory=list)
    measured: list[tuple[str, float]] = field(default_factory=list)

    @property
    def occurred_ns(self) -> int:
        """When the event happened, in nanoseconds."""
        given = self.request.event.occurred_at_ns
        return given if given is not None else self.occurred_ms * 1_000_000


def take(world: World, steps: Sequence[Step]) -> None:
    """Steps a batch of events of distinct customers and fills in each one's results.

    Customers' records are changed in place: windows, touches, assignments.
    """
    _keep_windows(world, steps)
    plan = world.bundle.program.rules
    ruleset = world.bundle.ruleset
    for s in steps:
        paths = plan.paths[s.request.event.type]
        s.inputs = gather(
            paths,
            ruleset,
            world.bundle.steps.windows,
            s.request.event,
            s.occurred_ns,
            s.subject.profile,
            s.subject.record,
            s.subject.now_ms,
            s.zone,
            s.given_windows,
        )
    batch = plan.batch(
        [s.request.event.type for s in steps],
        [s.inputs for s in steps],
        [s.subject.now_ms * 1_000_000 for s in steps],
        [s.zone for s in steps],
    )
    funnel = world.bundle.program.funnel(batch)
    for i, s in enumerate(steps):
        profile = s.subject.profile
        language = text_feature(ruleset, profile, "language", s.subject.now_ms)
        s.measured = measured(batch, i, world.bundle.steps.kpis_of[s.request.event.type])
        withheld = held_out(s.subject.key, ruleset.holdout)
        view = View(
            s.subject.key, world.bundle, world.pauses, world.posteriors, batch, i, profile, s.subject.record,
            s.subject.now_ms, s.zone, language, withheld, world.history.unknown_before_ms(s.subject.record.since_ms),
            None if s.stateless else world.volumes, s.wanted,
        )  # fmt: skip
        candidates = [world.bundle.steps.messages[m] for m in funnel.candidates(i)]
        if not candidates:
            _refuse_by_rules(world, s, funnel.furthest(i), language)
        else:
            _decide(world, s, view, candidates)
        for d, _ in s.logged:
            identify(d, s.subject.key, s.event, s.request, d.slot, world.bundle.revision)


def _keep_windows(world: World, steps: Sequence[Step]) -> None:
    """Adds the events to their customers' windows, before anything is read from them."""
    bundle = world.bundle
    counting: list[Step] = []
    for s in steps:
        zone = text_feature(bundle.ruleset, s.subject.profile, "timezone", s.subject.now_ms)
        s.zone = s.given_zone if s.given_zone is not None else zone
        record = s.subject.record
        for key in bundle.steps.stored:
            state = record.windows.get(key)
            if state is None:
                record.windows[key] = state = WindowState(since_ms=s.subject.now_ms)
            state.last_used_ms = s.subject.now_ms
        unused = s.subject.now_ms - UNUSED_KEPT_MS
        for key in [k for k, w in record.windows.items() if w.last_used_ms < unused]:
            del record.windows[key]
        if bundle.steps.windows_of[s.request.event.type] and not from_history(record.windows, s.event):
            counting.append(s)
    if not counting:
        return
    plan = bundle.program.windows
    inputs = []
    for s in counting:
        s.inputs = gather(
            plan.paths[s.request.event.type], bundle.ruleset, {}, s.request.event, s.occurred_ns,
            s.subject.profile, s.subject.record, s.subject.now_ms, s.zone,
        )  # fmt: skip
        inputs.append(s.inputs)
    batch = plan.batch(
        [s.request.event.type for s in counting],
        inputs,
        [s.subject.now_ms * 1_000_000 for s in counting],
        [s.zone for s in counting],
    )
    for i, s in enumerate(counting):
        for window, where, value in bundle.steps.windows_of[s.request.event.type]:
            if where is not None and batch.truth(where, i) is not True:
                continue
            amount = batch.value(value, i) if value is not None else None
            if value is not None and amount is None:
                continue
            state = s.subject.record.windows[window.key]
            observe(window, state, s.occurred_ms, s.subject.now_ms, s.zone, amount)


def _answer(s: Step, decision: Decision, stops: list[tuple[MessageStep, Stop]]) -> None:
    """Nothing is said: this is why."""
    s.decisions = [decision]
    s.logged.append((decision, Drawn([], stops, None, False)))


def _refuse_by_rules(world: World, s: Step, furthest: tuple[int, int] | None, language: str | None) -> None:
    """No message passed its own rules: the reason of the one that got furthest."""
    if furthest is None:
        text = sentence(Reason.NO_RULE_FOR_EVENT, Details())
        _answer(s, Decision(Outcome.NO_MESSAGE, Reason.NO_RULE_FOR_EVENT, reason_text=text), [])
        return
    step = world.bundle.steps.messages[furthest[0]]
    twin = Inputs(s.inputs, s.subject.now_ms * 1_000_000, s.zone)
    stop = stopped_by_rules(step, twin, language or world.bundle.ruleset.default_language, furthest[1])
    if stop is None or stop.stage != furthest[1]:
        raise AssertionError(f"kernel and twin disagree on '{step.message.name}': {furthest[1]} and {stop}")
    _answer(s, refusal(stop), [(step, stop)])


def refusal(stop: Stop) -> Decision:
    """The NO_MESSAGE that a stop stands for."""
    text = stop.text or sentence(stop.reason, stop.details)
    return Decision(Outcome.NO_MESSAGE, stop.reason, stop.details, text)


def _decide(world: World, s: Step, view: View, candidates: list[MessageStep]) -> None:
    """Filters, choice and booking, slot by slot: each slot sees what the ones before it booked."""
    used: set[str] = set()
    products: set[str] = set()
    for slot in range(s.request.max_messages or 1):
        left = [c for c in candidates if c.message.name not in used and c.message.product not in products]
        if s.stateless:
            left = [c for c in left if c.purpose.if_state_unknown == "send"]
        fits, stops, outranked = _consider_all(view, left, s.in_full)
        if not fits:
            if slot == 0:
                _answer(s, _furthest(view, stops) if stops else _unknown(), stops)
            return
        choice = choose(world.bundle.ruleset.arbitration, fits, view.now_ms, world.salt, s.subject.key, s.event, slot)
        withheld = view.held_out and choice.fit.step.purpose.holdout
        if view.volumes is not None and not (withheld or view.wanted or s.in_full or s.request.dry_run):
            view.volumes.take(choice.fit.volumes)
            s.taken += choice.fit.volumes
        booked = _book(s, view, choice, slot, withheld)
        s.logged.append((booked, Drawn(fits, stops, choice, withheld, outranked)))
        if withheld and slot:  # what was said before is the whole answer
            return
        s.decisions.append(booked)
        if withheld:
            return
        used.add(choice.fit.step.message.name)
        if choice.fit.step.message.product is not None:
            products.add(choice.fit.step.message.product)


def _consider_all(
    view: View, messages: list[MessageStep], in_full: bool
) -> tuple[list[Fit], list[tuple[MessageStep, Stop]], list[tuple[MessageStep, float]]]:
    """(what fits, what was stopped, what need not be asked), the best first.

    Once a message fits, none of a later tier or of a later moment can win, nor one of a lower rank where the best is
    taken: their filters are not run, which is most of the work where many messages compete for a customer. What ranks
    by what it has learnt is asked first, as its rank is known only then.
    """
    by_rank = view.bundle.ruleset.arbitration.kind == "best"
    order = sorted((m.purpose.tier, waits(view, m), _highest(view, m), m.index) for m in messages)
    fits: list[Fit] = []
    stops: list[tuple[MessageStep, Stop]] = []
    best: tuple[int, bool, float] | None = None
    for place, (tier, wait, highest, index) in enumerate(order):
        if best is not None and not in_full and ((tier, wait) > best[:2] or (by_rank and highest > best[2])):
            rest = [view.bundle.steps.messages[i] for *_, i in order[place:]]
            return fits, stops, [(m, value_of(view, m)) for m in rest]
        message = view.bundle.steps.messages[index]
        asked = len(view.wanted)
        verdict = consider(view, message)
        if isinstance(verdict, Stop):
            stops.append((message, verdict))
            continue
        fits.append(verdict)
        if not asked < len(view.wanted) < ASKED_AT_ONCE:  # else it may not fit: what stands behind it is asked too
            best = min(best, (tier, wait, -verdict.rank)) if best is not None else (tier, wait, -verdict.rank)
    return fits, stops, []


def _highest(view: View, message: MessageStep) -> float:
    """Minus the rank that a message may have before its filters are run."""
    return -math.inf if message.message.learned else -value_of(view, message)


def _unknown() -> Decision:
    details = Details(cause="the customer's state could not be read")
    return Decision(Outcome.NO_MESSAGE, Reason.STATE_UNKNOWN, details, sentence(Reason.STATE_UNKNOWN, details))


def _furthest(view: View, stops: list[tuple[MessageStep, Stop]]) -> Decision:
    """The reason of the message that got furthest; ties by tier, value, name."""

    def order(item: tuple[MessageStep, Stop]) -> tuple[int, int, float, str]:
        step, stop = item
        return -stop.stage, step.purpose.tier, -value_of(view, step), step.message.name

    return refusal(min(stops, key=order)[1])


def _book(s: Step, view: View, choice: Choice, slot: int, withheld: bool) -> Decision:
    """Books the touch, keeps a sticky assignment, writes the decision."""
    fit = choice.fit
    step = fit.step
    message = step.message
    variant = fit.variants[choice.variant]
    send_before_ms = fit.at_ms + SEND_FOR_MS
    contact = view.profile.contact if step.purpose.tier != 1 else None
    closes_ms = closes(fit.at_ms, step.quiet_hours, contact, view.zone)
    if closes_ms is not None:
        send_before_ms = min(send_before_ms, closes_ms)
    deferred = fit.at_ms > view.now_ms
    report_by_ms = send_before_ms + REPORT_WITHIN_MS
    if not s.stateless:
        flags = (TouchFlag.WITHHELD if withheld else 0) | (TouchFlag.DEFERRED if deferred else 0)
        policy = step.policy
        touch = Touch(
            fit.at_ms, s.event, slot, step.key, step.variant_keys[variant], fit.channel.key,
            name_hash(message.purpose), step.topic, step.product, step.stage, fit.about,
            name_hash(policy.name) if policy else 0, fit.shares.version, send_before_ms, report_by_ms, flags,
        )  # fmt: skip
        view.record.touches.append(touch)
        view.live = None
        if policy is not None and policy.sticky and not fit.sticky and fit.assignment.in_trial:
            share = fit.shares.shares[choice.variant]
            view.record.assignments[name_hash(policy.name), step.key] = (step.variant_keys[variant], share)
    if withheld:
        why = sentence(Reason.HOLDOUT, Details())
        return Decision(Outcome.NO_MESSAGE, Reason.HOLDOUT, reason_text=why, slot=slot)
    language, text, template = fit.texts[choice.variant]
    slots = {
        name: shown(
            view.batch.value(step.slots[name].root, view.i),
            step.slots[name].type,
            step.slots[name].shape,
            language,
            step.slots[name].currency,
            view.zone,
        )
        for name in slots_used(template)
    }
    return Decision(
        Outcome.SEND,
        Reason.SELECTED,
        reason_text=sentence(Reason.SELECTED, Details()),
        message=message.name,
        variant=variant,
        channel=fit.channel.name,
        locale=language,
        text=fill(template, slots),
        slots=slots,
        suggested_replies=list(text.replies),
        sender=message.sender or "",
        purpose=message.purpose,
        topic=message.topic or "",
        stage=message.stage or "",
        product=message.product or "",
        send_after_ms=fit.at_ms,
        send_before_ms=send_before_ms,
        report_by_ms=report_by_ms,
        confirm_before_sending=deferred and not s.stateless,
        provisional=s.stateless,
        slot=slot,
        score=fit.rank,
        message_share=choice.message_shares[choice.index],
        variant_share=fit.shares.shares[choice.variant],
        policy=step.policy.name if step.policy else "",
        policy_version=fit.shares.version,
    )


def identify(
    decision: Decision, key: CustomerKey, event: int, request: DecideRequest, slot: int, revision: str
) -> None:
    """Fills in what every decision carries: its slot, its ids, the revision."""
    decision.slot = slot
    decision.revision = revision
    decision.decision_id = decision_id(key, event, slot)
    decision.event_id = request.event.event_id
    decision.customer_id = request.event.customer_id
