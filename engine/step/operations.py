"""What can be done to a customer's state, one class each. Pure: `apply` changes the Subject in memory
and says what to log; the decider reads before and commits after, and applies again after a collision.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from engine.answer import decode_answer
from engine.bundle import Bundle
from engine.contact.caps import Proposal, stopped_by_limits
from engine.contact.consent import EVERYTHING, merge_contact, stopped_by_consent
from engine.contact.suppression import stopped_by_outcomes
from engine.decision import (
    ARRIVED,
    DecideRequest,
    Decision,
    Details,
    Outcome,
    OutcomeKind,
    OutcomeResult,
    Outcomes,
    Reason,
)
from engine.errors import InvalidInput, NotFound, Violation
from engine.identity import CustomerKey, DecisionRef, decision_id, event_hash, name_hash
from engine.plan import MessageStep
from engine.state.log import Entry, ErasedEntry, ProfileEntry
from engine.state.model import Answer, Contact, Profile, Record, Touch, TouchFlag
from engine.step.entries import outcome_entry
from engine.step.inputs import stored, text_feature
from engine.step.reasons import sentence
from engine.step.take import AHEAD_MS_MAX, ANSWER_LIFE_MS, Subject, World

ARRIVED_FLAGS = sum(map(TouchFlag.outcome, ARRIVED))
ANSWERS_KEPT = 32
ANSWER_KEPT_MS = ANSWER_LIFE_MS + AHEAD_MS_MAX  # an event may lie that far ahead when it is answered
TOMBSTONE_MS = 60_000
EARLY_MS_MAX = 7 * 86_400_000  # an outcome lies behind its decision; clocks differ, and messages are booked ahead
_SPILL = struct.Struct("<Qq")


@dataclass(slots=True)
class ProfileChange:
    """One item of PutProfiles: values by the features' types; `contact` None: unchanged.

    A consent's `changed_at_ms` of 0 means without a time: see `contact.consent.merge_contact`.
    """

    customer_id: str
    features: dict[str, object]
    clear_features: list[str]
    contact: Contact | None


@dataclass(slots=True)
class Confirmation:
    """ConfirmSend's answer: SEND, or why not any more."""

    outcome: Outcome
    reason: Reason
    details: Details
    reason_text: str


@dataclass(slots=True)
class Change:
    """What a customer's group of operations did, to be committed together."""

    record: bool = False
    profile: bool = False
    erased: bool = False
    entries: list[Entry] = field(default_factory=list)
    spills: list[tuple[int, bytes, int]] = field(default_factory=list)


# ---- answers ------------------------------------------------------------------------------------


def known_answer(record: Record, spilled: dict[int, bytes], change: Change, event: int) -> tuple[int, bytes] | None:
    """(fingerprint, body) of what was answered to an event before, or None.

    An answer is in the record, or was read from a key of its own, or is on its way there.
    """
    for answer in record.answers:
        if answer.event == event:
            return answer.fingerprint, answer.body
    blob = next((body for e, body, _ in change.spills if e == event and body), None) or spilled.get(event)
    if not blob:  # empty: erased a moment ago
        return None
    fingerprint, _ = _SPILL.unpack_from(blob)
    return fingerprint, blob[_SPILL.size :]


def keep_answer(record: Record, change: Change, answer: Answer, now_ms: int) -> None:
    """Adds an answer; those past their life go, the oldest above 32 move to keys of their own."""
    record.answers = [a for a in record.answers if a.at_ms > now_ms - ANSWER_KEPT_MS]
    record.spilled = {event: until_ms for event, until_ms in record.spilled.items() if until_ms > now_ms}
    record.answers.append(answer)
    while len(record.answers) > ANSWERS_KEPT:
        old = record.answers.pop(0)
        life_ms = old.at_ms + ANSWER_KEPT_MS - now_ms
        record.spilled[old.event] = now_ms + life_ms
        change.spills.append((old.event, _SPILL.pack(old.fingerprint, old.at_ms) + old.body, life_ms))
    change.record = True


def repeat_answer(body: bytes, customer: CustomerKey, event: int, request: DecideRequest) -> list[Decision]:
    """The decisions of an earlier answer, with the ids that follow from the request."""
    decisions = decode_answer(body)
    for d in decisions:
        d.decision_id = decision_id(customer, event, d.slot)
        d.event_id = request.event.event_id
        d.customer_id = request.event.customer_id
    return decisions


# ---- operations other than deciding ---------------------------------------------------------------


def place_of(record: Record, event: int, slot: int) -> int | None:
    """The index of a decision's touch: the latest, where the event's id was used again after its day."""
    for i in reversed(range(len(record.touches))):
        if record.touches[i].event == event and record.touches[i].slot == slot:
            return i
    return None


def find_touch(record: Record, ref: DecisionRef) -> int:
    """The same. Raises NotFound."""
    at = place_of(record, ref.event, ref.slot)
    if at is None:
        raise NotFound("no such decision is remembered: it was never sent, or its touch is past its life")
    return at


def flags_after(flags: int, kind: OutcomeKind) -> int:
    """A touch's flags once an outcome is known: what did not arrive gives its place back, what did has it."""
    flags |= TouchFlag.outcome(kind)
    if kind is not OutcomeKind.NOT_DELIVERED:
        return flags & ~TouchFlag.RELEASED
    return flags if flags & ARRIVED_FLAGS else flags | TouchFlag.RELEASED


def message_of(bundle: Bundle, touch: Touch) -> MessageStep | None:
    """The message that a touch was about, if the rule set still has it."""
    return next((m for m in bundle.steps.messages if touch.message in m.keys), None)


def _closed_by(world: World, touch: Touch) -> frozenset[int]:
    """The purposes that a stop to a message closes: its own, and those that the rules say."""
    step = message_of(world.bundle, touch)
    return frozenset((touch.purpose, *(map(name_hash, step.purpose.stops) if step is not None else ())))


def occurred_at(report: Outcomes, now_ms: int) -> int:
    """When it happened, in milliseconds. Raises InvalidInput where that lies ahead."""
    occurred_ms = report.occurred_at_ms if report.occurred_at_ms is not None else now_ms
    if occurred_ms > now_ms + AHEAD_MS_MAX:
        raise InvalidInput([Violation("occurred_at", "lies more than 5 minutes ahead; expected a time in the past")])
    return occurred_ms


@dataclass(slots=True)
class RecordOutcome:
    """Takes one report on a decision."""

    report: Outcomes
    ref: DecisionRef

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> OutcomeResult:
        """Sets the outcome on the touch, once. Raises NotFound and InvalidInput."""
        record, now_ms, report = subject.record, subject.now_ms, self.report
        occurred_ms = occurred_at(report, now_ms)
        at = find_touch(record, self.ref)
        touch = record.touches[at]
        if occurred_ms < touch.at_ms - EARLY_MS_MAX:
            told = "lies more than a week before the message was to be sent; expected when it happened"
            raise InvalidInput([Violation("occurred_at", told)])
        key = event_hash(f"outcome:{report.decision_id}:{report.outcome_id}") if report.outcome_id else 0
        closed = _closed_by(world, touch)
        if key:
            repeated = known_answer(record, spilled, change, key) is not None
        else:
            said = touch.flags & TouchFlag.outcome(report.kind)
            repeated = bool(said) and not self._stops_anew(subject, closed, occurred_ms)
        if repeated:
            return OutcomeResult(True, self._cancelled(subject, closed))
        record.touches[at] = touch._replace(flags=flags_after(touch.flags, report.kind))
        if report.kind is OutcomeKind.OPTED_OUT:
            self._opt_out(subject, closed)
        if key:
            keep_answer(record, change, Answer(key, int(report.kind), now_ms, b""), now_ms)
        change.record = True
        change.entries.append(outcome_entry(subject, touch, message_of(world.bundle, touch), report, occurred_ms, key))
        exceeded = ""
        if touch.flags & TouchFlag.RELEASED and not record.touches[at].flags & TouchFlag.RELEASED:
            exceeded = _exceeded(world, subject, at)
        return OutcomeResult(False, self._cancelled(subject, closed), exceeded)

    def _stops_anew(self, subject: Subject, purposes: frozenset[int], occurred_ms: int) -> bool:
        """Whether this is one more stop, after the customer granted again what an earlier one had closed."""
        contact, stops = subject.profile.contact, subject.record.opt_outs
        return self.report.kind is OutcomeKind.OPTED_OUT and any(
            c.granted and stops.get(purpose, -1) < c.changed_at_ms <= occurred_ms
            for c in (contact.consents if contact is not None else ())
            for purpose in purposes & {name_hash(c.purpose), EVERYTHING}
        )

    def _cancelled(self, subject: Subject, purposes: frozenset[int]) -> list[str]:
        """What a STOP took back and must not be sent any more; said again when the report is."""
        if self.report.kind is not OutcomeKind.OPTED_OUT:
            return []
        return [
            decision_id(subject.key, t.event, t.slot)
            for t in subject.record.touches
            if t.purpose in purposes and t.at_ms > subject.now_ms and t.flags & TouchFlag.CANCELLED
            if not t.flags & TouchFlag.WITHHELD
        ]

    def _opt_out(self, subject: Subject, purposes: frozenset[int]) -> None:
        """The purposes are closed from now on; what is booked ahead for them is cancelled."""
        record = subject.record
        for purpose in sorted(purposes):
            record.opt_outs[purpose] = max(record.opt_outs.get(purpose, 0), subject.now_ms)
        for i, t in enumerate(record.touches):
            if t.purpose in purposes and t.at_ms > subject.now_ms and not t.flags & TouchFlag.RELEASED:
                record.touches[i] = t._replace(flags=t.flags | TouchFlag.RELEASED | TouchFlag.CANCELLED)


def _exceeded(world: World, subject: Subject, at: int) -> str:
    """The cap or gap that the touch at this place breaks among the others, or ""."""
    touch, touches = subject.record.touches[at], subject.record.touches
    step = message_of(world.bundle, touch)
    if step is None:
        return ""
    others = [t for i, t in enumerate(touches) if i != at and t.counts(False)]
    zone = text_feature(world.bundle.ruleset, subject.profile, "timezone", subject.now_ms)
    held = stopped_by_limits(step.limits, others, len(others), _booked(step, touch), zone)
    return (held[1].cap or held[1].gap) if held is not None else ""


def _booked(step: MessageStep, touch: Touch) -> Proposal:
    """A touch as it was proposed."""
    return Proposal(
        touch.at_ms, step.keys, touch.purpose, touch.topic, touch.channel, touch.product, touch.stage, touch.about,
        step.former_topics | ({step.topic} - {0}),
    )  # fmt: skip


# what is released already, was never to be sent, or was sent: releasing it would free a cap that is used
_NOT_TO_RELEASE = TouchFlag.RELEASED | TouchFlag.WITHHELD | TouchFlag.CONFIRMED | ARRIVED_FLAGS


@dataclass(slots=True)
class ConfirmSend:
    """Asks whether something deferred may still be sent; releases its touch where not."""

    ref: DecisionRef

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> Confirmation:
        """SEND, or why not any more. Raises NotFound."""
        record = subject.record
        at = find_touch(record, self.ref)
        touch = record.touches[at]
        refused = self._refused(world, subject, touch)
        if refused is None:
            if not touch.flags & TouchFlag.CONFIRMED:
                record.touches[at] = touch._replace(flags=touch.flags | TouchFlag.CONFIRMED)
                change.record = True
            return Confirmation(Outcome.SEND, Reason.SELECTED, Details(), sentence(Reason.SELECTED, Details()))
        if not touch.flags & _NOT_TO_RELEASE:
            record.touches[at] = touch._replace(flags=touch.flags | TouchFlag.RELEASED)
            change.record = True
        reason, details = refused
        return Confirmation(Outcome.NO_MESSAGE, reason, details, sentence(reason, details))

    def _refused(self, world: World, subject: Subject, touch: Touch) -> tuple[Reason, Details] | None:
        step = message_of(world.bundle, touch)
        details = Details(message=step.message.name if step is not None else "")
        if touch.flags & TouchFlag.WITHHELD:
            return Reason.HOLDOUT, details
        if touch.flags & TouchFlag.CANCELLED:
            details.cause = "the customer said stop"
            return Reason.OPTED_OUT, details
        if touch.flags & TouchFlag.RELEASED:
            details.cause = "it was reported as not delivered, so its place was given back"
            return Reason.SEND_BY_PASSED, details
        if subject.now_ms > touch.send_before_ms:
            details.cause = "the time to send it has passed"
            return Reason.SEND_BY_PASSED, details
        if step is None:
            details.cause = "the rule set no longer has the message"
            return Reason.PAUSED, details
        if world.pauses.holds(step.message.name, step.message.purpose):
            return Reason.PAUSED, details
        contact = subject.profile.contact
        blocked = contact.blocked_channels if contact is not None else []
        channel = next((name for name in blocked if name_hash(name) == touch.channel), None)
        if channel is not None:
            details.channel, details.cause = channel, "the customer blocked the channel"
            return Reason.CHANNEL_BLOCKED, details
        named = [c.name for c in step.channels]  # the rules may have had the channel then and not now
        named += [c.channel for c in contact.consents if c.channel] if contact is not None else []
        said_of = list(dict.fromkeys(name for name in named if name_hash(name) == touch.channel))
        refused = stopped_by_consent(step.message, step.purpose, contact, subject.record, said_of)
        if refused is not None:
            refused[1].message = step.message.name
            return refused
        others = [t for t in subject.record.touches if (t.event, t.slot) != (touch.event, touch.slot)]
        left_alone = stopped_by_outcomes(step.suppressions, others, _booked(step, touch), subject.now_ms)
        if left_alone is not None:
            left_alone[1].message = step.message.name
            return left_alone[:2]
        return None


@dataclass(slots=True)
class PutProfile:
    """Merges what the bank wrote into the profile."""

    change: ProfileChange

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> None:
        """Features not named stay; `contact` absent stays; a withdrawal is never cleared by absence."""
        profile, now_ms, contact = subject.profile, subject.now_ms, self.change.contact
        declared = world.bundle.ruleset.features
        unknown = [name for name in (*self.change.features, *self.change.clear_features) if name not in declared]
        if unknown:  # the rule set was swapped since the request was read
            raise InvalidInput([Violation(f'features["{n}"]', "no feature of the rule set") for n in unknown])
        ahead = []
        if contact is not None:
            ahead = [c.purpose for c in contact.consents if c.changed_at_ms > now_ms + AHEAD_MS_MAX]
        if ahead:
            told = "lies more than 5 minutes ahead; expected when the customer said so"
            raise InvalidInput([Violation(f"contact.consents[{p}].changed_at", told) for p in ahead])
        for name, value in self.change.features.items():
            profile.cells[name] = stored(declared[name], value, now_ms)
        for name in self.change.clear_features:
            profile.cells.pop(name, None)
        if contact is not None:
            profile.contact = contact = merge_contact(profile.contact, contact, subject.record.opt_outs, now_ms)
        change.profile = True
        change.entries.append(
            ProfileEntry(
                at_ms=now_ms,
                customer=subject.key.digest,
                profile_version=b"",
                written=sorted(self.change.features),
                removed=sorted(self.change.clear_features),
                contact=contact is not None,
                consents=[list(c if c.topic or c.channel else c[:5]) for c in contact.consents]
                if contact is not None
                else [],
            )
        )


@dataclass(slots=True)
class Erase:
    """Deletes what is kept of a customer, but for the opt-outs under the customer's keyed hash.

    Those of whole purposes are in the record; of a topic or channel alone, in a profile that holds nothing else.
    """

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> bool:
        """Whether there was anything. Leaves a tombstone that fails commits begun before."""
        existed = forget(subject, spilled, change)
        change.entries.append(ErasedEntry(at_ms=subject.now_ms, customer=subject.key.digest))
        return existed


def forget(subject: Subject, spilled: dict[int, bytes], change: Change) -> bool:
    """Takes away what is kept of a customer but for opt-outs; whether there was anything."""
    r, profile = subject.record, subject.profile
    kept = narrow_withdrawals(profile.contact)
    told = bool(profile.version) and (not kept or bool(profile.cells) or profile.contact != kept)
    existed = bool(told or r.windows or r.touches or r.answers or r.assignments)
    opt_outs = dict(r.opt_outs)
    for consent in profile.contact.consents if profile.contact is not None else ():
        if not (consent.granted or consent.topic or consent.channel):
            key = name_hash(consent.purpose)
            opt_outs[key] = max(opt_outs.get(key, 0), consent.changed_at_ms)
    subject.profile = Profile(version=profile.version, contact=kept)
    subject.record = Record(
        version=subject.record.version, last_ms=subject.now_ms, since_ms=subject.now_ms, opt_outs=opt_outs
    )
    change.erased = change.record = True
    change.profile = kept is not None
    # what has a key of its own goes at once
    gone = {event for event, _, _ in change.spills} | r.spilled.keys() | spilled.keys()
    change.spills[:] = [(event, b"", 1) for event in sorted(gone)]
    spilled.clear()
    return existed


def narrow_withdrawals(contact: Contact | None) -> Contact | None:
    """Withdrawals of a topic or a channel alone, which a record has no place for; None where there are none."""
    said = contact.consents if contact is not None else ()
    kept = [c._replace(source="", wording_version="") for c in said if not c.granted and (c.topic or c.channel)]
    return Contact(kept) if kept else None


Operation = RecordOutcome | ConfirmSend | PutProfile | Erase
