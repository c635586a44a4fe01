"""Books again what the log says of a customer, on the state of a backup. Pure: changes profile and record in memory.

The log holds no personal values and no texts, so what comes back is what promises rest on: touches with their
outcomes, stops, consents, erasures, sticky assignments, and for each event that it was answered. What is in the
copied state already is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.answer import encode_answer
from engine.bundle import Bundle
from engine.contact.hours import closes
from engine.decision import Decision, Details, Outcome, OutcomeKind, Reason
from engine.identity import CustomerKey, name_hash
from engine.learning.enrolment import Assignment
from engine.plan import MessageStep
from engine.recovery.archived import Archived, Erasure
from engine.state.log import DecisionEntry, ErasedEntry, OutcomeEntry, ProfileEntry, order
from engine.state.model import Answer, ConsentEntry, Contact, Profile, Record, Touch, TouchFlag
from engine.step.credit import credits_of, pack_credit
from engine.step.inputs import text_feature
from engine.step.operations import (
    ANSWER_KEPT_MS,
    Change,
    flags_after,
    forget,
    keep_answer,
    narrow_withdrawals,
    place_of,
)
from engine.step.reasons import sentence
from engine.step.take import REPORT_WITHIN_MS, SEND_FOR_MS, Subject

ANSWERED_BEFORE = "the store was restored since: this event was answered with a message, whose place is booked"
ANSWERED_LATER = "the store was restored since: this event was answered for a reason that a later version knows"
_KINDS, _REASONS = frozenset(map(int, OutcomeKind)), frozenset(map(int, Reason))  # a later version may know others


@dataclass(slots=True)
class Rebooked:
    """What was booked again.

    `without_rules`: touches whose message no rule set at hand knows, so that only caps of the customer, the message
    and the channel count them. `unreadable`: entries of a later version, passed over. `to_load`: customers whose
    features the bank changed since the backup (the log says which, not what).
    """

    entries: int = 0
    touches: int = 0
    outcomes: int = 0
    stops: int = 0
    consents: int = 0
    erased: int = 0
    answers: int = 0
    without_rules: int = 0
    unreadable: int = 0
    to_load: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Rule sets by revision, in the order in which they are asked where a revision is not among them."""

    bundles: dict[str, Bundle] = field(default_factory=dict)

    def find(self, revision: str, message: str) -> tuple[Bundle, MessageStep] | None:
        """The message as its revision had it, or as another one has."""
        exact = self.bundles.get(revision)
        for bundle in ([exact] if exact is not None else []) + list(self.bundles.values()):
            step = bundle.steps.by_name.get(message)
            if step is not None:
                return bundle, step
        return None


@dataclass(slots=True)
class Rebooking:
    """One customer's entries in log order. `now_ms` is the store's: answers past their life are not kept.

    `erasures` are all of theirs after the backup, also those that are booked later. What it leaves is in `profile`,
    `record` and `change`; `without_profile`: what is stored goes, unless `change` has another.
    """

    key: CustomerKey
    profile: Profile
    record: Record
    now_ms: int
    rules: RuleBook
    told: Rebooked
    erasures: Sequence[Erasure] = ()
    change: Change = field(default_factory=Change)
    without_profile: bool = False

    def book(self, archived: Sequence[Archived]) -> None:
        """Books them; `change` says what is to be written."""
        answered: dict[int, list[DecisionEntry]] = {}
        # the copy may be of a moment after an erasure: nothing from before it may come back
        since = max((e.log_id for e in self.erasures if self.record.since_ms >= e.at_ms), key=order, default="0-0")
        copied = "0-0"  # the profile is as this entry left it, or of before all of them
        for log_id, entry in archived:
            if isinstance(entry, ProfileEntry) and entry.profile_version == self.profile.version:
                copied = log_id
        for log_id, entry in archived:
            self.told.entries += 1
            if order(log_id) <= order(since):
                if isinstance(entry, ErasedEntry) and order(copied) < order(log_id):
                    kept = narrow_withdrawals(self.profile.contact)
                    self.profile, self.without_profile = Profile(contact=kept), True
                    self.change.profile = kept is not None
            elif isinstance(entry, DecisionEntry):
                answered.setdefault(entry.event, []).append(entry)
                self._decision(entry)
            elif isinstance(entry, OutcomeEntry):
                self._outcome(entry)
            elif isinstance(entry, ErasedEntry):
                self._erase(entry, order(copied) > order(log_id))
                answered.clear()
            elif isinstance(entry, ProfileEntry) and order(log_id) > order(copied):
                self._profile(entry)
            self.record.last_ms = max(self.record.last_ms, entry.at_ms)
        for event, decisions in answered.items():
            self._answer(event, decisions)

    def _decision(self, entry: DecisionEntry) -> None:
        if not entry.variant or any((t.event, t.slot) == (entry.event, entry.slot) for t in self.record.touches):
            return
        found = self.rules.find(entry.revision, entry.message)
        if found is None:
            self.told.without_rules += 1
            touch = self._touch(entry, name_hash(entry.message), name_hash(entry.variant), 0, 0, 0, 0, None)
        else:
            bundle, step = found
            message = step.message
            zone = text_feature(bundle.ruleset, self.profile, "timezone", entry.at_ms)
            contact = self.profile.contact if step.purpose.tier != 1 else None
            closes_ms = closes(entry.send_at_ms, step.quiet_hours, contact, zone)
            variant = step.variant_keys.get(entry.variant, name_hash(entry.variant))
            purpose = name_hash(message.purpose)
            touch = self._touch(entry, step.key, variant, purpose, step.topic, step.product, step.stage, closes_ms)
            in_trial = entry.assignment < Assignment.OUTSIDE
            if step.policy is not None and step.policy.sticky and not entry.sticky and in_trial:
                share = next((v.share for v in entry.variants if v.variant == entry.variant), 0)
                self.record.assignments[name_hash(step.policy.name), step.key] = (variant, share)
        self.record.touches.append(touch)
        self.record.since_ms = self.record.since_ms or entry.at_ms
        self.change.record = True
        self.told.touches += 1

    @staticmethod
    def _touch(
        entry: DecisionEntry,
        message: int,
        variant: int,
        purpose: int,
        topic: int,
        product: int,
        stage: int,
        closes_ms: int | None,
    ) -> Touch:
        at_ms = entry.send_at_ms
        until_ms = at_ms + SEND_FOR_MS if closes_ms is None else min(at_ms + SEND_FOR_MS, closes_ms)
        deferred = TouchFlag.DEFERRED if at_ms > entry.at_ms else 0
        flags = deferred | (TouchFlag.WITHHELD if entry.withheld else 0)
        policy = name_hash(entry.policy) if entry.policy else 0
        return Touch(
            at_ms, entry.event, entry.slot, message, variant, name_hash(entry.channel), purpose, topic, product, stage,
            entry.about, policy, entry.policy_version, until_ms, until_ms + REPORT_WITHIN_MS, flags,
        )  # fmt: skip

    def _outcome(self, entry: OutcomeEntry) -> None:
        if entry.kind not in _KINDS:
            self.told.unreadable += 1
            return
        record, kind = self.record, OutcomeKind(entry.kind)
        at = place_of(record, entry.event, entry.slot)
        if at is None:  # past its life
            return
        touch = record.touches[at]
        flags = flags_after(touch.flags, kind)
        if flags != touch.flags:
            record.touches[at] = touch._replace(flags=flags)
            self.change.record = True
            self.told.outcomes += 1
        if kind is OutcomeKind.OPTED_OUT:
            found = self.rules.find("", entry.message)
            for purpose in (touch.purpose, *(map(name_hash, found[1].purpose.stops) if found else ())):
                self._stop(purpose, entry.at_ms)
        if entry.outcome:
            self._outcome_answered(entry)

    def _outcome_answered(self, entry: OutcomeEntry) -> None:
        """That the outcome is known, and what it was credited to."""
        one = (entry.event, entry.slot)
        if not self._knows(entry.outcome):
            self._keep(Answer(entry.outcome, entry.kind, entry.at_ms, pack_credit(*one)))
            return
        for i, answer in enumerate(self.record.answers):
            if answer.event == entry.outcome and answer.body and one not in credits_of(answer.body):
                self.record.answers[i] = answer._replace(body=answer.body + pack_credit(*one))
                self.change.record = True

    def _stop(self, purpose: int, at_ms: int) -> None:
        record = self.record
        if record.opt_outs.get(purpose, 0) < at_ms:
            record.opt_outs[purpose] = at_ms
            self.change.record = True
            self.told.stops += 1
        for i, t in enumerate(record.touches):
            if t.purpose == purpose and t.at_ms > at_ms and not t.flags & TouchFlag.RELEASED:
                record.touches[i] = t._replace(flags=t.flags | TouchFlag.RELEASED | TouchFlag.CANCELLED)
                self.change.record = True

    def _profile(self, entry: ProfileEntry) -> None:
        if entry.written or entry.removed or entry.contact:  # topics, channels and hours are in no log
            self.told.to_load.add(self.key.digest)
        if not entry.contact:
            return
        consents = [ConsentEntry(*row) for row in entry.consents]  # type: ignore[arg-type]
        contact = self.profile.contact or Contact()
        if consents != contact.consents:
            contact.consents = consents
            self.profile.contact = contact
            self.change.profile = True
            self.told.consents += 1

    def _erase(self, entry: ErasedEntry, came_back: bool) -> None:
        """`came_back`: the profile was copied after this, and is of a later life."""
        profile, subject = self.profile, Subject(self.key, self.profile, self.record, entry.at_ms)
        forget(subject, {}, self.change)
        self.profile, self.record, self.without_profile = subject.profile, subject.record, True
        if came_back:
            self.profile, self.change.profile = profile, True
        self.told.to_load.discard(self.key.digest)
        self.told.erased += 1

    def _answer(self, event: int, decisions: list[DecisionEntry]) -> None:
        """The event was answered: a retry must not get another message. Texts are in no log, so none is told."""
        if self._knows(event):
            return
        told = []
        for entry in decisions:
            if entry.withheld and entry.slot:  # what was said before was the whole answer
                continue
            sent = entry.outcome == Outcome.SEND
            if sent or entry.reason not in _REASONS:
                cause = ANSWERED_BEFORE if sent else ANSWERED_LATER
                reason, details = Reason.STATE_UNKNOWN, Details(message=entry.message, cause=cause)
            else:
                reason, details = Reason(entry.reason), Details(message=entry.message)
            told.append(
                Decision(
                    Outcome.NO_MESSAGE,
                    reason,
                    details,
                    sentence(reason, details),
                    slot=entry.slot,
                    revision=entry.revision,
                )
            )
        self._keep(Answer(event, decisions[0].fingerprint, decisions[0].at_ms, encode_answer(told)))

    def _knows(self, event: int) -> bool:
        return event in self.record.spilled or any(a.event == event for a in self.record.answers)

    def _keep(self, answer: Answer) -> None:
        if answer.at_ms > self.now_ms - ANSWER_KEPT_MS:
            keep_answer(self.record, self.change, answer, self.now_ms)
            self.told.answers += 1
